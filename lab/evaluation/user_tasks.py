"""Tasks of a user's own: a JSONL of prompts and answers, or one Python file."""

from __future__ import annotations

import json
import runpy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lab.errors import InputError
from lab.evaluation.item_shapes import Shapes, shaped
from lab.evaluation.text_tasks import TextTask
from lab.files import missing, read_text

_SHOWN = 8  # problems of one kind that are listed


def read(path: Path) -> list[TextTask]:
    """Tasks of a file: one of a `.jsonl`, all that a `.py` holds. Raises InputError."""
    if not path.is_file():
        raise InputError(missing(path, "no such file"))
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

    Optional: `split` ("test" or "shots"), `cluster`, `rationale`. Other shapes: `item_shapes`.
    """
    docs, problems, shapes = [], [], Shapes()
    lines = [(n, line) for n, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    for _, line in lines:
        docs.append(_doc(line, shapes))
    if shapes.lowest is not None and shapes.lowest >= 1 and shapes.beyond:
        shapes.said["gold"] = "the right choice counts from 1, as none is 0 and the last is met"
        docs = [(doc | {"gold": doc["gold"] - 1} if _counts(doc) else doc, wrong) for doc, wrong in docs]
    for (number, _), (doc, wrong) in zip(lines, docs, strict=True):
        wrong = wrong or _problems_of(doc)
        problems += [f"{path}:{number}: {text}" for text in wrong]
    docs = [doc for doc, _ in docs]
    if not problems:
        kinds = {"choices" in doc for doc in docs}
        if len(kinds) > 1:
            first = next(i for i, doc in enumerate(docs, 1) if ("choices" in doc) != ("choices" in docs[0]))
            has = "has choices" if "choices" in docs[first - 1] else "has no choices"
            problems.append(
                f"{path}: item {first} {has}, unlike those before it: questions with "
                "choices and questions with a written answer are two tasks, so put them into two files"
            )
        if not any(doc.get("split", "test") == "test" for doc in docs):
            problems.append(f"{path}: no item of the split 'test'")
    if problems:
        left = len(problems) - _SHOWN
        raise InputError(*problems[:_SHOWN], *([f"{path}: {left} more problems"] if left > 0 else []))
    return replace(_task(path.stem, docs), remarks=(*shapes.remarks(), *_repeated(docs)))


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


def _counts(doc: Mapping) -> bool:
    return isinstance(doc.get("gold"), int) and not isinstance(doc["gold"], bool)


def _repeated(docs: list[dict]) -> tuple[tuple[str, str], ...]:
    """That items ask one thing several times, where no `cluster` says so: no independent evidence."""
    if any("cluster" in doc for doc in docs):
        return ()
    seen: dict[object, int] = {}
    for doc in docs:
        choices = doc.get("choices")
        # Yes and no, or letters, are the choices of every item; long ones are those of one question.
        long = choices is not None and sum(map(len, choices)) > 20
        key = (
            (tuple(sorted(choices)), choices[doc["gold"]])
            if long
            else " ".join(doc["prompt"].lower().split())
        )
        seen[key] = seen.get(key, 0) + 1
    repeats = sum(count - 1 for count in seen.values())
    if not repeats:
        return ()
    text = (
        f"{repeats} of {len(docs)} items repeat a question or its choices (paraphrases?): give those that "
        "belong together one `cluster`, or their error is too small"
    )
    return (("repeated_items", text),)


def _doc(line: str, shapes: Shapes) -> tuple[dict, list[str]]:
    """(an item with our fields, what is wrong with its line)."""
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
    return shaped(doc, shapes)


def _problems_of(doc: dict) -> list[str]:
    problems = []
    for name in ("prompt", "answer", "rationale"):
        if name in doc and not (isinstance(doc[name], str) and (doc[name] or name == "prompt")):
            problems.append(f"{name}: should be a text, is {doc[name]!r}")
    if "prompt" not in doc:
        problems.append("prompt: is missing (or question)")
    if doc.get("split", "test") not in ("test", "shots"):
        problems.append(f"split: should be 'test' or 'shots', is {doc['split']!r}")
    if "choices" in doc or "gold" in doc:
        problems += _problems_of_choices(doc)
    elif "answer" not in doc:
        problems.append("answer: is missing (or choices and gold)")
    return problems


def _problems_of_choices(doc: dict) -> list[str]:
    choices, gold = doc.get("choices"), doc.get("gold")
    listed = isinstance(choices, list) and all(isinstance(c, str) and c for c in choices)
    if not listed or len(choices) < 2 or len(set(choices)) < len(choices):
        return [f"choices: should be two or more different texts, is {choices!r}"]
    if isinstance(gold, bool) or not isinstance(gold, int) or not 0 <= gold < len(choices):
        return [f"gold: should be a whole number from 0 to {len(choices) - 1}, is {gold!r}"]
    return []
