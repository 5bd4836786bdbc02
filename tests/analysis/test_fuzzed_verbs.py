"""Random tables and options through the verbs that take a table: an answer without NaN, or why not.

`python tests/analysis/test_fuzzed_verbs.py [FIRST [COUNT]]` tries many seeds and prints those that raise.
"""

import contextlib
import csv
import io
import json
import re
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
import pytest

import analysis as sl
from analysis.verbs import audit
from analysis.verbs import fit as verbs


def wild(path, seed):
    """A table with copies, outliers, missing cells, few or many sizes, huge ranges, names of runs."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 4, 9, 20, 40]))
    params = rng.choice(10 ** rng.uniform(*rng.choice([[6, 10], [-2, 14]]), int(rng.integers(1, 8))), count)
    tokens = rng.choice(10 ** rng.uniform(*rng.choice([[8, 12], [-2, 14]]), int(rng.integers(1, 8))), count)
    loss = 1.7 + 400 / params**0.34 + 400 / tokens**0.3
    loss = loss * np.exp(rng.normal(0, rng.choice([0, 1e-3, 0.05, 2]), count))
    rows = [[repr(float(v)) for v in row] for row in zip(params, tokens, loss, strict=True)]
    for row in rows:
        if rng.random() < 0.1:
            row[int(rng.integers(3))] = str(rng.choice(["", "nan", "inf", "-1", "abc", "0", "1e400", "3,2"]))
        row += [
            str(rng.choice(["ok", "diverged", "ok"])),
            repr(float(10 ** rng.uniform(-4, 0))),
            f"r{rng.integers(3)}",
        ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["N", "D", "loss", "status", "se", "name"], *rows])


def calls(path, seed):
    rng = np.random.default_rng(seed)
    pick = lambda *options: str(rng.choice(options))
    shared = [
        str(path),
        "--json",
        "--bootstrap",
        pick("0", "12"),
        "--objective",
        pick("huber", "l1", "squared", "asymmetric"),
    ]
    fit = [
        *shared,
        "--residual",
        pick("log", "raw"),
        "--method",
        pick("auto", "clusters", "wild", "rows", "profile"),
    ]
    extra = [
        [],
        ["--noise", "se"],
        ["--lowest"],
        ["--columns", "params=1e3*N,loss=log(loss)"],
        ["--where", "name=r1"],
    ]
    fit += extra[int(rng.integers(len(extra)))]
    law = ["--law", pick("chinchilla", "kaplan", "coupled", "chinchilla-tied")]
    return {
        "fit": (verbs.fit, [*fit, *law]),
        "multiverse": (verbs.fit, [str(path), "--json", "--multiverse", "--bootstrap", "5"]),
        "allocate": (verbs.allocate, [*fit, *law, "--flops", pick("1e20", "1e-5", "1e40")]),
        "unique": (verbs.allocate, [*fit, "--flops", "1e20", "--unique-tokens", pick("1e9", "1")]),
        "forecast": (verbs.forecast, [*fit, "--holdout-factor", pick("2", "10")]),
        "isoflop": (
            verbs.isoflop,
            [str(path), "--json", "--bootstrap", "5", "--method", pick("auto", "law", "akima")],
        ),
        "audit": (audit.audit, [*shared, "--laws", "chinchilla,kaplan"]),
    }


def tried(path, seed, names):
    wild(path, seed)
    for name, (verb, argv) in calls(path, seed).items():
        if name not in names:
            continue
        out = io.StringIO()
        said = []
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            try:
                code = verb(argv)
            except sl.InputError as error:
                said = error.problems
        if said:
            assert all(one and "\n" not in one for one in said), (name, argv)
            continue
        assert code == 0, (name, argv)
        assert not {"NaN", "Infinity"} & set(re.findall(r"\w+", out.getvalue())), (name, argv)
        json.loads(out.getvalue())


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("seed", [1, 2, 5])
def test_an_answer_or_a_reason(tmp_path, seed):
    tried(tmp_path / "wild.csv", seed, ("fit", "allocate", "unique", "isoflop", "forecast"))


def main(first=0, count=100):
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            for name in calls(Path("x"), seed):
                try:
                    tried(Path(folder) / "wild.csv", seed, (name,))
                except BaseException:
                    print(seed, name, traceback.format_exc().splitlines()[-4:], flush=True)
        print(f"seeds {first} to {first + count - 1} tried")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
