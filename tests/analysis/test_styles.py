"""Figures for papers and slides, published figures drawn again, and the line of Python beside each."""

import io
import re
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from analysis import plots
from analysis.errors import InputError
from analysis.plots.style import STYLES, styled
from analysis.replicate.data import Folder
from analysis.replicate.figures import figure
from analysis.replicate.published import FIGURES, KAPLAN_FILE, WEI_FILE, draw
from analysis.replicate.sources import computed
from analysis.report import study
from analysis.report.figures import distinct, drawings
from lab.__main__ import main


@pytest.fixture(scope="module")
def on_paper(planted_study):
    with styled("paper"):
        return distinct([make() for _, make in drawings(planted_study)])


@pytest.fixture
def few_draws(monkeypatch):
    """What is drawn here has no need of a thousand draws."""
    usual = study.gather.__defaults__
    monkeypatch.setattr(study.gather, "__defaults__", (20, *usual[1:]))


def smallest(plot) -> float:
    """The least size of a text that is seen, in points where the figure lies."""
    texts = [one for one in plot.figure.findobj(Text) if one.get_text().strip() and one.get_visible()]
    return min(one.get_fontsize() for one in texts) * plot.figure.scale


def overlapping(plot) -> list[tuple[str, str]]:
    """Pairs of tick labels of one axis that lie on each other, and labels that leave the sheet."""
    canvas = matplotlib.backends.backend_agg.FigureCanvasAgg(plot.figure)
    renderer = canvas.get_renderer()
    width, height = plot.figure.bbox.width, plot.figure.bbox.height
    found = []
    for axes in plot.figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [one for one in axis.get_ticklabels() if one.get_text() and one.get_visible()]
            low, high = sorted(axis.get_view_interval())
            labels = [
                one
                for one, at in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=False)
                if one in labels and low <= at <= high and axes.axison
            ]
            boxes = [one.get_window_extent(renderer) for one in labels]
            for i, (one, box) in enumerate(zip(labels, boxes, strict=True)):
                if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
                    found.append((one.get_text(), "leaves the sheet"))
                for other, two in zip(labels[i + 1 :], boxes[i + 1 :], strict=True):
                    if box.shrunk(0.97, 0.97).overlaps(two):
                        found.append((one.get_text(), other.get_text()))
    return found


def test_a_paper_has_one_column_and_no_text_below_seven_points(on_paper):
    assert len(on_paper) > 6
    for plot in on_paper:
        width, _ = plot.figure.get_size_inches() * plot.figure.scale
        assert round(width, 3) in (3.35, 6.9), plot.name
        assert smallest(plot) >= 6.999, plot.name
    assert {plot.name for plot in on_paper if plot.figure.get_size_inches()[0] * plot.figure.scale < 4} >= {
        "loss_compute",
        "law_contour",
        "frontier",
        "holdout",
    }


def test_labels_of_a_narrow_figure_do_not_lie_on_each_other(on_paper):
    assert {plot.name: overlapping(plot) for plot in on_paper if overlapping(plot)} == {}


def test_files_are_as_large_as_the_style_says(on_paper, planted_study):
    plot = next(plot for plot in on_paper if plot.name == "law_contour")
    width, height = plot.figure.get_size_inches() * plot.figure.scale
    assert f'width="{72 * width:.2f}pt"' in plot.svg()
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", plot.content("pdf"))
    assert np.allclose([float(box[1]), float(box[2])], [72 * width, 72 * height], atol=0.01)
    from PIL import Image

    image = Image.open(io.BytesIO(plot.content("png")))
    assert image.size == pytest.approx((300 * width, 300 * height), abs=1)
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    with styled("slides"):
        wide = plots.law_contour(planted_study.law.fit)
    assert wide.figure.get_size_inches() * wide.figure.scale == pytest.approx((10, 5.625))
    assert smallest(wide) >= 12
    with styled("page"):
        usual = plots.law_contour(planted_study.law.fit)
    assert usual.figure.scale == 1.0


def test_fonts_are_in_the_file_as_outlines_that_can_be_edited(on_paper):
    """Type 42, not Type 3, which journals refuse; nothing is drawn as pixels."""
    for plot in on_paper[:3]:
        content = plot.content("pdf")
        assert b"/Subtype /Type0" in content or b"/Subtype /TrueType" in content
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        assert b"/Subtype /Image" not in content


def test_equal_input_gives_equal_bytes_in_every_style(planted_study):
    def bytes_of(style, kinds=("svg", "pdf", "png")):
        with styled(style):
            plot = plots.law_contour(planted_study.law.fit)
        return [plot.content(kind) for kind in kinds]

    first = bytes_of("paper")
    assert bytes_of("paper") == first
    assert bytes_of("page", ("svg",)) != first[:1]


def test_the_line_of_python_draws_the_same_figure(new_store, few_draws, tmp_path, capsys):
    new_store.language(widths=(16, 24, 32), seeds=(0,))
    path = new_store.finish()
    for style in ("page", "paper"):
        out = tmp_path / style
        words = ["plot", str(path), "loss_compute", "law_contour", "--out", str(out), "--formats", "svg,csv"]
        assert main([*words, "--style", style]) == 0
        lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
        code = [line.removeprefix("in Python: ") for line in lines if line.startswith("in Python: ")]
        assert len(code) == 2
        kept = {one.name: one.read_bytes() for one in out.iterdir()}
        for one in out.iterdir():
            one.unlink()
        for line in code:
            exec(line, {})
        again = {one.name: one.read_bytes() for one in out.iterdir() if one.suffix in (".svg", ".csv")}
        assert again == kept


def test_the_line_says_which_columns_and_rows(few_draws, tmp_path, capsys):
    table = tmp_path / "runs.csv"
    rng = np.random.default_rng(1)
    rows = ["N,D,val,kind"]
    for n in (1e6, 4e6):
        for d in (2e7, 8e7):
            loss = 1.8 + 400 / n**0.34 + 400 / d**0.28 + 0.003 * rng.normal()
            rows += [f"{n},{d},{loss},a", f"{n},{d},{2 * loss},b"]
    table.write_text("\n".join(rows))
    words = [
        "plot",
        str(table),
        "loss_compute",
        "--columns",
        "params=N,tokens=D,loss=val",
        "--where",
        "kind=a",
    ]
    assert main([*words, "--out", str(tmp_path / "f"), "--formats", "csv"]) == 0
    line = capsys.readouterr().out.split("in Python: ")[1].strip()
    kept = (tmp_path / "f" / "loss_compute.csv").read_text()
    (tmp_path / "f" / "loss_compute.csv").unlink()
    exec(line, {})
    assert (tmp_path / "f" / "loss_compute.csv").read_text() == kept


def test_published_figures_fit_a_paper(oracles):
    for name in FIGURES:
        plot = draw(name, oracles, "paper")
        assert plot.name == name
        assert "arXiv" in plot.caption
        assert smallest(plot) >= 6.999, name
        assert overlapping(plot) == [], name
        assert len(plot.data)


def test_published_exponents_are_those_drawn(oracles):
    steps = draw("porian-1", oracles).data.groupby("step", sort=False)["exponent"].first()
    assert steps.round(3).tolist() == [0.835, 0.706, 0.602, 0.571, 0.497]
    repeated = draw("muennighoff-5", oracles).data
    few = repeated[repeated["epochs"] <= 8]
    assert (few["val_loss"] / few["law"] - 1).abs().max() < 0.02


def test_the_line_of_python_draws_a_published_figure(tmp_path, capsys):
    """kaplan-1 has its laws without any data."""
    out = str(tmp_path / "figures")
    assert main(["replicate", "--figures", "kaplan-1", "--out", out, "--style", "paper"]) == 0
    line = capsys.readouterr().out.split("in Python: ")[1].strip()
    path = tmp_path / "figures" / "kaplan-1.svg"
    kept = path.read_bytes()
    path.unlink()
    exec(line, {})
    assert path.read_bytes() == kept


def test_a_figure_without_data_says_which_file_it_wants(tmp_path, capsys):
    assert main(["replicate", "--figures", "all", "--data", str(tmp_path), "--out", str(tmp_path / "f")]) == 0
    lines = capsys.readouterr().out.splitlines()
    lacking = {line.split(":")[0]: line for line in lines if "not drawn" in line}
    assert set(lacking) == set(FIGURES) - {"kaplan-1"}
    assert "svg_extracted_data.csv" in lacking["hoffmann-2"]
    assert "isoflop_optima.csv" in lacking["porian-1"]
    assert WEI_FILE in lacking["wei-2"]
    assert KAPLAN_FILE in "".join(lines)
    assert main(["replicate", "--figures", "wei-2", "--data", str(tmp_path)]) == 2
    assert WEI_FILE in capsys.readouterr().err
    with pytest.raises(InputError, match="nearest: 'hoffmann-2'"):
        draw("hofmann-2", None)


def test_points_of_ones_own_are_drawn(tmp_path):
    (tmp_path / KAPLAN_FILE).write_text("axis,x,loss\ncompute,1e-3,3.7\n")
    assert f"the points of {KAPLAN_FILE}" in draw("kaplan-1", tmp_path).caption
    (tmp_path / KAPLAN_FILE).write_text("axis,x\ncompute,1e-3\n")
    with pytest.raises(InputError, match="no column loss; it has axis, x"):
        draw("kaplan-1", tmp_path)
    (tmp_path / WEI_FILE).write_text("task,model,flops,score\nsums,a,1e22,0.1\nsums,b,1e23,0.7\n")
    assert len(draw("wei-2", tmp_path).data) == 2


def test_styles_have_names():
    assert set(STYLES) == {"page", "paper", "slides", "notebook"}


@pytest.mark.parametrize("style", STYLES)
def test_a_replication_is_readable_in_every_style(style):
    """A layout that does not fit is a warning of matplotlib, which would draw panels of no width."""
    with styled(style), warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = figure(computed("kaplan", Folder(None)))
    assert overlapping(plot) == []
    texts = [one.get_text() for one in plot.figure.findobj(Text)]
    assert not [text for text in texts if "$" in text], "a tick label that is not parsed as mathematics"
    assert "1B" in texts
    panels = [panel.get_position() for panel in plot.figure.axes]
    assert min(panel.width for panel in panels) > 0.2, "no panel gives its room to its labels"
