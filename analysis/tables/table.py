"""The table: one row a run, from a store folder or any CSV, TSV, Parquet or JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import files
from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.columns import COVARIATES, IN_MEMORY, NEEDED, assign, nearest, spoken
from analysis.tables.endings import unfinished
from analysis.tables.files import columns_of
from analysis.tables.formulas import evaluate
from analysis.tables.limits import LIMITS, ReadLimits
from analysis.tables.order import ordered
from analysis.tables.units import labelled, numbers

if TYPE_CHECKING:
    import pandas


# A file with these columns is a store's own table: the same rows, the same roles, the same law.
WRITTEN = frozenset(("run_id", "grid", "source", "held_out", "params_total", "loss_nats", "flops_6nd"))


@dataclass(frozen=True, repr=False, eq=False)
class Runs:
    """A table of runs.

    columns: name -> array (rows,), those of the source plus `params`, `tokens`, `flops`, `loss` as float64
    (NaN where a value is missing or is no number). roles: role -> the column or the formula it comes from.
    store: the columns are those of a store of this laboratory, read from its folder or from the table that
    `lab table` wrote of it. ability_rows: one mapping a score. written: role ->
    its column as it was written, where that is not all numbers.
    """

    columns: Mapping[str, np.ndarray]
    roles: Mapping[str, str]
    source: str
    notes: tuple[Note, ...] = ()
    store: bool = False
    ability_rows: Sequence[Mapping[str, Any]] = ()
    written: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def role(self, name: str) -> np.ndarray | None:
        """The column that plays the role, or None."""
        if name in NEEDED:
            return self.columns.get(name)
        column = self.roles.get(name)
        return None if column is None else self.columns.get(column)

    @cached_property
    def frame(self) -> pandas.DataFrame:
        """The table as pandas sees it; a new object that may be changed."""
        import pandas

        return pandas.DataFrame({name: integers(values) for name, values in self.columns.items()})

    @cached_property
    def abilities(self) -> pandas.DataFrame:
        """Ability scores, long: one row for each run, task and metric. Empty for foreign tables."""
        import pandas

        names = "run_id study grid task metric params tokens flops loss_nats seed score correct items chance"
        return pandas.DataFrame(list(self.ability_rows), columns=None if self.ability_rows else names.split())

    def where(self, **equal: Any) -> Runs:
        """The rows whose columns have these values: runs.where(grid="language"). InputError if none."""
        keep = np.ones(len(self), bool)
        for name, value in equal.items():
            if name not in self.columns:
                raise InputError(f"{self.source}: no column {name!r}{nearest(name, self.columns)}")
            column = self.columns[name]
            wanted = numbers(np.array([value], object))[0]
            same = np.array([str(item) == str(value) for item in column.tolist()], bool)
            keep &= same | (numbers(column) == wanted if np.isfinite(wanted) else False)
            if not keep.any():
                seen = sorted({str(item) for item in column.tolist()})
                if str(value) in seen:
                    together = " and ".join(f"{key}={item}" for key, item in equal.items())
                    raise InputError(f"{self.source}: no row has all of {together} at once")
                raise InputError(
                    f"{self.source}: no row where {name} is {value!r}{nearest(str(value), seen)}"
                )
        columns = {name: values[keep] for name, values in self.columns.items()}
        scores = [
            row for row in self.ability_rows if all(str(row.get(k)) == str(v) for k, v in equal.items())
        ]
        written = {role: values[keep] for role, values in self.written.items()}
        return replace(self, columns=columns, ability_rows=scores, written=written)

    def lowest(self) -> Runs:
        """At each params and tokens the row of lowest loss alone: of a sweep over rates, the best one.

        Runs that did not end well are no candidates, and stay for a sample to tell."""
        if not {"params", "tokens", "loss"} <= self.columns.keys():
            raise InputError(f"{self.source}: --lowest needs params, tokens and loss")
        good = (self.columns["loss"] > 0) & np.isfinite(self.columns["loss"])
        good &= unfinished(self.columns, self.roles, self.store) == ""
        loss = np.where(good, self.columns["loss"], np.inf)
        at = [np.round(np.log(np.maximum(self.columns[name], 1e-300)), 3) for name in ("params", "tokens")]
        texts = [self.columns[name] for name in ("grid", "held_out") if name in self.columns]
        labels = [labelled(column.tolist())[1] for column in texts]
        rank = np.argsort(ordered(self.columns, np.arange(len(self)), [loss, *at], self.store))
        order = np.lexsort((rank, loss, *at, *labels))
        key = np.stack([*at, *labels])[:, order]
        first = np.concatenate([[True], (key[:, 1:] != key[:, :-1]).any(axis=0)])
        best = order[first & good[order]]
        keep = np.sort(np.concatenate([best, np.flatnonzero(~good)]))
        text = f"{len(best)} of {len(self)} rows: the lowest loss at each params and tokens"
        columns = {name: values[keep] for name, values in self.columns.items()}
        written = {role: values[keep] for role, values in self.written.items()}
        return replace(self, columns=columns, written=written, notes=(*self.notes, Note("lowest", text)))

    def __repr__(self) -> str:
        return f"Runs({self.source}: {len(self)} rows, {', '.join(self.roles)})"

    def _repr_html_(self) -> str:
        return self.frame._repr_html_()


def read(path: Any, columns: Mapping[str, str] | None = None, limits: ReadLimits = LIMITS) -> Runs:
    """The runs of a store folder, a .csv, .tsv, .parquet, .json, .jsonl, .md or .html file, or a DataFrame.

    `columns` maps roles (params, tokens, flops, loss, held_out, seed, status, cluster, unique_tokens) to the
    table's names, or to a formula over them (`params=total-embedding`, `tokens=batch*step*context`).
    `limits` say how large a file may be. Raises InputError when the path, its format or its columns cannot be
    used, and for a file that is larger.
    """
    if not isinstance(path, str | Path):
        return as_runs(path, columns)
    path = Path(path)
    if not path.exists():
        raise InputError(files.missing(path))
    if path.is_dir():
        from analysis.tables.store import read_store

        raw, abilities, notes = read_store(path)
        return table(raw, columns, str(path), notes, store=True, ability_rows=abilities)
    said: list[Note] = []
    raw = columns_of(path, limits, said)
    return table(raw, columns, str(path), said, store=raw.keys() >= WRITTEN)


def as_runs(data: Any, columns: Mapping[str, str] | None = None) -> Runs:
    """Runs from Runs (as they are), a path (as `read` takes it), a pandas DataFrame, or a mapping of names to
    columns of equal length, each (rows,).

    columns: roles by name, as of `read`. Raises InputError for a column named there that the table lacks.
    """
    if isinstance(data, Runs):
        return data
    if isinstance(data, str | Path):
        return read(data, columns)
    if not hasattr(data, "keys"):
        raise InputError(
            f"a table is Runs, a path, a DataFrame or a mapping of columns, not {type(data).__name__}"
        )
    raw = {str(name): np.asarray(data[name]) for name in data}
    lengths = {name: values.shape for name, values in raw.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        raise InputError(f"the columns must be one-dimensional and of one length, and are {lengths}")
    try:
        found = table(raw, columns, IN_MEMORY, store=raw.keys() >= WRITTEN)
    except InputError as error:
        raise InputError(*(spoken(problem, IN_MEMORY) for problem in error.problems)) from None
    return replace(found, notes=tuple(replace(n, text=spoken(n.text, IN_MEMORY)) for n in found.notes))


def table(
    raw: Mapping[str, np.ndarray],
    wanted: Mapping[str, str] | None,
    source: str,
    notes: Sequence[Note] = (),
    store: bool = False,
    ability_rows: Sequence[Mapping[str, Any]] = (),
) -> Runs:
    """Runs from raw columns: roles assigned, params, tokens and flops completed by 6 params tokens."""
    notes = list(notes)
    if store:
        wanted = {"loss": "loss_nats", "tokens": "tokens", "held_out": "held_out", "status": "status"} | {
            "seed": "seed",
            "cluster": "cluster",
            **(wanted or {}),
        }
        wanted = {role: column for role, column in wanted.items() if column in raw or role not in raw}
        raw = dict(raw)
        raw["params"], note = _matmul_params(raw)
        notes.append(note)
        wanted.setdefault("params", "params")
        wanted.setdefault("flops", "6 params tokens")
    derived = {role: name for role, name in (wanted or {}).items() if name == "6 params tokens"}
    asked = {role: name for role, name in (wanted or {}).items() if role not in derived}
    searched = {name: values for name, values in raw.items() if not (store and name.startswith("flops_"))}
    roles, said = assign(searched if not asked.get("flops") else raw, asked, source)
    notes += [] if store else said
    out = dict(raw)
    for role in (*NEEDED, *COVARIATES.intersection(roles)):
        if role in roles:
            column = raw.get(roles[role])
            if column is not None and role == "arm" and column.dtype.kind == "O":
                out[role] = column
            else:
                out[role] = evaluate(roles[role], raw)
    _small(out, roles, notes)
    _complete(out, roles, source, notes)
    written = {role: raw[roles[role]] for role in NEEDED if roles.get(role) in raw}
    written = {role: values for role, values in written.items() if values.dtype.kind == "O"}
    return Runs(out, roles, source, tuple(notes), store, ability_rows, written)


# Steps between units, as factors of 1000; and how near a quotient has to be to one to be told for it.
_UNITS, _NEAR = (1e-12, 1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9, 1e12, 1e15, 1e18, 1e21), 5.0


def _small(out: Mapping[str, np.ndarray], roles: Mapping[str, str], notes: list[Note]) -> None:
    """A size of 0.07 or 7 is one in billions: exponents stand, counts and FLOPs do not.

    Where the table has FLOPs of its own, these say which unit it is.
    """
    small = {}
    for role in ("params", "tokens"):
        values = out[role][np.isfinite(out[role])] if role in roles else np.zeros(0)
        if len(values) and values.max() >= 1e6 and (lacks := (values > 0) & (values < 1e4)).any():
            text = (
                f"{role} are {values[lacks].min():g} in {lacks.sum()} rows, up to {values.max():g} elsewhere"
            )
            text += ": is their unit lacking there?"
            notes.append(Note("mixed_units", text))
        if len(values) and 0 < values.max() < 1e4:
            small[role] = values
    lacking = _lacking(out) if "flops" in roles and small else None
    for role, values in small.items():
        are = f"{role} are {values.min():g} to {values.max():g}: in millions or billions?"
        unit = None
        if lacking is not None and len(small) == 1:
            unit = lacking if lacking > 1 else None
        elif lacking in (1e12, 1e18):
            unit = lacking**0.5
        elif lacking == 1e21:
            unit = 1e9 if role == "params" else 1e12
        if unit:
            text = f"{are} By the table's own flops say --columns {role}={unit:.0e}*{roles[role]}"
            text = text.replace("e+0", "e").replace("e+", "e")
        else:
            text = f"{are} Say --columns {role}=1e9*{roles[role]} or --columns {role}=1e6*{roles[role]}"
        notes.append(Note("small_counts", text))


def _lacking(out: Mapping[str, np.ndarray]) -> float | None:
    """The power of 1000 by which flops are more than 6 params tokens, None where that is no such power."""
    if not {"params", "tokens", "flops"} <= out.keys():
        return None
    with np.errstate(all="ignore"):
        ratio = out["flops"] / (6 * out["params"] * out["tokens"])
    ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
    if not len(ratio):
        return None
    middle = float(np.median(ratio))
    return next((unit for unit in _UNITS if unit / _NEAR < middle < unit * _NEAR), None)


def _complete(out: dict[str, np.ndarray], roles: dict[str, str], source: str, notes: list[Note]) -> None:
    have = {role for role in ("params", "tokens", "flops") if role in roles}
    with np.errstate(all="ignore"):
        if have == {"params", "tokens"}:
            out["flops"], roles["flops"] = 6 * out["params"] * out["tokens"], "6 params tokens"
            notes.append(Note("flops_6nd", "flops is 6 params tokens"))
        elif have == {"params", "flops"}:
            out["tokens"], roles["tokens"] = out["flops"] / (6 * out["params"]), "flops / (6 params)"
            notes.append(Note("tokens_from_flops", "tokens is flops / (6 params)"))
        elif have == {"tokens", "flops"}:
            out["params"], roles["params"] = out["flops"] / (6 * out["tokens"]), "flops / (6 tokens)"
            notes.append(Note("params_from_flops", "params is flops / (6 tokens)"))
        elif len(have) == 3:
            ratio = out["flops"] / (6 * out["params"] * out["tokens"])
            ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
            if len(ratio) and (ratio.max() > 1.02 or ratio.min() < 0.98):
                text = f"flops is {ratio.min():.3g} to {ratio.max():.3g} times 6 params tokens"
                notes.append(Note("flops_not_6nd", text))
            if unit := _lacking(out):
                text = (
                    f"flops is about {unit:g} times 6 params tokens, as if one of them were in another unit: "
                    f"params is {roles['params']}, tokens is {roles['tokens']}, flops is {roles['flops']}"
                )
                notes.append(Note("units_disagree", text))


def _matmul_params(raw: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Note]:
    """Parameters that multiply activations: an untied input table is a look-up, a tied one is the head too.

    At 1e4 to 1e7 parameters the input table is a tenth to a half of the model and does no arithmetic;
    counting it bends the law (Porian et al., arXiv 2406.19146, on what N should count).
    """
    total = numbers(raw["params_total"]) if "params_total" in raw else None
    if total is None:
        return np.full(len(next(iter(raw.values()), ())), np.nan), Note("params_missing", "no params_total")
    embedding = np.nan_to_num(numbers(raw["params_embedding"])) if "params_embedding" in raw else 0.0
    head = np.nan_to_num(numbers(raw["params_head"])) if "params_head" in raw else np.zeros(len(total))
    text = (
        "params is params_total without the input embedding table (a tied table counts, as the head); "
        "choose with --columns params=params_total"
    )
    return np.where(head > 0, total - embedding, total), Note("params_counted", text)


def integers(values: np.ndarray) -> np.ndarray:
    """Whole float columns as int64, for reading; anything else as it is."""
    if (
        values.dtype.kind == "f"
        and len(values)
        and np.all(np.abs(values) < 2**53)
        and np.all(values % 1 == 0)
    ):
        return values.astype(np.int64)
    return values
