"""Who may import whom: packages as floors, arrows one way between the packages, and no circles.

Every import counts: at module level, inside functions, and under TYPE_CHECKING. The last two hide a circle
from the interpreter, not from the reader, who still has to know both files to understand either.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lab", "sweeps", "analysis")
# From the ground up. A file imports floors below its own, and its own room; rooms of one floor do not know
# each other.
FLOORS = {
    "lab": (
        ("errors", "draws", "terminal"),
        ("files", "strict", "private", "python", "ram"),
        ("file_system", "objects"),
        ("tokenizers",),
        ("abilities",),
        ("data",),
        ("config",),
        ("execution",),
        ("model",),
        ("machine",),
        ("training",),
        ("evaluation",),
        ("compression",),
        ("runs",),
        ("bench",),
        ("verbs",),
        ("__main__",),
        ("completion",),
    ),
    "sweeps": (
        ("quantities", "arguments"),
        ("study",),
        ("plan",),
        ("store",),
        ("work",),
        ("running", "exchange", "findings", "compression"),
        ("verbs",),
        ("api",),
        ("",),
        ("examples",),
    ),
    "analysis": (
        ("errors", "notes", "second_python"),
        ("text", "files", "second_process"),
        ("tables",),
        ("costs", "bias"),
        ("laws",),
        ("solve",),
        ("intervals",),
        ("fits",),
        ("isoflops", "allocations", "rates"),
        ("audits", "universes"),
        ("downstreams", "thresholds", "resources"),
        ("designs",),
        ("plots",),
        ("report", "replicate"),
        ("verbs",),
        ("api",),
        ("",),
    ),
}
# The files of sweeps, whatever their room, that ask analysis: they judge a design, read foreign tables, hold
# findings to what was planted, fit penalties of compression, show a report of a study that runs, quote a
# law in a model's card; the Python API hands out its tables.
ASKS_ANALYSIS = {
    *(
        "promised_intervals",
        "next_runs",
        "next_elbow",
        "next_rate",
        "next_targets",
        "imports",
        "import_remarks",
        "findings",
        "compression",
        "report",
    ),
    *("api", "python_api", "models", "adaptive"),
}


class Arrow(NamedTuple):
    source: str
    target: str
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.source} -> {self.target}"


@cache
def modules() -> dict[str, Path]:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    return dict(zip((name.removesuffix(".__init__") for name in names), files, strict=True))


@cache
def arrows() -> tuple[Arrow, ...]:
    found = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}:{node.lineno}: a relative import; write the whole name"
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [one if one in modules() else str(node.module) for one in whole]
            else:
                continue
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            found += [Arrow(name, target, place) for target in targets]
    return tuple(dict.fromkeys(found))


def inside(package: str) -> list[Arrow]:
    within = [one for one in arrows() if one.source in modules() and one.target in modules()]
    return [one for one in within if one.source.split(".")[0] == one.target.split(".")[0] == package]


def told(broken: list[Arrow]) -> str:
    return "\n".join(map(str, broken))


def room(name: str) -> str:
    return [*name.split("."), ""][1]


def circular(package: str) -> list[Arrow]:
    """The arrows whose end leads back to their beginning."""
    steps: dict[str, set[str]] = {}
    left = inside(package)
    for one in left:
        steps.setdefault(one.source, set()).add(one.target)

    @cache
    def reached(start: str) -> frozenset[str]:
        seen, waiting = set(), [start]
        while waiting:
            if (name := waiting.pop()) not in seen:
                seen.add(name)
                waiting += steps.get(name, ())
        return frozenset(seen)

    return [one for one in left if one.source in reached(one.target)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_by_way_of_others(package):
    assert not circular(package), f"these imports form a circle:\n{told(circular(package))}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_a_stack_of_floors(package):
    height = {room: floor for floor, rooms in enumerate(FLOORS[package]) for room in rooms}
    unknown = {room(name) for name in modules() if name.startswith(f"{package}.")} - height.keys()
    assert not unknown, f"on no floor yet: {sorted(unknown)}"
    up = [
        one
        for one in inside(package)
        if room(one.source) != room(one.target) and height[room(one.target)] >= height[room(one.source)]
    ]
    assert not up, f"these import their own floor's other rooms, or a floor above:\n{told(up)}"


def test_packages_import_one_way_and_analysis_goes_without_jax():
    outside = {"tests", "benchmarks"}
    never = {
        "analysis": {"lab", "sweeps", "jax", "jaxlib", "flax", "optax", "orbax", *outside},
        "lab": {"sweeps", "analysis", *outside},
        "sweeps": outside,
    }
    wrong = [one for one in arrows() if one.target.split(".")[0] in never.get(one.source.split(".")[0], ())]
    assert not wrong, told(wrong)


def test_few_files_of_sweeps_ask_analysis():
    asking = [
        one for one in arrows() if one.source.startswith("sweeps.") and one.target.startswith("analysis")
    ]
    wrong = [one for one in asking if one.source.split(".")[-1] not in ASKS_ANALYSIS]
    assert not wrong, told(wrong)


def test_the_map_names_every_file():
    """But for rooms of a file a thing (a task, a figure, a publication, a verb), and texts of results."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`([a-z_]+)(?:\.py)?`", page))
    alike = {"abilities", "data", "bench", "engines", "verbs", "plots", "replicate"}
    missing = [
        name
        for name, path in modules().items()
        if not path.stem.startswith("__")
        and path.stem != "show"
        and not alike & set(name.split(".")[1:-1])
        and path.stem not in told
    ]
    assert not missing, f"not on the map: {missing}"
    # Not the whole root, in which a virtual environment may lie.
    there = [path for folder in (*PACKAGES, "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")]
    ends = [f"/{path.relative_to(ROOT).as_posix()}" for path in there]
    named = re.findall(r"`([a-z_/]+\.py)`", page)
    gone = [file for file in named if not any(end.endswith(f"/{file}") for end in ends)]
    assert not gone, f"on the map, not in the house: {gone}"
