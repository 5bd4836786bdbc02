"""What is printed cannot steer a terminal: control characters in it are shown, not obeyed.

A study's name, a task's, an unknown key or a model's own text may hold sequences that retitle a terminal,
write over what stands there, or fill its clipboard. `install` puts one filter behind all that verbs print.
On a terminal it also folds long sentences at words; what goes to a file or a pipe stays a line a remark.
"""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# C0 and C1 without newline and tab, delete, and what turns the direction of text around.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    """The text with each such character as ``\\u001b``, which inside JSON means the same character."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


# What is copied from a terminal in one piece: commands, Python, places.
_COPIED = re.compile(r"`[^`]*`|(?:^|(?<=: )|(?<=: \")|(?<=Python: ))(?:lab|python|pip|import|make) .*$")
# `  warning   code: text` goes on below its text, any other line two further in.
_LABEL = re.compile(r" *(?:[\w.]+ {2,})?")
_HELD = "\x00"  # a blank that stays; escaped text holds none


def folded(line: str, width: int) -> str:
    """A line without its end, broken at words to so many columns. Tables, JSON, and what is to be copied stay
    whole."""
    start = _LABEL.match(line)[0]
    if len(line) <= width or line.lstrip()[:1] in ("{", "[") or "  " in line[len(start) :].strip():
        return line
    held = _COPIED.sub(lambda found: found[0].replace(" ", _HELD), line[len(start) :])
    below = " " * (len(start) if start.strip() else len(start) + 2)
    if width - len(below) < 20:
        return line
    lines = textwrap.wrap(
        held,
        width,
        initial_indent=start,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(_HELD, " ")


class Screen:
    """A text stream that escapes what is written to it, and folds it where it is a terminal; `unescaped`: the
    stream, for our own codes."""

    def __init__(self, stream):
        self.unescaped = stream
        self._begun = False  # whether something stands on the line already

    def write(self, text: str) -> int:
        shown = escaped(text)
        if not self._begun and len(shown) > 40 and self.isatty():
            width = shutil.get_terminal_size().columns
            shown = "\n".join(folded(line, width) for line in shown.split("\n"))
        if text:
            self._begun = not text.endswith("\n")
        self.unescaped.write(shown)
        return len(text)

    def isatty(self) -> bool:
        return getattr(self.unescaped, "isatty", lambda: False)()

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str):
        return getattr(self.unescaped, name)


def install() -> None:
    """Put a Screen before this process's stdout and stderr; twice is once.

    What a stream's encoding lacks, such as the bytes of a file's name that is not UTF-8, is escaped too.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, Screen):
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Screen(stream))


def unescaped(stream):
    """The stream for control codes of our own, and for libraries that write theirs."""
    return getattr(stream, "unescaped", stream)


@contextmanager
def silent() -> Iterator[TextIO]:
    """Whatever goes to stderr goes nowhere, also from processes that are started; the stream that is given is
    for what must be said all the same."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield sys.stderr
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    before = sys.stderr
    with (
        open(kept, "w", encoding="utf-8", errors="backslashreplace") as errors,
        open(os.devnull, "w") as none,
    ):
        os.dup2(nowhere, 2)
        os.close(nowhere)
        sys.stderr = none
        try:
            yield Screen(errors)
        finally:
            sys.stderr = before
            errors.flush()
            os.dup2(errors.fileno(), 2)


class Heard:
    """A stream that passes on what is written, and remembers the end of it."""

    def __init__(self, stream):
        self.stream, self.parts = stream, []

    def write(self, text: str) -> int:
        self.parts = [*self.parts[-400:], text]
        return self.stream.write(text)

    def text(self) -> str:
        """In one line, without frames of boxes."""
        return " ".join(re.sub("[\u2500-\u257f]|-{4,}", " ", "".join(self.parts)).split())

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


@contextmanager
def heard(wanted: bool) -> Iterator[Heard]:
    """What is said on stderr meanwhile, for who must repeat it elsewhere."""
    before = sys.stderr
    told = Heard(before)
    if wanted:
        sys.stderr = told
    try:
        yield told
    finally:
        if wanted:
            sys.stderr = before
