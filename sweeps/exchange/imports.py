"""`lab import`: tables, logs and evaluations of other tools as one table, for `lab fit` or `lab thresholds`.

docs/tables.md lists the formats. What a reader left out, renamed or guessed is printed (`remarks` in JSON).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import tyro

from analysis.tables import benchmarks
from analysis.tables.columns import ALIASES, assign, normal, parse_map
from analysis.tables.formulas import FormulaError, parse
from analysis.tables.limits import LIMITS, ReadLimits
from analysis.tables.sample import FINISHED
from analysis.tables.units import number as sized_number
from analysis.text import no_formula
from analysis.thresholds.metrics import find as metric_of
from analysis.verbs.options import Reading
from lab.errors import InputError
from lab.strict import nearest
from sweeps.exchange import charts, evaluations, event_files, harnesses, kinds, training_logs, wandb_files
from sweeps.exchange.found import Found, Remark, listed, objects_in_cells, sized
from sweeps.exchange.written import clean, write

ROLES = ("params", "tokens", "flops", "loss", "seed", "status", "held_out", "unique_tokens", "name")
_SCORES = ("task", "metric", "score", "stderr", "correct", "items", "chance", "shots")
_NAMES = ("name", "run", "run_name", "Name", "run name", "model", "Model")


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
                given = training_logs.Given(params, tokens_per_step)
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
        names = write(found.rows, out, (lambda value: value) if raw else no_formula)
        verb = "thresholds" if found.scores else "fit"
        told = {"out": str(out), "rows": len(found.rows), "columns": names, "next": f"lab {verb} {out}"}
        if as_json:
            print(json.dumps(told | {"remarks": [vars(one) for one in found.remarks]}))
            return 0
        what = "to test for thresholds" if found.scores else "to fit a law"
        print(f"{len(found.rows)} rows in {out}; {what}: lab {verb} {out}")
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
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        return _folder(path, format, given, every, limits, subtasks)
    if format == "wandb" or (format == "auto" and path.suffix == ".wandb"):
        return Found(wandb_files.read(path, limits.max_bytes))
    if format == "tensorboard" or (format == "auto" and event_files.is_event_file(path)):
        return event_files.read(path, limits.max_bytes, every)
    suffix = Path(path.stem if path.suffix.lower() == ".gz" else path).suffix.lower()
    text = None if suffix == ".parquet" else _text(path, limits)
    kind = kinds.guess(path, suffix, text) if format == "auto" else format
    if kind == "scores":
        return evaluations.read(path, text or "", subtasks)
    if kind == "chart":
        return charts.read(path, text or "", given.tokens_per_step, every)
    if kind == "log":
        return kinds.read_log(path, suffix, text or "", given, every)
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
    kinds = ("results*.json", "trainer_state.json", "stats.json")
    files = sorted({file for kind in kinds for file in path.rglob(kind) if not file.is_symlink()})
    if not files:
        raise InputError(f"{path}: no .wandb file, event file, {', '.join(kinds)} in this folder")
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


def _table(path: Path, limits: ReadLimits, tasks: tuple[str, ...]) -> Found:
    # the reader of the analysis: what it takes, `lab fit` takes
    from analysis import read as read_table

    doubt: list[Remark] = []
    try:
        runs = read_table(path, {}, limits)
        frame, notes = dict(runs.columns), list(runs.notes)
    except ValueError as error:
        if not hasattr(error, "problems"):
            raise
        ambiguous = [p for p in error.problems if "could both be" in p or "could all be" in p]
        if len(ambiguous) < len(error.problems):
            raise InputError(*error.problems) from None
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
    names = list(rows[0]) if rows else names
    remarks = [Remark(note.code, f"{path.name}: {note.text}") for note in notes if note.code not in _USUAL]
    scores = wide is not None or {"task", "score"} <= set(names)
    if not scores and not doubt:
        doubt += _lacking(path, rows)
    return Found(rows, (*doubt, *opened, *remarks, *_unfit(path, rows)), scores)


def _lacking(path: Path, rows: list[dict]) -> list[Remark]:
    """That no column is recognised as what a law needs: nothing of the table is fitted as it stands."""
    import numpy as np

    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows for name in row))
    raw = {str(name): np.array([row.get(name) for row in rows], object) for name in names}
    try:
        roles, _ = assign(raw, {}, str(path))
    except ValueError:
        return []
    lacking = [role for role in ("params", "tokens", "loss") if role not in roles]
    if "flops" in roles and len(lacking) == 1 and lacking[0] != "loss":
        lacking = []
    if not lacking:
        return []
    text = f"{path.name}: no column is recognised for {' and '.join(lacking)}: name them with --columns"
    return [Remark("roles_missing", text)]


# Said by `lab fit` of any table, and by the names of the columns that are written.
_USUAL = ("column_alias", "flops_6nd")


def _own(frame: Mapping, name: str) -> bool:
    """Whether a column holds a number, and so was not only made of others that are not there."""
    return any(value == value and value is not None for value in frame[name].tolist())


def _unfit(path: Path, rows: list[dict]) -> list[Remark]:
    """Runs whose status says that they did not end well, and names that stand twice: kept, and told."""
    said = []
    key = next((name for name in ("status", "State", "state", "Status") if rows and name in rows[0]), None)
    if key is not None:
        states: dict[str, list[str]] = {}
        for index, row in enumerate(rows):
            value = str(row[key]).strip().lower()
            if value not in FINISHED and value not in ("", "none", "nan"):
                states.setdefault(value, []).append(_called(row, index))
        for value, names in states.items():
            text = f"{path.name}: {len(names)} runs are {value} and will not be fitted: {listed(names)}"
            said.append(Remark("not_finished", text))
    return said


def _called(row: Mapping, index: int) -> str:
    return str(next((row[name] for name in _NAMES if row.get(name) not in (None, "")), f"row {index}"))


def _plain(path: Path, limits: ReadLimits, notes: list):
    """The columns as they stand, where their roles are in doubt: --columns decides."""
    from analysis.tables.files import columns_of

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
    remarks = [one for one in remarks if one.code not in ("ambiguous", "roles_missing") or not columns]
    if scores and all(row.get("model") is not None for row in rows):
        rows = [row if row.get("metric") is not None else row | {"metric": "accuracy"} for row in rows]
        found = evaluations.joined(rows, models, lambda name: metric_of(name) is not None)
        return Found(found.rows, (*remarks, *found.remarks, *_chance(found.rows)), True)
    if models:
        key = next((name for name in _NAMES if rows and name in rows[0]), "name")
        rows, problems = sized(rows, models, key)
        if problems:
            raise InputError(*problems)
        remarks = [one for one in remarks if one.code != "params_from_name"]
    if scores:
        remarks += _chance(rows)
    return Found(rows, (*remarks, *_twice(rows)), scores)


def _twice(rows: list[dict]) -> list[Remark]:
    """Names that stand for several runs of one size and budget with other losses."""
    from analysis.tables.names import doubled_names

    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows for name in row))
    import numpy as np

    columns = {name: np.array([row.get(name) for row in rows], object) for name in names}
    text = doubled_names(columns)
    return [Remark("doubled_names", text)] if text else []


def _guessed(row: Mapping) -> bool:
    """Whether a score is a share of right answers, which guessing has too."""
    kind = metric_of(str(row.get("metric", "accuracy")))
    return kind is None or kind.proportion


def _chance(rows: list[dict]) -> list[Remark]:
    """Which levels of guessing are known, and which have to be said."""
    tasks = sorted({str(row["task"]) for row in rows if row.get("chance") is None and _guessed(row)})
    levels = benchmarks.known_levels(tasks)
    remarks = []
    if levels:
        shown = ", ".join(f"{task} {one.chance:.3g}" for task, one in list(levels.items())[:6])
        more = f" and {len(levels) - 6} more" if len(levels) > 6 else ""
        text = (
            f"levels of guessing are known for {shown}{more}: lab thresholds takes them with --chance known"
        )
        remarks.append(Remark("chance_known", text))
    unknown = [task for task in tasks if task not in levels]
    if unknown:
        given = " ".join(f"--chance {task}=LEVEL" for task in unknown[:4])
        text = f"levels of guessing are not known for {listed(unknown)}: lab thresholds {given}"
        remarks.append(Remark("chance_unknown", text))
    return remarks


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
    import numpy as np

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
