"""The notebooks run top to bottom in a clean kernel, from their text form, in an empty folder."""

import os
from pathlib import Path

import pytest

import analysis

FOLDER = Path(analysis.__file__).parent / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def run(name, folder, **environment):
    """The executed notebook's printed text, and how many figures it showed. A failing cell raises."""
    jupytext = pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = jupytext.read(FOLDER / f"{name}.py")
    home = {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    settings = {**os.environ, **home, "PYTHONPATH": str(FOLDER.parents[1]), **environment}
    where = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where)
    client.execute(env=settings)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    return text, sum("image/png" in output.get("data", {}) for output in outputs)


def test_there_are_two():
    assert NAMES == ["chinchilla_replicated_and_disputed", "fit_your_own_table"]


@pytest.mark.slow
def test_fit_your_own_table(tmp_path):
    text, figures = run("fit_your_own_table", tmp_path)
    assert figures == 5
    assert "outliers" in text
    assert len(list((tmp_path / "fit_your_own_table").glob("*.svg"))) == 6


@pytest.mark.slow
def test_the_second_says_what_it_leaves_out_without_data(tmp_path):
    text, figures = run(
        "chinchilla_replicated_and_disputed", tmp_path, SCALING_LAB_DATA=str(tmp_path / "none")
    )
    assert figures == 0
    assert text.count("this part is left out") == 2
    assert "off by -0.327 %" in text
    assert "off by -5.100 %" in text


@pytest.mark.slow
def test_the_second_with_the_published_tables(tmp_path, oracles):
    text, figures = run(
        "chinchilla_replicated_and_disputed", tmp_path, SCALING_LAB_DATA=str(oracles.resolve())
    )
    assert figures == 4
    assert "0.00101827402" in text
    assert "left out" not in text
    assert "0.835" in text
