"""WEAT against its definition and a planted association; error rates against the published ones."""

import json
from itertools import combinations

import numpy as np
import pytest

from analysis.bias import groups, weat
from lab.__main__ import main


def cosine(a, b):
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def planted(rng, words=5, strength=1.0):
    """Targets X lean towards A's direction, Y towards B's."""
    towards, away = np.eye(12)[0], np.eye(12)[1]
    noise = lambda count: 0.5 * rng.standard_normal((count, 12))
    x, y = (strength * side + noise(words) for side in (towards, away))
    a, b = (2 * side + noise(6) for side in (towards, away))
    return x, y, a, b


def test_the_test_is_that_of_its_definition():
    """Written out once more, word by word, over every partition."""
    x, y, a, b = planted(np.random.default_rng(0), words=4, strength=0.2)
    s = [np.mean([cosine(w, v) for v in a]) - np.mean([cosine(w, v) for v in b]) for w in (*x, *y)]
    observed = sum(s[:4]) - sum(s[4:])
    others = [
        sum(s[i] for i in chosen) - sum(s[i] for i in range(8) if i not in chosen)
        for chosen in combinations(range(8), 4)
    ]
    found = weat.weat(x, y, a, b)
    assert found.exact
    assert found.partitions == 70
    assert found.statistic == pytest.approx(observed)
    assert found.effect_size == pytest.approx((np.mean(s[:4]) - np.mean(s[4:])) / np.std(s, ddof=1))
    assert found.p_value == np.mean([other >= observed - 1e-12 for other in others])


def test_a_planted_association_is_found_and_none_is_not():
    rng = np.random.default_rng(1)
    strong = weat.weat(*planted(rng))
    assert strong.effect_size > 1.5
    assert strong.p_value == 1 / 252, "no other partition parts as much"
    x, y, a, b = planted(rng)
    assert weat.weat(y, x, a, b).effect_size < -1.5, "the other way round"
    values = [weat.weat(*planted(rng, 4, 0.0)).p_value for _ in range(200)]
    assert 0.01 <= np.mean(np.array(values) <= 0.05) <= 0.10, "5 % of what has none, within chance"


def test_more_partitions_than_can_be_tried_are_drawn():
    sets = planted(np.random.default_rng(2), words=12, strength=0.05)
    found = weat.weat(*sets, draws=2000)
    assert not found.exact
    assert found == weat.weat(*sets, draws=2000)
    assert found.p_value == pytest.approx(weat.weat(*sets, draws=20_000, seed=5).p_value, abs=0.04)


def test_the_published_error_rates_of_compas():
    """ProPublica 2016: 44.9 and 23.5 % false positives, 28.0 and 47.7 % false negatives."""
    black, white = groups.COMPAS
    rates = ("false_positive_rate", "false_negative_rate", "precision")
    assert [round(100 * black.rate(name), 2) for name in rates] == [44.85, 27.99, 62.97]
    assert [round(100 * white.rate(name), 2) for name in rates] == [23.45, 47.72, 59.13]
    for one in groups.COMPAS:  # what must hold of any counts (Chouldechova 2017, arXiv 1703.00056, eq. 2.6)
        base, precision, miss = (one.rate(name) for name in ("base_rate", "precision", "false_negative_rate"))
        implied = base / (1 - base) * (1 - precision) / precision * (1 - miss)
        assert one.rate("false_positive_rate") == pytest.approx(implied)


def test_intervals_of_a_proportion_and_of_a_difference():
    """Newcombe 1998 (II), table II, example a: 56/70 less 48/80 is 0.2, method 10 [0.0524, 0.3339]."""
    assert groups.wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    first, second = groups.Counts("a", 0, 56, 0, 14), groups.Counts("b", 0, 48, 0, 32)
    gap = next(one for one in groups.gaps((first, second)) if one.rate == "false_positive_rate")
    assert gap.difference == pytest.approx(0.2)
    assert gap.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_the_verb(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bias", "compas"]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("44.85", "23.45", "27.99", "47.72"))
    counts = ["--counts", "b=1369,805,532,990", "--counts", "w=505,349,461,1139"]
    assert main(["bias", *counts, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["groups"]
    assert found[1]["false_negative_rate"] == pytest.approx(0.4772, abs=1e-4)
    rows = [("u", 1, 1), ("u", 0, 1), ("u", 0, 0), ("v", 1, 0), ("v", 1, 1), ("v", 0, 0)]
    lines = "\n".join(f"{a},{b},{c}" for a, b, c in rows)
    (tmp_path / "rows.csv").write_text(f"who,so,said\n{lines}\n")
    table = ["rows.csv", "--group", "who", "--label", "so", "--prediction", "said"]
    assert main(["bias", *table, "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["groups"]}
    assert found["u"]["false_positive_rate"] == 0.5
    assert found["v"]["false_negative_rate"] == 0.5
    (tmp_path / "vectors.txt").write_text(
        "6 2\nrose 1 0.1\ntulip 1 0\nant 0 1\nwasp 0.1 1\nlove 1 0.2\nhatred 0 1\nother x y\n"
    )
    sets = ["--x", "rose,tulip", "--y", "ant,wasp", "--a", "love", "--b", "hatred"]
    assert main(["bias", "vectors.txt", *sets, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["effect_size"] > 1
    assert found["p_value"] == pytest.approx(1 / 6)
    for arguments, said in (
        (["vectors.txt", *sets[:-1], "hatred,dread"], "has no vector of dread"),
        (["vectors.txt", *sets[:-2]], "--b: no words"),
        (["vectors.txt", "--x", "rose", *sets[2:]], "X: needs 2 words"),
        (["vectors.txt", "--x", "rose,ant", *sets[2:]], "--y: 'ant' is in --x too"),
        (["vectors.txt", *sets[:-1], "other"], "'other' holds more than numbers"),
        (["none.txt", *sets], "none.txt: no such file"),
        (["rows.csv", "--group", "whom", *table[3:]], "--group: no column 'whom'; nearest: 'who'"),
        (["rows.csv", *table[1:-1], "who"], "is neither 0 nor 1"),
        (["--counts", "b=1,2,3"], "--counts: 'b=1,2,3'"),
        (["--counts", "b=1,2,3,-4"], "--counts"),
        ([], "--group"),
    ):
        assert main(["bias", *arguments]) == 2, arguments
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
