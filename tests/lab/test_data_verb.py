"""`lab data inspect`."""

import json

import pytest

from lab.data.synthetic import source
from lab.errors import InputError
from lab.verbs.data import data


def test_json_is_one_object_with_the_counts_of_the_source(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"text": "document {n % 90:02d}"}}\n' for n in range(100)))
    assert data(["inspect", str(path), "--context", "30", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["documents_read"] == 100
    assert facts["documents"] == 90
    assert facts["duplicates_dropped"] == 10
    assert facts["bytes"] == 90 * len("document 00")
    assert facts["train_tokens"] == 13 * facts["train_documents"]
    assert facts["unique_tokens"] == facts["train_windows"] * 30
    assert facts["entropy_rate_nats"] is None
    assert any("<end><start>document" in sample for sample in facts["samples"])


def test_text_shows_what_is_known(capsys):
    assert data(["inspect", "synthetic", "--contexts", "64"]) == 0
    out = capsys.readouterr().out
    assert f"entropy_rate_nats        {source(64, 1.75).entropy_rate:.6g}" in out
    assert "unique_tokens" not in out  # endless


def test_tasks_are_given_with_rates(capsys):
    assert data(["inspect", "abilities", "--tasks", "copy=3", "coin", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["task_rates"] == {"coin": 0.25, "copy": 0.75}
    assert all(sample.startswith("<start>") and "=" in sample for sample in facts["samples"])


def test_all_mistakes_are_told_at_once():
    with pytest.raises(InputError) as caught:
        data(["inspect", "abilities", "--tasks", "cpy", "coin=x", "--zipf", "0"])
    assert len(caught.value.problems) == 3
