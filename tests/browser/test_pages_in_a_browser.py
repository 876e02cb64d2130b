"""The report in a real browser: quiet, self-sufficient, readable at every width, in the dark, on paper, by keyboard."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from chromium_for_tests import PROGRAM, Browser

from benchsuite.report.judge import judge_run
from benchsuite.report.page import write_report
from benchsuite.store.run_folder import read_run

pytestmark = pytest.mark.skipif(not PROGRAM, reason="no Chromium here")

# pairs of labels of one chart that overlap by more than a pixel either way, and labels that leave their chart
CROWDED = """(() => {
  const bad = [];
  for (const svg of document.querySelectorAll("svg.bs")) {
    const frame = svg.getBoundingClientRect();
    if (!frame.width) continue;
    const texts = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([said, a], i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1) bad.push("outside: " + said);
      for (const [other, b] of texts.slice(i + 1)) {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 2 && high > 5) bad.push(said + " | " + other);
      }
    });
  }
  return bad;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def paper_page(cli, stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("paper") / "paper.html"
    tables = ("--levels-csv", stored / "paper_table4.csv", "--scores", stored / "paper_scores.csv")
    assert cli("report", *tables, "--usd-per-hour 1.58 --output", path).code == 0
    return path


@pytest.fixture(scope="module")
def found_page(stored: Path) -> Path:
    return write_report(judge_run(read_run(stored / "found")))


@pytest.fixture(params=["run", *(pytest.param(name, marks=pytest.mark.slow) for name in ("paper", "found"))])
def either(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(f"{request.param}_page")
    return path


def test_it_is_quiet_and_asks_for_nothing(browser: Browser, either: Path):
    """No word in the console, no violation of its own policy, and no request but the file itself."""
    browser.open(either)
    browser.ask("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    said = [e for e in browser.events if e["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown")]
    logged = [e["params"]["entry"]["text"] for e in browser.events if e["method"] == "Log.entryAdded"]
    assert said == []
    assert logged == []
    asked = {e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"}
    assert asked == {either.as_uri()}


def test_its_policy_stops_what_is_not_its_own(browser: Browser, run_page: Path):
    """An injected script does not run, an injected picture is not fetched."""
    browser.open(run_page)
    browser.ask(
        """(() => {
          const script = document.createElement("script");
          script.textContent = "window.injected = true";
          document.body.append(script);
          const picture = document.createElement("img");
          picture.src = "http://127.0.0.1:9/x.png";
          document.body.append(picture);
        })()"""
    )
    assert browser.ask("window.injected") is None
    blocked = browser.wait_for("Network.loadingFailed", blockedReason="csp")
    assert blocked["params"]["blockedReason"] == "csp"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser: Browser, either: Path, width: int):
    """At a phone's, a tablet's and a desk's width the page itself does not scroll sideways."""
    browser.open(either, width=width)
    browser.ask("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.ask("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 1280])
def test_no_label_hides_another(browser: Browser, either: Path, width: int):
    """In every chart each text stands alone and inside; a text put onto another is found."""
    browser.open(either, width=width)
    assert browser.ask(CROWDED) == []
    browser.ask(
        """(() => {
          const texts = [...document.querySelectorAll("svg.bs text")];
          const seen = texts.find((one) => one.getBoundingClientRect().width);
          seen.after(seen.cloneNode(true));
        })()"""
    )
    assert len(browser.ask(CROWDED)) == 1


def test_the_letters_of_charts_can_be_read_on_a_phone(browser: Browser, either: Path):
    """At least 9 px at 360 px."""
    browser.open(either, width=360)
    smallest = browser.ask(
        """Math.min(...[...document.querySelectorAll("svg.bs")].filter((s) => s.querySelector("text") && s.clientWidth)
          .map((s) => 12 * s.clientWidth / s.viewBox.baseVal.width))"""
    )
    assert smallest >= 9


def test_the_first_screen_answers(browser: Browser, run_page: Path):
    """Sentence, four answers and picture end above the fold of a laptop."""
    browser.open(run_page, width=1280, height=720)
    assert browser.ask("document.querySelector('section.answer').getBoundingClientRect().bottom") <= 720
    assert browser.ask("document.querySelector('section.answer svg').getBoundingClientRect().bottom") <= 720
    labels = browser.ask("[...document.querySelectorAll('.tiles dt')].map((one) => one.textContent)")
    assert labels == ["TTFT mean", "Cost", "Certainty", "Limited by"]
    assert browser.ask("/interval \\$0.* to \\$0/.test(document.querySelectorAll('.tiles dd')[1].textContent)")


def test_it_is_short_and_more_opens(browser: Browser, either: Path):
    """Under 3,200 px on a desk and 5,500 on a phone; More opens by its summary and by a link into it."""
    height = "document.documentElement.scrollHeight"
    browser.open(either, width=360)
    assert browser.ask(height) < 5_500
    browser.open(either)
    short = browser.ask(height)
    assert short < 3_200
    browser.ask("document.querySelector('#more summary').click()")
    assert browser.ask(height) > short + 200
    browser.open(either)
    browser.ask("location.hash = '#' + document.querySelector('#more h2[id]').id")
    assert browser.ask("new Promise((done) => setTimeout(() => done(document.querySelector('#more').open), 50))")


def test_headings_are_in_order_and_text_has_contrast(browser: Browser, either: Path):
    """No level of heading is jumped; every text stands out from its ground by 4.5, light and dark."""
    contrast = """(() => {
      const rgba = (text) => (text.match(/[0-9.]+/g) || [0, 0, 0, 0]).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = (at) => {
        for (; at; at = at.parentElement) {
          const found = rgba(getComputedStyle(at).backgroundColor);
          if (found.length === 3 || found[3] > 0) return found;
        }
        return [255, 255, 255];
      };
      const bad = [];
      for (const one of document.querySelectorAll("main *")) {
        const own = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!own || !one.getClientRects().length || ["title", "desc"].includes(one.tagName)) continue;
        const svg = one.closest("svg"), style = getComputedStyle(one);
        const [a, b] = [light(rgba(svg ? style.fill : style.color)), light(ground(svg ? svg.parentElement : one))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) bad.push([one.tagName, one.textContent.slice(0, 30), ratio]);
      }
      return bad;
    })()"""
    for dark in (False, True):
        browser.open(either, dark=dark)
        browser.ask("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert browser.ask(contrast) == []
    levels = browser.ask("[...document.querySelectorAll('h1,h2,h3')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert max(after - before for before, after in pairwise(levels)) <= 1


def test_what_is_open_is_printed(browser: Browser, run_page: Path):
    """What is closed is left out of print; what a reader opened is in it."""
    for opened in (False, True):
        browser.open(run_page)
        browser.call("Emulation.setEmulatedMedia", {"media": "print"})
        browser.ask(f"document.querySelector('#more').open = {str(opened).lower()}")
        assert bool(browser.ask("document.querySelector('#more').getClientRects().length")) == opened
        assert bool(browser.ask("document.querySelector('#timeline').getClientRects().length")) == opened


def test_the_mouse_reads_values(browser: Browser, run_page: Path):
    """Pointing at a point shows its value and interval; leaving hides it."""
    browser.open(run_page)
    mark = """(() => { const one = document.querySelector("section.answer .hit").getBoundingClientRect();
      return [one.x + one.width / 2, one.y + one.height / 2]; })()"""
    browser.point_at(*browser.ask(mark))
    said = browser.ask("document.querySelector('.tip.seen').textContent")
    assert said.startswith("$/1M out at 8: ")
    assert "[" in said
    browser.point_at(2, 2)
    assert browser.ask("document.querySelector('.tip.seen')") is None


def test_the_keyboard_reads_values(browser: Browser, run_page: Path):
    """Tab reaches a chart, the arrows walk through its points, Escape ends it; a live region says the value."""
    browser.open(run_page)
    browser.ask("document.querySelector('section.answer svg').focus()")
    browser.key("ArrowRight")
    browser.key("ArrowRight")
    assert browser.ask("document.querySelector('.tip[role=status].seen').textContent").startswith("$/1M out at 16: ")
    browser.key("End")
    assert browser.ask("document.querySelector('.tip.seen').textContent").startswith("$/1M out at 128: ")
    browser.key("Escape")
    assert browser.ask("document.querySelector('.tip.seen')") is None
    assert browser.ask("document.querySelector('section.answer svg').getAttribute('aria-label')")


def test_the_data_can_be_taken_along(browser: Browser, run_page: Path, tmp_path: Path):
    """The button below a table leaves its CSV."""
    browser.open(run_page)
    given = {"behavior": "allow", "downloadPath": str(tmp_path), "eventsEnabled": True}
    browser.call("Browser.setDownloadBehavior", given, session=None)
    browser.ask("document.querySelector('table[data-name=figures]').closest('.wide').nextElementSibling.click()")
    browser.wait_for("Browser.downloadProgress", state="completed")
    lines = (tmp_path / "figures.csv").read_text("utf-8").splitlines()
    assert lines[0].startswith("concurrency,repeats,successful,failed,duration s,")
    assert [line.split(",")[0] for line in lines[1:]] == ["8", "16", "32", "48", "64", "128"]


def test_it_can_be_dark(browser: Browser, either: Path):
    """The system's choice turns page and charts dark, with text that stands out from both."""
    shades = """(() => { const of = (s, p) => getComputedStyle(document.querySelector(s))[p].match(/[0-9.]+/g)
        .slice(0, 3).reduce((sum, v) => sum + Number(v), 0) / 3;
      return [of("body", "backgroundColor"), of(".card", "backgroundColor"), of("h1", "color"), of(".bs .y", "fill")];
    })()"""
    browser.open(either, dark=True)
    page, card, text, label = browser.ask(shades)
    assert page < 40
    assert card < 45
    assert text > 200
    assert label > 200
    browser.open(either)
    page, card, text, label = browser.ask(shades)
    assert page > 230
    assert card > 250
    assert text < 60
    assert label < 60


def test_it_is_whole_without_its_script(browser: Browser, run_page: Path):
    """Charts keep their titles and hover values, tables their rows."""
    browser.open(run_page)
    browser.call("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.events.clear()
    browser.call("Page.navigate", {"url": run_page.as_uri()})
    browser.wait_for("Page.loadEventFired")
    root = browser.call("DOM.getDocument", {"depth": 0})["root"]["nodeId"]

    def count(selector: str) -> int:
        return len(browser.call("DOM.querySelectorAll", {"nodeId": root, "selector": selector})["nodeIds"])

    assert count("svg.bs > title") == count("svg.bs") > 15
    assert count(".hit > title") == count(".hit") > 200
    assert count("table tbody tr") > 50
    assert count(".tip") == 0


def test_it_prints(browser: Browser, either: Path):
    """On A4, in a few pages."""
    browser.open(either)
    paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True}
    pdf = base64.b64decode(browser.call("Page.printToPDF", paper)["data"])
    assert pdf.startswith(b"%PDF")
    assert 1 <= pdf.count(b"/Type /Page\n") <= 3
