"""Mutated study files: as a user's command sees them, one line a problem, no traceback.

``python tests/sweeps/test_study_fuzz.py 3000`` tries more of them and prints the counts.
"""

import contextlib
import copy
import io
import random
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

from lab.__main__ import main
from sweeps.study import overrides
from sweeps.verbs import planning

SEEDS = 150
VALUES = [
    None,
    -1,
    0,
    1e300,
    10**400,
    float("nan"),
    float("inf"),
    "text",
    "",
    "../../etc/passwd",
    [],
    {},
    [1],
    [[]],
    {"a": 1},
    {"start": 1, "count": 10**9, "times": 2},
    {"start": 1e3, "stop": 1e2, "count": 2},
    2.5,
    True,
    "largest",
    [{"width": "largest"}],
]
SMALL = {"source": "synthetic", "context": 32, "val_windows": 16}


def designs() -> list[dict]:
    """The examples, on data that take no time."""
    found = []
    for design in ("grid", "isoflop", "ladder", "trunk_branch", "factorial"):
        data = tomllib.loads(planning.example(design))
        data["data"] = dict(SMALL)
        found.append(data)
    return found


def places(data, path=()) -> list[tuple]:
    """Every key and every index of nested data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [p for key, value in items for p in [(*path, key), *places(value, (*path, key))]]


def mutate(data: dict, rng: random.Random) -> str:
    """The text of a study with one to three wrong places: in its values, its keys, or its characters."""
    data = copy.deepcopy(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        path = rng.choice(places(data))
        at = data
        for step in path[:-1]:
            at = at[step]
        key, kind = path[-1], rng.random()
        if isinstance(at, dict) and kind < 0.3:
            at[key + rng.choice("xyz")] = at.pop(key)
        elif isinstance(at, dict) and kind < 0.45:
            del at[key]
        else:
            value = copy.deepcopy(rng.choice(VALUES))
            at[key] = "none" if value is None else value
    text = overrides.to_toml(data)
    if rng.random() < 0.25:
        i = rng.randrange(len(text))
        text = text[:i] + rng.choice(("", '"', "[", "}", "=", "\x00", "\n", "é", "1" * 5000)) + text[i + 1 :]
    return text


def tried(path: Path) -> tuple[int, list[str]]:
    """Exit code and lines of ``lab plan``; an exception that gets here would be a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["plan", str(path), "--probe", "never", "--csv"])
    return code, err.getvalue().splitlines()


def run(count: int, folder: Path) -> Counter:
    rng = random.Random(20260)
    examples = designs()
    counts: Counter = Counter()
    path = folder / "s.toml"
    for i in range(count):
        path.write_text(mutate(rng.choice(examples), rng), encoding="utf-8", errors="surrogatepass")
        code, lines = tried(path)
        counts["refused" if code else "accepted"] += 1
        counts["lines"] += len(lines)
        if code:
            assert code == 2, (i, code, lines)
            assert lines, i
            for line in lines:
                # error: FILE: KEY: what is wrong
                assert line.startswith(f"error: {path}: "), (i, line[:300])
                key, colon, said = line.removeprefix(f"error: {path}: ").partition(": ")
                assert all((colon, key, said)), (i, line[:300])
    return counts


def test_mutated_study_files_each_name_a_key(tmp_path):
    counts = run(SEEDS, tmp_path)
    print(f"{SEEDS} mutated files: {counts['refused']} refused with {counts['lines']} lines")
    assert counts["refused"] > 100


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    with tempfile.TemporaryDirectory() as where:
        print(number, "mutated study files:", dict(run(number, Path(where))))
