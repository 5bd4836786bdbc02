"""What a run is trained and validated on, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from lab.errors import InputError
from lab.strict import Within, beyond, nearest, said

PACKAGE_SOURCES = ("python-docs", "python-code")
SOURCES = (*PACKAGE_SOURCES, "synthetic", "abilities")
TOKENIZERS = ("bytes", "symbols")
TEXT = "text"  # in `tasks`: the rate of the text that the tasks are mixed with
_NAMES = ("source", "tokenizer", "tasks", "eval_tasks")
MOST_MADE = 10**8  # tokens of a made-up source that are held in memory
MOST_CONTEXTS = 2**14  # beyond, the digits of a context take a larger table than the rest of a small model


@dataclass(frozen=True)
class DataConfig:
    """The data of a study: all that decides its token stream and its validation set.

    `context` and `tokenizer` left at 0 and "" take the value that fits the source and are never left unset:
    128 tokens and bytes for text, 126 (42 whole records) and its own symbols for `synthetic`, the longest
    item of the tasks and the symbols for `abilities`.

    Raises InputError with all problems at once.
    """

    source: str = "python-docs"  # python-docs | python-code | synthetic | abilities | a file or directory
    tokenizer: str = ""  # bytes (256 + <start>, <end>) | symbols
    context: Annotated[int, Within(0, 2**20)] = 0  # T: tokens a sequence
    # where documents of .txt, .md and .rst end: a lone file at blank lines and those of a directory with the
    # file, unless it is said; of "file", the end of a lone file is what is held out
    split: Literal["", "blank_lines", "file"] = ""
    dedupe: bool = True  # keep one of documents that are equal
    order_seed: Annotated[int, Within(0, 2**32 - 1)] = 0  # the one data order of a study
    # cap on the unique training tokens; None: all there are
    max_tokens: Annotated[int, Within(1, 10**16)] | None = None
    # of the bytes of a text, held out by file or document
    val_fraction: Annotated[float, Within(1e-6, 0.99)] = 0.05
    # windows of `context` tokens in the fixed validation set, at most
    val_windows: Annotated[int, Within(1, 10**6)] = 512
    # task -> rate, in any unit; a text is "text"
    tasks: Mapping[str, Annotated[float, Within(1e-6, 1e6)]] = field(default_factory=dict)
    eval_tasks: tuple[str, ...] = ()  # tasks that are scored without being trained on: other forms, lengths
    eval_items: Annotated[int, Within(1, 10**5)] = 1000  # test items a task, at most
    # steps of a run at which progress measures are logged, spread over its logarithm
    progress: Annotated[int, Within(0, 10**5)] = 0
    contexts: Annotated[int, Within(2, MOST_CONTEXTS)] = 2048  # synthetic: number of contexts K
    # synthetic: exponent of the law of contexts; at 1 and below, no power law in tokens
    zipf: Annotated[float, Within(1.001, 100.0)] = 1.75

    def __post_init__(self):
        wrong = dict(beyond(self))
        problems = [f"{key}: {text}" for key, text in wrong.items()]
        if not {key.partition("[")[0] for key in wrong} & set(
            _NAMES
        ):  # a rate that is wrong leaves the names to be looked at
            problems += self._problems_of_names(self.kind)
        if problems:
            raise InputError(*problems)
        symbolic = self.kind in ("synthetic", "abilities")
        object.__setattr__(self, "tokenizer", self.tokenizer or ("symbols" if symbolic else "bytes"))
        usual, least, needed_by = self._lengths()
        object.__setattr__(self, "context", self.context or usual)
        if self.context < least:
            raise InputError(
                f"context: {self.context} tokens are too short for {needed_by}, which takes {least}"
            )
        if problems := list(self._problems_of_what_is_made()):
            raise InputError(*problems)
        if self.max_tokens is not None and self.max_tokens < self.context:
            raise InputError(
                f"max_tokens: {self.max_tokens} is less than one sequence of {self.context} tokens"
            )

    @property
    def kind(self) -> str:
        """`source` if it names a built-in source, else "files"."""
        return self.source if self.source in SOURCES else "files"

    def _lengths(self) -> tuple[int, int, str]:
        """Context taken when none is given, the least that will do, and what needs that."""
        if self.kind == "synthetic":
            return 126, 3, "a record"
        if not self.tasks:
            return 128, 1, "a token"
        from lab.abilities import find

        names = [name for name in (*self.tasks, *self.eval_tasks) if name != TEXT]
        longest, task = max((find(name).row_length, name) for name in names)
        return (longest if self.kind == "abilities" else max(128, longest)), longest, f"task {task!r}"

    def _problems_of_what_is_made(self):
        """Text is as large as it is; made-up sequences that are finite are kept in memory whole."""
        if self.kind not in ("synthetic", "abilities") and not self.tasks:
            return
        if self.max_tokens is not None and self.max_tokens > MOST_MADE:
            yield f"max_tokens: should be at most {MOST_MADE} of a made-up source, is {self.max_tokens}"
        if self.val_windows * self.context > MOST_MADE:
            yield (
                f"val_windows: should be at most {MOST_MADE // self.context} of {self.context} tokens each, "
                f"is {self.val_windows}"
            )

    def _problems_of_names(self, kind: str):
        if kind == "files" and not _exists(self.source):
            hint = nearest(self.source.rpartition("/")[2], SOURCES)
            yield f"source: {said(self.source)} is neither a file or directory nor a built-in source; {hint}"
        if self.tokenizer not in ("", *TOKENIZERS):
            yield f"tokenizer: {said(self.tokenizer)} is unknown; {nearest(self.tokenizer, TOKENIZERS)}"
        elif self.tokenizer:
            wanted = "symbols" if kind in ("synthetic", "abilities") else "bytes"
            if self.tokenizer != wanted:
                yield f"tokenizer: source {self.source!r} is written in {wanted}, not {self.tokenizer}"
        if kind == "abilities" and not self.tasks:
            from lab.abilities import TASKS

            yield f"tasks: source 'abilities' needs at least one task, of {', '.join(TASKS)}"
        elif kind == "synthetic" and self.tasks:
            yield "tasks: source 'synthetic' cannot be mixed with tasks; a text or 'abilities' can"
        elif self.tasks:
            yield from self._problems_of_tasks(kind)
        if self.eval_tasks and not self.tasks:
            yield "eval_tasks: tasks are scored where `tasks` are trained on; there are none"

    def _problems_of_tasks(self, kind: str):
        from lab.abilities import problem_of

        mixed = kind != "abilities"
        for name in self.tasks:
            if name == TEXT and not mixed:
                yield f"tasks: {TEXT!r} is the rate of a text; name the text as the source"
            elif name != TEXT and (problem := problem_of(name)):
                yield f"tasks: {problem}"
        if mixed and TEXT not in self.tasks:
            yield f"tasks: the rate {TEXT!r} of the text {self.source!r} is missing"
        elif mixed and len(self.tasks) == 1:
            yield f"tasks: {TEXT!r} alone is no mixture; leave `tasks` out"
        for name in self.eval_tasks:
            if problem := problem_of(name):
                yield f"eval_tasks: {problem}"
            elif name in self.tasks:
                yield f"eval_tasks: {name!r} is one of `tasks`, which are scored anyway"


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long a name, or a byte that none has
        return False
