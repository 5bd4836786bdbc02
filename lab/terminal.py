"""What is printed cannot steer a terminal: control characters in it are shown, not obeyed.

A study's name, a task's, an unknown key or a model's own text may hold sequences that retitle a terminal,
write over what stands there, or fill its clipboard. `install` puts one filter behind all that verbs print.
"""

import re
import sys

# C0 and C1 without newline and tab, delete, and what turns the direction of text around.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    """The text with each such character as ``\\u001b``, which inside JSON means the same character."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Screen:
    """A text stream that escapes what is written to it; `unescaped`: the stream, for our own codes."""

    def __init__(self, stream):
        self.unescaped = stream

    def write(self, text: str) -> int:
        self.unescaped.write(escaped(text))
        return len(text)

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
