"""What compression did to the runs of a store: the lines of `lab compress`, medians, a law, and in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import files
from analysis.errors import InputError
from analysis.resources.penalty import PenaltyLaw, penalty_law
from analysis.tables import contents
from analysis.tables.table import Runs
from analysis.text import no_formula

if TYPE_CHECKING:
    import pandas

FOLDER = "compressed"
KINDS = ("weights", "activations", "cache", "prune_global", "prune_layer", "prune_2_4", "low_rank")
HARMLESS, GONE = 5.0, 0.1  # per cent of the loss; part of an ability
_OF_ABILITIES = ("loss_rise_percent", "task", "score", "whole_score", "kept")
_NUMBERS = ("amount", "loss_nats", "penalty_nats", "penalty_se", "bytes", "windows")


@dataclass(frozen=True, repr=False)
class Compressed:
    """penalties: a row for each run and method. abilities: for each of them and each task scored by exact
    match. source: the data of the runs that the law is of; refusal: why there is none."""

    penalties: pandas.DataFrame
    abilities: pandas.DataFrame
    source: str
    law: PenaltyLaw | None
    refusal: str = ""

    @cached_property
    def by_method(self) -> list[dict[str, Any]]:
        """Of each method the medians over runs: part of the bytes, rise of the loss in per cent on each
        source of data, part of what the whole model has above chance that is left of each task."""
        found = []
        for (kind, amount), part in self.penalties.groupby(["kind", "amount"], sort=False):
            if kind == "none":
                continue
            rise = 100 * part["penalty_nats"] / part["whole_nats"]
            row = {"method": str(part["method"].iloc[0]), "kind": kind, "amount": amount, "runs": len(part)}
            row["bytes_part"] = float(part["bytes_part"].median())
            row["loss_rise_percent"] = {
                str(s): float(v) for s, v in rise.groupby(part["source"]).median().items()
            }
            own = self.abilities[(self.abilities["kind"] == kind) & (self.abilities["amount"] == amount)]
            row["kept"] = {str(t): float(v) for t, v in own.groupby("task")["kept"].median().items()}
            found.append(row)
        order = {kind: at for at, kind in enumerate(KINDS)}
        return sorted(found, key=lambda row: (order.get(row["kind"], 99), -_gentle(row)))

    @cached_property
    def weights(self) -> pandas.DataFrame:
        """The penalties that the law is of."""
        of = self.penalties
        return of[(of["kind"] == "weights") & (of["source"].astype(str) == self.source)]

    @cached_property
    def medians(self) -> pandas.DataFrame:
        """method, task, loss_rise_percent, kept: medians over the runs that have the ability."""
        by = self.abilities.groupby(["method", "task"], sort=False)
        return by[["loss_rise_percent", "kept"]].median().reset_index()

    def sentences(self) -> list[str]:
        """What it comes to, plainly."""
        return sentences(self.law, self.refusal, self.weights, self.medians)

    def to_dict(self) -> dict[str, Any]:
        return {
            "runs": int(self.penalties["run_id"].nunique()),
            "source": self.source,
            "law": None if self.law is None else self.law.to_dict(),
            "refusal": self.refusal,
            "series_that_grow": list(growing(self.weights, self.law)),
            "methods": self.by_method,
            "sentences": self.sentences(),
        }

    def __str__(self) -> str:
        return compressed_text(self)

    def write(self, path: Path) -> None:
        """All penalties as CSV."""
        files.write_text(path, self.penalties.map(no_formula).to_csv(index=False))


def growing(weights: pandas.DataFrame, law: PenaltyLaw | None) -> tuple[int, int]:
    """Without the law's form: in how many series (one size, seed and width of bits, of the widths that speak)
    the penalty at the most tokens is above that at the fewest, and how many there are."""
    more = total = 0
    for _, part in weights[weights["amount"].isin(() if law is None else law.bits)].groupby(
        ["amount", "cluster"]
    ):
        if part["tokens"].nunique() > 1:
            ordered = part.sort_values("tokens")["penalty_nats"]
            more, total = more + int(ordered.iloc[-1] > ordered.iloc[0]), total + 1
    return more, total


def hidden(medians: pandas.DataFrame) -> pandas.DataFrame:
    """Where the loss rises by less than 5 % and more than 10 % of an ability is gone (2310.01382)."""
    found = medians[(medians["loss_rise_percent"] < HARMLESS) & (medians["kept"] < 1 - GONE)]
    return found.sort_values("kept")


def sentences(
    law: PenaltyLaw | None, refusal: str, weights: pandas.DataFrame, medians: pandas.DataFrame
) -> list[str]:
    """What measurements come to, plainly; the frames are those of :class:`Compressed`."""
    said = []
    if law is not None:
        more, total = growing(weights, law)
        text = str(law)
        said.append(f"{text[:1].upper()}{text[1:]}.")
        said.append(
            "Without a law: at one size and width of bits the longest training loses more than the shortest "
            f"in {more} of {total} series."
        )
    elif refusal:
        said.append(f"No law of the penalty: {refusal}.")
    pairs = int((medians["loss_rise_percent"] < HARMLESS).sum())
    worst = hidden(medians)
    if len(worst):
        first = worst.iloc[0]
        said.append(
            f"Loss hides damage: by {first['method']} it rises by {first['loss_rise_percent']:.1f} %, and "
            f"{100 * (1 - first['kept']):.0f} % of what models have of {first['task']} is gone; so it is in "
            f"{len(worst)} of {pairs} pairs of method and task whose loss rises by less than {HARMLESS:g} % "
            f"(more than {100 * GONE:g} % gone)."
        )
    elif pairs:
        said.append(
            f"Loss tells of damage to abilities: in none of {pairs} pairs of method and task whose loss "
            f"rises by less than {HARMLESS:g} % is more than {100 * GONE:g} % of what models have of it gone."
        )
    return said


def _gentle(row: Mapping[str, Any]) -> float:
    """More is less compressed."""
    return -row["amount"] if row["kind"].startswith("prune") else row["amount"]


def compressed(runs: Runs) -> Compressed:
    """What `lab compress` kept beside the store that the runs are of: of each method what was measured on
    most windows, the latest. Raises InputError where there is nothing."""
    import pandas

    at = (
        {str(run_id): row for row, run_id in enumerate(runs.columns["run_id"].tolist())} if runs.store else {}
    )
    latest: dict[tuple, dict[str, Any]] = {}
    for line in _lines(Path(runs.source), at):
        key = line["run_id"], line["method"], line["amount"]
        if key not in latest or line["windows"] >= latest[key]["windows"]:
            latest[key] = line
    if not any(method != "none" for _, method, _ in latest):
        raise InputError(f"{runs.source}: nothing in {FOLDER}/; `lab compress {runs.source}` measures it")
    names = [name for name in ("grid", "params", "tokens", "seed", "cluster") if name in runs.columns]
    sources = runs.columns.get("source", np.full(len(runs), None))
    penalties, abilities = [], []
    for (run_id, kind, amount), line in latest.items():
        whole = latest.get((run_id, "none", 0.0))
        if whole is None or whole["windows"] != line["windows"]:
            continue
        method = kind.replace("_", "-") + ("" if kind in ("none", "prune_2_4") else f"-{amount:g}")
        row = {"run_id": run_id, **{name: runs.columns[name][at[run_id]] for name in names}}
        row["source"] = str(sources[at[run_id]] or "")
        row |= {"method": method, "kind": kind, "amount": amount, "loss_nats": line["loss_nats"]}
        row |= {name: line[name] for name in ("penalty_nats", "penalty_se", "bytes")}
        row |= {"whole_nats": whole["loss_nats"], "bytes_part": line["bytes"] / whole["bytes"]}
        penalties.append(row)
        if kind != "none":
            rise = 100 * line["penalty_nats"] / whole["loss_nats"]
            abilities += [{**row, "loss_rise_percent": rise, **one} for one in _kept(line, whole)]
    frame = pandas.DataFrame(penalties)
    scores = pandas.DataFrame(abilities, columns=None if abilities else [*frame.columns, *_OF_ABILITIES])
    source = _widest(frame)
    law, refusal = None, ""
    try:
        law = penalty_law(frame[(frame["kind"] == "weights") & (frame["source"] == source)])
    except InputError as error:
        refusal = error.problems[0]
    return Compressed(frame, scores, source, law, refusal)


def _kept(line: Mapping[str, Any], whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Part of each exact match above chance that is left; of tasks that the whole model has: it is three
    errors and a tenth above chance."""
    before = {one["task"]: one for one in whole["abilities"] if one["metric"] == "exact_match"}
    found = []
    for one in line["abilities"]:
        if one["metric"] != "exact_match" or one["task"] not in before:
            continue
        first, chance = before[one["task"]]["score"], one["chance"] or 0.0
        error = np.sqrt(first * (1 - first) / max(one["items"], 1))
        if first - chance > max(0.1, 3 * error):
            left = (one["score"] - chance) / (first - chance)
            found.append({"task": one["task"], "score": one["score"], "whole_score": first, "kept": left})
    return found


def _widest(frame: pandas.DataFrame) -> str:
    """The source of data with most sizes and budgets."""
    cells = {
        str(name): (min(part["params"].nunique(), part["tokens"].nunique()), len(part))
        for name, part in frame.groupby("source")
    }
    return max(cells, key=lambda name: cells[name])


def _lines(path: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    found = []
    for run_id in names:
        if not contents.is_name(run_id):
            continue
        try:
            content = files.read_bytes(path / FOLDER / f"{run_id}.jsonl", path, 1 << 28)
        except (OSError, files.Refused):
            continue
        for text in content.split(b"\n"):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue  # torn by a kill
            if _is_line(line, run_id):
                found.append(line)
    return found


def _is_line(line: Any, run_id: str) -> bool:
    """Whether it is what `lab compress` writes: a store may be of anybody's making."""
    if (
        not isinstance(line, dict)
        or line.get("run_id") != run_id
        or line.get("method") not in ("none", *KINDS)
    ):
        return False
    if not all(_is_number(line.get(name)) for name in _NUMBERS) or not isinstance(
        line.get("abilities"), list
    ):
        return False
    return line["bytes"] > 0 and line["loss_nats"] > 0 and all(map(_is_score, line["abilities"]))


def _is_score(one: Any) -> bool:
    named = isinstance(one, dict) and isinstance(one.get("task"), str) and isinstance(one.get("metric"), str)
    return (
        named
        and _is_number(one.get("score"))
        and all(_is_number(one.get(k) or 0) for k in ("chance", "items"))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def compressed_text(found: Compressed) -> str:
    from analysis.text import number, table

    sources = sorted({name for row in found.by_method for name in row["loss_rise_percent"]})
    tasks = sorted({name for row in found.by_method for name in row["kept"]})
    rows = [
        (
            row["method"],
            f"{100 * row['bytes_part']:.0f} %",
            *(number(row["loss_rise_percent"].get(name)) for name in sources),
            *(number(row["kept"].get(name)) for name in tasks),
        )
        for row in found.by_method
    ]
    head = ("method", "bytes", *(f"loss +% {name}" for name in sources), *(f"kept {name}" for name in tasks))
    said = [f"{found.penalties['run_id'].nunique()} runs; medians over runs", table(rows, head)]
    if found.law is not None:
        law = found.law
        parts = [
            f"{name} {getattr(law, name):.3g} [{low:.3g}, {high:.3g}]"
            for name, (low, high) in law.intervals.items()
        ]
        said.append(f"  penalty = {law.C:.3g} tokens^gD / params^gN exp(-bits / g), of {found.source}")
        said.append(f"  {'; '.join(parts)} ({law.level:.0%} intervals, {law.clusters} clusters)")
    return "\n".join([*said, *(f"  {one}" for one in found.sentences())])
