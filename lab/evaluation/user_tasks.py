"""Tasks of a user's own: a JSONL of prompts and answers, or one Python file."""

from __future__ import annotations

import json
import runpy
from collections.abc import Mapping
from pathlib import Path

from lab.errors import InputError
from lab.evaluation.text_tasks import TextTask
from lab.files import read_text
from lab.strict import nearest

_FIELDS = ("prompt", "answer", "choices", "gold", "split", "cluster", "rationale")
_SHOWN = 8  # problems of one kind that are listed


def read(path: Path) -> list[TextTask]:
    """Tasks of a file: one of a `.jsonl`, all that a `.py` holds. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".py":
        return _python(path)
    return [_jsonl(path)]


def _python(path: Path) -> list[TextTask]:
    """Runs the file, because its name was given on the command line; a study file can name none."""
    found = [value for value in runpy.run_path(str(path)).values() if isinstance(value, TextTask)]
    if not found:
        raise InputError(f"{path}: defines no lab.evaluation.text_tasks.TextTask at its top level")
    return found


def _jsonl(path: Path) -> TextTask:
    """A line an item: `prompt` and `answer`, or `prompt`, `choices` and `gold` (the number of the right
    one, from 0).

    Optional: `split` ("test" or "shots"), `cluster`, `rationale`.
    """
    docs, problems = [], []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            doc, wrong = _line(line)
            problems += [f"{path}:{number}: {text}" for text in wrong]
            docs.append(doc)
    if not problems:
        kinds = {"choices" in doc for doc in docs}
        if len(kinds) > 1:
            first = next(i for i, doc in enumerate(docs, 1) if ("choices" in doc) != ("choices" in docs[0]))
            problems.append(f"{path}: item {first}: all items should have choices, or none")
        if not any(doc.get("split", "test") == "test" for doc in docs):
            problems.append(f"{path}: no item of the split 'test'")
    if problems:
        left = len(problems) - _SHOWN
        raise InputError(*problems[:_SHOWN], *([f"{path}: {left} more problems"] if left > 0 else []))
    return _task(path.stem, docs)


def _task(name: str, docs: list[Mapping]) -> TextTask:
    test = [doc for doc in docs if doc.get("split", "test") == "test"]
    several = "choices" in test[0]
    chance = {}
    if several:
        guess = sum(1 / len(doc["choices"]) for doc in test) / len(test)
        chance = dict.fromkeys(("exact_match", "choice_accuracy", "choice_accuracy_norm"), guess)
    reasoned = all("rationale" in doc for doc in docs)
    return TextTask(
        name=name,
        docs=test,
        doc_to_text=lambda doc: doc["prompt"],
        doc_to_target=(lambda doc: doc["choices"][doc["gold"]]) if several else (lambda doc: doc["answer"]),
        doc_to_choice=(lambda doc: doc["choices"]) if several else None,
        fewshot_docs=[doc for doc in docs if doc.get("split") == "shots"],
        output_type="multiple_choice" if several else "generate_until",
        doc_to_rationale=(lambda doc: doc["rationale"]) if reasoned else None,
        chance=chance,
        doc_to_cluster=(lambda doc: doc["cluster"]) if all("cluster" in doc for doc in test) else None,
    )


def _line(line: str) -> tuple[dict, list[str]]:
    try:
        doc = json.loads(line)
    except json.JSONDecodeError as error:
        return {}, [f"is no JSON: {error.msg} at column {error.colno}"]
    except RecursionError:
        return {}, ["is JSON of too many levels"]
    except ValueError as error:  # a number of too many digits
        return {}, [f"is no JSON: {error}"]
    if not isinstance(doc, dict):
        return {}, ["should be an object with prompt and answer"]
    problems = []
    for name in doc:
        if name not in _FIELDS:
            problems.append(f"no such field {name!r}; {nearest(name, _FIELDS)}")
    for name in ("prompt", "answer", "rationale"):
        if name in doc and not (isinstance(doc[name], str) and (doc[name] or name == "prompt")):
            problems.append(f"{name}: should be a text, is {doc[name]!r}")
    if "prompt" not in doc:
        problems.append("prompt: is missing")
    if doc.get("split", "test") not in ("test", "shots"):
        problems.append(f"split: should be 'test' or 'shots', is {doc['split']!r}")
    if "choices" in doc or "gold" in doc:
        problems += _problems_of_choices(doc)
    elif "answer" not in doc:
        problems.append("answer: is missing (or choices and gold)")
    return doc, problems


def _problems_of_choices(doc: dict) -> list[str]:
    if "answer" in doc:
        return ["an item has answer, or choices and gold, not both"]
    choices, gold = doc.get("choices"), doc.get("gold")
    listed = isinstance(choices, list) and all(isinstance(c, str) and c for c in choices)
    if not listed or len(choices) < 2 or len(set(choices)) < len(choices):
        return [f"choices: should be two or more different texts, is {choices!r}"]
    if isinstance(gold, bool) or not isinstance(gold, int) or not 0 <= gold < len(choices):
        return [f"gold: should be a whole number from 0 to {len(choices) - 1}, is {gold!r}"]
    return []
