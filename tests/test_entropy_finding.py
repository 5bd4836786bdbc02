"""The page on the known entropy says what its command prints."""

import contextlib
import io

import pytest

from benchmarks.known_entropy import CONTEXTS, TABLE, ZIPF, main
from lab.data.synthetic import source

PAGE = TABLE.with_name("README.md")


@pytest.fixture(scope="module")
def printed() -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        main(TABLE)
    return [line for line in out.getvalue().splitlines() if line.startswith("|")]


def test_the_table_is_what_the_command_prints(printed):
    page = PAGE.read_text()
    assert len(printed) == 6
    assert "\n".join(printed) in page
    assert f"{source(CONTEXTS, ZIPF).entropy_rate:.4f} nats" in page


def test_the_largest_grid_misses_the_truth_as_the_page_says(printed):
    _, _, _, irreducible, _, beta, _ = [cell.strip() for cell in printed[-1].strip("|").split("|")]
    low, low_beta = (float(cell.strip("[]").split(",")[0]) for cell in (irreducible, beta))
    assert low > source(CONTEXTS, ZIPF).entropy_rate
    assert low_beta > 1 - 1 / ZIPF
