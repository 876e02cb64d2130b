"""report.html: complete, self-contained, and deaf to hostile text. Its words are snapshots (test_surfaces)."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from factory import run_folder

from benchsuite.report.judge import judge_run
from benchsuite.report.page import write_report
from benchsuite.store.run_folder import read_run

HOSTILE = "<script>alert(1)</script><img src=http://x.invalid/a onerror=alert(2)>"


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text outside style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside: dict[str, str] = {}
        self.open = ""
        self.feed(html)
        self.findings = re.findall(r"<figcaption>(.*?)</figcaption>", html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open = tag

    def handle_data(self, data: str) -> None:
        if self.open in ("script", "style"):
            self.inside[self.open] = self.inside.get(self.open, "") + data
        else:
            self.text += data + " "

    def handle_endtag(self, tag: str) -> None:
        self.open = ""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a made run; the same one twice is made once."""
    made = {}

    def of(**more):
        key = repr(more)
        if key not in made:
            run = run_folder(tmp_path_factory.mktemp("page") / "run", **more)
            made[key] = Page(write_report(judge_run(read_run(run))).read_text("utf-8"))
        return made[key]

    return of


def test_the_decision_comes_first(page):
    """One sentence with cost and certainty before everything else; then four answers, the provenance somewhere."""
    seen = page()
    assert re.findall(r"<h1>(.*?)</h1>", seen.html)[0].startswith("Concurrency 4 looks best: TTFT mean ")
    assert "$5.45/1M out, SLO met" in seen.html
    assert re.findall(r"<dt>(.*?)</dt><dd.*?><b>(.*?)</b>", seen.html) == [
        ("TTFT mean", "80 ms"),
        ("Cost", "$5.45/1M out"),
        ("Certainty", "SLO met"),
        ("Limited by", "output_throughput_per_user&gt;30"),
    ]
    assert [one for one in ("abc123", "77.5", "20260102T030405Z-m-beef") if one not in seen.text] == []


def test_it_says_how_sure_with_several_runs(page):
    """The probability of the choice stands in its tile, intervals in the table; it does not grow."""
    html = page(repeats=3).html
    assert '<dt>Certainty</dt><dd class="long"><b>P(optimal) 1.00</b>' in html
    assert ['scope="col">P(optimal)</th>' in one for one in (html, page().html)] == [True, False]
    assert re.search(r"\$5\.\d\d <small>\[\$5\.\d\d, \$5\.\d\d\]</small>", html)
    assert len(html.encode()) < 300_000


def test_it_is_self_contained(page):
    """Small, no address that a browser would follow, and a policy that allows its own style and script by hash."""
    seen = page()
    assert len(seen.html.encode()) < 300_000
    tags, attributes = [tag for tag, _ in seen.tags], [attrs for _, attrs in seen.tags]
    assert not {"link", "img", "iframe", "object", "base", "form"} & set(tags)
    assert tags.count("script") == 1
    names = {name for attrs in attributes for name in attrs}
    assert not [name for name in names if name in ("src", "xlink:href", "style") or name.startswith("on")]
    targets = {attrs["href"] for attrs in attributes if "href" in attrs}
    assert targets
    assert targets <= {f"#{attrs['id']}" for attrs in attributes if "id" in attrs}
    assert "url(" not in seen.html
    policy = next(attrs["content"] for attrs in attributes if attrs.get("http-equiv") == "Content-Security-Policy")
    hashes = {
        tag: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for tag, text in seen.inside.items()
    }
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_every_chart_has_its_table_and_its_words(page):
    """A title and a description in each chart, and its values as a table that can be downloaded under its own name."""
    seen = page()
    charts = re.findall(r'<svg class="bs".*?</svg>', seen.html, re.S)
    figures = re.findall(r"<figure.*?</figure>", seen.html, re.S)
    assert min(len(charts), len(figures)) > 10
    assert all(re.match(r"<svg [^>]*><title>[^<]+</title><desc>[^<]+</desc>", chart) for chart in charts)
    assert all("<table data-name=" in figure for figure in figures)
    names = [attrs["data-name"] for _, attrs in seen.tags if "data-name" in attrs]
    assert len(set(names)) == len(names)


def test_a_hostile_model_name_is_text(page):
    """It is shown, and makes no element."""
    seen = page(model=HOSTILE)
    tags = [tag for tag, _ in seen.tags]
    assert (tags.count("script"), tags.count("img")) == (1, 0)
    assert "alert" not in seen.inside["script"]
    assert "<script>alert" not in seen.html
    assert HOSTILE in seen.text


def test_no_level_and_no_price(page):
    """The picture is then the limit that the nearest level violates; there is no column and no section of costs."""
    seen = page(slo="output_throughput_per_user>1000", usd_per_hour=None)
    first, *rest = seen.findings
    assert first == "output_throughput_per_user&gt;1000 is violated at every level"
    assert first not in rest
    assert ['class="ring"' in seen.html, "$/1M out" in seen.text, 'id="cost"' in seen.html] == [False, False, False]


def test_a_run_without_a_price_is_pictured_by_its_duration(page):
    """Where a level keeps the SLO, the shortest run is what is chosen by."""
    html = page(usd_per_hour=None).html
    assert "$/1M out" not in re.findall(r"<figure.*?</figure>", html, re.S)[0]
    assert "lowest duration" in html


def test_a_promised_percentile_is_drawn_and_its_absence_explained(page):
    """16 requests show no p95 of their own accord; what an SLO judges by is drawn all the same, under its name."""
    assert "TTFT p95 needs 200 successful requests per level" in page().text
    assert "TTFT mean (ms)" in page().html
    ttft = re.findall(r"<figure.*?</figure>", page(slo="ttft_p99<0.1s").html, re.S)[1]
    assert "<title>p99 at 8: 140" in ttft
    assert "TTFT mean" not in ttft


def test_the_first_screen_tells_of_warnings_on_its_level(page):
    """How many there are stands in the tile of certainty; a card tells each code once, with its levels."""
    seen = page(noise=0.4)
    cards = re.findall(r"<li><strong>.*?<code>(.*?)</code>", seen.html, re.S)
    assert cards
    (level,) = re.findall(r"<h1>Concurrency (\d+) looks best:", seen.html)
    of_the_level = len([card for card in cards if re.search(rf"\b{level}\b", card)])
    assert re.search(rf"; {of_the_level} warnings? at this level", seen.text)
    assert f">Warnings ({len(cards)})</a>" in seen.html


def test_one_level_is_no_choice(page):
    """Where one level alone keeps the SLO it is the only one, not the cheapest of one."""
    assert "the only one of 3 levels" in page(slo="ttft_mean<0.06s").text


@pytest.mark.parametrize(
    ("columns", "unknown"),
    [
        (("first_token_s", "first_answer_s", "last_token_s"), "ttft_mean&lt;1s unknown"),
        (("input_tokens", "output_tokens"), "output_throughput_per_user&gt;30 unknown"),
    ],
)
def test_an_odd_run_has_a_page(tmp_path, columns, unknown):
    """Without streaming, and without tokens: it says what is not known."""
    run = run_folder(tmp_path / "run", row=lambda row: row._replace(**dict.fromkeys(columns)))
    html = write_report(judge_run(read_run(run))).read_text("utf-8")
    assert unknown in re.findall(r"<h1>(.*?)</h1>", html)[0]
    assert "no value is known" in html


def main_sections(html: str) -> tuple[list[str], list[str]]:
    """The sections that are open, and those behind More."""
    shown, _, more = html.partition('<details id="more"')
    more, _, rest = more.partition('<h2 id="provenance">') if more else ("", "", "")
    of = re.compile(r'<h2 id="([a-z]+)">')
    return of.findall(shown) + ["provenance"] * bool(rest), of.findall(more)


def test_the_page_is_short_and_has_the_rest_behind_more(page):
    """Decision, warnings, curves, levels and provenance; at most three warnings and three curves are open."""
    seen = page(noise=0.4, repeats=2)
    shown, more = main_sections(seen.html)
    assert shown == ["warnings", "curves", "levels", "provenance"]
    assert {"metrics", "figures", "scaling", "distributions", "timeline", "cost", "client"} <= {*more}
    before_more = seen.html.partition('<details id="more"')[0]
    assert before_more.count("<figure") == 4
    assert before_more.count("<li><strong>") == 2
    before_more = page(noise=0.4, repeats=2, faults={"http_error": 3}).html.partition('<details id="more"')[0]
    assert [part.count("<li><strong>") for part in before_more.split('<details class="rest">')] == [3, 1]


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        ("levels", ["levels"]),
        ("cost,curves", ["curves", "cost"]),
        ("client,provenance", ["client", "provenance"]),
        ("all", ["curves", "levels", "metrics", "figures", "scaling", "distributions", "timeline", "cost", "client",
                 "provenance"]),
    ],
)  # fmt: skip
def test_sections_are_chosen(cli, in_stored, tmp_path, chosen, shown):
    """Those and no others, open, in the page's order; decision and warnings always; the comparison's too."""
    path = tmp_path / "page.html"
    cli("report repeated --sections", chosen, "--output", path)
    html = path.read_text("utf-8")
    found = re.findall(r'<h2 id="([a-z]+)">', html)
    assert [one for one in found if one not in ("warnings", "server")] == shown
    assert "<h1>" in html
    assert 'id="more"' not in html


def test_a_section_that_no_page_has_is_refused(cli, in_stored, tmp_path):
    """With the nearest name; one that this run has nothing of is said on the page."""
    for run, word, near in (("repeated", "timline", "timeline"), ("repeated slower", "optma", "optima")):
        ended = cli("report", run, "--sections", word, "--output", tmp_path / "page.html")
        assert [ended.code, ended.error.where, near in str(ended.error.hint)] == [2, "--sections", True]
    assert not (tmp_path / "page.html").exists()
    cli("report repeated --sections gpu,levels --output", tmp_path / "page.html")
    assert "Nothing is known here of: gpu." in (tmp_path / "page.html").read_text("utf-8")
    assert cli("report repeated --sections gpu --format md").code == 2


def columns_of(html: str) -> list[list[str]]:
    """Each column of each table: its head and its cells."""
    tables = re.findall(r"<table.*?</table>", html, re.S)
    rows = [re.findall(r"<tr.*?</tr>", table, re.S) for table in tables]
    cells = [[re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in table] for table in rows]
    return [list(column) for table in cells for column in zip(*table, strict=True)]


NO_TOKENS = {"row": lambda row: row._replace(input_tokens=None, output_tokens=None)}


@pytest.mark.parametrize("more", [{}, {"usd_per_hour": None}, {"slo": "output_throughput_per_user>1000"}, NO_TOKENS])
def test_no_column_is_of_dashes_alone(page, more):
    """In no table of the page."""
    columns = columns_of(page(**more).html)
    assert len(columns) > 40
    assert [head for head, *cells in columns if not {*cells} - {"\u2013", ""}] == []
