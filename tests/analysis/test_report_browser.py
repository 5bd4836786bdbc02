"""The page of a report in a browser: offline, at every width, and by hand."""

from pathlib import Path

import pytest

from analysis.report.study import finished

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as engine:
        window = engine.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield window
        window.close()


def visit(browser, report, width, **options):
    """The page opened offline, with what it complained about and asked for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
    page = context.new_page()
    trouble, requests = [], []
    page.on("console", lambda said: trouble.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.path.as_uri())
    return page, trouble, requests


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_it_loads_itself_alone_and_fits(browser, report, width, scheme):
    page, trouble, requests = visit(browser, report, width, color_scheme=scheme)
    assert requests == [report.path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawings = page.locator("figure svg")
    assert drawings.count() == len(report.figures)
    for index in range(drawings.count()):
        box = drawings.nth(index).bounding_box()
        assert box["width"] > 0.75 * min(width, 560)
        assert box["height"] > 150
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('figure svg text')].map(text => {"
        "const svg = text.ownerSVGElement;"
        "return parseFloat(getComputedStyle(text).fontSize) * svg.clientWidth / svg.viewBox.baseVal.width}))"
    )
    assert smallest >= 7  # CSS pixels
    assert trouble == []


def test_in_a_browser_tables_sort_and_marks_speak(browser, report):
    page, trouble, _ = visit(browser, report, 1280)
    runs = page.locator("#runs table")
    runs.get_by_role("button", name="params", exact=True).click()
    assert runs.locator("th[aria-sort=ascending]").inner_text() == "params"
    column = runs.locator("thead th").all_inner_texts().index("params")
    values = runs.locator(f"tbody td:nth-child({column + 1})").evaluate_all(
        "cells => cells.map(c => +c.dataset.v)"
    )
    assert values == sorted(values)
    runs.get_by_role("button", name="params", exact=True).press("Enter")
    values = runs.locator(f"tbody td:nth-child({column + 1})").evaluate_all(
        "cells => cells.map(c => +c.dataset.v)"
    )
    assert values == sorted(values, reverse=True)
    page.locator("#figure-loss_compute svg").focus()
    page.keyboard.press("ArrowRight")
    assert "tokens: loss 4." in page.locator("#hint").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#hint").is_visible()
    assert trouble == []


def test_in_a_browser_a_run_pointed_at_lights_up_in_every_figure_and_row(browser, report):
    page, trouble, _ = visit(browser, report, 1280)
    mark = page.locator("#figure-loss_compute [data-run]").first
    run = mark.get_attribute("data-run")
    assert run in list(report.study.runs.columns["run_id"])
    mark.hover(force=True)
    lit = page.locator(".lit")
    assert set(lit.evaluate_all("all => all.map(one => one.dataset.run)")) == {run}
    figures = "all => all.map(one => (one.closest('figure, section') || {}).id)"
    where = set(lit.evaluate_all(figures))
    assert {"figure-loss_compute", "figure-law_contour", "explore", "runs"} <= where
    page.keyboard.press("Escape")
    scored = page.locator("[id^=figure-ability] [data-run]").first.get_attribute("data-run")
    assert scored in list(report.study.runs.columns["run_id"])
    assert trouble == []


def test_in_a_browser_axes_are_chosen_sizes_hidden_and_parts_enlarged(browser, report):
    page, trouble, _ = visit(browser, report, 1280)
    room = page.locator("#explore")
    dots = room.locator("circle")
    runs = finished(report.study.runs).sum()
    assert dots.count() == runs
    across, up = room.locator("select").nth(0), room.locator("select").nth(1)
    offered = across.locator("option").all_inner_texts()
    assert {"compute C: Kaplan's count (FLOPs)", "size N: all parameters"} <= set(offered)
    before = dots.first.get_attribute("cx")
    across.select_option(label="size N: all parameters")
    up.select_option(label="ability copy: exact match")
    scored = {row["run_id"] for row in report.study.runs.ability_rows if row["task"] == "copy"}
    assert dots.count() <= len(scored)  # a score of 0 has no logarithm
    room.get_by_label("log").nth(1).uncheck()
    assert dots.count() == len(scored)
    assert "size N: all parameters" in room.locator("svg").get_attribute("aria-label")
    up.select_option(label="validation loss")
    across.select_option(index=0)
    assert dots.first.get_attribute("cx") == before
    button = room.locator(".legend button").first
    button.press("Enter")
    assert room.locator(".legend button").first.get_attribute("aria-pressed") == "false"
    hidden = runs - dots.count()
    assert 0 < hidden < runs
    assert page.locator("figure .pale").count() > 0
    room.locator(".legend button").first.press("Enter")
    assert page.locator("figure .pale").count() == 0
    room.get_by_role("button", name="Zoom in").click()
    assert 0 < dots.count() < runs
    room.get_by_role("button", name="Show all").click()
    assert dots.count() == runs
    page.locator("#figure-holdout").get_by_role("button", name="Enlarge").press("Enter")
    assert page.locator("#figure-holdout svg").bounding_box()["width"] > 900
    room.locator("svg").focus()
    page.keyboard.press("ArrowRight")
    assert dots.first.get_attribute("data-run") in page.locator("#hint").inner_text()
    assert trouble == []


def test_in_a_browser_without_scripts_it_reads_the_same(browser, report):
    page, _, _ = visit(browser, report, 1280, java_script_enabled=False)
    assert page.locator("h1").inner_text() == "planted"
    assert not page.locator("#explore").is_visible()
    assert not page.get_by_role("link", name="Explore").is_visible()
    assert page.get_by_text("law never saw, at up to").is_visible()
    assert page.locator("figure svg").first.is_visible()
    assert page.locator("#runs tbody tr").count() == len(report.study.runs)
    summary = page.locator("#figure-cost summary").first
    summary.click()
    assert page.locator("#figure-cost table").is_visible()
