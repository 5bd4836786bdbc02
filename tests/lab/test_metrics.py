"""Metrics of items against what can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evaluation import metrics


def scores(**changes):
    base = {
        "task": "t",
        "chance": {"exact_match": 0.25},
        "correct_N": np.array([True, False, True, True]),
        "nats_N": np.array([0.2, 4.0, 0.6, 0.0]),
        "tokens_right_N": np.array([2, 1, 3, 1]),
        "tokens_N": np.array([2, 2, 3, 1]),
        "difficulty_N": np.zeros(4, int),
        "cluster_N": np.arange(4),
    }
    return metrics.ItemScores(**(base | changes))


def test_rows_count_items_and_tokens():
    exact, token, gold = metrics.rows(scores())
    assert (exact["score"], exact["correct"], exact["items"], exact["chance"]) == (0.75, 3, 4, 0.25)
    assert (token["score"], token["correct"], token["items"]) == (7 / 8, 7, 8)
    assert gold["score"] == pytest.approx(4.8 / 8)
    assert gold["correct"] is None
    assert gold["chance"] is None
    assert exact["se"] == pytest.approx(np.std([1, 0, 1, 1], ddof=1) / 2)


def test_items_of_one_cluster_are_one_observation():
    values = np.repeat([1.0, 0.0, 1.0, 1.0, 0.0], 20)
    clusters = np.repeat(np.arange(5), 20)
    error = metrics.clustered_error(values, np.ones(100), clusters)
    assert error == pytest.approx(np.std([1, 0, 1, 1, 0], ddof=1) / np.sqrt(5))
    assert error > 4 * metrics.clustered_error(values, np.ones(100), np.arange(100))
    assert np.isnan(metrics.clustered_error(values, np.ones(100), np.zeros(100)))


def test_choices():
    log = np.log([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    rows = {
        row["metric"]: row
        for row in metrics.more_rows(
            scores(
                correct_N=np.ones(2, bool),
                cluster_N=np.arange(2),
                choice_log_NxC=log - 3.0,  # mass outside the choices does not count
                gold_choice_N=np.array([0, 2]),
                choice_bytes_NxC=np.array([[1, 4, 1], [1, 4, 1]]),
            )
        )
    }
    assert rows["choice_accuracy"]["correct"] == 1
    assert rows["choice_accuracy_norm"]["correct"] == 0  # the long texts win by the byte
    assert rows["choice_nats"]["score"] == pytest.approx(-np.log([0.5, 0.3]).mean())
    first, second = 0.5**2 + 0.3**2 + 0.2**2, 0.1**2 + 0.6**2 + 0.7**2
    assert rows["brier"]["score"] == pytest.approx((first + second) / 2)


def test_items_with_fewer_choices():
    log = np.array([[-1.0, -2.0, -np.inf]])
    normal = metrics.log_softmax(log)
    assert np.exp(normal).sum() == pytest.approx(1)
    assert np.exp(normal[0, 2]) == 0


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_edit_distance_is_the_recursion(one, other):
    def slow(i, j):
        if not i or not j:
            return i + j
        same = one[i - 1] == other[j - 1]
        return min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (not same))

    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) + 1):
        for j in range(len(other) + 1):
            table[i][j] = slow(i, j)
    assert metrics.edit_distance(list(one), list(other)) == table[-1][-1]


def test_a_map_over_two_factors():
    cells = metrics.by_factor(
        scores(factors={"depth": np.array([0, 0, 50, 50]), "length": np.array([8, 8, 8, 16])}),
        ("depth", "length"),
    )
    assert [(c["depth"], c["length"], c["items"], c["exact_match"]) for c in cells] == [
        (0, 8, 2, 0.5),
        (50, 8, 1, 1.0),
        (50, 16, 1, 1.0),
    ]
    assert cells[0]["gold_nats"] == pytest.approx(4.2 / 4)


def test_items_can_be_read_back_by_any_tool(tmp_path):
    import pandas

    from lab.evaluation import item_files

    chosen = scores(
        task="c",
        choice_log_NxC=np.log(np.full((4, 2), 0.5)),
        gold_choice_N=np.array([0, 1, 1, 0]),
        factors={"k": np.arange(4)},
    )
    decoded = scores(task="d/2-shot", texts=["a", "b", "", "c"], parsed_N=np.array([True, True, False, True]))
    item_files.write(tmp_path / "items.parquet", [chosen, decoded])
    frame = pandas.read_parquet(tmp_path / "items.parquet")
    assert frame["task"].tolist() == ["c"] * 4 + ["d/2-shot"] * 4
    np.testing.assert_allclose(frame["gold_nats"][:4], chosen.nats_N, rtol=1e-6)
    assert frame["correct"].sum() == 6
    assert frame["factors"][2] == "k=2"
    assert frame["choice_log"][0].tolist() == pytest.approx([np.log(0.5)] * 2, rel=1e-3)
    assert frame["choice_log"][5] is None
    assert frame["text"][4:].tolist() == ["a", "b", "", "c"]
