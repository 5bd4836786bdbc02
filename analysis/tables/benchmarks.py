"""Known benchmarks: the score of guessing, and where it is from. Wide tables, a column a task, as rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.columns import is_known
from analysis.tables.units import numbers


@dataclass(frozen=True)
class Benchmark:
    """chance: accuracy of guessing evenly among the answers, 0 where the answer is written freely. source:
    the arXiv number (or the venue) of the benchmark, which says how many answers there are."""

    chance: float
    source: str
    said: str = ""


_THIRD = 1 / 3
# By the beginning of its name without punctuation; the longest that fits counts.
KNOWN: Mapping[str, Benchmark] = {
    "arceasy": Benchmark(0.25, "1803.05457", "four answers; a few questions have three or five"),
    "arce": Benchmark(0.25, "1803.05457", "four answers"),
    "arcchallenge": Benchmark(0.25, "1803.05457", "four answers; a few questions have three or five"),
    "arcc": Benchmark(0.25, "1803.05457", "four answers"),
    "hellaswag": Benchmark(0.25, "1905.07830", "four endings"),
    "swag": Benchmark(0.25, "1808.05326", "four endings"),
    "piqa": Benchmark(0.5, "1911.11641", "two solutions"),
    "winogrande": Benchmark(0.5, "1907.10641", "two answers"),
    "winograd": Benchmark(0.5, "KR 2012", "two answers"),
    "wsc": Benchmark(0.5, "KR 2012", "two answers"),
    "xwinograd": Benchmark(0.5, "2106.12066", "two answers"),
    "boolq": Benchmark(0.5, "1905.10044", "yes or no; always yes scores .62"),
    "openbookqa": Benchmark(0.25, "1809.02789", "four answers"),
    "obqa": Benchmark(0.25, "1809.02789", "four answers"),
    "mmlupro": Benchmark(0.1, "2406.01574", "ten answers; a few questions have fewer"),
    "mmlu": Benchmark(0.25, "2009.03300", "four answers"),
    "hendryckstest": Benchmark(0.25, "2009.03300", "four answers"),
    "cmmlu": Benchmark(0.25, "2306.09212", "four answers"),
    "ceval": Benchmark(0.25, "2305.08322", "four answers"),
    "commonsenseqa": Benchmark(0.2, "1811.00937", "five answers"),
    "csqa": Benchmark(0.2, "1811.00937", "five answers"),
    "socialiqa": Benchmark(_THIRD, "1904.09728", "three answers"),
    "siqa": Benchmark(_THIRD, "1904.09728", "three answers"),
    "sciq": Benchmark(0.25, "1707.06209", "four answers"),
    "copa": Benchmark(0.5, "AAAI SSS 2011", "two alternatives"),
    "xcopa": Benchmark(0.5, "2005.00333", "two alternatives"),
    "storycloze": Benchmark(0.5, "1604.01696", "two endings"),
    "xstorycloze": Benchmark(0.5, "2112.10668", "two endings"),
    "race": Benchmark(0.25, "1704.04683", "four answers"),
    "rte": Benchmark(0.5, "1905.00537", "two classes"),
    "wic": Benchmark(0.5, "1808.09121", "two classes"),
    "multirc": Benchmark(0.5, "1905.00537", "each answer true or false"),
    "anli": Benchmark(_THIRD, "1910.14599", "three classes"),
    "mnli": Benchmark(_THIRD, "1704.05426", "three classes"),
    "xnli": Benchmark(_THIRD, "1809.05053", "three classes"),
    "qnli": Benchmark(0.5, "1804.07461", "two classes"),
    "sst2": Benchmark(0.5, "1804.07461", "two classes"),
    "qqp": Benchmark(0.5, "1804.07461", "two classes"),
    "pubmedqa": Benchmark(_THIRD, "1909.06146", "yes, no or maybe"),
    "medqa": Benchmark(0.25, "2009.13081", "four options"),
    "medmcqa": Benchmark(0.25, "2203.14371", "four options"),
    "mathqa": Benchmark(0.2, "1905.13319", "five options"),
    "logiqa": Benchmark(0.25, "2007.08124", "four options"),
    "gpqa": Benchmark(0.25, "2311.12022", "four answers"),
    "blimp": Benchmark(0.5, "1912.00582", "two sentences"),
    "wmdp": Benchmark(0.25, "2403.03218", "four answers"),
    "lambada": Benchmark(0.0, "1606.06031", "a word is written"),
    "gsm8k": Benchmark(0.0, "2110.14168", "a number is written"),
    "minervamath": Benchmark(0.0, "2206.14858", "an answer is written"),
    "triviaqa": Benchmark(0.0, "1705.03551", "an answer is written"),
    "nqopen": Benchmark(0.0, "1906.00300", "the open form: an answer is written"),
    "naturalqs": Benchmark(0.0, "TACL 2019", "an answer is written"),
    "naturalquestions": Benchmark(0.0, "TACL 2019", "an answer is written"),
    "webqs": Benchmark(0.0, "EMNLP 2013", "an answer is written"),
    "squad": Benchmark(0.0, "1606.05250", "an answer is written"),
    "drop": Benchmark(0.0, "1903.00161", "an answer is written"),
    "humaneval": Benchmark(0.0, "2107.03374", "a program is written"),
    "mbpp": Benchmark(0.0, "2108.07732", "a program is written"),
    "svamp": Benchmark(0.0, "2103.07191", "a number is written"),
    "asdiv": Benchmark(0.0, "2106.15772", "a number is written"),
    "arithmetic": Benchmark(0.0, "2005.14165", "a number is written"),
}
# Variants in which the answer's letter is written, as after a chain of thought: guessing among letters is as
# good there, while a model that writes no letter is right less often.
_WRITTEN = re.compile(r"(?:^|[^a-z])(?:cot|chat|gen|generative|generation)(?:$|[^a-z])")
_BEFORE = re.compile(r"^(?:harness|leaderboard|lighteval|original|helm|custom|xl|global|ai2)[|_/: -]+")


def find(task: str) -> Benchmark | None:
    """The benchmark that a task's name begins with: `harness|arc:challenge|25`, `mmlu_anatomy`."""
    name, before = task.lower().strip(), ""
    while before != name:
        before, name = name, _BEFORE.sub("", name)
    plain = re.sub(r"[^a-z0-9]", "", name)
    fits = [key for key in KNOWN if plain.startswith(key)]
    # `race` begins `racecar` and `drop` begins `dropout`: a short name must end there, or at a sign or digit.
    fits = [key for key in fits if len(key) > 5 or plain == key or not _after(name, key).isalpha()]
    found = KNOWN[max(fits, key=len)] if fits else None
    if found is not None and found.chance > 0 and _WRITTEN.search(name):
        return replace(found, said=f"{found.said}, of which one is written: who writes none is below")
    return found


def _after(name: str, key: str) -> str:
    """The character that follows the key in the name as it is written; a space at its end."""
    left = list(key)
    for character in f"{name} ":
        if not left:
            return character
        if character == left[0]:
            left.pop(0)
    return " "


def known_levels(tasks) -> dict[str, Benchmark]:
    """task -> its benchmark, for those that are known."""
    found = {str(task): find(str(task)) for task in tasks}
    return {task: one for task, one in found.items() if one is not None}


# What tables write for a score that was not measured.
NOT_MEASURED = (-1.0, -9.0, -99.0, -100.0, -999.0, -9999.0)
_ERRORS = re.compile(r"^(.*\S)[ _](?:stderr|se|std_?err(?:or)?)$", re.IGNORECASE)
# Measures of a task that are no proportions: guessing has no level there, and 7.9 is no 7.9 %.
_NO_SCORE = re.compile(r"ppl|perplex|loss|nll|bits|bpb|bpc|(?:^|[^a-z])ce(?:$|[^a-z])|logprob|entropy")
_SIZES = re.compile(r"^(params|tokens|flops|loss|loss_nats|seed|model|name|items|family|n|d|c)$")


def is_score(values: np.ndarray) -> bool:
    """Whether numbers could be scores: between 0 and 100, codes aside."""
    good = values[np.isfinite(values) & ~np.isin(values, NOT_MEASURED)]
    return bool(len(good)) and bool((good >= 0).all() and (good <= 100).all())


def melted(
    columns: Mapping[str, np.ndarray], tasks: tuple[str, ...] = ()
) -> tuple[dict[str, np.ndarray], list[Note]] | None:
    """A wide table, a column a task, as rows of task and score; None where it is not one.

    tasks: the columns; else those that are named like known benchmarks, two or more of them. Percentages
    become fractions; codes for what was not measured, and empty cells, are left out and told. Raises
    InputError for a column that is not there.
    """
    if missing := [name for name in tasks if name not in columns]:
        raise InputError(f"--tasks: no column {missing[0]!r}; there are {', '.join(list(columns)[:20])}")
    if not tasks:
        if {"task", "score"} & set(columns) or "metric" in columns:
            return None
        named = [name for name in columns if not _SIZES.match(name.lower()) and not _error_of(name, columns)]
        tasks = tuple(name for name in named if find(name) is not None and not _NO_SCORE.search(name.lower()))
        tasks = tuple(name for name in tasks if np.isfinite(_scores(columns[name])[0]).any())
        if len(tasks) < 2:
            return None
    errors = {task: name for name in columns if name not in tasks and (task := _error_of(name, tasks))}
    rest = {
        name: values
        for name, values in columns.items()
        if name not in tasks and name not in errors.values() and not (errors and name == "stderr")
    }
    shown = ", ".join(tasks[:6]) + (f" and {len(tasks) - 6} more" if len(tasks) > 6 else "")
    notes = [Note("melted", f"{len(tasks)} columns are tasks, a row a score: {shown}")]
    beside = [
        name
        for name, values in rest.items()
        if not _SIZES.match(name.lower())
        and not is_known(name)
        and values.dtype.kind in "fiu"
        and (is_score(numbers(values)) or find(name) is not None)
    ]
    if beside:
        text = f"columns of numbers that are not taken for tasks: {', '.join(beside[:8])}; --tasks names all"
        notes.append(Note("columns_left", text))
    parts, percent, coded, empty, unread = [], [], {}, 0, []
    read = {name: _scores(columns[name]) for name in tasks}
    small = _small_percentages(read)
    for name in tasks:
        score, signed = read[name]
        code = np.isin(score, NOT_MEASURED)
        if code.any():
            coded[name] = int(code.sum())
        good = np.isfinite(score) & ~code
        empty += int((~np.isfinite(score)).sum())
        cells = columns[name][~np.isfinite(score)].tolist()
        unread += [f"{name} {cell!r}" for cell in cells if isinstance(cell, str) and cell.strip()]
        error = numbers(columns[errors[name]]) if name in errors else np.full(len(score), np.nan)
        if name in small or signed or (good.any() and score[good].max() > 1):
            percent.append(name)
            score, error = score / 100, error / 100
        parts.append((name, np.flatnonzero(good), score[good], error[good]))
    if percent:
        notes.append(Note("percent", f"divided by 100, as they are percentages: {', '.join(percent[:8])}"))
    if small:
        text = f"{', '.join(small[:8])}: at most 1 beside percentages: taken as percentages, so 0.5 is 0.5 %"
        notes.append(Note("small_percent", text))
    if coded:
        said = ", ".join(f"{name} ({count})" for name, count in coded.items())
        text = f"{sum(coded.values())} scores are a code for not measured (such as -100) and left out: {said}"
        notes.append(Note("not_measured", text))
    if empty:
        more = f": {', '.join(unread[:5])}{', ...' if len(unread) > 5 else ''}" if unread else ""
        notes.append(Note("no_score", f"{empty} cells hold no number and are left out{more}"))
    rows = np.concatenate([index for _, index, *_ in parts])
    out = {name: values[rows] for name, values in rest.items()}
    out["task"] = np.array([name for name, index, *_ in parts for _ in index], object)
    out["score"] = np.concatenate([score for _, _, score, _ in parts])
    if errors:
        out["stderr"] = np.concatenate([error for *_, error in parts])
    return out, notes


def _error_of(name: str, tasks: Collection[str]) -> str:
    """The task whose errors a column holds (`piqa_stderr`), or nothing."""
    found = _ERRORS.match(name)
    return found[1] if found and found[1] in tasks else ""


def _scores(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Scores (rows,) of a column, and whether its cells are written with a per cent sign."""
    score = numbers(values)
    if values.dtype.kind != "O":
        return score, False
    cells = values.tolist()
    signed = [isinstance(cell, str) and cell.strip().endswith("%") for cell in cells]
    if not any(signed):
        return score, False
    return numbers(
        np.array([c.strip()[:-1] if s else c for c, s in zip(cells, signed, strict=True)], object)
    ), True


def _small_percentages(read: Mapping[str, tuple[np.ndarray, bool]]) -> list[str]:
    """Tasks with no score above 1 in a table of percentages, whose answers are written freely, so that models
    may be right in under a per cent."""
    tops = {}
    for name, (score, signed) in read.items():
        good = score[np.isfinite(score) & ~np.isin(score, NOT_MEASURED)]
        tops[name] = (101.0 if signed else good.max()) if len(good) else np.nan
    if not any(top > 1 for top in tops.values()):
        return []
    levels = {name: find(name) for name in read}
    return [n for n, top in tops.items() if 0 < top <= 1 and levels[n] is not None and levels[n].chance == 0]
