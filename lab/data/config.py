"""What a run is trained and validated on, as one frozen value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import InputError
from lab.strict import nearest

PACKAGE_SOURCES = ("python-docs", "python-code")
SOURCES = (*PACKAGE_SOURCES, "synthetic", "abilities")
TOKENIZERS = ("bytes", "symbols")
TEXT = "text"  # in `tasks`: the rate of the text that the tasks are mixed with
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
    context: int = 0  # T: tokens a sequence
    order_seed: int = 0  # the one data order of a study
    max_tokens: int | None = None  # cap on the unique training tokens; None: all there are
    val_fraction: float = 0.05  # of the bytes of a text, held out by file or document
    val_windows: int = 512  # windows of `context` tokens in the fixed validation set, at most
    tasks: Mapping[str, float] = field(default_factory=dict)  # task -> rate, in any unit; a text is "text"
    eval_tasks: tuple[str, ...] = ()  # tasks that are scored without being trained on: other forms, lengths
    eval_items: int = 1000  # test items a task, at most
    progress: int = 0  # steps of a run at which progress measures are logged, spread over its logarithm
    contexts: int = 2048  # synthetic: number of contexts K
    zipf: float = 1.75  # synthetic: exponent of the law of contexts

    def __post_init__(self):
        kind = self.kind
        problems = [*self._problems_of_numbers(), *self._problems_of_names(kind)]
        if problems:
            raise InputError(*problems)
        symbolic = kind in ("synthetic", "abilities")
        object.__setattr__(self, "tokenizer", self.tokenizer or ("symbols" if symbolic else "bytes"))
        usual, least, needed_by = self._lengths()
        object.__setattr__(self, "context", self.context or usual)
        if self.context < least:
            raise InputError(
                f"context: {self.context} tokens are too short for {needed_by}, which takes {least}"
            )
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

    def _problems_of_numbers(self):
        least = {
            "context": 0,
            "order_seed": 0,
            "val_windows": 1,
            "eval_items": 1,
            "contexts": 2,
            "progress": 0,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                yield f"{name}: {value!r} is not a whole number of at least {low}"
        if isinstance(self.contexts, int) and self.contexts > MOST_CONTEXTS:
            yield f"contexts: {self.contexts} is above {MOST_CONTEXTS}"
        if self.max_tokens is not None and (not isinstance(self.max_tokens, int) or self.max_tokens < 1):
            yield f"max_tokens: {self.max_tokens!r} is not a positive whole number"
        if not (isinstance(self.val_fraction, (int, float)) and 0 < self.val_fraction < 1):
            yield f"val_fraction: {self.val_fraction!r} is not between 0 and 1"
        if not (isinstance(self.zipf, (int, float)) and math.isfinite(self.zipf) and self.zipf > 1):
            yield f"zipf: {self.zipf!r} is not above 1 (below, no power law in tokens)"

    def _problems_of_names(self, kind: str):
        if kind == "files" and not Path(self.source).exists():
            hint = nearest(self.source, SOURCES)
            yield f"source: {self.source!r} is neither a file or directory nor a built-in source; {hint}"
        if self.tokenizer not in ("", *TOKENIZERS):
            yield f"tokenizer: {self.tokenizer!r} is unknown; {nearest(self.tokenizer, TOKENIZERS)}"
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
        for name, rate in self.tasks.items():
            if name == TEXT and not mixed:
                yield f"tasks: {TEXT!r} is the rate of a text; name the text as the source"
            elif name != TEXT and (problem := problem_of(name)):
                yield f"tasks: {problem}"
            if not (isinstance(rate, (int, float)) and math.isfinite(rate) and rate > 0):
                yield f"tasks: the rate of {name!r} is {rate!r}, not a positive number"
        if mixed and TEXT not in self.tasks:
            yield f"tasks: the rate {TEXT!r} of the text {self.source!r} is missing"
        elif mixed and len(self.tasks) == 1:
            yield f"tasks: {TEXT!r} alone is no mixture; leave `tasks` out"
        for name in self.eval_tasks:
            if problem := problem_of(name):
                yield f"eval_tasks: {problem}"
            elif name in self.tasks:
                yield f"eval_tasks: {name!r} is one of `tasks`, which are scored anyway"
