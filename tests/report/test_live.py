"""The view of a running sweep: what is drawn, how often, in a real terminal too; and how its time left is estimated."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factory import rate_folder, run_folder
from rich.console import Console

from benchsuite.manifest import RunManifest
from benchsuite.progress import LatestReadings, PlannedPoint, ProgressSnapshot, SearchProgress, View
from benchsuite.records import GpuSample, ServerSample
from benchsuite.report.console import bar, spark
from benchsuite.report.live import (
    RollingRates,
    SweepView,
    budget_words,
    clock,
    gpu_lines,
    is_plain,
    point_duration_s,
    progress_line,
    search_words,
    server_words,
    sweep_remaining_s,
)
from benchsuite.results import Level
from benchsuite.store.run_folder import read_run

MANIFEST = RunManifest(run_id="r1", model="m", server_probe={"profile": "vllm", "reports_usage": True})
NOTHING = ProgressSnapshot()


def console(width: int = 80, terminal: bool = True, encoding: str = "utf-8", height: int = 24) -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    return Console(
        width=width, height=height, file=file, force_terminal=terminal, color_system=None, legacy_windows=False
    )


def printed(made: Console) -> str:
    made.file.flush()
    return made.file.buffer.getvalue().decode(made.encoding)  # type: ignore[attr-defined,no-any-return]


def screen(text: str) -> list[str]:
    """The rows that a terminal shows after these bytes; only what a live view may send is understood."""
    rows, at = [""], 0
    while text:
        code = next((code for code in ("\r", "\n", "\x1b[2K", "\x1b[1A") if text.startswith(code)), text[0])
        assert code != "\x1b", repr(text[:10])
        text = text.removeprefix(code)
        if code == "\x1b[1A":
            at -= 1
        elif code == "\x1b[2K":
            rows[at] = ""
        elif code == "\n":
            at += 1
            rows += [""] * (at == len(rows))
        elif code != "\r":
            rows[at] += code
    return rows


def step(phase: str = "measuring", index: int = 0, **more: Any) -> PlannedPoint:
    n_requests = 0 if phase.startswith(("measuring idle", "waiting")) else 16
    return PlannedPoint(index, 2, "c0004-r0", Level(4), 0, phase, n_requests, **more)


def rows_of_a_point(folder: Path) -> Any:
    def rows(left_out: Any) -> list[Any]:
        table = read_run(run_folder(folder / "run", levels=(4,)), left_out).table
        return [table[:7], table[7:7], table[7:]]

    return rows


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path, snapshot):
    """A line as a phase starts, one every 5 s, one as the point ends; no control characters."""
    made = console(80, terminal=False)
    view: View
    with SweepView(console=made) as shown:
        view = shown
        view.begun(tmp_path, MANIFEST)
        for tenth in range(120):
            view.progress(step(), ProgressSnapshot(4, 1, 50, 0.08), tenth / 10)
        view.point_done(step(), rows_of_a_point(tmp_path), 1.0)
    lines = printed(made).splitlines()
    assert lines[2:] == snapshot
    assert "\x1b" not in printed(made)


def test_the_row_of_a_rate_has_no_users(tmp_path: Path):
    """Instead of a speed per user, which a rate has not, it shows the requests in flight."""
    made, rate = console(160), Level(4.0, "rate")
    table = read_run(rate_folder(tmp_path / "run", rates=(4.0,))).table
    with SweepView(console=made) as view:
        view.point_done(PlannedPoint(0, 1, "q4-r0", rate, 0, "measuring", 240), lambda left_out: [table], 60.0)
    head, row = (line.split() for line in printed(made).splitlines()[-2:])
    assert "user" not in " ".join(head)
    assert "in flight" in " ".join(head)
    assert "\u2013" not in row


def test_plain_lines_of_the_phases_without_requests(snapshot):
    """Idle power says its length at once; a wait for the server only when it lasts, with its bounds."""
    made = console(80, terminal=False)
    with SweepView(console=made) as view:
        view.progress(step("measuring idle power", at_least_s=10.0), NOTHING, 0.0)
        waiting = step("waiting until the server is idle", at_most_s=300.0)
        for second in range(7):
            view.progress(waiting, NOTHING, float(second))
    assert printed(made).splitlines() == snapshot


@pytest.mark.parametrize(
    ("terminal", "environment", "plain"),
    [
        (True, {}, False),
        (False, {}, True),
        (True, {"CI": "true"}, True),
        (True, {"CI": "false"}, False),
        (True, {"NO_COLOR": "1"}, True),
    ],
)
def test_where_lines_are_better(terminal: bool, environment: dict[str, str], plain: bool):
    """No terminal, a CI job and NO_COLOR get plain lines."""
    assert is_plain(console(terminal=terminal), environment) is plain


def test_a_dumb_terminal_gets_lines(monkeypatch):
    """TERM=dumb cannot move its cursor."""
    monkeypatch.setenv("TERM", "dumb")
    assert is_plain(console(), {})


def test_the_live_lines_are_drawn_at_most_4_times_a_second():
    """Ten seconds of progress every 10 ms: 40 drawings, each within the width."""
    made = console(60)
    view = SweepView(console=made, plain=False)
    for hundredth in range(1000):
        view.progress(step(), ProgressSnapshot(4, 0, 50, 0.08), hundredth / 100)
    drawn = printed(made).split("\r")
    assert 30 <= len(drawn) <= 40
    assert max(map(len, screen(printed(made)))) < 60


def test_the_panel(snapshot):
    """Every line of it, 4 s into a point whose requests take 1 s and have 10 tokens, in 2 of 16 a failure."""
    made = console(80)
    now_s = [100.0]
    latest = LatestReadings()
    latest.note([
        GpuSample(1.0, 1.0, "nvml", "a", util_ratio=0.97, power_w=612.4, power_limit_w=700.0, sm_clock_mhz=1980,
                  memory_used_bytes=71 * 10**9, memory_total_bytes=141 * 10**9, temperature_c=61.0),
        ServerSample(1.0, 1.0, "http://a", running=4.0, waiting=0.0, kv_cache_ratio=0.34),
    ])  # fmt: skip
    view = SweepView(console=made, plain=False, now_s=lambda: now_s[0])
    with view:
        for quarter in range(17):
            now_s[0] = 100 + quarter / 4
            done = 2 * (quarter // 4)
            at = step(levels=(Level(4), Level(4)), readings=latest)
            view.progress(at, ProgressSnapshot(done, int(done == 8), 10 * done, 0.08 if done else None), quarter / 4)
        assert screen(printed(made)) == snapshot
    assert screen(printed(made)) == [""] * 8


def test_a_finished_point_stays_and_the_live_lines_go(tmp_path: Path, snapshot):
    """The only things on the screen after leaving are the head, which comes with the first row, and the row."""
    made = console(80)
    with SweepView(console=made, plain=False) as view:
        view.progress(step(), ProgressSnapshot(4, 0, 50, 0.08), 0.1)
        view.point_done(step(), rows_of_a_point(tmp_path), 1.0)
        view.progress(step("warming up", 1), NOTHING, 0.1)
    assert [row for row in screen(printed(made)) if row] == snapshot


SEARCH = SearchProgress("confirm", (Level(64), Level(128)), Level(96), 0.914, 130.0, 1200.0, 2.0, 2.0, n_before=96)


@pytest.mark.parametrize("plain", [False, True])
def test_a_search(tmp_path: Path, plain: bool, snapshot):
    """Its phase, the bracket, the best level with its P(good), the budget; the requests of the look, without those
    that settled the probe; no time left, for nobody knows how many probes it takes. Then the probe's verdict."""
    made, slo = console(100, terminal=not plain), {"slo": "ttft_p95<1s,output_throughput_per_user>20"}
    probe = PlannedPoint(6, 7, "f07-c0096-r1", Level(96), 1, "settling", 96, search=replace(SEARCH, n_before=0))
    with SweepView(console=made, plain=plain) as view:
        view.begun(Path("run"), MANIFEST.replaced(spec=slo))
        view.progress(probe, ProgressSnapshot(40, 0, 400, 0.08), 0.3)
        probe = replace(probe, phase="measuring", n_requests=400, search=SEARCH)
        for second in range(1, 8):
            view.progress(probe, ProgressSnapshot(96 + 20 * second, 0, 1000 * second, 0.08), float(second))
        drawn = [] if plain else [row for row in screen(printed(made)) if row]
        ended = replace(
            SEARCH, verdict="kept", margins={"ttft_p95": (0.6, 0.1), "output_throughput_per_user": (0.05, 0)}
        )
        view.point_done(replace(probe, search=ended), rows_of_a_point(tmp_path), 1.0)
    assert [*drawn, *(row for row in screen(printed(made)) if row)] == snapshot
    assert not re.search("left|ETA|sweep", printed(made))


def test_what_a_search_knows_first():
    """Nothing before the first probe; then one end of the bracket."""
    nothing = replace(SEARCH, bracket=(None, None), best=None, p_good=None)
    said = [search_words(replace(nothing, bracket=ends)) for ends in ((None, None), (Level(8), None), (None, Level(8)))]
    assert said == ["nothing is known yet", "kept at 8", "missed at 8"]
    assert budget_words(replace(SEARCH, usd_per_hour=None)) == "2:10 of 20:00"


def test_a_small_terminal_gets_fewer_lines():
    """In 5 rows only 4 lines are drawn, so that the screen never scrolls."""
    made = console(80, height=5)
    with SweepView(console=made, plain=False) as view:
        view.progress(step(), ProgressSnapshot(4, 0, 50, 0.08), 0.1)
        assert len(screen(printed(made))) == 4


def test_notes_of_other_threads_wait_for_the_views_own():
    """A sampler's word is printed by the next progress, above the live lines, never from its thread."""
    made = console(80)
    with SweepView(console=made, plain=False) as view:
        view.progress(step(), ProgressSnapshot(4, 0, 50, 0.08), 0.1)
        before = printed(made)
        thread = threading.Thread(target=view.note, args=("GPU lost",))
        thread.start()
        thread.join()
        assert printed(made) == before
        view.progress(step(), ProgressSnapshot(5, 0, 60, 0.08), 0.6)
        rows = screen(printed(made))
    assert rows[0] == "GPU lost"
    assert rows[1].startswith("point 1/2 ")


def test_a_note_between_drawings_leaves_no_lines_over():
    """After a note in the view's own thread the next drawing stands below it, once."""
    made = console(80)
    with SweepView(console=made, plain=False) as view:
        view.progress(step(), ProgressSnapshot(4, 0, 50, 0.08), 0.1)
        view.note("finishing what is in flight")
        view.progress(step(), ProgressSnapshot(5, 0, 60, 0.08), 0.6)
        rows = screen(printed(made))
    assert rows[0] == "finishing what is in flight"
    assert sum(row.startswith("point") for row in rows) == 1


@pytest.mark.parametrize("plain", [True, False])
def test_a_signal_in_the_middle_of_a_write(tmp_path: Path, plain: bool):
    """What its handler has to say comes behind that write, never within it, whatever the view was writing."""
    said = iter(range(100))
    inside = False

    class Interrupted(io.StringIO):
        def write(self, text: str) -> int:
            nonlocal inside
            assert not inside, "a write within another"
            inside = True
            view.note(f"signal {next(said)}")
            inside = False
            return super().write(text)

    made = Console(file=Interrupted(), force_terminal=not plain, width=80, height=24, color_system=None)
    with SweepView(console=made, plain=plain) as view:
        view.begun(tmp_path, MANIFEST)
        view._notes.clear()
        view.progress(step(), ProgressSnapshot(4, 0, 50, 0.08), 0.1)
        view._notes.clear()
        view.point_done(step(), rows_of_a_point(tmp_path), 1.0)
        assert view._notes
        made.file = after = io.StringIO()
    assert "signal" in after.getvalue()


def test_a_quiet_sweep_says_nothing(tmp_path: Path):
    """Nothing at all."""
    made = console(80)
    with SweepView(quiet=True, console=made) as view:
        view.begun(tmp_path, MANIFEST)
        view.progress(step(), ProgressSnapshot(4, 0, 50, 0.08), 0.1)
        view.note("stop")
        view.point_done(step(), rows_of_a_point(tmp_path), 1.0)
    assert printed(made) == ""


def test_no_progress_yet():
    """Before the first answer rates are unknown, not zero."""
    line = progress_line(step("warming up"), NOTHING, 0.5)
    assert line == "[1/2] 4 users, warming up 0/16 done, 0 failed, – tok/s, TTFT – ms, ETA –"


def test_the_time_left_of_a_rate():
    """Until its window ends; behind it as the rest of its requests takes at the pace so far, not 0."""
    point = PlannedPoint(0, 1, "q4-r0", Level(4.0, "rate"), 0, "measuring", 200, at_least_s=12.0)
    lines = [progress_line(point, ProgressSnapshot(50, 0, 500, 0.1), elapsed_s) for elapsed_s in (10.0, 20.0)]
    assert [line.rpartition(", ")[2] for line in lines] == ["ETA 0:02", "ETA 1:00"]


def test_ascii_terminals_get_ascii():
    """Bars and sparklines have a form for encodings without block characters."""
    made = console(encoding="ascii")
    assert (bar(made, 0.5, 8), spark(made, [0.0, None, 4.0, 8.0])) == ("====----", "_ =#")
    with SweepView(console=made, plain=False) as view:
        view.progress(step(), ProgressSnapshot(4, 0, 50, 0.08), 1.0)
    assert printed(made).isascii()


def test_sparklines_start_at_zero():
    """The greatest value is the full block, a half of it the middle one, nothing known a blank."""
    assert spark(console(), [8.0, 4.0, 0.0, None]) == "█▅▁ "
    assert spark(console(), [0.0, 0.0]) == "▁▁"


def test_rates_of_requests_that_end_in_waves():
    """4 users, requests of 1 s and 10 tokens: 40 tok/s in every second, though all end at once."""
    recent = RollingRates()
    for quarter in range(41):
        ended = 4 * (quarter // 4)
        recent.note(quarter / 4, ProgressSnapshot(ended, 0, 10 * ended, 0.08))
    assert recent.tok_s(4)[-5:] == [pytest.approx(40.0)] * 5
    assert recent.ttft_s(4)[-5:] == [pytest.approx(0.08)] * 5


def test_no_request_has_ended():
    """No series without an end, and none of TTFT where nothing streams."""
    recent = RollingRates()
    recent.note(1.0, NOTHING)
    assert (recent.tok_s(4), recent.ttft_s(4)) == ([], [])
    recent.note(2.0, ProgressSnapshot(1, 0, 10))
    assert recent.ttft_s(4) == []


@pytest.mark.parametrize(
    ("level", "known_s", "expected_s"),
    [
        (8, {}, None),
        (8, {8: 80.0}, 80.0),
        (32, {8: 80.0}, 40.0),
        (16, {8: 80.0, 32: 20.0}, 40.0),
        (64, {16: 40.0, 32: 20.0}, 10.0),
        (64, {16: 40.0, 32: 50.0}, 50.0),
        (4, {16: 40.0, 32: 20.0}, 160.0),
    ],
)
def test_how_long_a_point_will_take(level: int, known_s: dict[int, float], expected_s: float | None):
    """As known; from one level by the root; between two on the line in logs; beyond, with a slope in [-1, 0]."""
    found = point_duration_s(level, known_s)
    assert found == (None if expected_s is None else pytest.approx(expected_s))


def test_how_long_the_sweep_will_take():
    """5 s of this point, then a known level and one between; nothing where the present point's end is unknown."""
    assert sweep_remaining_s((8, 16), {8: 80.0, 32: 20.0}, 5.0) == pytest.approx(125.0)
    assert sweep_remaining_s((8, 16), {8: 80.0, 32: 20.0}, None) is None
    assert sweep_remaining_s((8,), {}, 5.0) is None


def test_words_of_gpus_and_servers():
    """Many GPUs are one line; a throttled one is yellow; a lost one says so; servers are summed."""
    latest = LatestReadings()
    latest.no_gpu = "no GPU telemetry: there is no library here (NVML Not Found); install the driver"
    assert gpu_lines(latest) == [("GPU", "not sampled: there is no library here", "dim")]
    latest.note([GpuSample(1, 1, "nvml", uuid, util_ratio=0.9, power_w=300.0) for uuid in "abc"])
    assert gpu_lines(latest) == [("3 GPUs", "90 % busy, 900 W", "")]
    latest.note([GpuSample(2, 2, "nvml", "b", util_ratio=0.5, power_w=400.0, throttle_reasons=4)])
    assert gpu_lines(latest) == [("3 GPUs", "50-90 % busy, 1,000 W, throttled: sw_power_cap", "yellow")]
    latest.note([GpuSample(3, 3, "nvml", "b", error="GPU is lost")])
    assert gpu_lines(latest)[0][1] == "1 lost: GPU is lost, 90 % busy, 600 W"
    two = [ServerSample(1, 1, "u", running=3.0, waiting=1.0), ServerSample(1, 1, "v", running=4.0, waiting=0.0)]
    assert server_words(two) == "7 running, 1 waiting"
    assert server_words([*two, ServerSample(1, 1, "w", error="404")]) == ""


@pytest.mark.parametrize(("seconds", "text"), [(None, "–"), (0.4, "0:00"), (75, "1:15"), (3723, "1:02:03")])
def test_clock(seconds: float | None, text: str):
    """Minutes and seconds; hours only where there are some."""
    assert clock(seconds) == text


TMUX = shutil.which("tmux")
DRAWS = """
import time
from os import get_terminal_size
from pathlib import Path
from rich.console import Console
from benchsuite.manifest import RunManifest
from benchsuite.progress import LatestReadings, PlannedPoint, ProgressSnapshot
from benchsuite.report.live import SweepView
from benchsuite.results import Level

def wait_for(name, columns):
    while not Path(name).exists() or get_terminal_size().columns != columns:
        time.sleep(0.02)

latest = LatestReadings()
latest.no_gpu = "no GPU telemetry: none here"
with SweepView(plain=False) as view:
    view.begun(Path("somewhere"), RunManifest(run_id="r1", model="m"))
    for i, level in enumerate((8, 4)):
        step = PlannedPoint(i, 2, "p", Level(level), 0, "measuring", 64, 0, None, (Level(8), Level(4)), latest)
        for k in range(3):
            view.progress(step, ProgressSnapshot(16 * k, 0, 160 * k, 0.1), k + 1.0)
        if i == 0:
            view.note("a warning that is longer than the terminal is wide, " * 3)
    view.progress(step, ProgressSnapshot(48, 0, 480, 0.1), 4.0)
    wait_for("narrower", 50)
    view.progress(step, ProgressSnapshot(64, 0, 640, 0.1), 5.0)
    wait_for("leave", 50)
print("the end", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(TMUX is None, reason="needs tmux")
def test_in_a_real_terminal(tmp_path: Path):
    """80x24, then made narrower while it runs: one panel each time, no row wrapped, and none left over at the end."""
    script = tmp_path / "draws.py"
    script.write_text(DRAWS)
    server = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    clean = "env -u CI -u NO_COLOR -u COLUMNS -u LINES LC_ALL=C.UTF-8"
    run = f"{clean} {shlex.quote(sys.executable)} {shlex.quote(str(script))} 2>&1"

    def tmux(*words: str) -> str:
        return subprocess.run([*server, *words], capture_output=True, text=True, check=True, timeout=200).stdout

    def seen(needle: str) -> list[str]:
        for _ in range(2000):
            text = tmux("capture-pane", "-p", "-S", "-")
            if needle in text:
                return text.rstrip("\n").splitlines()
            time.sleep(0.1)
        raise AssertionError(f"{needle!r} never came: {text}")

    tmux("-u", "new-session", "-d", "-x", "80", "-y", "24", "-c", str(tmp_path), run)
    try:
        rows = seen("48/64")
        panel = rows[next(i for i, row in enumerate(rows) if row.startswith("point")) :]
        assert [row.split()[0] for row in panel] == ["point", "4", "sweep", "out", "TTFT", "GPU", "Ctrl-C:"]
        assert "".join(rows).count("a warning that is longer") == 3
        tmux("resize-window", "-x", "50", "-y", "24")
        (tmp_path / "narrower").touch()
        panel = seen("64/64")
        panel = panel[next(i for i, row in enumerate(panel) if row.startswith("point")) :]
        assert [row.split()[0] for row in panel] == ["point", "4", "sweep", "out", "TTFT", "GPU", "Ctrl-C:"]
        assert max(map(len, panel)) < 50
        (tmp_path / "leave").touch()
        rows = seen("the end")
        assert not any(row.startswith(("point", "sweep", "out tok/s")) for row in rows)
    finally:
        tmux("kill-server")
