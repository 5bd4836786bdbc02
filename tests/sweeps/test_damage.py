"""Every file of a store, damaged in every way: no traceback, no run lost, one answer from all that read it.

`python -m pytest tests/sweeps/test_damage.py -k every_file -s` prints what status and `lab run` say of each.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.plots.learning import learning_curves
from analysis.report import provenance
from analysis.tables.store import read_store
from analysis.tables.table import read
from lab.runs import contents
from lab.runs.folder import Reading, RunFolder
from lab.runs.rows import commit_diverged
from sweeps.store import digest, merging
from sweeps.store.damage import look
from sweeps.store.store import Store
from sweeps.verbs import status, training

TABLE = {"done": "ok", "diverged": "diverged", "failed": "failed", "running": "unfinished"}
TABLE |= {"waiting": "unfinished"}


def _other_types(content: bytes) -> bytes:
    """The same keys with values of other types, line by line for a log."""

    def other(value):
        if isinstance(value, dict):
            return {key: other(part) for key, part in value.items()}
        return {"x": 1} if isinstance(value, list) else ["x"]

    try:
        return json.dumps(other(json.loads(content))).encode()
    except ValueError:  # a log of many lines, or a study file
        lines = [line for line in content.splitlines() if line.startswith(b"{")]
        return b"".join(json.dumps(other(json.loads(line))).encode() + b"\n" for line in lines)


WAYS: dict[str, Callable[[bytes], bytes] | None] = {
    "missing": None,
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "binary": lambda content: bytes(range(256)) * 3,
    "foreign": lambda content: b'{"hello": [1, 2, {"world": null}]}\n',
    "null": lambda content: b"null\n",
    "types": _other_types,
    "link": None,
    "fifo": None,
}
# What `lab run` does of it: mended (exit code 0) or told (1), by file; by file and way where ways differ.
MENDED, TOLD = 0, 1
EXPECTED: dict[object, int] = {
    "result.json": MENDED,
    "spec.json": MENDED,
    "failure.json": MENDED,
    "diverged.json": MENDED,
    "metrics.jsonl": TOLD,
    "store.json": MENDED,
    "studies/small.json": MENDED,
    "studies/small.toml": MENDED,
}


def damage(path: Path, way: str) -> None:
    content = path.read_bytes()
    if WAYS[way] is not None:
        path.write_bytes(WAYS[way](content))
        return
    path.unlink()
    if way == "link":
        path.symlink_to("/etc/hostname")
    elif way == "fifo":
        os.mkfifo(path)


@pytest.fixture(scope="module")
def sound(three) -> dict:
    """The losses and parameters of the undisturbed store."""
    return digest.runs(three / "store")


@pytest.fixture
def lab_run(worker_here, capsys):
    """`lab run` with a worker in this process: (exit code, what it said on stderr)."""

    def run(folder: Path) -> tuple[int, str]:
        capsys.readouterr()
        code = training.run([str(folder / "small.toml"), "--out", str(folder / "store")])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def copy(three, tmp_path) -> Path:
    shutil.copytree(three, tmp_path / "copy")
    return tmp_path / "copy"


def a_branch(store: Store) -> str:
    """The run that costs least to train again."""
    cells = json.loads((store.root / "studies" / "small.json").read_text())["cells"]
    return min(cells, key=lambda cell: (cell["width"], cell["tokens"], cell["seed"]))["run_id"]


def place(store: Store, name: str) -> tuple[str, Path]:
    """The run that a file belongs to, and the file, made where a sound store has none."""
    run_id = a_branch(store)
    folder = store.run(run_id)
    if name == "diverged.json":
        run_id = folder.result()["row"]["trunk"]
        store.run(run_id).write(name, {"step": 10_000, "reason": "loss not finite"})
    elif name == "failure.json":
        (folder.path / "result.json").unlink()
        shutil.rmtree(folder.final)
        store.fail(run_id, 2, "out of luck", "")
    return run_id, store.root / name if ("." in name and "/" in name) or name == "store.json" else (
        store.run(run_id).path / name
    )


def answers(store: Store) -> dict[str, set[str]]:
    """What each reader says of the cells; all of them must get through."""
    there = store.names()
    cells = [cell for path in store.study_files() for cell in _cells(store, path)]
    own = {cell["run_id"]: store.state(cell["run_id"], cell["trunk"], there) for cell in cells}
    columns, _, _ = read_store(store.root)
    table = dict(zip(columns["run_id"].tolist(), columns["status"].tolist(), strict=True))
    assert {run_id: table[run_id] for run_id in own} == {run_id: TABLE[own[run_id]] for run_id in own}
    runs = read(store.root)
    provenance.provenance(runs, store.root)
    learning_curves(runs)
    for run_id in there:
        look(store.run(run_id))
    try:
        found = status.Look(store.root).collect()
        text = status.as_text(found)
        counts = {name: n for one in found["studies"] for name, n in one["states"].items()}
        assert counts == {state: list(own.values()).count(state) for state in set(own.values())}
    except status.InputError as error:
        text = str(error)
    return {"states": own, "said": text, "notes": repr(runs.notes)}


def _cells(store: Store, path: Path) -> list[dict]:
    try:
        return store.study(path)["cells"]
    except status.Refused:
        return []


# One reader reads them all, and meets every way in specifications; each way here makes a run that is trained
# again.
FEW = {
    "failure.json": ("missing", "half", "types"),
    "result.json": ("missing", "empty", "half", "types", "link"),
}


@pytest.mark.parametrize(
    ("name", "way"),
    [
        pytest.param(name, way, marks=[] if way in FEW.get(name, WAYS) else [pytest.mark.weekly])
        for name in EXPECTED
        for way in WAYS
    ],
)
def test_every_file_in_every_way(copy, lab_run, sound, name, way):
    store = Store(copy / "store")
    run_id, path = place(store, name)
    damage(path, way)
    told = answers(store)
    if way != "missing" and path.suffix in (".json", ".jsonl") and name not in ("store.json",):
        assert path.name in told["said"], "status names the file"
    code, said = lab_run(copy)
    lines = [line.split(": ", 2)[2] for line in said.splitlines() if line.startswith("damaged: ")]
    state = told["states"].get(run_id, "trunk") if "runs" in path.parts else ""
    assert code == EXPECTED[name], said
    if EXPECTED[name] == TOLD:
        assert f"{run_id}/{name}" in said
    found = digest.runs(store.root)
    assert found == sound, "no run is lost, and what was trained again is the same to the last bit"
    assert set(answers(store)["states"].values()) == {"done"}
    if way == "half":
        again, said = lab_run(copy)
        assert again == code, said
        assert ("damaged" in said) == (code == TOLD)
    print(f"{name:<19} {way:<8} {state:<8} {'mended' if code == MENDED else 'told':<7} {'; '.join(lines)}")


@pytest.mark.parametrize("bad", [b"\xff\xfe\n", b"[1]\n", b'{"step": "x"}\n', b"{}\n", b"null\n"])
def test_a_line_that_is_no_record_is_dropped_and_told(copy, lab_run, sound, bad):
    store = Store(copy / "store")
    folder = store.run(a_branch(store))
    lines = folder.metrics()
    path = folder.path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(bad + whole)
    assert folder.metrics() == lines
    assert "1 lines are no records" in answers(store)["said"]
    code, said = lab_run(copy)
    assert code == 0
    assert "metrics.jsonl: 1 lines are no records; dropped" in said
    assert path.read_bytes() == whole
    assert digest.runs(store.root) == sound


def test_lost_parameters_of_a_finished_run_are_told(copy, lab_run):
    store = Store(copy / "store")
    folder = store.run(a_branch(store))
    before = folder.result()
    shutil.rmtree(folder.final)
    assert f"{folder.path.name}/final: the trained parameters are missing" in answers(store)["said"]
    code, said = lab_run(copy)
    assert code == 1
    assert f"{folder.path.name}/final: the trained parameters are missing" in said
    assert "remove its folder" in said
    assert folder.result() == before, "its row stands"
    shutil.rmtree(folder.path)
    assert lab_run(copy)[0] == 0
    assert folder.result()["row"]["loss_nats"] == before["row"]["loss_nats"]


@pytest.mark.parametrize("way", ["missing", "empty", "half", "one byte", "link", "folder"])
def test_parameters_of_a_finished_run_that_are_not_as_written_are_told(copy, lab_run, way):
    store = Store(copy / "store")
    folder = store.run(a_branch(store))
    before = folder.result()
    (step,) = folder.final.iterdir()
    path = max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    if way == "one byte":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif way == "folder":
        path.unlink()
        path.mkdir()
    else:
        damage(path, way)
    for _ in range(2):
        code, said = lab_run(copy)
        assert code == 1
        assert f"damaged: {folder.path.name}/final: " in said
        assert path.name in said
        assert "remove its folder" in said
    assert folder.result() == before, "its row stands"


@pytest.mark.parametrize("way", ["other kind", "link"])
def test_folders_for_files_and_files_for_folders_are_set_aside(copy, lab_run, sound, tmp_path, way):
    store = Store(copy / "store")
    folder = store.run(a_branch(store)).path
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "final")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    wrong = ("costs.jsonl", "metrics.jsonl", "checkpoints", "final")
    for name in wrong:
        (folder / name).unlink(missing_ok=True)
        if way == "link":
            (folder / name).symlink_to(tmp_path if name in wrong[2:] else "/etc/hostname")
        elif name in wrong[2:]:
            (folder / name).write_text("no folder")
        else:
            (folder / name).mkdir()
    answers(store)
    code, said = lab_run(copy)
    assert code == 0, said
    assert all(f"{folder.name}/{name}: " in said for name in wrong)
    assert digest.runs(store.root) == sound
    assert "damaged" not in lab_run(copy)[1]


@pytest.mark.parametrize("claim", [b"", b"{half", b"[]", b'{"owner": 3, "attempt": "x"}', b"\xff"])
def test_a_torn_claim_of_a_finished_run_holds_nobody_up(copy, lab_run, claim):
    store = Store(copy / "store")
    (store.run(a_branch(store)).path / "claim").write_bytes(claim)
    answers(store)
    assert lab_run(copy)[0] == 0


def test_a_branch_needs_its_trunk_only_while_it_trains(copy, lab_run, sound):
    """Checkpoints are verified where they are used: what is damaged is trained again, and nothing else."""
    store = Store(copy / "store")
    run_id = a_branch(store)
    trunk = store.run(store.run(run_id).result()["row"]["trunk"])
    for path in [path for path in trunk.checkpoints.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[:5])
    answers(store)
    assert lab_run(copy)[0] == 0
    shutil.rmtree(store.run(run_id).path)
    assert lab_run(copy)[0] == 0
    assert digest.runs(store.root) == sound


def test_a_torn_result_is_replaced_by_a_commit_and_a_whole_one_is_not(tmp_path):
    folder = RunFolder(tmp_path)
    result = {"row": {"status": "ok", "loss_nats": 1.0}, "abilities": []}
    folder.path.joinpath("result.json").write_text('{"row": {')
    assert folder.read("result.json").state == "torn"
    folder.commit(result)
    assert folder.result() == result
    folder.commit({"row": {"status": "ok", "loss_nats": 2.0}, "abilities": []})
    assert folder.result() == result
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_what_the_system_refuses_is_no_damage(copy, lab_run, monkeypatch):
    """A permission or a failing disk: nothing is trained in the place of what may be whole."""
    store = Store(copy / "store")
    run_id = a_branch(store)
    real = RunFolder.read

    def read_file(self, name):
        if self.path.name == run_id and name == "result.json":
            return type(real(self, name))("unread", why="Input/output error")
        return real(self, name)

    monkeypatch.setattr(RunFolder, "read", read_file)
    before = (store.run(run_id).path / "result.json").read_bytes()
    code, said = lab_run(copy)
    assert code == 1
    assert f"{run_id}/result.json: Input/output error" in said
    assert (store.run(run_id).path / "result.json").read_bytes() == before


def test_a_specification_that_the_system_refuses_now_is_not_replaced(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.write_spec({"kind": "run", "run_id": "a", "data_digest": "", "config": {}})
    monkeypatch.setattr(RunFolder, "read", lambda *_: Reading("unread", why="Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        folder.write_spec({"kind": "run", "run_id": "a", "data_digest": "", "config": {"other": 1}})
    monkeypatch.undo()
    assert folder.spec()["config"] == {}


@pytest.mark.parametrize("column", sorted(contents.RESULTS | contents.CIRCUMSTANCES))
def test_a_column_of_another_type_makes_a_torn_result(whole, column):
    folder = next((whole / "store" / "runs").glob("*/result.json"))
    result = json.loads(folder.read_text())
    assert contents.fault_of_result(result, folder.parent.name) == ""
    flag = isinstance(result["row"].get(column), bool)
    others = ([1], {"a": 1}, 10**400, float("nan"), 3 if flag or column in contents.TEXT else "x")
    for wrong in (*others, *([] if flag else [True])):
        damaged = {**result, "row": {**result["row"], column: wrong}}
        assert contents.fault_of_result(damaged, folder.parent.name), (column, wrong)


def test_every_column_of_a_row_is_a_result_or_a_circumstance(whole, tmp_path):
    rows = [json.loads(path.read_text())["row"] for path in (whole / "store" / "runs").glob("*/result.json")]
    made = training.plan_of(whole / "small.toml")
    node = Store(tmp_path).node(made.cells[0])
    commit_diverged(node.job, made.dataset(node.of.config), 7, "loss not finite")
    rows.append(node.job.folder.result()["row"])
    assert not contents.RESULTS & contents.CIRCUMSTANCES
    unsaid = {column for row in rows for column in row if contents.kind_of(column) is None}
    assert not unsaid, "say in contents.py whether it is a result or a circumstance"


def test_two_stores_trained_apart_agree(copy, three, lab_run, capsys):
    """Caches, times and hosts differ from machine to machine, and are no other result."""
    store = Store(copy / "store")
    folder = store.run(a_branch(store))
    shutil.rmtree(folder.path)
    assert lab_run(copy)[0] == 0
    here, there = (Store(root / "store").run(folder.path.name).result()["row"] for root in (copy, three))
    assert here != there
    assert {name for name in here if here[name] != there[name]} <= contents.CIRCUMSTANCES
    other = {**here, **dict.fromkeys(("cache_hits", "cache_misses", "compile_seconds"), 987), "device": "gpu"}
    (folder.path / "result.json").write_text(json.dumps({**folder.result(), "row": other}))
    assert merging.merge([str(copy / "store"), str(three / "store"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (len(report["same"]), report["conflicts"]) == (4, [])
