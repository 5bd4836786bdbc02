"""The page on the text study says what its table says, and its forecast is one of that table."""

import re
from pathlib import Path

import pytest

import analysis as sl
from analysis.audits import register
from analysis.tables.sample import sample

PAGE = Path(__file__).parents[1] / "docs" / "findings" / "text"


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    lines = (PAGE / "README.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0].split()[0]: row[1:] for row in cells}


@pytest.mark.parametrize("law", ["kaplan", "chinchilla", "coupled"])
def test_exponents_are_those_of_the_table(law, rows):
    exponent = sl.fit(str(PAGE / "runs.csv"), law=law, bootstrap=0).allocation.params_exponent
    assert f"{exponent:.3f}" == rows[law][0]


def test_what_was_foretold_is_the_sealed_record_of_these_runs(rows):
    record = register.read_record(PAGE / "forecast.json")
    assert record["inputs"]["sha256"] == register.digest_of(sample(sl.read(str(PAGE / "runs.csv"))))
    for target in record["targets"]:
        tokens, flops, foretold, interval = rows[f"{target['params']:,.0f}"]
        assert int(tokens.replace(",", "")) == target["tokens"]
        assert float(flops) == pytest.approx(6 * target["params"] * target["tokens"], rel=0.01)
        assert float(foretold) == pytest.approx(target["predicted"], abs=5e-5)
        assert [float(x) for x in re.findall(r"[\d.]+", interval)] == pytest.approx(
            [target["low"], target["high"]], abs=5e-5
        )
