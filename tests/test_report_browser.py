"""The report in a browser without a network: what is clicked and pointed at, and how it fits."""

import pytest
from browser import ARGUMENTS, chromium
from test_report import HOSTILE, SCRIPTS
from written_runs import written_run

import tlearn

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.charts,
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]
LABELS = [*SCRIPTS, *HOSTILE, *(f"class {k}" for k in range(11))]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    run = written_run(tmp_path_factory.mktemp("report"), LABELS, [4] * len(LABELS))
    return tlearn.report(run, thorough=False)


@pytest.fixture
def opened(browser, report):
    """Open it at a width and in a colour scheme; nothing may be asked for, and no script fail."""
    faults, contexts = [], []

    def open_page(width=1280, scheme="light"):
        size = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        asked = lambda request: request.url.startswith(("data:", report.as_uri()))  # noqa: E731
        page.on("request", lambda r: None if asked(r) else faults.append(r.url))
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def test_what_is_clicked_and_pointed_at_answers(opened):
    page = opened()
    cell = page.locator(".matrix td.w [data-cell]").first
    cell.click()
    photos = page.locator("#cell-photos figure img")
    assert photos.count() == int(cell.inner_text())
    assert photos.first.evaluate("image => image.naturalWidth") == 72
    assert cell.get_attribute("aria-pressed") == "true"
    recalls = page.locator(".classes tbody td:nth-child(3) [data-value]")
    heading = page.locator(".classes [data-sort]", has_text="recall")
    for ascending in (True, False):
        heading.click()
        values = [float(v.get_attribute("data-value")) for v in recalls.all()]
        assert values == sorted(values, reverse=not ascending)
    dot = page.locator("[data-photos] .mark-symbol path").first
    dot.scroll_into_view_if_needed()
    dot.hover(force=True)
    assert page.locator("#tip img").count() == 1 and "sure" in page.locator("#tip").inner_text()
    page.locator("#map-class").select_option(label="class 3")
    dots = page.locator("[data-photos] .mark-symbol.role-mark path")
    dimmed = dots.evaluate_all("dots => dots.filter((dot) => dot.style.opacity).length")
    assert dimmed == 4 * len(LABELS) - 4


def test_it_fits_every_screen_and_paper_in_light_and_dark(opened):
    papers = {"light": "rgb(255, 255, 255)", "dark": "rgb(14, 17, 23)"}
    for width in (390, 768, 1280):
        for scheme, paper in papers.items():
            page = opened(width, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
            text = page.locator("#figure-roc text").first
            ink = page.evaluate("getComputedStyle(document.body).color")
            assert text.evaluate("text => getComputedStyle(text).fill") == ink
    page = opened(720)
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert page.locator("nav").is_hidden()
