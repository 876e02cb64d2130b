"""A run whose texts are all hostile, on every surface: terminals, Markdown, CSV, HTML, XML, JSON, SVG, logs of CI."""

from __future__ import annotations

import ast
import csv
import functools
import io
import json
import re
import shutil
import tempfile
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from factory import run_folder
from markdown_it import MarkdownIt
from prometheus_client.parser import text_string_to_metric_families

from benchsuite.records import ScoreRecord
from benchsuite.store.run_folder import read_manifest, read_run, write_scores

HOSTILE = {
    "commands": "a\n::error::pwned\r\n ::set-output name=x::y\n##[error]z ##vso[task.complete]",
    "a command within": "x::stop-commands::token",
    "escapes": "a\x1b]0;title\x07\x1b[2J\x9b31m\x1b]8;;http://evil.example\x1b\\link\b\x7f",
    "markup": "[link=http://evil.example]x[/link] [bold red]y[/] [/x]",
    "Markdown": "\\[x](http://evil.example) ![i](http://evil.example/i.png) <img src=x> | **b** www.evil.example @root",
    "URLs": "http://evil.example/x https://evil.example <http://evil.example> [r]: http://evil.example",
    "HTML": "</script></title><script>alert(1)</script><img src=x onerror=alert(1)>\"'`{{7*7}}<!--",
    "a formula": "=cmd|' /C calc'!A0",
    "a formula behind a separator": "a;=HYPERLINK(1)",
    "invisible": "b\u202edcba\u2066\u2069\u200b\u200d\ufeff\u2028\u2029\u0085c\U000e0041",
    "no XML": "a\x00\x0b\ufffe\uffff",
}
ALL = " ".join([HOSTILE["a formula"], *HOSTILE.values()])
# all kinds at once, and the kinds that depend on where a text begins or a line ends; each alone in `make test-slow`
TEXTS = [ALL, *(HOSTILE[name] for name in ("commands", "escapes", "a formula"))]
TEXTS += [pytest.param(text, marks=pytest.mark.slow) for text in HOSTILE.values() if text not in TEXTS]
KEPT = ("schema", "spec", "point_id", "planned_points", "base_url", "endpoint", "role", "created", "url")
MEASURED = {"status": "complete"}  # as readers compare it


def planted(tree, text, path=()):
    """Plain data with `text` in every string but those that make the run another one."""
    if isinstance(tree, dict):
        return {k: v if k in KEPT or MEASURED.get(k) == v else planted(v, text) for k, v in tree.items()}
    if isinstance(tree, list):
        return [planted(item, text) for item in tree]
    return text if isinstance(tree, str) else tree


@pytest.fixture(params=TEXTS)
def hostile(request, tmp_path, tmp_path_factory):
    """A run folder all of whose texts are the hostile one, and the text."""
    return shutil.copytree(made(request.param, tmp_path_factory.getbasetemp()), tmp_path / "run"), request.param


@functools.cache
def made(text, folder):
    def row(one):
        return one._replace(prompt_id=text, scenario=text, response_id=text, finish_reason=text, error=text)

    folder = run_folder(
        Path(tempfile.mkdtemp(dir=folder)) / "run", levels=(2, 4), repeats=2, row=row, faults={"http_error": 1},
        server=True, gpu=lambda samples: [one._replace(uuid=text, error=text) for one in samples],
    )  # fmt: skip
    file = folder / "manifest.json"
    tree = planted(json.loads(file.read_text("utf-8")), text)
    tree["model"] = text.replace("\r\n", "\n")  # as a table of scores has it too
    tree["telemetry"]["problems"] = tree["launched_server"] = [text]
    tree["launched_server"] = {"engine": text, "plan": text, "command": [text], "gpus": [text]}
    tree["points"][0] |= {"cache_reset": text, "invalid": None, "reason": text}
    tree["points"].append(tree["points"][-1] | {"point_id": "c0008-r0", "status": text, "invalid": text})
    tree["planned_points"] = [point["point_id"] for point in tree["points"]]  # the last one's reason is shown
    tree["host"] |= {"cpu_model": text, "versions": {text: text}}
    file.write_text(json.dumps(tree), "utf-8")
    table, run_id = read_run(folder).table, read_manifest(folder).run_id
    scores = [
        ScoreRecord(*(row[name] for name in ScoreRecord._fields[:6]), text, 1, i % 3 / 2, text, text, False, False)
        for i, row in enumerate(table.to_pylist())
    ]
    facts = {"run_id": run_id, "by_scenario": {text: {text: 1}}, "references_hash": text, "judge": {"model": text}}
    write_scores(folder, scores, facts)
    assert read_run(folder).scores is not None
    return folder


def is_plain(shown, ours=()):
    """Nothing that a terminal obeys, and no command to a runner of CI but `ours`."""
    assert all(char.isprintable() or char == "\n" for char in shown), [c for c in shown if not c.isprintable()]
    lines = [line.strip() for line in shown.split("\n")]
    commands = [line for line in lines if re.match("::.*::", line)]  # GitHub's runner obeys no line without both
    assert [line for line in commands if not line.startswith(ours or "\n")] == []
    assert "##[" not in shown
    assert "##vso[" not in shown


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.seen: dict[str, int] = {}
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        assert not [name for name, _ in attrs if name.startswith("on")]


def is_page(page):
    """No tag that a text brought, no address, and nothing that turns or hides what is read."""
    tags = Tags(page)
    assert set(tags.seen) & {"img", "iframe", "object", "a:href", "form"} == set()
    assert tags.seen.get("script", 0) == 1
    assert [link for link in tags.links if not link.startswith("#")] == []
    assert all(char.isprintable() or char in "\n\t\u00a0\u2009\u202f" for char in page)


def is_markdown(shown):
    """GitHub makes no link, image or HTML of it, but the <sub> of ours."""
    parser = MarkdownIt("commonmark").enable("table")
    for token in [inner for outer in parser.parse(shown) for inner in (outer, *(outer.children or ()))]:
        assert token.type not in ("link_open", "image", "html_block"), token
        assert token.type != "html_inline" or token.content in ("<sub>", "</sub>"), token
    assert "http://" not in re.sub(r"`[^`]*`", "", shown).replace("\\://", "")
    is_plain(shown.replace("\u200b", ""))


def is_table(shown):
    """No cell is a formula, for whoever parts cells by a comma or a semicolon."""
    for row in csv.reader(io.StringIO(shown)):
        for part in [part.strip() for cell in row for part in (cell, *cell.split(";"))]:
            assert not part.startswith(("=", "+", "-", "@")) or float(part) is not None
    is_plain(shown)


def is_json(shown):
    """It is JSON, and shows nothing raw."""
    json.loads(shown)
    is_plain(shown)


def is_xml(shown):
    """Well-formed, and plain in every text and attribute."""
    for element in ET.fromstring(shown).iter():
        is_plain("\n".join([element.text or "", *element.attrib.values()]))


def is_otlp(shown):
    """A line of JSON, and plain in every text."""
    (line,) = shown.splitlines()
    is_json(line)


def is_prometheus(shown):
    """Every line parses, and no text makes a line, a label or a name of its own."""
    is_plain(shown)
    for family in text_string_to_metric_families(shown):
        assert family.name.startswith("benchsuite_")
        assert family.type == "gauge"
        assert all(set(sample.labels) <= {"model", "concurrency"} for sample in family.samples)


SURFACES = {
    "check {run} --scaling --attribution --balance --energy": is_plain,
    "check {run} --quality": is_plain,
    "check {run} --quality --json": is_json,
    "check {run} --json": is_json,
    "decide {run} {other}": is_plain,
    "decide {run} --json": is_json,
    "frontier {run} --scores {scores} --svg {file}": is_plain,
    "frontier {run} --scores {scores} --json": is_json,
    "gate {run}": is_plain,
    "gate {run} --json": is_json,
    "plan --requests-per-day 50 {run} --json": is_json,
    "recover {run}": is_plain,
    "report {run} --format csv": is_table,
    "report {run} --format json": is_json,
    "report {run} --format md": is_markdown,
    "report {run} --format otel": is_otlp,
    "report {run} --format prometheus": is_prometheus,
}


@pytest.mark.parametrize(("command", "held"), SURFACES.items(), ids=[name.split(" {")[0] for name in SURFACES])
def test_what_is_printed(command, held, hostile, cli, tmp_path):
    """Whatever a run's texts are, what a verb prints of it is data on its surface."""
    run, text = hostile
    with (tmp_path / "scores.csv").open("w", encoding="utf-8", newline="") as scores:
        csv.writer(scores).writerows([("model", "score"), (text.replace("\r\n", "\n"), 5)])
    words = {
        "run": run,
        "other": shutil.copytree(run, tmp_path / "other"),
        "scores": tmp_path / "scores.csv",
        "file": tmp_path / "chart.svg",
    }
    ended = cli(tuple(word.format(**words) for word in command.split()))
    assert ended.error is None, ended.error
    held(ended.out)
    is_plain(ended.err)
    if (tmp_path / "chart.svg").exists():
        is_xml((tmp_path / "chart.svg").read_text("utf-8"))


def test_the_pages(hostile, cli, tmp_path):
    """The page of a run, and of several that are compared."""
    run, _ = hostile
    page, compared = tmp_path / "page.html", tmp_path / "compared.html"
    cli(("report", str(run), "--output", str(page)))
    cli(("report", str(run), str(shutil.copytree(run, tmp_path / "other")), "--output", str(compared)))
    for written in (page, compared):
        is_page(written.read_text("utf-8"))


def test_the_gate_of_ci(hostile, cli, tmp_path):
    """Workflow commands are ours alone; JUnit and the summary hold what foreign texts say as text."""
    run, _ = hostile
    junit, summary = tmp_path / "junit.xml", tmp_path / "summary.md"
    ended = cli(
        ("gate", str(run), "--junit", str(junit), "--summary", str(summary), "--slo", "ttft_p95<1ms"),
        GITHUB_ACTIONS="true",
    )
    is_plain(ended.out + ended.err, ("::error title=benchsuite gate%3A ", "::warning title=benchsuite gate%3A "))
    is_xml(junit.read_text("utf-8"))
    is_markdown(summary.read_text("utf-8"))


def test_files_of_the_folder(hostile, cli):
    """What is written into the folder again is plain JSON; nothing there has the text for a name."""
    run, _ = hostile
    before = {path.name for path in run.iterdir()}
    cli(("report", str(run)))
    cli(("report", str(run), "--format", "vllm"))
    assert {path.name for path in run.iterdir()} - before <= {"report.html", "summary.json", "vllm"}
    for path in run.glob("vllm/*"):
        is_json(path.read_text("utf-8"))
        assert path.name.isascii()


PACKAGE = Path(__file__).parents[2] / "benchsuite"
RAW = {"cli/main.py": 6, "cli/report.py": 2, "cli/calibrate.py": 1, "cli/gate.py": 4, "cli/spec_file.py": 1,
       "cli/plan.py": 1, "cli/matrix.py": 2, "cli/find.py": 2, "cli/sweep.py": 2, "cli/options.py": 2,
       "cli/serve.py": 1}  # fmt: skip


def test_who_prints():
    """Lines are printed by `print_line`, `print_json` and `say`: each other call is looked at and counted here."""
    found: dict[str, int] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "click.echo",
                "click.secho",
                "sys.stdout.write",
            ):
                name = str(path.relative_to(PACKAGE))
                found[name] = found.get(name, 0) + (ast.unparse(node.func) != "click.secho")
    assert {name: n for name, n in found.items() if n} == RAW
