"""What training scripts print line by line: `{'loss': 3.2, 'epoch': 0.5}`, `step=100 | loss=2.3 | tokens=1M`.

Hugging Face's Trainer prints dictionaries of Python, Megatron and OLMo keys with values, most others what is
like these. A line is an entry of the run, and lines of one step are one entry.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from sweeps.exchange.run_logs import is_loss

_LONGEST = 5000  # characters of a line that are looked at
_STEP = re.compile(
    r"(?:^|[\s\[(|,{])(?:global[_ ])?(?:step|iter|iteration|update)s?(?:\s*[:=#]\s*|\s+)"
    r"(\d[\d,]{0,17})(?![.\d])",
    re.IGNORECASE,
)
_PAIR = re.compile(
    r"([A-Za-z][\w/.\-]{0,60}+(?: [A-Za-z]\w{0,30}+)?+)\s*[:=]\s*"
    r"([-+]?(?:\d[\d_]*(?:,\d{3})*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?))([kKmMbB]?)(?![\w.%])",
    re.IGNORECASE,
)
# `iter 10: loss 6.1`, as nanoGPT prints between evaluations.
_BARE = re.compile(
    r"(?<![\w/])((?:(?:train|val|valid|eval|test)[_ ])?loss)\s+(\d+\.\d+|nan|inf)(?![\w.%])", re.IGNORECASE
)
_EPOCH = re.compile(r"(?<![\w/])epoch[ :=#]+(\d{1,6}(?:\.\d+)?)(?![\w.])", re.IGNORECASE)
_HELD = re.compile(r"^\W*(?:validation|test|eval(?:uation)?)\b", re.IGNORECASE)
_NOT_FINITE = re.compile(r"(?<=[:\s\[,])([-+]?(?:nan|inf))(?=\s*[,}\]])", re.IGNORECASE)
_SCALE = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
_FEWEST = 2  # lines with a loss


def entries(text: str) -> list[dict[str, Any]] | None:
    """The entries of a log in its order: their step where it is said, and values by name. None for no log."""
    out: list[dict[str, Any]] = []
    step = None
    for line in text.splitlines():
        line = line[:_LONGEST]
        found = _object(line)
        if found is None:
            at = _STEP.search(line)
            step = int(at[1].replace(",", "")) if at else step
            found = _pairs(line)
            if found and step is not None:
                found = {"step": step} | found
        if not found:
            continue
        if out and "step" in found and out[-1].get("step") == found["step"] and _agree(out[-1], found):
            out[-1] |= found
        else:
            out.append(found)
    losses = sum(any(is_loss(key) for key in entry) for entry in out)
    placed = [entry for entry in out if "step" in entry or "epoch" in entry or _tokens(entry)]
    return out if losses >= _FEWEST and placed else None


def _agree(one: dict, other: dict) -> bool:
    return all(one[key] == value for key, value in other.items() if key in one)


def _tokens(entry: dict) -> bool:
    return any(re.search(r"tokens?$", key, re.IGNORECASE) for key in entry)


def _object(line: str) -> dict[str, Any] | None:
    """The dictionary that a line holds, of Python or JSON; nothing in it runs."""
    begin, end = line.find("{"), line.rfind("}")
    if begin < 0 or end < begin:
        return None
    body = line[begin : end + 1]
    for read in (json.loads, lambda text: ast.literal_eval(_NOT_FINITE.sub(r"'\1'", text))):
        try:
            found = read(body)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict):
            return {str(key): value for key, value in found.items() if not isinstance(value, dict | list)}
    return None


def _pairs(line: str) -> dict[str, Any]:
    held = bool(_HELD.search(line))
    out: dict[str, Any] = {}
    for key, value, unit in _PAIR.findall(line):
        words = key.split(" ")
        if words[0].isupper() and len(words) > 1:  # INFO loss: 3.2
            key = words[-1]
        if re.fullmatch(r"(global[_ ])?(step|iter|iteration|update)s?", key, re.IGNORECASE):
            continue
        number = float(value.replace(",", "").replace("_", "")) * _SCALE[unit.lower()]
        key = f"val {key}" if held and is_loss(key) and not key.lower().startswith(("val", "eval")) else key
        out.setdefault(key, int(number) if number.is_integer() and abs(number) < 2**53 else number)
    for key, value in _BARE.findall(line):
        out.setdefault(key, float(value))
    epoch = _EPOCH.search(line)
    if out and epoch:
        out.setdefault("epoch", float(epoch[1]))
    return out
