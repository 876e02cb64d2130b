"""What servers, models and files say is data: no tag, no formula, no control sequence, no path, no code."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from benchsuite.errors import InputError, PointsError
from benchsuite.redact import csv_cell, markdown_text, printable
from benchsuite.report.console import safe
from benchsuite.report.judge import judge_run
from benchsuite.report.page import render
from benchsuite.store.run_folder import read_run, recover

PACKAGE = Path(__file__).parents[2] / "benchsuite"
RUN = Path(__file__).parents[1] / "fixtures" / "runs" / "v1"
TAG = "</script></title><img src=x onerror=alert(1)>\"'`{{7*7}}<!--"


def _planted(value, depth=0):
    """Plain data with the tag behind every text but those that readers compare."""
    if isinstance(value, dict):
        kept = (
            "status",
            "schema",
            "spec",
            "point_id",
            "planned_points",
            "role",
            "uuid",
            "used",
            "base_url",
            "endpoint",
        )
        return {k: v if k in kept else _planted(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_planted(item, depth + 1) for item in value]
    return value + TAG if isinstance(value, str) else value


def test_no_text_becomes_a_tag(tmp_path):
    """The report of a run whose every name, error, version and prompt carries a tag has none of them as a tag."""
    folder = Path(shutil.copytree(RUN, tmp_path / "run"))
    manifest = _planted(json.loads((folder / "manifest.json").read_text("utf-8")))
    manifest["spec"]["server"]["model"] = TAG
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    table = pq.read_table(folder / "requests.parquet")
    for name in ("prompt_id", "scenario", "error", "response_id", "finish_reason", "run_id"):
        column = pa.array([TAG] * table.num_rows)
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, folder / "requests.parquet")
    plain, page = (render(judge_run(read_run(run))) for run in (RUN, folder))

    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    for tag in ("<script", "</script", "</title", "<svg", "<!--"):
        assert page.count(tag) == plain.count(tag)
    assert "{{7*7}}" in page  # no template either


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+cmd", "'+1+cmd"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'=1"),
        ("\r=1", "'=1"),
        ("-1.5", "-1.5"),
        ("+3e8", "+3e8"),
        ("Qwen/Qwen3", "Qwen/Qwen3"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(text, cell):
    """A text that a spreadsheet would compute gets a ' before it; numbers and plain words stay."""
    assert csv_cell(text) == cell


def test_markdown_cells():
    """One cell stays one cell on one line, without tags, links or code."""
    assert markdown_text("a|b\n<b>`x`</b> [l](u) @me") == "a\\|b &lt;b&gt;\\`x\\`&lt;/b&gt; \\[l\\](u) @\u200bme"


def test_terminals_get_no_control_sequences():
    """Colours, titles, cursor moves, C1 controls, bidirectional overrides: all question marks; in errors too."""
    nasty = "\x1b[2J\x1b]0;t\x07 \x9b31m \u202e \r\b ok"
    assert safe(Console(force_terminal=True), nasty) == "?[2J?]0;t? ?31m ? ?? ok"
    assert printable(f"two\nlines {nasty}") == "two\nlines ?[2J?]0;t? ?31m ? ?? ok"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("what(): std::chrono::seconds, c10::Error: a::b", "what(): std::chrono::seconds, c10::Error: a::b"),
        ("http://[::1]:80 ::x", "http://[::1]:80 : :x"),
        (" ::any x::y\n:::error::", " : :any x::y\n: : :error::"),
        ("x::stop-commands::t y::Error a=b:c::d", "x: :stop-commands::t y: :Error a=b:c::d"),
        ("###[group] ##vso[x] ## [x]", "## #[group] # #vso[x] ## [x]"),
    ],
)
def test_commands_to_a_runner_are_broken_and_names_of_cpp_are_not(text, shown):
    """GitHub's runner obeys a name between :: where a line begins, as a folded word may, and ##[name] anywhere."""
    assert printable(text) == shown


def test_an_error_cannot_move_the_cursor(capfd, monkeypatch):
    """What a person gets to see of a file's nasty name."""
    from benchsuite.cli import main as face

    monkeypatch.setattr("sys.argv", ["benchsuite", "report", "/nonexistent/\x1b[2J"])
    with pytest.raises(SystemExit) as ended:
        face.main()
    assert ended.value.code == 2
    err = capfd.readouterr().err
    assert "\x1b" not in err
    assert "?[2J" in err


NASTY = "q\x1b[2J\x9b[/x]"


@pytest.mark.parametrize(
    ("verb", "text", "code"),
    [
        ("decide --usd-per-hour 1 --levels-csv", f"model,concurrency,requests,time_s,ttft_s\n{NASTY},8,9,60,0.5\n", 6),
        ("workload describe", json.dumps({"scenario": NASTY, "prompt": "x"}), 0),
        (
            "cost --list-presets --prices",
            f"[presets.{json.dumps(NASTY)}]\nusd_per_hour=1\nsource={json.dumps(NASTY)}\nas_of='2026-01-02'",
            0,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value[:1].islower() and " " in value else "",
)
def test_tables_show_names_as_they_are(verb, text, code, tmp_path, capfd, monkeypatch):
    """A name of a file's that holds control sequences and rich's markup is shown as text in every table."""
    from benchsuite.cli import main as face

    file = tmp_path / "file"
    file.write_text(text, "utf-8")
    monkeypatch.setattr("sys.argv", ["benchsuite", *verb.split(), str(file)])
    with pytest.raises(SystemExit) as ended:
        face.main()
    out, err = capfd.readouterr()
    assert ended.value.code == code, err
    assert not {"\x1b", "\x9b"} & set(out + err)
    assert "q?[2J?" in out


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", "", "c1\0", ".hidden", "x" * 300])
def test_a_point_is_no_path(name, tmp_path):
    """A point's name in a manifest is a name: one that leads out of the folder is refused, also by recover."""
    folder = Path(shutil.copytree(RUN, tmp_path / "in" / "run"))
    manifest = json.loads((folder / "manifest.json").read_text("utf-8")) | {"status": "running"}
    manifest["points"][0]["point_id"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    before = sorted(tmp_path.rglob("*"))
    for read in (read_run, recover):
        with pytest.raises((PointsError, InputError)):
            read(folder)
    assert sorted(tmp_path.rglob("*")) == before


FORBIDDEN_IMPORTS = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


OWN_FILE = "file_list.py"  # an unnamed temporary file, which only this process and the children it starts can open


def test_the_package_runs_no_data():
    """No pickle, yaml, eval, exec or shell anywhere in it. (Its own worker processes speak through multiprocessing's
    pipes, which pickle between a parent and the children that it started, and nothing from outside; likewise
    `marshal` in OWN_FILE.)"""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            at = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                forbidden = FORBIDDEN_IMPORTS - ({"marshal"} if path.name == OWN_FILE else set())
                found += [f"{at} imports {n}" for n in names if n.split(".")[0] in forbidden]
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                if name in FORBIDDEN_CALLS or attribute in ("system", "popen", "read_pickle", "to_pickle"):
                    found.append(f"{at} calls {name or attribute}")
                shell = [k for k in node.keywords if k.arg in ("shell", "allow_pickle")]
                found += [
                    f"{at} {k.arg}=" for k in shell if not (isinstance(k.value, ast.Constant) and not k.value.value)
                ]
    assert found == []
