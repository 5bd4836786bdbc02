"""The notebooks run top to bottom, from their text form, each in an empty folder.

They share a kernel, whose names are forgotten before each; what one has imported stays loaded for the next.
"""

import os
import re
from pathlib import Path

import pytest

import sweeps
from benchmarks import notebooks

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in notebooks.FOLDER.glob("*.py"))

# Fewer draws, and files of fewer kinds, than a reader gets; `make docs` makes all of them.
FEW = "bootstrap=30"
DRAWN = re.compile(r"\bsl\.(fit|forecast|isoflop)\((\w+)((?:, (?!bootstrap)\w+=[^(),]+)*)\)")

# Before each notebook; the names are told apart from those that a notebook would have to import.
FORGET = """
%reset -f
__import__("os").chdir({folder!r})
__import__("os").environ.update({environment!r})
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """``run(name, folder, **environment)``: the executed notebook's printed text, and how many figures it
    showed. A failing cell raises."""
    pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    manager = pytest.importorskip("jupyter_client").KernelManager(kernel_name="python3")
    pytest.importorskip("ipykernel")
    home = tmp_path_factory.mktemp("kernel")
    own = {"IPYTHONDIR": str(home / "ipython"), "JUPYTER_RUNTIME_DIR": str(home / "runtime")}
    manager.start_kernel(env={**os.environ, **own, "PYTHONPATH": str(ROOT)}, cwd=str(home))

    def call(name, folder, **environment):
        notebook = notebooks.read(notebooks.FOLDER / f"{name}.py")
        for cell in notebook.cells:
            source = cell.source.replace("bootstrap=300", FEW).replace("draws=199", "draws=99")
            source = source.replace("plots.save(figure, OUT)", 'plots.save(figure, OUT, ("svg", "csv"))')
            cell.source = DRAWN.sub(rf"sl.\1(\2\3, {FEW})", source)
        forget = FORGET.format(folder=str(folder), environment=environment)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(forget))
        nbclient.NotebookClient(notebook, timeout=240, km=manager).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        text = "".join(output.get("text", "") for output in outputs)
        return text, sum("image/png" in output.get("data", {}) for output in outputs)

    yield call
    manager.shutdown_kernel(now=True)


def test_there_are_six_and_a_page_lists_them():
    assert len(NAMES) == 6
    listed = (ROOT / "docs" / "notebooks.md").read_text()
    assert all(f"](notebooks/{name}.py)" in listed for name in NAMES)


@pytest.mark.slow
def test_fit_your_own_table(run, tmp_path):
    text, figures = run("fit_your_own_table", tmp_path)
    assert figures == 5
    assert "outliers" in text
    assert len(list((tmp_path / "fit_your_own_table").glob("*.svg"))) == 6


@pytest.mark.slow
def test_first_steps_say_what_readme_says(run, tmp_path):
    text, figures = run("first_steps", tmp_path)
    assert figures == 3
    readme = (ROOT / "README.md").read_text()
    (error,) = re.findall(r"off by ([\d.]+) % on average", text)
    assert f"mean error {float(error):.2g} %" in readme
    for task in ("coin", "facts", "induction-8"):
        (verdict,) = re.findall(rf"{task} +(\w+) +p ", text)
        assert f"**`{task}`**: by exact match {verdict.upper()}" in readme
    assert "10 x the compute" in text


@pytest.mark.slow
def test_planted_truths_are_told_apart(run, tmp_path):
    text, figures = run("is_it_emergent", tmp_path)
    assert figures == 3
    said = {
        line.split()[0] + " " + line.split()[1]: line.split()[2]
        for line in text.splitlines()
        if " p 0." in line
    }
    assert said == {
        "smooth exact_match": "smooth",
        "break exact_match": "emergent",
        "metric exact_match": "metric_artifact",
        "metric gold_nats": "smooth",
    }
    assert "break undecided" in text
    assert "one_seed" in text


@pytest.mark.slow
def test_a_planned_study_is_one_that_can_be_read(run, tmp_path):
    text, figures = run("plan_a_study", tmp_path)
    assert figures == 1
    (best,) = re.findall(r"^best: (.+)$", text, re.MULTILINE)
    assert best != "first", "more runs of the same family tell more"
    study = sweeps.load(tmp_path / "best.toml")
    assert study.name in ("seeds", "sizes", "budgets")
    low, high = map(float, re.findall(r"^alpha +(\S+) to +(\S+)$", text, re.MULTILINE)[0])
    assert 0 < low < high < 2


@pytest.mark.slow
def test_costs_are_the_published_ones(run, tmp_path):
    text, figures = run("what_it_costs", tmp_path)
    assert figures == 2
    assert "100,000,000 answers" in text


@pytest.mark.slow
def test_the_second_says_what_it_leaves_out_without_data(run, tmp_path):
    text, figures = run(
        "chinchilla_replicated_and_disputed", tmp_path, SCALING_LAB_DATA=str(tmp_path / "none")
    )
    assert figures == 0
    assert text.count("this part is left out") == 2
    assert "off by -0.327 %" in text
    assert "off by -5.100 %" in text


@pytest.mark.weekly  # its numbers are those of tests/analysis/fits/test_replicate.py
def test_the_second_with_the_published_tables(run, tmp_path, oracles):
    text, figures = run(
        "chinchilla_replicated_and_disputed", tmp_path, SCALING_LAB_DATA=str(oracles.resolve())
    )
    assert figures == 4
    assert "0.00101827402" in text
    assert "left out" not in text
    assert "0.835" in text
