"""`lab import`: tables, logs and evaluations of other tools as one table, for `lab fit` or `lab thresholds`.

docs/tables.md lists the formats. What a reader left out, renamed or guessed is printed (`remarks` in JSON).
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from analysis.tables import benchmarks
from analysis.tables.columns import ALIASES, normal, parse_map
from analysis.tables.files import UNREAD, columns_of
from analysis.tables.formulas import FormulaError, parse
from analysis.tables.limits import LIMITS, ReadLimits
from analysis.tables.units import number as sized_number
from analysis.text import no_formula
from analysis.thresholds.metrics import find as metric_of
from analysis.verbs.options import Reading
from lab.errors import InputError
from lab.files import missing
from lab.strict import nearest
from sweeps.exchange import (
    charts,
    evaluations,
    event_files,
    harnesses,
    import_remarks,
    kinds,
    training_logs,
    wandb_files,
)
from sweeps.exchange.found import Found, Remark, grouped, listed, objects_in_cells, sized
from sweeps.exchange.written import clean, write

ROLES = ("params", "tokens", "flops", "loss", "seed", "status", "held_out", "unique_tokens", "name")
_SCORES = ("task", "metric", "score", "stderr", "correct", "items", "chance", "shots")


def import_(argv: list[str]) -> int:
    def command(
        files: tyro.conf.Positional[tuple[Path, ...]],
        out: Path,
        format: kinds.Format = "auto",
        columns: str = "",
        params: float | None = None,
        tokens_per_step: float | None = None,
        models: str = "",
        tasks: str = "",
        subtasks: bool = False,
        all_evaluations: bool = False,
        raw: bool = False,
        limits: Reading = LIMITS,
        as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    ) -> int:
        """Bring tables, training logs and evaluations of other tools into one table, a row a run or a score.

        Args:
            files: tables, logs, results of evaluations, or folders; several are put one below the other.
            out: the table to write: .csv or .parquet.
            format: what the files are; auto looks at them.
            columns: which columns are what: params=N,tokens=D,loss=val/loss, or a formula over them,
                tokens=batch*step*context; others keep their names.
            params: parameters of the run, where its log does not say.
            tokens_per_step: tokens of a step, where the log does not say.
            models: sizes of models or runs by name, pythia-70m=70e6,pythia-160m=160e6; or a table with the
                columns model and params, and where known tokens, flops, loss_nats.
            tasks: of a wide table of scores the columns that are tasks (else those of known benchmarks).
            subtasks: of groups of tasks the single tasks, instead of the group's mean.
            all_evaluations: a row for each evaluation instead of the last one; only right where the rate did
                not decay: a loss in mid-schedule is not that of a run of that many tokens (2203.15556).
            raw: texts as they are; else a CSV has an apostrophe before those a spreadsheet would compute.
            as_json: print one JSON object.
        """
        if not files:
            raise InputError("files: name a table or a log to import")
        parts: list[Found] = []
        problems: list[str] = []
        chosen = tuple(filter(None, (part.strip() for part in tasks.split(","))))
        for path in files:
            try:
                given = training_logs.Given(params, tokens_per_step, bool(models))
                parts.append(read(path, format, given, all_evaluations, limits, chosen, subtasks))
            except InputError as error:
                problems += error.problems
            except ValueError as error:  # the reader of analysis has an InputError of its own
                if not hasattr(error, "problems"):
                    raise
                problems += error.problems
        if problems:
            raise InputError(*problems)
        found = together(parts, _models(models, limits), parse_map(columns), files[0])
        if params is not None and len(found.rows) > 1 and not all_evaluations:
            text = (
                f"--params {params:g} is taken for all {len(found.rows)} runs; --models says the size of each"
            )
            found = replace(found, remarks=(*found.remarks, Remark("params_for_all", text)))
        found = replace(found, remarks=tuple(grouped((*found.remarks, *import_remarks.unfitted(found)))))
        names = write(found.rows, out, (lambda value: value) if raw else no_formula)
        verb = "thresholds" if found.scores else "fit"
        known = any(one.code == "chance_known" for one in found.remarks)
        again = shlex.join(["lab", verb, str(out), *(("--chance", "known") if known else ())])
        if any(one.code == "roles_missing" for one in found.remarks) and not found.scores:
            again = shlex.join(
                ["lab", "import", *map(str, files), "--out", str(out), "--columns", "ROLE=COLUMN"]
            )
        told = {"out": str(out), "rows": len(found.rows), "columns": names, "next": again}
        if as_json:
            print(json.dumps(told | {"remarks": [{"code": r.code, "text": r.text} for r in found.remarks]}))
            return 0
        what = "to test for thresholds" if found.scores else "to fit a law"
        what = what if again.startswith(f"lab {verb}") else "before a law can be fitted"
        print(f"{len(found.rows)} rows in {out}; {what}: {again}")
        for one in found.remarks:
            print(f"  {one.code}: {one.text}")
        return 0

    return tyro.cli(command, args=argv, prog="lab import")


def _models(text: str, limits: ReadLimits) -> dict[str, dict]:
    """`a=70e6,b=1.4B`, or a table of models, as name -> its columns."""
    if not text:
        return {}
    if "=" not in text:
        found = read(Path(text), "table", training_logs.Given(), False, limits, (), False)
        rows = [{str(k).lower(): v for k, v in row.items()} for row in found.rows]
        key = next((name for name in ("model", "name", "run") if rows and name in rows[0]), None)
        if key is None or "params" not in rows[0]:
            raise InputError(f"--models {text}: needs columns model and params")
        kept = ("params", "tokens", "flops", "loss_nats", "unique_tokens", "seed")
        return {str(row[key]): {name: row[name] for name in kept if name in row} for row in rows}
    sizes = {name: sized_number(value) for name, value in parse_map(text, "--models").items()}
    if wrong := [name for name, value in sizes.items() if not value > 0]:
        raise InputError(
            *(f"--models: {name!r} has no size, as in {name}=70e6 or {name}=1.4B" for name in wrong)
        )
    return {name: {"params": value} for name, value in sizes.items()}


def read(
    path: Path,
    format: kinds.Format,
    given: training_logs.Given,
    every: bool,
    limits: ReadLimits,
    tasks: tuple[str, ...],
    subtasks: bool,
) -> Found:
    """Rows of one file or folder, under the names that it has.

    Raises:
        InputError: for files that are not of the format, or larger than the limits.
    """
    if not path.exists():
        raise InputError(missing(path))
    if path.is_dir():
        return _folder(path, format, given, every, limits, subtasks)
    if format == "wandb" or (format == "auto" and path.suffix == ".wandb"):
        return Found(wandb_files.read(path, limits.max_bytes))
    if format == "tensorboard" or (format == "auto" and event_files.is_event_file(path)):
        return event_files.read(path, limits.max_bytes, every)
    suffix = Path(path.stem if path.suffix.lower() == ".gz" else path).suffix.lower()
    if suffix in UNREAD:
        raise InputError(f"{path}: {suffix} is not read{UNREAD[suffix]}")
    text = None if suffix == ".parquet" else _text(path, limits)

    def columns() -> Mapping:
        return columns_of(path, limits)

    kind = kinds.guess(path, suffix, text, columns) if format == "auto" else format
    if kind == "scores":
        return evaluations.read(path, text or "", subtasks)
    if kind == "chart":
        return charts.read(path, text or "", given.tokens_per_step, every)
    if kind == "log":
        return kinds.read_log(path, suffix, text or "", given, every, columns)
    if kind == "table":
        return _table(path, limits, tasks)
    rows = training_logs.read(path, text or "", kind, given, every=True)
    return Found(rows if every else rows[-1:], kinds.remarks_of_log(path, rows))


def _folder(
    path: Path, format: kinds.Format, given, every: bool, limits: ReadLimits, subtasks: bool
) -> Found:
    """Offline runs of wandb, event files of TensorBoard, or results of a harness below a folder."""
    if format in ("auto", "wandb") and (format == "wandb" or any(path.rglob("*.wandb"))):
        return Found(wandb_files.read(path, limits.max_bytes))
    if format in ("auto", "tensorboard") and event_files.files_of(path):
        return event_files.read(path, limits.max_bytes, every)
    summaries = sorted(file for file in path.rglob("wandb-summary.json") if not file.is_symlink())
    if format == "auto" and summaries:
        return wandb_files.summaries(summaries, lambda file: _text(file, limits))
    known = ("results*.json", "trainer_state.json", "stats.json")
    files = sorted({file for name in known for file in path.rglob(name) if not file.is_symlink()})
    if not files:
        own = (".json", ".jsonl", ".csv", ".log", ".txt", ".out")
        files = sorted(f for f in path.rglob("*") if f.suffix in own and f.is_file() and not f.is_symlink())
        files = [f for f in files if f.suffix not in (".txt", ".out") or kinds.is_text_log(_text(f, limits))]
    if not files:
        raise InputError(f"{path}: no .wandb file, event file, log or table in this folder")
    parts = [read(file, format, given, every, limits, (), subtasks) for file in files]
    if len({part.scores for part in parts}) > 1:
        raise InputError(f"{path}: holds logs and results of evaluations; name one kind of files")
    rows = [row for part in parts for row in part.rows]
    return Found(rows, tuple(one for part in parts for one in part.remarks), parts[0].scores)


def _text(path: Path, limits: ReadLimits) -> str:
    try:
        return limits.text(path, errors="replace").read()
    except ValueError as error:
        raise InputError(*getattr(error, "problems", [f"{path}: {error}"])) from None


# What the reader of tables says of logs, which here have been tried.
_CIRCULAR = "; logs and results of single runs are read by `lab import`"
_SHAPES = "; of one run, {n_params, tokens, val_loss} or {config, losses: [[step, loss]]}"


def _table(path: Path, limits: ReadLimits, tasks: tuple[str, ...]) -> Found:
    # the reader of the analysis: what it takes, `lab fit` takes
    from analysis import read as read_table

    doubt: list[Remark] = []
    try:
        runs = read_table(path, {}, limits)
        frame, notes = dict(runs.columns), list(runs.notes)
        for role, cells in runs.written.items():  # what is no number stands as it was written
            frame[role] = np.where(np.isnan(frame[role]) & (cells != ""), cells, frame[role])
    except ValueError as error:
        if not hasattr(error, "problems"):
            raise
        ambiguous = [p for p in error.problems if "could both be" in p or "could all be" in p]
        if len(ambiguous) < len(error.problems):
            raise InputError(*(p.replace(_CIRCULAR, _SHAPES) for p in error.problems)) from None
        notes = []
        frame = _plain(path, limits, notes)
        doubt = [Remark("ambiguous", problem) for problem in ambiguous]
    wide = benchmarks.melted(frame, tasks)
    if wide is not None:
        frame, said = wide
        notes += said
        frame = {
            name: values
            for name, values in frame.items()
            if name not in ("tokens", "flops") or _own(frame, name)
        }
    names = list(frame)
    values = zip(*(list(frame[name]) for name in names), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in values]
    if (scored := harnesses.printed(path, rows)) is not None:
        return scored
    rows, opened = objects_in_cells(path, rows)
    if wide is None and not {"task", "score"} <= set(rows[0] if rows else ()):
        scored = harnesses.long(path, rows, lambda name: benchmarks.find(name) is not None)
        if scored is not None:
            return replace(scored, remarks=(*opened, *scored.remarks))
    names = list(rows[0]) if rows else names
    remarks = [Remark(note.code, f"{path.name}: {note.text}") for note in notes if note.code not in _USUAL]
    scores = wide is not None or {"task", "score"} <= set(names)
    return Found(rows, (*doubt, *opened, *remarks, *import_remarks.not_finished(path, rows)), scores)


# Said by `lab fit` of any table, and by the names of the columns that are written.
_USUAL = ("column_alias", "flops_6nd")


def _own(frame: Mapping, name: str) -> bool:
    """Whether a column holds a number, and so was not only made of others that are not there."""
    return any(value == value and value is not None for value in frame[name].tolist())


def _plain(path: Path, limits: ReadLimits, notes: list):
    """The columns as they stand, where their roles are in doubt: --columns decides."""
    return columns_of(path, limits, notes)


def together(
    parts: list[Found], models: Mapping[str, Mapping], columns: Mapping[str, str], path: Path
) -> Found:
    """All parts as one table. Raises InputError for columns that are not there, and for mixed kinds."""
    rows = [row for part in parts for row in part.rows]
    remarks = [one for part in parts for one in part.remarks]
    if len({part.scores for part in parts}) > 1:
        raise InputError("files: some hold runs, some scores of tasks; import them apart")
    scores = parts[0].scores
    known = (*ROLES, *_SCORES, "model", "loss_nats", "cluster") if scores else ROLES
    rows, problems = mapped(rows, columns, path, known)
    if problems:
        raise InputError(*problems)
    renamed = [name for name in (rows[0] if rows else ()) if name.endswith("_original")]
    if columns and renamed:
        text = f"not chosen, and so under another name: {listed(renamed)}"
        remarks.append(Remark("renamed", text))
    # What was in doubt and is now said is in doubt no more.
    remarks = [one for one in remarks if one.code != "ambiguous" or not columns]
    key = next((name for name in import_remarks.NAMES if rows and name in rows[0]), None)
    if scores and key is not None and key != "model" and "model" not in rows[0]:
        rows = [{("model" if name == key else name): value for name, value in row.items()} for row in rows]
    if scores and all(row.get("model") is not None for row in rows):
        rows = [row if row.get("metric") is not None else row | {"metric": "accuracy"} for row in rows]
        found = evaluations.joined(rows, models, lambda name: metric_of(name) is not None)
        return Found(found.rows, (*remarks, *found.remarks, *import_remarks.chance(found.rows)), True)
    if models:
        key = next((name for name in import_remarks.NAMES if rows and name in rows[0]), "name")
        rows, problems = sized(rows, models, key)
        if problems:
            raise InputError(*problems)
        remarks = [one for one in remarks if one.code != "params_from_name"]
    if scores:
        remarks += import_remarks.chance(rows)
    return Found(rows, (*remarks, *import_remarks.twice(rows)), scores)


def mapped(
    rows: list[dict], roles: Mapping[str, str], path: Path, known: tuple[str, ...] = ROLES
) -> tuple[list[dict], list[str]]:
    """Rows with the mapped columns, or formulas over them, under their roles; and what is wrong with it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    problems, formulas = [], {}
    for role, column in roles.items():
        if role not in known:
            problems.append(f"--columns: no such role {role!r}; {nearest(role, known)}")
            continue
        try:
            formulas[role] = parse(column, names)
        except FormulaError as error:
            said = f"no column {error.unknown!r}; {nearest(error.unknown, names)}" if error.unknown else error
            problems.append(f"{path}: --columns {role}={column}: {said}")
    if problems or not roles:
        return (rows, problems) if not problems else ([], problems)
    wanted = {name for formula in formulas.values() for name in formula.columns}
    raw = {name: np.array([row.get(name) for row in rows], object) for name in wanted}
    made = {
        role: raw[f.text].tolist() if f.whole else [clean(v) for v in f.of(raw).tolist()]
        for role, f in formulas.items()
    }
    taken = {formula.text for formula in formulas.values() if formula.whole}
    rivals = {alias for role in roles if role in ALIASES for alias in ALIASES[role][0]}
    found = []
    for index, row in enumerate(rows):
        new = {role: values[index] for role, values in made.items()}
        # a column under a name of the role that was not chosen would be taken for it, or dispute it
        new |= {
            (f"{k}_original" if k in roles or normal(k) in rivals else k): v
            for k, v in row.items()
            if k not in taken
        }
        found.append(new)
    return found, []
