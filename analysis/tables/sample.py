"""The rows of a table that a law can be fitted to, and for each other row the reason why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.errors import InputError
from analysis.notes import Excluded, Note
from analysis.tables.columns import ALIASES, NEEDED, nearest, normal, shown, spoken
from analysis.tables.endings import truth, unfinished
from analysis.tables.names import doubled_names
from analysis.tables.order import numbered, ordered
from analysis.tables.suggestions import suggested
from analysis.tables.table import Runs
from analysis.tables.trajectories import CHECKPOINTS, COPIES, MOST, UNFINISHED, checkpoints, copies, swept
from analysis.tables.units import labelled, numbers

# What lies beyond is a fault of the file: no unit makes a run of 1e100 params.
EXTREME = 1e100


@dataclass(frozen=True, eq=False)
class Sample:
    """Usable rows, in an order of their own (`analysis.tables.order`). inputs: name -> (n,); loss (n,); rows
    (n,), their places in the table; held_out (n,).

    clusters (n,): rows with one number depend on each other; clustered_by says how in words, and is empty
    where every row is its own cluster. groups: columns of text with a few values each, numbered (n,). noise:
    the stated standard error of each loss, in its unit (n,), where one was asked for.
    """

    inputs: Mapping[str, np.ndarray]
    loss: np.ndarray
    rows: np.ndarray
    held_out: np.ndarray
    clusters: np.ndarray
    clustered_by: str
    excluded: tuple[Excluded, ...]
    notes: tuple[Note, ...]
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    noise: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.loss)

    def where(self, keep: np.ndarray, reason: str = "") -> Sample:
        """The rows where `keep`; with a reason the others join `excluded`."""
        out = [Excluded(int(row), reason) for row in self.rows[~keep]] if reason else []
        return replace(
            self,
            inputs={name: values[keep] for name, values in self.inputs.items()},
            loss=self.loss[keep],
            rows=self.rows[keep],
            held_out=self.held_out[keep],
            clusters=np.unique(self.clusters[keep], return_inverse=True)[1],
            groups={name: values[keep] for name, values in self.groups.items()},
            noise=None if self.noise is None else self.noise[keep],
            excluded=tuple(sorted((*self.excluded, *out), key=lambda item: item.row)),
        )

    def without_held_out(self, exclude: bool = True) -> Sample:
        """The rows that the table does not mark as held out; all of them where `exclude` is false."""
        if not exclude or not self.held_out.any():
            return self
        return self.where(~self.held_out, "held out for the forecast")


def sample(runs: Runs, inputs: Sequence[str] = ("params", "tokens"), noise: str = "") -> Sample:
    """Rows with status ok, a positive finite loss and positive finite inputs, within 1e-100 to 1e100.

    noise: the column of the loss's standard errors; then rows without a positive one are left out too.
    Raises InputError when the table lacks a column that is needed, or no row can be used.
    """
    lacking = [role for role in (*inputs, "loss") if _values(runs, role) is None]
    if lacking:
        own = [name for name in runs.columns if name not in NEEDED or runs.roles.get(name, name) == name]
        there = ", ".join(own[:20]) or "none"
        raise InputError(
            *(
                spoken(
                    f"{runs.source}: no column for {role}; name it with --columns {role}=..."
                    f"{suggested(role, runs.columns, runs.roles) if role in NEEDED else ''}",
                    runs.source,
                )
                for role in (role.removeprefix("exp_") for role in lacking)
            ),
            f"{runs.source}: its columns are {there}",
        )
    if noise and noise not in runs.columns:
        raise InputError(f"{runs.source}: --noise: no column {noise!r}{nearest(noise, runs.columns)}")
    reasons = np.full(len(runs), "", object)
    notes = list(runs.notes)
    # A law of repeated data needs what others must not mix: grids that train on more and less of one text.
    reasons, notes = _one_grid(runs, reasons, notes, "source" if "unique_tokens" in inputs else "grid")
    endings = unfinished(runs.columns, runs.roles, runs.store)
    reasons = np.where(reasons == "", endings, reasons)
    for role in ("loss", *inputs):
        values = _values(runs, role)
        raw = runs.written.get(role, values)
        for row in np.flatnonzero(~_measurable(values) & (reasons == "")):
            reasons[row] = f"{role} is {_shown(raw[row], values[row])}"
    stated = numbers(runs.columns[noise]) if noise else None
    if stated is not None:
        for row in np.flatnonzero(~_measurable(stated) & (reasons == "")):
            reasons[row] = f"{noise} is {_shown(None, stated[row])}"
    keep = np.flatnonzero(reasons == "")
    if not len(keep):
        kinds = sorted(set(reasons.tolist()))
        shown = "; ".join(kinds[:3]) + ("; ..." if len(kinds) > 3 else "")
        raise InputError(f"{runs.source}: none of its {len(runs)} rows can be used: {shown}")
    wanted = dict.fromkeys((*inputs, *(role for role in NEEDED if role != "loss")))
    whole = {role: values for role in wanted if (values := _values(runs, role)) is not None}
    # The same for every law: first what all tables have.
    first = [name for name in NEEDED if name in whole] + [name for name in whole if name not in NEEDED]
    keys = [
        runs.columns["loss"] if name == "loss" else whole[name] for name in dict.fromkeys((*first, "loss"))
    ]
    keep = ordered(runs.columns, keep, [key[keep] for key in keys], runs.store)
    out = {role: values[keep] for role, values in whole.items()}
    loss = runs.columns["loss"][keep]
    if "exp_arm" in inputs and (arms := _arms(runs.columns["arm"])[1]):
        notes.append(Note("arms", f"arm {arms[0]!r} is 0 and {arms[1]!r} is 1"))
    notes += _untrained(runs, keep, loss) + _perplexities(runs, loss)
    if not runs.store and (text := doubled_names({k: v[keep] for k, v in runs.columns.items()})):
        notes.append(Note("doubled_names", text))
    if "unique_tokens" not in inputs:
        notes += _repeated(runs, keep, out)
    elif "tokens" in out and not (out["tokens"] > 1.001 * out["unique_tokens"]).any():
        text = (
            "no row has more tokens than unique_tokens, so that none repeats its data: are the two swapped?"
        )
        notes.append(Note("no_repeats", text))
    clusters, clustered_by = _clusters(runs, keep, out)
    if not clustered_by and not runs.store:
        clusters, clustered_by, said = _told(runs, keep, out, loss)
        notes += said
    elif not runs.store and "tokens" in out and (np.bincount(clusters) >= CHECKPOINTS).mean() > MOST:
        notes.append(Note("checkpoints", f"the {clustered_by} are one cluster each; {UNFINISHED}"))
    held = runs.role("held_out")
    return Sample(
        out,
        loss,
        keep,
        np.zeros(len(keep), bool) if held is None else truth(held[keep]),
        clusters,
        clustered_by,
        tuple(Excluded(int(row), reasons[row]) for row in np.flatnonzero(reasons != "")),
        tuple(notes),
        _groups(runs, keep, out),
        None if stated is None else stated[keep],
    )


def _repeated(runs: Runs, keep: np.ndarray, inputs: Mapping[str, np.ndarray]) -> list[Note]:
    """Rows that saw their data more than once, by a column of unique tokens or of epochs."""
    unique = runs.role("unique_tokens")
    name = next((name for name in runs.columns if normal(name) in ("epoch", "epochs", "numepochs")), None)
    if unique is not None and "tokens" in inputs:
        with np.errstate(all="ignore"):
            epochs = inputs["tokens"] / numbers(unique)[keep]
    elif name is not None:
        epochs = numbers(runs.columns[name])[keep]
    else:
        return []
    rows = keep[np.isfinite(epochs) & (epochs > 1.01)]
    if not len(rows):
        return []
    text = (
        f"{len(rows)} of {len(keep)} rows repeat their data, up to {np.nanmax(epochs):.3g} epochs: this "
        "law takes repeated tokens for fresh ones; data-constrained has a term for them (unique_tokens)"
    )
    return [Note("repeated_data", text)]


# A loss this near to that of guessing evenly among the tokens is one of a model that has learned nothing.
GUESSING = 0.97


# Guessing evenly among a million tokens costs 13.8 nats.
MOST_NATS = 14.0


def _perplexities(runs: Runs, loss: np.ndarray) -> list[Note]:
    """Losses above that of guessing among the tokens of any vocabulary, which may be perplexities."""
    if runs.store or not (loss > MOST_NATS).any():
        return []
    name = runs.roles.get("loss", "loss")
    text = (
        f"losses go up to {loss.max():.4g}, and guessing among a million tokens costs 13.8 nats: if they are "
        f"perplexities, --columns {shown('loss', f'log({name})')}"
    )
    return [Note("perplexity", spoken(text, runs.source))]


def _untrained(runs: Runs, keep: np.ndarray, loss: np.ndarray) -> list[Note]:
    """Rows whose loss is that of guessing, where the table says how many tokens there are to guess among."""
    columns = runs.columns
    name = next((name for name in columns if normal(name) in ("vocab", "vocabsize", "vocabulary")), None)
    if name is not None:
        vocab = numbers(columns[name])
    elif {"params_embedding", "width"} <= columns.keys():
        vocab = numbers(columns["params_embedding"]) / np.maximum(numbers(columns["width"]), 1.0)
    else:
        return []
    with np.errstate(all="ignore"):
        even = np.log(vocab[keep])
        rows = np.sort(keep[(loss >= GUESSING * even) & (even > 0.5)])
    if not len(rows):
        return []
    shown = ", ".join(f"row {row}" for row in rows[:5].tolist()) + (", ..." if len(rows) > 5 else "")
    text = f"{len(rows)} rows have the loss of guessing, ln V, and are hardly trained: {shown}"
    return [Note("untrained", text)]


def _groups(runs: Runs, keep: np.ndarray, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of text with 2 to 12 values that each name several rows: datasets, architectures, sweeps."""
    found = {}
    for name, values in runs.columns.items():
        if values.dtype.kind != "O" or name in runs.roles.values() or name in runs.roles:
            continue
        labels, index = labelled(values[keep].tolist())
        if not 2 <= len(labels) <= 12 or len(keep) < 4 * len(labels):
            continue
        # A column that only names the size or the budget says nothing that the inputs do not.
        spread = [
            max(np.ptp(np.log(values[index == i])) for i in range(len(labels))) for values in inputs.values()
        ]
        if min(spread) > 1e-3:
            found[name] = index
    return found


def _one_grid(runs: Runs, reasons: np.ndarray, notes: list[Note], by: str) -> tuple[np.ndarray, list[Note]]:
    """Of a store, the rows of its largest grid, or source: losses on different sources are different
    quantities."""
    if not runs.store or by not in runs.columns:
        return reasons, notes
    told = ("grid", "source") if by == "grid" else (by,)
    texts = [runs.columns[name].tolist() for name in told if name in runs.columns]
    labels = [" on ".join(str(part) for part in row if part is not None) for row in zip(*texts, strict=True)]
    usable = runs.role("status") == "ok" if runs.role("status") is not None else np.ones(len(runs), bool)
    cells: dict[str, set] = {}
    for row in np.flatnonzero(usable):
        cells.setdefault(labels[row], set()).add((runs.columns["params"][row], runs.columns["tokens"][row]))
    if len(cells) < 2:
        return reasons, notes
    largest = max(sorted(cells), key=lambda label: len(cells[label]))
    for row, label in enumerate(labels):
        if label != largest:
            reasons[row] = f"another {by}: {label}"
    others = ", ".join(label for label in sorted(cells) if label != largest)
    text = (
        f"of the store's {by}s the largest is fitted, {largest}; not {others} (choose with --where {by}=...)"
    )
    return reasons, [*notes, Note("grid_chosen", text)]


def _values(runs: Runs, role: str) -> np.ndarray | None:
    values = runs.role(role)
    if values is None and role not in ALIASES:
        values = runs.columns.get(role)
        if values is None and role.startswith("exp_") and (plain := runs.columns.get(role[4:])) is not None:
            # A covariate that may be zero or negative enters a law by its exponential.
            values = np.exp(np.clip(_arms(plain)[0] if role == "exp_arm" else numbers(plain), -200, 200))
    return None if values is None else numbers(values)


def _arms(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(0 and 1 of each row, the names of both) of a column of two names; numbers as they are. InputError."""
    given = numbers(values)
    texts = [str(value).strip() if isinstance(value, str) else "" for value in values.tolist()]
    if not any(texts) or np.isfinite(given[[bool(text) for text in texts]]).any():
        return given, []
    names = sorted({text for text in texts if text})
    if len(names) != 2:
        shown = ", ".join(map(repr, names[:6]))
        raise InputError(f"arm has {len(names)} names, {shown}: the two to be compared, or 0 and 1")
    return np.array([names.index(text) if text else np.nan for text in texts], float), names


def _measurable(values: np.ndarray) -> np.ndarray:
    """Which are positive numbers whose products and squares are numbers too, whatever the unit."""
    with np.errstate(invalid="ignore"):
        return (values > 1 / EXTREME) & (values < EXTREME)


def _shown(raw, number: float) -> str:
    if np.isfinite(number) and number > 0:
        return f"{number:g}, no quantity in any unit"
    if isinstance(raw, str) and raw.strip():
        return f"{raw[:40]!r}, not a number" if np.isnan(number) else f"{raw[:40]!r}, not positive"
    if np.isnan(number):
        return "missing or not a number"
    return f"{number:g}, not a positive finite number"


def _clusters(runs: Runs, keep: np.ndarray, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, str]:
    """Which rows belong together: runs of one shape and seed, branches of one trunk, checkpoints of one run.

    A column that merely names runs (`run`, `name`) makes clusters only where one name covers several token
    counts of one size, that is, checkpoints: equal names at equal tokens are independent repetitions, and a
    name of several sizes is that of a study.
    """
    chosen = runs.roles.get("cluster")
    names = [] if chosen is None else [chosen]
    if chosen is None or normal(chosen) in ALIASES["cluster"][1]:
        weak = ALIASES["cluster"][1]
        names += [name for name in runs.columns if normal(name) in weak and name not in names]
    for column in names:
        if column not in runs.columns:
            continue
        labels = [str(value) for value in runs.columns[column][keep].tolist()]
        labels = [f"\0{i}" if label in ("", "None", "nan") else label for i, label in enumerate(labels)]
        index = labelled(labels)[1]
        if index.max() + 1 == len(keep):
            continue
        if normal(column) in ALIASES["cluster"][1] and not _is_run(index, inputs):
            continue
        return index, "runs of one shape and seed" if runs.store else f"rows of one {column!r}"
    return np.arange(len(keep)), ""


def _is_run(index: np.ndarray, inputs: Mapping[str, np.ndarray]) -> bool:
    """Whether the names numbered by `index` (n,) are those of runs with several checkpoints."""
    if "params" in inputs:
        order = np.lexsort((inputs["params"], index))
        step = np.diff(np.log(inputs["params"][order]))
        if (np.abs(step[np.diff(index[order]) == 0]) > 1e-3).any():
            return False
    if "tokens" not in inputs:
        return True
    order = np.lexsort((inputs["tokens"], index))
    return bool(((np.diff(index[order]) == 0) & (np.diff(inputs["tokens"][order]) != 0)).any())


def _told(runs: Runs, keep: np.ndarray, inputs: Mapping[str, np.ndarray], loss: np.ndarray):
    """(clusters, what they are, notes) that no column names: checkpoints, copies, sweeps of rates."""
    alone, said = np.arange(len(keep)), []
    if not {"params", "tokens"} <= inputs.keys() or len(keep) < 3:
        return alone, "", said
    n, d = inputs["params"], inputs["tokens"]
    others = {
        name: values[keep]
        for name, values in runs.columns.items()
        if name not in (*runs.roles.values(), *NEEDED)
    }
    if text := swept(n, d, loss, others):
        said.append(Note("swept", text))
    # Where no column tells runs apart, the table's order may: a log follows each to its end.
    place = np.argsort(keep)
    run = checkpoints(n[place], d[place], {name: values[place] for name, values in others.items()})
    if run is not None:
        run = numbered(run[np.argsort(place)])
        text = (
            f"the rows look like checkpoints of {run.max() + 1} runs, each of one size with rising tokens; "
            f"intervals take each run as one cluster; {UNFINISHED}"
        )
        return run, "checkpoints of one run", [*said, Note("checkpoints", text)]
    same = copies(*inputs.values(), loss)
    return (alone, "", said) if same is None else (same, COPIES, said)
