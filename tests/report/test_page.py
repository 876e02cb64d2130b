"""report.html: complete, self-contained, and deaf to hostile text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from runs_for_tests import make_run

from benchsuite.cli.report import command
from benchsuite.errors import PointsError
from benchsuite.report.page import write_report

HOSTILE = "<script>alert(1)</script><img src=http://x.invalid/a onerror=alert(2)>"


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def page(folder: Path, **of: object) -> tuple[str, Page]:
    html = write_report(make_run(folder / "run", **of)).read_text("utf-8")  # type: ignore[arg-type]
    return html, Page(html)


def test_the_decision_comes_first(tmp_path: Path):
    """One sentence, before every table, and the figures' titles state findings."""
    html, seen = page(tmp_path)
    first = re.search(r"<h1>(.*?)</h1>", html)
    assert first is not None
    assert first[1].startswith(
        "Optimum 4: $0.000960 per run of 16 requests, $5.45/1M output tokens; next level 8 misses"
    )
    for finding in (
        "Output costs least at 8: $5.00 per 1M tokens",
        "TTFT keeps ttft_mean &lt; 1 s at every level",
        "Mean TPOT goes from 10.0 ms at 2 to 30.0 ms at 8",
        "Per-user throughput misses throughput &gt; 30 tok/s at 8",
        "TTFT at 8: half within 140 ms, nine in ten within 140 ms",
    ):
        assert f"<figcaption>{finding}</figcaption>" in html
    assert "abc123" in seen.text
    assert "77.5" in seen.text
    assert "20260102T030405Z-m-beef" in seen.text


def test_it_is_self_contained(tmp_path: Path):
    """Small, no script, no address that a browser would follow, and a policy that forbids any."""
    html, seen = page(tmp_path)
    assert len(html.encode()) < 300_000
    assert not [tag for tag, _ in seen.tags if tag in ("script", "link", "img", "iframe", "a", "object")]
    assert not [attrs for _, attrs in seen.tags if {"src", "href", "xlink:href"} & set(attrs)]
    assert "url(" not in html
    policy = next(attrs["content"] for _, attrs in seen.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_a_hostile_model_name_is_text(tmp_path: Path):
    """It is shown, and makes no element."""
    html, seen = page(tmp_path, model=HOSTILE)
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "img"})
    assert "<script" not in html
    assert HOSTILE in seen.text


def test_no_level_and_no_price(tmp_path: Path):
    """The picture is then the run's duration, and every cost an en dash."""
    html, seen = page(tmp_path, slo="throughput>1000", price=False)
    assert "No level meets the SLO; nearest: 2 misses throughput" in seen.text
    assert "<figcaption>The run is shortest at 8: 0.880 s</figcaption>" in html
    assert 'class="ring"' not in html
    assert "<td>–</td>" in html


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
