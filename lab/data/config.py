"""What a run is trained and validated on, as one frozen value."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from lab.errors import InputError
from lab.strict import Within, beyond, name_problem, nearest, said
from lab.tokenizers import size_of_bpe, size_of_ids

PACKAGE_SOURCES = ("python-docs", "python-code")
SOURCES = (*PACKAGE_SOURCES, "synthetic", "abilities")
TOKENIZERS = ("bytes", "symbols", "bpe:4096", "ids:50257")
MIXTURE = "mixture"  # the source of a run that has several, `sources`
TEXT = "text"  # in `tasks`: the rate of the text that the tasks are mixed with
_NAMES = ("source", "tokenizer", "tasks", "eval_tasks", "sources", "rates")
LEAST_SHARE = 1e-3  # of a source in a mixture: fewer rows than one in a thousand teach nothing that shows
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

    # python-docs | python-code | synthetic | abilities | a file or directory, or a list of them
    source: str | tuple[str, ...] = "python-docs"
    sources: Mapping[str, str] = field(default_factory=dict)  # name -> text: a mixture of them, at `rates`
    rates: Mapping[str, Annotated[float, Within(0.0, 1e6)]] = field(default_factory=dict)  # in any unit
    # bytes (256 + <start>, <end>) | bpe:N, learned from this text | a tokenizer.json | symbols | ids:N
    tokenizer: str = ""
    text_field: str = "text"  # key of .jsonl, column of .parquet and of saved data sets
    include: tuple[str, ...] = ()  # names of the files of a folder that are read: "*.py"; all that are known
    mark: Annotated[int, Within(0, 2**31 - 1)] | None = None  # of .bin and .npy: the id between two documents
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
        if self.sources:
            object.__setattr__(self, "source", MIXTURE)
            object.__setattr__(self, "rates", self._all_rates)
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
        """`source` if it names a built-in source, "mixture", else "files"."""
        if self.sources:
            return MIXTURE
        return self.source if isinstance(self.source, str) and self.source in SOURCES else "files"

    @property
    def places(self) -> tuple[str, ...]:
        """The files and folders of a source of kind "files"."""
        return (self.source,) if isinstance(self.source, str) else tuple(self.source)

    @property
    def label(self) -> str:
        """The source in a word, for tables and errors."""
        return self.source if isinstance(self.source, str) else ", ".join(self.source)

    @property
    def _all_rates(self) -> dict[str, float]:
        return {name: float(self.rates.get(name, 1.0)) for name in self.sources}

    @property
    def shares(self) -> dict[str, float]:
        """The part of the training rows that each source of a mixture has; they add up to 1."""
        total = sum(self.rates.values())
        return {name: rate / total for name, rate in self.rates.items()}

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
        if kind == "files":
            if not self.places:
                yield "source: should name a file or more, is an empty list"
            for place in self.places:
                if not place:
                    yield "source: should name a file, a folder or a built-in source, is empty"
                elif not _exists(place):
                    yield f"source: {said(place)}{_why_there_is_none(place)}"
        if kind == MIXTURE:
            yield from self._problems_of_sources()
        elif self.rates:
            yield "rates: are of `sources`, and there are none"
        if problem := self._problem_of_tokenizer(kind):
            yield f"tokenizer: {problem}"
        if kind == "abilities" and not self.tasks:
            from lab.abilities import TASKS

            yield f"tasks: source 'abilities' needs at least one task, of {', '.join(TASKS)}"
        elif kind in ("synthetic", MIXTURE) and self.tasks:
            yield f"tasks: source {kind!r} cannot be mixed with tasks; a text or 'abilities' can"
        elif self.tasks and kind != "abilities" and self.tokenizer not in ("", "bytes"):
            yield "tasks: are written in bytes, as the text that they are mixed with must be"
        elif self.tasks:
            yield from self._problems_of_tasks(kind)
        if self.eval_tasks and not self.tasks:
            yield "eval_tasks: tasks are scored where `tasks` are trained on; there are none"

    def _problem_of_tokenizer(self, kind: str) -> str:
        name = self.tokenizer
        if not name:
            return ""
        try:
            known = name in ("bytes", "symbols") or size_of_bpe(name) or size_of_ids(name)
        except InputError as error:
            return str(error)
        if not known and name.endswith(".json"):
            return "" if _exists(name) else f"{said(name)}: no such file"
        if not known:
            return f"{said(name)} is unknown; {nearest(name, TOKENIZERS)}, or the path of a tokenizer.json"
        symbolic = kind in ("synthetic", "abilities")
        if symbolic != (name == "symbols"):
            wanted = "symbols" if symbolic else 'bytes, "bpe:N" or a tokenizer.json'
            return f"source {self.label!r} is written in {wanted}, not {name}"
        return ""

    def _problems_of_sources(self):
        for name, place in self.sources.items():
            if problem := name_problem(name):
                yield f"sources.{name}: {problem}"
            if place not in PACKAGE_SOURCES and not _exists(place):
                hint = nearest(place.rpartition("/")[2], PACKAGE_SOURCES)
                yield f"sources.{name}: {said(place)} is neither a file or folder nor a built-in text; {hint}"
        if len(self.sources) < 2:
            yield "sources: should be two or more; one is named by `source`"
        for name in self.rates:
            if name not in self.sources:
                yield f"rates.{name}: no such source; {nearest(name, self.sources)}"
        rates = self._all_rates
        total = sum(rates.values())
        for name, rate in rates.items():
            if total <= 0 or 0 < rate / total < LEAST_SHARE:
                yield (
                    f"rates.{name}: should be 0 or at least {LEAST_SHARE:g} of all rates, "
                    f"is {rate:g} of {total:g}"
                )

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


def _why_there_is_none(place: str) -> str:
    """The end of a line about a source that is not there: a built-in one is meant where its name is close."""
    close = difflib.get_close_matches(place.rpartition("/")[2], SOURCES, 1, 0.6)
    if Path(place).suffix or ("/" in place and not close):
        return ": no such file or directory"
    hint = f"did you mean {close[0]}?" if close else f"valid: {', '.join(sorted(SOURCES))}"
    return f" is neither a file or directory nor a built-in source; {hint}"


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long a name, or a byte that none has
        return False
