"""The page: whole, harmless, offline, and useful for stores that lack much."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.errors import InputError
from analysis.plots import plot as plot_module
from analysis.report.build import LIMIT, render, write
from analysis.report.glance import further
from analysis.report.html import duration, number, table
from analysis.verbs import report as verb

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, their attributes and the text of a page; raises where elements do not nest."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.links, self.words = [], [], [], [], []
        self.feed(html)
        assert self.open == [], "elements are left open"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "srcset", "action", "xlink:href", "poster", "data"):
                self.links.append((tag, name, value))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture
def one_core(monkeypatch):
    """What a second process would compute is computed here: it takes seconds to start."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)


@pytest.fixture(scope="module")
def html(report):
    return report.path.read_text(encoding="utf-8")


def test_one_file_of_two_megabytes_at_most_with_its_figures_beside(report):
    assert report.path.stat().st_size == report.size <= LIMIT
    files = {path.name for path in (report.path.parent / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in report.figures for kind in ("svg", "csv")}


def test_each_figure_is_drawn_once_unless_other_formats_are_asked_for(new_store, monkeypatch, capsys):
    drawn = []
    real = plot_module.rendered
    monkeypatch.setattr(plot_module, "rendered", lambda f, kind: drawn.append(kind) or real(f, kind))
    new_store.language(widths=(16,), seeds=(0,))
    path = new_store.finish()
    assert verb.report([str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert drawn == ["svg"] * len(figures)
    drawn.clear()
    assert verb.report([str(path), "--formats", "svg,png", "--out", str(path / "two" / "page.html")]) == 0
    assert drawn.count("png") == drawn.count("svg") == len(figures)
    assert f'href="figures/{figures[0]}.png"' in (path / "two" / "page.html").read_text(encoding="utf-8")
    with pytest.raises(InputError, match=r"no format 'pgn'.*png"):
        verb.report([str(path), "--formats", "pgn"])


def test_the_first_page_says_law_error_split_and_verdicts(report, html):
    group = report.study.law
    start = html[html.index('id="findings"') : html.index('id="figures"')]
    said = Page("<section " + start[: start.rindex("</section>") + len("</section>")]).text
    assert f"{group.fit.params['alpha']:.4g}" in said
    low, high = group.fit.intervals["E"]
    assert f"{low:.3g} to {high:.3g}" in said
    score, law = group.forecast.score, group.forecast.fit.law.name
    assert f"{score.mean_abs_error_percent:.2g} %" in said
    assert f"4 runs that the {law} law never saw, at up to {score.compute_ratio:.2g} times" in said
    inside = sum(cell.inside for cell in group.forecast.cells)
    assert f"{inside} of 4 inside their 90% interval" in said
    assert f"{10**group.fit.exponents.params_exponent:.1f}×" in said
    for series in report.study.thresholds:
        assert series.verdict.replace("_", " ") in said


def test_nothing_is_loaded_from_elsewhere(html):
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    for tag, name, value in page.links:
        inside = value.startswith(("#", "data:image/svg+xml;base64,", "data:text/csv;base64,", "figures/"))
        assert inside, (tag, name, value[:80])
        if value.startswith("#"):
            assert value[1:] in page.ids
    assert not {"link", "img", "iframe", "object", "embed", "form"} & set(page.tags)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    for reference in re.findall(r"url\(#([^)]+)\)", html):
        assert reference in page.ids


def test_the_policy_forbids_the_network_and_names_the_one_script(html):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert len(script) < 20_000  # the whole page has 2 MB: this is a hundredth
    assert Page(html).tags.count("script") == 1


def test_downloads_hold_what_the_files_hold(report, html):
    for name in report.figures:
        for kind in ("svg", "csv"):
            coded = re.search(rf'download="{name}\.{kind}" href="data:[^,]+;base64,([^"]+)"', html)[1]
            file = report.path.parent / "figures" / f"{name}.{kind}"
            assert base64.b64decode(coded) == file.read_bytes()


def test_the_same_study_gives_the_same_bytes(report, planted_study, tmp_path):
    again = render(planted_study, tmp_path / "report.html")
    assert again.path.read_bytes() == report.path.read_bytes()
    for file in sorted((report.path.parent / "figures").iterdir()):
        assert (tmp_path / "figures" / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_first_screen_answers_in_plain_words(report, html):
    start = html[html.index('id="glance"') : html.index("<nav")]
    page = Page("<section " + start[: start.rindex("</section>") + len("</section>")])
    said, group = page.text, report.study.law
    for asked in (
        "The law",
        "How sure",
        "Checked on runs it never saw",
        "With 10 times",
        "Cost",
        "To run next",
    ):
        assert asked in said
    assert f"an error of {group.forecast.score.mean_abs_error_percent:.2g}% on average" in said
    ahead = further(group)
    most = max(group.runs.columns["flops"])
    assert ahead.best.flops == pytest.approx(10 * most)
    assert ahead.low < ahead.loss < ahead.high
    assert f"a loss of {ahead.loss:.4g} ({ahead.low:.3g} to {ahead.high:.3g}, 90%)" in said
    assert "The 2 runs that are missing: lab run" in said
    assert "figure-loss_compute" in page.ids
    for jargon in ("corner", "CR2", "bootstrap", "blend", "leading", "gradient"):
        assert jargon not in said


def test_a_page_that_would_be_too_large_links_to_its_folder(new_store, monkeypatch):
    new_store.language(widths=(16,), seeds=(0,))
    whole = write(new_store.finish())
    monkeypatch.setattr("analysis.report.build.LIMIT", whole.size - 1)
    small = render(whole.study, new_store.path / "small.html")
    html = small.path.read_text(encoding="utf-8")
    assert small.size < whole.size
    assert 'href="figures/loss_compute.svg"' in html
    assert "base64" not in html.replace("sha256", "")


def test_all_runs_are_listed_with_the_reason_why_one_is_not_fitted(report, html):
    rows = html[html.index('id="runs"') : html.index('id="cost"')]
    said = Page("<section " + rows[: rows.rindex("</section>") + len("</section>")]).text
    for run in report.study.runs.columns["run_id"]:
        assert run in said
    assert "no space left on device (after 3 attempts)" in said
    assert said.count("diverged") >= 2  # in the count and in its row
    assert said.count("held out") == 4
    assert "not measured" in Page(html).text


def test_settings_are_those_of_the_specs(html):
    said = Page(html).text
    for words in (
        "versions.jax 0.10.2",
        "data.digest 5f0c2d9a",
        "run.model.width 4, 6, 8, 12",
        'name = "planted"',
    ):
        assert words in said


def test_commands_that_lead_on_keep_to_the_laws_runs(report, html):
    said = Page(html).text
    where = report.study.path
    assert f"lab run {where}/studies/planted.toml --out {where}" in said
    assert "train the 2 runs that are missing" in said
    assert f"lab fit {where} --where grid=language --bootstrap" in said


def test_text_from_files_is_escaped(new_store, one_core):
    new_store.abilities(task_name="<script>alert(1)</script>", widths=(4, 6, 8), seeds=(0,))
    new_store.language(widths=(16,), budgets=(250_000,), seeds=(0,))
    evil = '</pre><script>alert("toml")</script>'
    path = new_store.finish(study="x-study", text=evil)
    listed = json.loads((path / "studies" / "x-study.json").read_text())
    listed["study"] = '"><img src=x onerror=alert(2)>'
    (path / "studies" / "x-study.json").write_text(json.dumps(listed))
    report = write(path, draws=40)
    html = report.path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert evil in " ".join(page.words)
    assert "<script>alert(1)</script>: " in page.text
    assert all(re.fullmatch(r"[a-z0-9_-]+", name) for name in report.figures)


def nothing_trained(store):
    store.language(
        ends=dict.fromkeys(
            (
                (w, t, s)
                for w in (16, 24, 32, 48, 64)
                for t in (250_000, 500_000, 1_000_000, 2_000_000)
                for s in (0, 1)
            ),
            "waiting",
        )
    )


def one_size(store):
    store.language(widths=(16,))


def no_abilities(store):
    store.language(widths=(16, 24, 32, 48), seeds=(0,))


def only_abilities(store):
    store.abilities(seeds=(0,), widths=(4, 6))


def nothing_held_out(store):
    store.language(widths=(16, 24, 32), seeds=(0,))


def one_run(store):
    store.language(widths=(16,), budgets=(250_000,), seeds=(0,))


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (nothing_trained, "none has finished yet"),
        (one_size, "needs at least 3"),
        (no_abilities, "law never saw, at up to"),
        (only_abilities, "No law was fitted"),
        (nothing_held_out, "rows of more than 1/"),
        (one_run, "No law was fitted"),
    ],
)
def test_partial_stores_still_give_a_report(new_store, one_core, fill, words):
    fill(new_store)
    report = write(new_store.finish(text=""), draws=40)
    html = report.path.read_text(encoding="utf-8")
    page = Page(html)
    assert words in page.text
    assert str(new_store.path) not in html[html.index('id="findings"') : html.index('id="figures"')]
    assert "nan" not in page.text.lower().replace("nano", "").split()
    assert report.path == new_store.path / "report.html"


def test_a_broken_run_folder_spoils_nothing(new_store):
    new_store.language(widths=(16,), seeds=(0,))
    path = new_store.finish()
    runs = sorted((path / "runs").iterdir())
    (runs[-1] / "result.json").write_text('{"schema": 1, "row": {"loss')
    (runs[-1] / "spec.json").write_text("[]")
    (runs[0] / "metrics.jsonl").write_bytes(b'\xff\xfe{"tokens"\n\n[1]\n{"tokens": 1, "loss_nats": "x"}\n')
    page = Page(write(path, draws=40).path.read_text(encoding="utf-8"))
    assert "could not be read" in page.text


def test_a_foreign_table_gets_a_report_of_its_own(tmp_path):
    rows = ["N,D,loss"]
    for n in (1e6, 3e6, 1e7, 3e7):
        for d in (1e8, 3e8, 1e9):
            rows.append(f"{n},{d},{1.7 + 400 / n**0.34 + 410 / d**0.28}")
    path = tmp_path / "their.csv"
    path.write_text("\n".join(rows))
    report = write(path, draws=40)
    assert report.path == tmp_path / "their_report.html"
    assert report.study.law.fit.params["alpha"] == pytest.approx(0.34, abs=0.01)
    assert "carries no settings" in Page(report.path.read_text(encoding="utf-8")).text


def test_report_prints_one_json_object(new_store, capsys):
    new_store.language(widths=(16,), seeds=(0,))
    path = new_store.finish()
    assert verb.report([str(path), "--json", "--title", "A & B"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == str(path / "report.html")
    assert found["groups"][0]["fit"] is None
    assert "needs at least" in found["groups"][0]["refusals"]["law"]
    assert "<title>A &amp; B</title>" in (path / "report.html").read_text(encoding="utf-8")


def test_plot_draws_what_is_asked_for_and_says_what_it_cannot(new_store, tmp_path, capsys):
    new_store.language(widths=(16,), seeds=(0,))
    path = str(new_store.finish())
    out = str(tmp_path / "out")
    assert verb.plot([path, "cost", "loss_compute", "--out", out]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith(out)]) == 8  # two figures in four formats
    assert len([line for line in said if ".save(" in line]) == 2  # and a line of Python for each
    assert sorted(p.stem for p in Path(out).glob("*.pdf")) == ["cost", "loss_compute"]
    with pytest.raises(InputError, match="nearest: 'frontier'"):
        verb.plot([path, "fronteer"])
    with pytest.raises(InputError, match=r"no data for law_contour .*needs at least 3"):
        verb.plot([path, "law_contour", "--out", out])
    with pytest.raises(InputError, match="no such file"):
        verb.report([str(tmp_path / "nowhere")])


def test_numbers_and_tables_for_people():
    assert [number(v) for v in (None, float("nan"), 0, 12345, 1.23456, -0.5, 3.2e12, True)] == [
        "–",
        "–",
        "0",
        "12,345",
        "1.235",
        "−0.5",
        "3.2×10¹²",
        "yes",
    ]
    assert [duration(v) for v in (8.04, 125, 11520)] == ["8.04 s", "2 min 5 s", "3.2 h"]
    made = table([("a<", "")], [[1.5], ["<i>"]], "t", True)
    assert "&lt;i&gt;" in made
    assert 'data-v="1.5"' in made


def test_an_interval_without_an_end_says_so_in_words():
    from analysis.report.glance import _from
    from analysis.report.html import span

    inf = float("inf")
    assert span(0.0, inf) == "0 and up"
    assert span(1.0, 2.0) == "1 to 2"
    assert _from(0.0, inf) == "from 0 up, without an upper end"
    assert _from(0.19, 1.8) == "from 0.19 to 1.8"
    assert _from(-inf, 2.0) == "up to 2, without a lower end"


def test_an_ability_that_another_metric_alone_shows_is_named_with_that_metric(planted_study):
    from analysis.report.abilities import by_task, headline
    from analysis.report.glance import _abilities

    (coin,) = [headline(series) for task, series in by_task(planted_study).items() if task == "coin"]
    shown = replace(coin, breaks_in="gold_nats")
    assert "coin (in nats)" in _abilities(replace(planted_study, thresholds=(shown,)))
    assert "coin (" not in _abilities(replace(planted_study, thresholds=(coin,)))
