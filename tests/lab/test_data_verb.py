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


def test_inspect_finds_near_duplicates_epochs_and_draws(tmp_path, capsys):
    import random

    rng = random.Random(0)
    texts = ["".join(rng.choice("abcdefghij ") for _ in range(120)) for _ in range(150)]
    texts += [text[:110] + "0123456789" for text in texts]  # each has another that is nearly the same
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    picture = tmp_path / "a.svg"
    wanted = ["--context", "30", "--tokens", "1e5", "--picture", str(picture), "--json"]
    assert data(["inspect", str(path), *wanted]) == 0
    facts = json.loads(capsys.readouterr().out)
    near = facts["near_duplicates"]
    held = facts["validation_documents"]
    assert near["held_out_compared"] == held > 10
    assert held - 3 <= near["held_out_with_a_near_one"] <= held  # two of a pair may both be held out
    assert facts["epochs"] == pytest.approx(1e5 / facts["unique_tokens"])
    assert picture.read_text().startswith("<?xml")
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:150]))
    assert data(["inspect", str(path), *wanted]) == 0
    assert json.loads(capsys.readouterr().out)["near_duplicates"]["held_out_with_a_near_one"] == 0


def test_inspect_of_a_mixture_and_of_ids(tmp_path, capsys):
    for name in "ab":
        lines = (json.dumps({"text": f"{name} {n} of these"}) + "\n" for n in range(200))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    mix = [f"one={tmp_path / 'a.jsonl'}=3", f"two={tmp_path / 'b.jsonl'}=1"]
    assert data(["inspect", "--mix", *mix, "--context", "8", "--tokens", "1e4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["rates"] == {"one": 0.75, "two": 0.25}
    assert facts["epochs"]["one"] == pytest.approx(7500 / facts["unique_tokens_of"]["one"])
    (tmp_path / "x.bin").write_bytes(bytes(range(200)) * 40)
    assert data(["inspect", str(tmp_path / "x.bin"), "--tokenizer", "ids:60000", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["largest_id"] == 199 * 256 + 198
    for wrong in (["inspect"], ["inspect", "x", "--mix", *mix], ["inspect", "--mix", "a=b=c", "d=e=1"]):
        with pytest.raises(InputError):
            data(wrong)
