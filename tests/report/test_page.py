"""report.html: complete, self-contained, and deaf to hostile text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from runs_for_tests import make_run

from benchsuite.cli.report import command
from benchsuite.errors import PointsError
from benchsuite.report.page import write_report

HOSTILE = "<script>alert(1)</script><img src=http://x.invalid/a onerror=alert(2)>"


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text outside style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside: dict[str, str] = {}
        self.open = ""
        self.feed(html)

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


def page(folder: Path, **of: object) -> tuple[str, Page]:
    html = write_report(make_run(folder / "run", **of)).read_text("utf-8")  # type: ignore[arg-type]
    return html, Page(html)


def test_the_decision_comes_first(tmp_path: Path):
    """One sentence with cost and certainty before everything else; four answers; titles state findings."""
    html, seen = page(tmp_path)
    first = re.search(r"<h1>(.*?)</h1>", html)
    assert first is not None
    assert first[1] == "Run 4 users at once: $5.45 per 1M output tokens, within the SLO in this one run."
    values = re.findall(r"<dt>(.*?)</dt><dd.*?><b>(.*?)</b>", html)
    assert values == [
        ("Concurrency", "4 users"),
        ("Cost", "$5.45"),
        ("Certainty", "one run"),
        ("Limited by", "throughput &gt; 30 tok/s"),
    ]
    for finding in (
        "4 users cost least within the SLO; 8 would cost 8\u00a0% less but miss it",
        "TTFT keeps ttft_mean &lt; 1 s at every level",
        "Mean TPOT goes from 10.0 ms at 2 to 30.0 ms at 8",
        "Per-user throughput misses throughput &gt; 30 tok/s at 8",
        "A run of the set costs least at 8: $0.000880",
        "TTFT at 8: half within 140 ms, nine in ten within 140 ms",
        "E2E at 8: half within 440 ms, nine in ten within 440 ms",
        "Zone of best cost: 4 users",
        "At 4 users the server was steadily busy for 50\u00a0% of 0.960 s",
        "The cost hangs most on the share of paid hours in use",
    ):
        assert f"<figcaption>{finding}</figcaption>" in html
    assert "abc123" in seen.text
    assert "77.5" in seen.text
    assert "20260102T030405Z-m-beef" in seen.text


def test_it_says_how_sure_with_several_runs(tmp_path: Path):
    """The probability of the choice stands in the sentence and in its tile."""
    html, _ = page(tmp_path, repeats=3)
    assert "surely within the SLO, the cheapest in 100\u00a0% of resampled runs.</h1>" in html
    assert "<dt>Certainty</dt><dd><b>P 1.00</b>" in html


def test_it_is_self_contained(tmp_path: Path):
    """Small, no address that a browser would follow, and a policy that allows its own style and script by hash."""
    html, seen = page(tmp_path)
    assert len(html.encode()) < 300_000
    assert not [tag for tag, _ in seen.tags if tag in ("link", "img", "iframe", "object", "base", "form")]
    assert [tag for tag, _ in seen.tags].count("script") == 1
    assert not [attrs for _, attrs in seen.tags if {"src", "xlink:href", "style"} & set(attrs)]
    targets = [attrs["href"] for _, attrs in seen.tags if "href" in attrs]
    anchors = {f"#{attrs['id']}" for _, attrs in seen.tags if "id" in attrs}
    assert targets
    assert set(targets) <= anchors
    assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
    assert "url(" not in html
    policy = next(attrs["content"] for _, attrs in seen.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    hashes = {
        tag: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for tag, text in seen.inside.items()
    }
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_every_chart_has_its_table_and_its_words(tmp_path: Path):
    """A title and a description in each chart, and its values as a table that can be downloaded."""
    html, seen = page(tmp_path)
    charts = re.findall(r'<svg class="bs".*?</svg>', html, re.S)
    assert len(charts) > 12
    assert all(re.match(r"<svg [^>]*><title>[^<]+</title><desc>[^<]+</desc>", chart) for chart in charts)
    figures = re.findall(r"<figure.*?</figure>", html, re.S)
    assert len(figures) > 12
    assert all("<table data-name=" in figure for figure in figures)
    names = [attrs["data-name"] for _, attrs in seen.tags if "data-name" in attrs]
    assert len(set(names)) == len(names)


def test_a_hostile_model_name_is_text(tmp_path: Path):
    """It is shown, and makes no element."""
    html, seen = page(tmp_path, model=HOSTILE)
    assert [tag for tag, _ in seen.tags].count("script") == 1
    assert "alert" not in seen.inside["script"]
    assert "img" not in {tag for tag, _ in seen.tags}
    assert "<script>alert" not in html
    assert HOSTILE in seen.text


def test_no_level_and_no_price(tmp_path: Path):
    """The picture is then what the nearest level misses, every cost an en dash, and what would cost money left out."""
    html, seen = page(tmp_path, slo="throughput>1000", price=False)
    assert "No level keeps the SLO; the nearest, 2 users, misses throughput" in seen.text
    first, *rest = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert first == "Per-user throughput misses throughput &gt; 1000 tok/s at every level"
    assert first not in rest
    assert 'class="ring"' not in html
    assert "<td>–</td>" in html
    assert 'id="money"' not in html


def test_a_run_without_a_price_is_pictured_by_its_duration(tmp_path: Path):
    """Where a level keeps the SLO, the shortest run is what is chosen by."""
    html, _ = page(tmp_path, price=False)
    assert "cost of output" not in html
    assert 'aria-label="wall time' in html or "wall time (s)" in html


def test_a_promised_percentile_is_drawn_and_its_absence_explained(tmp_path: Path):
    """16 requests show no p95 of their own accord; what an SLO judges by is drawn all the same, under its name."""
    html, seen = page(tmp_path)
    assert "TTFT p95 is shown from 200 answered requests a level on: ten must lie beyond it." in seen.text
    assert "mean TTFT (ms)" in html
    promised, _ = page(tmp_path / "other", slo="ttft_p99<0.1s")
    ttft = re.findall(r"<figure.*?</figure>", promised, re.S)[1]
    assert "TTFT misses ttft_p99 &lt; 0.1 s at 8" in ttft
    assert "<title>p99 at 8: 140" in ttft
    assert "mean TTFT" not in ttft


def test_the_first_screen_tells_of_warnings_on_its_level(tmp_path: Path):
    """How many there are stands in the tile of certainty; a card tells each code once, with its levels."""
    html, seen = page(tmp_path)
    cards = re.findall(r"<li><strong>.*?<code>(.*?)</code>", html, re.S)
    assert cards
    own = [one for one in cards if re.search(r"\b4\b", one)]
    n = len(own)
    assert re.search(rf"; {n} warnings? on this level, below", seen.text)
    assert f">Warnings ({len(cards)})</a>" in html
    assert not re.search(r"\d%", "".join(re.findall(r"<ul class=.warnings.*?</ul>", html, re.S)))


def test_one_level_is_no_choice(tmp_path: Path):
    """Where one level alone keeps the SLO it is the only one, not the cheapest of one."""
    _, seen = page(tmp_path, slo="ttft_mean<0.06s")
    assert "the only one of 3 levels that keeps ttft_mean < 0.06 s. There: TTFT 50.0 ms" in seen.text


def test_an_odd_run_has_a_page(tmp_path: Path):
    """Without streaming, and without tokens: it says what is not known."""
    for name, (columns, said) in {
        "no-stream": (("first_token_s", "first_answer_s", "last_token_s"), "ttft_mean &lt; 1 s unknown"),
        "no-tokens": (("input_tokens", "output_tokens"), "throughput &gt; 30 tok/s unknown"),
    }.items():
        run = make_run(tmp_path / name)
        table = pq.read_table(run / "requests.parquet")
        for column in columns:
            at = table.column_names.index(column)
            empty = pa.nulls(table.num_rows, table.field(at).type)
            table = table.set_column(at, table.field(at), empty)
        pq.write_table(table, run / "requests.parquet")
        html = write_report(run).read_text("utf-8")
        assert f"{said}.</h1>" in html
        assert "no value is known" in html


def test_many_long_samples_stay_small(tmp_path: Path):
    """Repeats pool; the page does not grow with the requests."""
    html, _ = page(tmp_path, repeats=5)
    assert len(html.encode()) < 300_000


def test_the_command(tmp_path: Path):
    """`report RUN` writes the file and prints where; a folder without a run is refused."""
    folder = make_run(tmp_path / "run")
    done = CliRunner().invoke(command, [str(folder)], catch_exceptions=False, standalone_mode=False)
    assert done.output.strip() == str(folder / "report.html")
    assert (folder / "report.html").stat().st_size > 10_000
    with pytest.raises(PointsError, match="no manifest"):
        CliRunner().invoke(command, [str(tmp_path)], catch_exceptions=False, standalone_mode=False)
