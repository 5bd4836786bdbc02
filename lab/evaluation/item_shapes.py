"""Items of evaluations in the shapes that people have, as prompt and answer, or prompt, choices and gold.

Read are `question` or `input` for the prompt (after a `passage`, where there is one); `choices`, `options`,
`endings`, texts with labels (`{"text": [...], "label": [...]}`), a key a letter or number (A, option1); the
right one as a number from 0, a letter, a label or its text, under `gold`, `answer`, `label`, `answerKey`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.strict import nearest

FIELDS = ("prompt", "answer", "choices", "gold", "split", "cluster", "rationale")
_PROMPTS = ("prompt", "question", "query", "input", "ctx", "sentence", "problem", "stem", "goal")
_PASSAGES = ("passage", "context", "article", "support", "background")
_CHOICES = ("choices", "options", "endings", "answers", "candidates")
_GOLDS = (
    "gold",
    "answer",
    "label",
    "answerKey",
    "answer_key",
    "answer_idx",
    "answer_index",
    "target",
)
_WORKED = "####"
_NUMBERED = re.compile(r"^(sol|option|choice|ending|opt)_?(\d)$")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass
class Shapes:
    """What was read how, over the lines of a file: code -> sentence, for a remark each."""

    unread: dict[str, int] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    lowest: int | None = None
    beyond: int = 0

    def remarks(self) -> tuple[tuple[str, str], ...]:
        found = dict(self.said)
        if self.unread:
            names = ", ".join(f"{name} ({count} items)" for name, count in list(self.unread.items())[:8])
            found["fields_unread"] = f"fields that are not read: {names}"
        return tuple(found.items())


def shaped(doc: Mapping[str, Any], shapes: Shapes) -> tuple[dict[str, Any], list[str]]:
    """(the item with our fields, what is wrong with it). What was renamed or left aside goes to shapes."""
    if isinstance(
        doc.get("question"), Mapping
    ):  # {"question": {"stem": ..., "choices": [...]}, "answerKey": ...}
        doc = {name: value for name, value in doc.items() if name != "question"} | dict(doc["question"])
    out = {name: doc[name] for name in ("split", "cluster", "rationale") if name in doc}
    used, problems = set(out), []
    prompt = next((name for name in _PROMPTS if name in doc), None)
    if prompt is not None:
        used.add(prompt)
        out["prompt"] = doc[prompt]
        passage = next((name for name in _PASSAGES if isinstance(doc.get(name), str)), None)
        if prompt != "prompt" and passage is not None:
            out["prompt"] = f"{doc[passage]}\n{doc[prompt]}"
            used.add(passage)
            shapes.said["passage"] = f"the prompt is {passage!r}, a new line, {prompt!r}"
        elif prompt != "prompt":
            shapes.said["prompt"] = f"the prompt is {prompt!r}"
    choices, labels, name = _choices(doc)
    if choices is not None:
        used |= name
        out["choices"] = choices
    gold = next((one for one in _GOLDS if one in doc and one not in used), None)
    if choices is None and gold is not None:
        used.add(gold)
        value = doc[gold]
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value:g}" if isinstance(value, float) else str(value)
            shapes.said["number"] = "answers that are numbers are taken as texts"
        if isinstance(value, str) and _WORKED in value and "rationale" not in out:
            # Word problems with their working: what stands behind the sign is the answer.
            out["rationale"], _, value = (part.strip() for part in value.rpartition(_WORKED))
            shapes.said["worked"] = (
                f"the answer is what stands behind {_WORKED}, its rationale what is before"
            )
        if gold == "gold":
            out["gold"] = value
        else:
            out["answer"] = value
            if gold != "answer":
                shapes.said["answer"] = f"the answer is {gold!r}"
    elif gold is not None:
        used.add(gold)
        if {"gold", "answer"} <= doc.keys():
            problems.append("an item has answer, or choices and gold, not both")
        out["gold"], how = _index(doc[gold], choices, labels)
        if how:
            shapes.said["gold"] = f"the right choice is {gold!r}, as {how}"
        elif gold != "gold":
            shapes.said["gold"] = f"the right choice is {gold!r}, a number from 0"
        _bounds(out["gold"], choices, shapes)
    for other in doc:
        if other in used:
            continue
        near = difflib.get_close_matches(other, FIELDS, n=1, cutoff=0.75)
        if near and near[0] not in out:
            problems.append(f"no such field {other!r}; {nearest(other, FIELDS)}")
        else:
            shapes.unread[other] = shapes.unread.get(other, 0) + 1
    return out, problems


def _choices(doc: Mapping[str, Any]) -> tuple[Any, list[str], set[str]]:
    """(the choices' texts or None, their labels, the keys that they stand under)."""
    name = next((one for one in _CHOICES if isinstance(doc.get(one), list | Mapping)), None)
    if name is None:
        if "choices" in doc:
            return doc["choices"], [], {"choices"}
        letters = [letter for letter in _LETTERS[:10] if isinstance(doc.get(letter), str | int | float)]
        if len(letters) > 1 and letters == list(_LETTERS[: len(letters)]):
            return [str(doc[letter]) for letter in letters], letters, set(letters)
        numbered = sorted((match[2], name) for name in doc if (match := _NUMBERED.match(name)))
        if len(numbered) > 1:
            names = [name for _, name in numbered]
            return [str(doc[name]) for name in names], [number for number, _ in numbered], set(names)
        return None, [], set()
    value = doc[name]
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        labels = value.get("label")
        return value["text"], [str(x) for x in labels] if isinstance(labels, list) else [], {name}
    if isinstance(value, Mapping):
        return list(value.values()), [str(key) for key in value], {name}
    if value and all(isinstance(one, Mapping) and "text" in one for one in value):
        return [one["text"] for one in value], [str(one.get("label", "")) for one in value], {name}
    return value, [], {name}


def _index(gold: Any, choices: Any, labels: list[str]) -> tuple[Any, str]:
    """(the number of the right choice from 0, how it was said where that was no such number)."""
    if not isinstance(choices, list):
        return gold, ""
    text = str(gold).strip() if isinstance(gold, str | int) and not isinstance(gold, bool) else None
    # A number that is no text counts places, also where the labels are digits.
    if text is not None and labels and text in labels and not (isinstance(gold, int) and labels[0].isdigit()):
        return labels.index(text), "a label"
    if isinstance(gold, str):
        if gold in choices:
            return choices.index(gold), "its text"
        letter = gold.strip().strip("().").upper()
        if len(letter) == 1 and letter in _LETTERS[: len(choices)]:
            return _LETTERS.index(letter), "a letter"
        if text is not None and text.isdigit() and len(text) < 4:
            return int(text), "digits"
    return gold, ""


def _bounds(gold: Any, choices: Any, shapes: Shapes) -> None:
    if isinstance(gold, int) and not isinstance(gold, bool) and isinstance(choices, list):
        shapes.lowest = gold if shapes.lowest is None else min(shapes.lowest, gold)
        shapes.beyond += gold == len(choices)
