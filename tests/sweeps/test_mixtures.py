"""A study of a mixture: rates as a factor, sources beside the study file, columns of the table."""

import json

import numpy as np
import pytest

from lab.__main__ import main
from lab.runs import contents

STUDY = """
name = "blend"
batch = 4

[data]
context = 16
val_windows = 16

[data.sources]
web = "web.jsonl"
code = "texts/code.jsonl"

[model]
width = 8
layers = 1
heads = 1

[[grids]]
name = "rates"
design = "factorial"
tokens = [640]

[grids.factors]
"data.rates.code" = [0.25, 1, 3]
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "texts").mkdir()
    draws = np.random.default_rng(0)
    for name, letters in (("web.jsonl", "abcdefgh"), ("texts/code.jsonl", "ijklmnop")):
        texts = ["".join(draws.choice(list(letters), 30)) for _ in range(100)]
        (tmp_path / name).write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


def test_rates_are_a_factor_and_in_the_table(study, worker_here, tmp_path, capsys):
    assert main(["run", str(study), "--out", str(tmp_path / "store"), "--workers", "1"]) == 0
    capsys.readouterr()
    assert main(["table", str(tmp_path / "store"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert sorted(row["mix_code"] for row in rows) == [0.2, 0.5, 0.75]
    results = [json.loads(path.read_text()) for path in (tmp_path / "store").glob("runs/*/result.json")]
    assert not {name for result in results for name in result["row"] if contents.kind_of(name) is None}
    for row in rows:
        assert row["mix_web"] == pytest.approx(1 - row["mix_code"])
        assert row["source"] == "mixture"
        parts = [row["loss_nats_web"], row["loss_nats_code"]]
        assert row["loss_nats"] == pytest.approx(sum(parts) / 2, rel=1e-6)  # as many windows of each
        assert row["bits_per_byte_web"] > 0
    rows.sort(key=lambda row: row["mix_code"])
    ahead = [row["loss_nats_web"] - row["loss_nats_code"] for row in rows]
    assert ahead == sorted(ahead)  # what is seen more is learned sooner


def test_a_whole_table_of_rates_is_a_value_too(study, tmp_path, capsys):
    text = study.read_text().replace(
        '"data.rates.code" = [0.25, 1, 3]', '"data.rates" = [{ web = 1, code = 1 }, { code = 0 }]'
    )
    study.write_text(text)
    assert main(["plan", str(study), "--probe", "never", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == 2
