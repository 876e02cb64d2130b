"""What users see, frozen: one snapshot for each surface, made in this process through the command line's entry.

A change of words or tables is made here by `pytest tests/test_surfaces.py --snapshot-update`; look at the diff of
tests/__snapshots__/ before it is committed. Words are pinned nowhere else: other tests compare codes and fields.

The figures of every surface in JSON are kept in tests/figures.json and compared to 1e-9. The update takes new names
of figures and more of them, but it refuses to change or lose one: who means that removes its line there by hand.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import CommandLine
from factory import LATENCY, run_folder
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from benchsuite.cli.main import VERBS, load_verb, main

FIGURES = Path(__file__).parent / "figures.json"
DAY = "2026-11-21"

PAPER = "--levels-csv paper_table4.csv --usd-per-hour 1.58"
PLAN = "plan --levels-csv paper_table4.csv --model Qwen3-30B --usd-per-hour 0.787 --gpus 2"
API = "--api openrouter/qwen3-30b-a3b --as-of 2026-11-21"
SCORES = "--scores paper_scores.csv"
FIT = "memory --params-b 70 --layers 80 --kv-heads 8 --head-dim 128 --context 4096 --concurrency 32"
ENERGY = "--usd-per-kwh 0.2 --pue 1.3 --gco2-per-kwh 380"
RUNS = ("demo", "v1", "telemetry", "faulty", "repeated", "fallback")

# name -> the command; a file that it writes behind >
SURFACES = {
    "help": "--help",
    "decide_demo": "decide demo",
    "decide_repeated": "decide repeated",
    "runs": "runs demo",
    "decide_figures": "decide repeated --slo tpot_p95<=30ms --columns ttft_p50,p99_ttft,cost -v",
    "decide_paper": f"decide {PAPER}",
    "decide_not_met": "decide repeated --slo output_throughput_per_user>5000",
    "decide_rates": "decide rates --capacity closed",
    "check_rates": "check rates --attribution --balance --energy",
    "check_rates_scaling": "check rates --scaling",
    "report_rates_page": "report rates --capacity closed > rates/report.html",
    "report_rates_md": "report rates --capacity closed --format md",
    "report_rates_csv": "report rates --capacity closed --format csv",
    "gate_rates": "gate rates --slo attainment>=0.5 --levels 2,5",
    "decide_found": "decide found",
    "decide_found_slower": "decide found --slo decode_throughput>30",
    "check_found": "check found --scaling",
    "report_found_page": "report found > found/report.html",
    "report_found_md": "report found --format md",
    "gate_found": "gate found",
    "check_demo": "check demo --scaling --attribution --balance --energy",
    "check_telemetry": f"check telemetry --scaling --attribution --balance --energy {ENERGY}",
    "check_faulty": "check faulty --strict --scaling --attribution --balance --energy",
    "check_fallback": "check fallback --balance",
    "check_paper": f"check {PAPER} --scaling",
    "report_demo_page": "report demo > demo/report.html",
    "report_telemetry_page": "report telemetry > telemetry/report.html",
    "report_faulty_page": "report faulty > faulty/report.html",
    "report_fallback_page": "report fallback > fallback/report.html",
    "report_paper_page": f"report {PAPER} {SCORES} --output paper.html > paper.html",
    "report_two_page": f"report demo repeated {SCORES} --output two.html > two.html",
    "report_csv": "report repeated telemetry --format csv",
    "report_paper_csv": f"report {PAPER} --format csv",
    "report_md": "report telemetry --format md",
    "report_faulty_md": "report faulty --format md",
    "report_paper_md": f"report {PAPER} --format md",
    "report_vllm": "report faulty --format vllm --output vllm > vllm/*",
    "gate_slo": "gate repeated --slo ttft_p95<1s,output_throughput_per_user>20",
    "gate_failed": "gate slower --baseline repeated --max-regression ttft_p95=10%,cost=5%",
    "gate_inconclusive": "gate demo --baseline demo",
    "gate_markdown": "gate slower --baseline repeated --summary gate.md > gate.md",
    "gate_junit": "gate slower --baseline repeated --junit gate.xml > gate.xml",
    "gate_refused": "gate demo --baseline repeated",
    "gate_history": "gate repeated --history history --max-regression ttft_p95=10%,cost=5%",
    "gate_plan": "gate repeated --history history --plan",
    "ab": "ab arm_a arm_b",
    "frontier_paper": f"frontier {PAPER} {SCORES}",
    "frontier_svg": f"frontier {PAPER} {SCORES} --svg frontier.svg > frontier.svg",
    "api_demand": f"{API} --capacity-tok-s 100 --tokens-per-month 30e6",
    "plan_apis": "plan --list-apis",
    "plan_demand": f"plan repeated --requests-per-day 2000000 --usd-per-hour 2 --api openai/gpt-4o-mini --as-of {DAY}",
    "plan_flat": f"{PLAN} --tokens-per-month 6e9 --batch {API}",
    "plan_peak": f"{PLAN} --tokens-per-month 6e9 {API}",
    "plan_mix": f"{PLAN} --tokens-per-month 6e9 --batch --input-ratio 0.05 {API}",
    "plan_init": "plan --init",
    "memory": FIT,
    "cost_preset": f"cost --preset a800-owned --gpus 2 --as-of {DAY}",
    "cost_sensitivity": f"cost --preset a800-owned --sensitivity --gpus 2 --output-tok-s 1029 --as-of {DAY}",
    "cost_spot": "cost --usd-per-hour 0.9 --billing spot --interruptions-per-hour 0.05 --interruption-hours 0.5",
    "cost_list": f"cost --list-presets --as-of {DAY}",
    "matrix_plan": "matrix matrix.toml --output matrix --dry-run",
    "matrix_table": "matrix matrix.toml --output matrix",
    "matrix_csv": "matrix matrix.toml --output matrix > matrix/matrix.csv",
    "matrix_md": "matrix matrix.toml --output matrix > matrix/matrix.md",
}
# those that are also looked at in a wide terminal
WIDE = [name for name in SURFACES if name.startswith(("decide_", "check_", "ab", "matrix_table"))]

# name -> the command; what it prints is JSON
DATA = {
    **{f"summary_{run}": f"report {run} --format json" for run in RUNS},
    **{f"decide_{run}": f"decide {run} --json" for run in RUNS},
    "decide_paper": f"decide {PAPER} --json",
    **{f"check_{run}": f"check {run} --scaling --attribution --balance --energy {ENERGY} --json" for run in RUNS},
    "check_paper": f"check {PAPER} --scaling --json",
    "summary_rates": "report rates --capacity closed --format json",
    "decide_rates": "decide rates --capacity closed --json",
    "check_rates": "check rates --attribution --balance --energy --json",
    "summary_found": "report found --format json",
    "gate_slo": "gate repeated --slo ttft_p95<1s,output_throughput_per_user>20 --json",
    "gate_failed": "gate slower --baseline repeated --json",
    "gate_history": "gate repeated --history history --json",
    "gate_plan": "gate repeated --baseline slower --plan --json",
    "ab": "ab arm_a arm_b --json",
    "frontier_paper": f"frontier {PAPER} {SCORES} --json",
    "plan_peak": f"{SURFACES['plan_peak']} --json",
    "plan_demand": "plan repeated --requests-per-day 2000000 --usd-per-hour 1.99 --json",
    "memory": f"{FIT} --json",
    "cost_sensitivity": f"{SURFACES['cost_sensitivity']} --json",
    "matrix": "matrix matrix.toml --output matrix --json",
}
# for a snapshot of what stands in it beside its figures; the others have the same shape
SHOWN = [
    name
    for name in DATA
    if name in ("summary_faulty", "check_telemetry") or not name.endswith(("_paper", *(f"_{run}" for run in RUNS)))
]

MATRIX = """
[serve]
engine = "simulator"
[settings]
slots = [1, 4]
[sweep]
slo = "ttft_mean<10s"
[sweep.workload]
requests = 16
[sweep.load]
concurrency = [2, 4]
repeats = 3
[sweep.price]
usd_per_hour = 3.6
"""


class _Text(SingleFileSnapshotExtension):
    """A text file for each surface: its diff can be read, and two changes seldom meet in one."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"


@pytest.fixture(scope="module")
def history(stored: Path) -> None:
    """Ten runs before `repeated` of which the last four are a tenth slower."""
    for day in range(10):
        factor = (1.1 if day > 5 else 1.0) * (1 + 0.01 * (day % 3))
        run_folder(
            stored / "history" / str(day),
            latency={level: (factor * ttft_s, factor * gap_s) for level, (ttft_s, gap_s) in LATENCY.items()},
            repeats=2,
            requests=32,
            noise=0.03,
            manifest={"run_id": f"nightly-{day}", "created": f"2025-12-1{day}T03:04:05+00:00"},
            seed=10 + day,
        )


@pytest.fixture(scope="module")
def measured_matrix(stored: Path, cli: CommandLine) -> None:
    """A matrix, and its settings as if they had been measured, so that the verb keeps them."""
    file = stored / "matrix.toml"
    file.write_text(MATRIX)
    plan = cli.data("matrix", file, "--dry-run")
    for i, (slug, setting) in enumerate(plan["settings"].items()):
        run_folder(
            stored / "matrix" / slug,
            levels=(2, 4),
            repeats=3,
            noise=0.05,
            slots=(1, 4)[i],
            slo=None,
            spec=plan["sweep"] | {"server": {"model": None}, "price": {"usd_per_hour": 3.6, "gpus": setting["gpus"]}},
            manifest={"workload": {"name": "w", "requests": 16, "content_hash": plan["workload_hash"]}},
            seed=5 + i,
        )


def _make_what_it_reads(command: str, request: pytest.FixtureRequest) -> None:
    for word, fixture in (("matrix.toml", "measured_matrix"), ("history", "history")):
        if word in command:
            request.getfixturevalue(fixture)


@pytest.fixture
def shown(
    in_stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Callable[[str], str]:
    """What a command writes, with the files behind > and its exit code where that is not 0."""

    def run(command: str) -> str:
        _make_what_it_reads(command, request)
        command, _, files = command.partition(" > ")
        monkeypatch.setattr("sys.argv", ["benchsuite", *command.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        written = sorted(in_stored.glob(files)) if files else []
        parts = [out, *(f"--- {path.relative_to(in_stored)}\n{_readable(path)}" for path in written)]
        parts += [f"--- stderr\n{err}"] if err else []
        parts += [f"--- exit code {ended.value.code}\n"] if ended.value.code else []
        return "".join(parts)

    return run


@pytest.mark.parametrize("name", SURFACES)
def test_surface(name: str, shown: Callable[[str], str], snapshot: SnapshotAssertion) -> None:
    """In a terminal of 80 columns, or as a file, each surface reads as it did."""
    assert _normal(shown(SURFACES[name])) == snapshot(extension_class=_Text)


@pytest.mark.parametrize("name", WIDE)
def test_wide_surface(
    name: str, shown: Callable[[str], str], snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the tables in one of 120 columns."""
    monkeypatch.setenv("COLUMNS", "120")
    assert _normal(shown(SURFACES[name])) == snapshot(extension_class=_Text)


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb: str, shown: Callable[[str], str], snapshot: SnapshotAssertion) -> None:
    """--help of each verb, and of what stands below it."""
    command = load_verb(verb)
    below = command.commands if isinstance(command, click.Group) else {}
    pages = [shown(f"{verb} {name} --help") for name in ("", *below)]
    assert "\n".join(pages) == snapshot(extension_class=_Text)


@pytest.mark.parametrize("name", DATA)
def test_data(
    name: str,
    cli: CommandLine,
    in_stored: Path,
    snapshot: SnapshotAssertion,
    pytestconfig: pytest.Config,
    request: pytest.FixtureRequest,
) -> None:
    """JSON: every key, word and figure as it was, to 1e-9 (fitted: 1e-4); a run without figures has none to lose."""
    _make_what_it_reads(DATA[name], request)
    data = cli(DATA[name]).data
    if name in SHOWN:
        assert _normal(json.dumps(_rounded(data), indent=1)) == snapshot(extension_class=_Text)
    found = dict(_figures(data))
    assert found
    kept = json.loads(FIGURES.read_text("utf-8"))
    if pytestconfig.option.update_snapshots:
        before = {path: figure for path, figure in kept.get(name, {}).items() if not _FITTED.search(path)}
        assert _lost(before, found) == {}
        if found.keys() == kept.get(name, {}).keys():
            return  # what did not change keeps its last digit
        FIGURES.write_text(json.dumps(kept | {name: found}, indent=0) + "\n", "utf-8")
    else:
        fitted = {path for path in kept[name] if _FITTED.search(path)}
        for paths, rel in ((fitted, 1e-4), (kept[name].keys() - fitted, 1e-9)):
            assert {path: found.get(path) for path in paths} == pytest.approx(
                {path: kept[name][path] for path in paths}, rel=rel, abs=rel * 1e-3
            )
        assert found.keys() == kept[name].keys()


def test_no_figures_are_of_nothing() -> None:
    """The kept figures are those of the surfaces in JSON, no more and no less."""
    assert json.loads(FIGURES.read_text("utf-8")).keys() == DATA.keys()


def _figures(tree: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _figures(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from _figures(value, f"{path}[{i}]")
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield path, tree


_FITTED = re.compile("usl|fitted|residual")  # where an optimiser stops is the processor's, too


def _lost(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """The figures of before that are nowhere among those of now, whatever they are called there."""
    left, lost = sorted(now.values()), {}
    for path, figure in before.items():
        at = bisect_left(left, figure - 1e-9 * abs(figure) - 1e-12)
        if at < len(left) and math.isclose(left[at], figure, rel_tol=1e-9, abs_tol=1e-12):
            del left[at]
        else:
            lost[path] = figure
    return lost


def _rounded(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _rounded(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_rounded(value) for value in tree]
    return float(f"{tree:.4g}") if isinstance(tree, float) else tree


def _normal(text: str) -> str:
    """Without the version, trailing blanks and runs of blank lines, and the digits that another numpy has otherwise."""
    text = re.sub(r"\bbenchsuite[ /]0\.\d+\.\d+\b", "benchsuite VERSION", text)
    text = re.sub(r"\b\d+\.\d{10,}(e-\d+)?\b", lambda number: f"{float(number[0]):.9g}", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.M))


def _readable(path: Path) -> str:
    text = path.read_text("utf-8")
    if path.suffix not in (".html", ".svg"):
        return text
    page = _Page()
    page.feed(text)
    return page.text()


class _Page(HTMLParser):
    """The words of a page, a block a line and the cells of a table side by side: no tags, ids, styles or scripts."""

    _UNSEEN = ("script", "style")
    _INLINE = ("a", "b", "i", "em", "strong", "code", "span", "sub", "sup", "abbr", "small", "tspan", "kbd", "button")

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._unseen += tag in self._UNSEEN
        self._cut(tag)

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in self._UNSEEN
        self._cut(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._parts.append(re.sub(r"\s+", " ", data))

    def _cut(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._parts.append("\t")
        elif tag not in self._INLINE:
            self._parts.append("\n")

    def text(self) -> str:
        lines = "".join(self._parts).split("\n")
        cells = [[cell.strip() for cell in line.split("\t")] for line in lines]
        joined = [" | ".join(cell for cell in line if cell) for line in cells]
        return "\n".join(line for line in joined if line) + "\n"
