"""`benchsuite matrix` from the file to the table, on simulators whose order of cost is known."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, Ended
from fault_plans import faults, while_stopped

from benchsuite.cli.options import exit_code
from benchsuite.errors import InputError
from benchsuite.load.matrix import cause_in_log, measure, open_matrix
from benchsuite.matrix_spec import parse_matrix
from benchsuite.workload.dataset import Prompt, Workload, make_workload

# a step takes 8 ms however many run in it: four slots do the work of four users in a quarter of the time
FILE = """
[serve]
engine = "simulator --itl-s 0.008"
[settings]
slots = [1, 4]
[[setting]]
name = "broken"
no-such-flag = true
[sweep]
slo = "ttft_mean<10s"
[sweep.workload]
requests = 16
max_output_tokens = 6
fixed_length = true
[sweep.load]
concurrency = [1, 4]
warmup_requests = 0
cooldown_max_s = 0
[sweep.price]
usd_per_hour = 3.6
"""


def matrix(file: Path, folder: Path, *flags: str) -> Ended:
    return CommandLine()("matrix", file, "--output", folder, *flags)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A whole matrix: the file, the folder, what the command said."""
    folder = tmp_path_factory.mktemp("matrix")
    file = folder / "slots.toml"
    file.write_text(FILE)
    return file, folder / "out", matrix(file, folder / "out")


def test_the_cheapest_of_what_was_measured(done):
    """The setting of the least cost is named, with the next as its runner-up; the broken one is a row."""
    _, folder, said = done
    found = json.loads((folder / "matrix.json").read_text())
    assert said.code == exit_code([found["verdict"]])  # undecided where the machine was busy
    by_name = {row["setting"]: row for row in found["settings"]}
    first, second = sorted(("slots=1", "slots=4"), key=lambda name: by_name[name]["cost_usd"])
    assert (found["status"], found["cheapest"], found["runner_up"]) == ("complete", first, second)
    assert found["concurrency"] == by_name[first]["concurrency"]
    assert by_name["broken"]["status"] == "did not start"
    assert "no-such-flag" in by_name["broken"]["reason"]
    # 16 requests of 6 tokens in one slot are 16 x 6 steps, of which a user sees the gaps; a busy machine adds to that
    assert by_name["slots=1"]["duration_s"] > 16 * 5 * 0.008
    assert by_name["slots=4"]["cost_usd"] == pytest.approx(by_name["slots=4"]["duration_s"] * 3.6 / 3600)


SEARCHED = """
[serve]
engine = "simulator --slots 16"
[settings]
itl-s = [0.012, 0.003]
[sweep]
slo = "ttft_mean<2s"
[sweep.workload]
requests = 64
max_output_tokens = 10
fixed_length = true
[sweep.load]
workers = 1
random_seed = 1
[sweep.find]
start = 8
high = 32
budget_min = 0.4
[sweep.price]
usd_per_hour = 3.6
"""


def test_searched_settings(tmp_path):
    """The fast setting is searched to its answer; the slow one, which comes after it and makes 1,333 tokens a second at
    most, is given up with its bracket, for what the fast one costs. The same command measures nothing again."""
    file, folder = tmp_path / "speeds.toml", tmp_path / "out"
    file.write_text(SEARCHED)
    assert matrix(file, folder, "--find", "--dry-run").out.split().index("itl-s=0.003") < 12
    said = matrix(file, folder, "--find")
    found = json.loads((folder / "matrix.json").read_text())
    slow, fast = found["settings"]

    assert said.code == exit_code([found["verdict"]])
    assert (found["status"], found["cheapest"], found["by"]) == ("complete", "itl-s=0.003", "cost of an output token")
    assert (slow["status"], slow["search_end"], slow["rank"]) == ("given up", "given_up", None)
    assert re.fullmatch(
        r"given up: at least \$[\d.]+/1M output tokens .* dearer than itl-s=0.003 at most", slow["reason"]
    )
    assert slow["search_usd"] == pytest.approx(slow["search_s"] / 1000)
    assert fast["answer_usd_low"] <= fast["answer_usd"] <= fast["answer_usd_high"] < slow["answer_usd"]
    assert fast["status"] == "measured"
    assert slow["reason"] in " ".join(said.out.split())
    phases = {p["probe"]["phase"] for p in json.loads((folder / "itl-s-0.012/manifest.json").read_text())["points"]}
    assert phases <= {"bracket", "close"}

    again = matrix(file, folder, "--find")
    assert again.code == said.code
    assert again.out.count("already measured") == 2
    second = json.loads((folder / "matrix.json").read_text())["settings"]
    assert [row["status"] for row in second] == ["given up", "kept"]
    assert [row["answer_usd"] for row in second] == [slow["answer_usd"], fast["answer_usd"]]


def test_levels_of_a_matrix_that_is_searched(tmp_path):
    """A search has no levels of its own: the file's are refused, by their name."""
    file = tmp_path / "slots.toml"
    file.write_text(FILE)
    said = matrix(file, tmp_path / "out", "--find")
    assert said.code == 2
    assert "load.concurrency: is of a sweep" in str(said.error)


def test_the_table_in_three_forms(done):
    """The terminal, CSV and Markdown say the same sentence and rows."""
    _, folder, said = done
    found = json.loads((folder / "matrix.json").read_text())
    best, level = found["cheapest"], found["concurrency"]
    sentence = (
        f": {best} at concurrency {level}, $"  # before it: cheapest, or looks cheapest where the machine was busy
    )
    assert sentence in said.out
    assert "one run: no probability" in said.out
    assert "broken: did not start: " in said.out
    table = list(csv.DictReader((folder / "matrix.csv").open()))
    assert [(row["setting"], row["set_slots"], row["rank"]) for row in table] == [
        ("slots=1", "1", "21"[best == "slots=1"]), ("slots=4", "4", "21"[best == "slots=4"]), ("broken", "", ""),
    ]  # fmt: skip
    markdown = (folder / "matrix.md").read_text()
    assert re.search(rf"\| {best} \| {level} \| [\d.]+ \| \$", markdown)
    assert sentence in markdown


def test_each_setting_leaves_a_whole_run(done):
    """What was started is in the manifest; summary, report and the server's log lie beside the rows."""
    _, folder, _ = done
    run = folder / "slots-4"
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["status"], manifest["launched_server"]["engine"]) == ("complete", "simulator")
    assert {"summary.json", "report.html", "requests.parquet", "serve.log"} <= {path.name for path in run.iterdir()}


def test_again_measures_nothing_that_is_whole(done):
    """The same command keeps what is there, tries the broken one once more, and gives the same answer as JSON."""
    file, folder, _ = done
    rows = (folder / "slots-4" / "requests.parquet").read_bytes()
    said = matrix(file, folder, "--json")
    assert said.code == exit_code([said.data["verdict"]])
    assert "[setting 1/3]" not in said.out
    assert said.err.count("already measured, in") == 2
    plain = said.data
    assert plain["cheapest"] == json.loads((folder / "matrix.json").read_text())["cheapest"]
    assert [row["status"] for row in plain["settings"]] == ["kept", "kept", "did not start"]
    assert (folder / "slots-4" / "requests.parquet").read_bytes() == rows
    assert not (folder / "slots-4--2").exists()
    assert (folder / "broken--2").exists()


def test_another_plan_is_refused_in_the_same_folder(done, tmp_path):
    """One level more is another matrix; the difference is named."""
    _, folder, _ = done
    file = tmp_path / "other.toml"
    file.write_text(FILE.replace("[1, 4]\nwarmup", "[1, 2, 4]\nwarmup"))
    said = matrix(file, folder)
    assert isinstance(said.error, InputError)
    assert said.code == 2
    assert "sweep.load.concurrency: was [1, 4], is [1, 2, 4]" in str(said.error)


def test_columns_of_the_table(done, tmp_path):
    """--columns names the figures of the table; an unknown one is refused before anything is started."""
    file, folder, _ = done
    said = matrix(file, folder, "--columns", "ttft_p50,request_throughput")
    assert "TTFT p50" in said.out
    assert "$" not in said.out.partition("setting")[2].partition("\n")[0]
    refused = matrix(file, tmp_path / "new", "--columns", "ttft_p50,speed")
    assert (refused.code, refused.error.where, (tmp_path / "new").exists()) == (2, "--columns", False)


def test_a_dry_run_does_nothing(done, tmp_path):
    """It lists each setting with its command, says what is there, and makes no folder."""
    file, folder, _ = done
    said = matrix(file, folder, "--dry-run")
    assert said.code == 0
    assert "slots-4" in said.out
    assert matrix(file, tmp_path / "new", "--dry-run").code == 0
    assert not (tmp_path / "new").exists()
    plan = matrix(file, tmp_path / "new", "--dry-run", "--json").data
    assert plan["settings"]["slots-4"]["serve"] == "simulator --itl-s 0.008 --slots 4"


def test_none_starts(tmp_path):
    """Exit code 1 where nothing could be measured."""
    file = tmp_path / "none.toml"
    file.write_text(FILE.replace("slots = [1, 4]\n", ""))
    said = matrix(file, tmp_path / "out", "--quiet")
    assert said.code == 1
    assert said.out == "no setting was measured to its end\n"


@pytest.mark.parametrize("bad", ["no such engine", "more virtual users than the set"])
def test_bad_input_before_anything_starts(tmp_path, bad):
    """An engine that does not exist and a level that the set cannot fill are refused at once."""
    file = tmp_path / "bad.toml"
    text = (
        FILE.replace("simulator --itl", "simulater --itl") if "engine" in bad else FILE.replace("[1, 4]\nw", "[99]\nw")
    )
    file.write_text(text)
    said = matrix(file, tmp_path / "out")
    assert isinstance(said.error, InputError)
    assert bad in str(said.error)
    assert not (tmp_path / "out").exists()


class Watcher:
    """A view that may act in the middle of a point."""

    def __init__(self, act: Any = None) -> None:
        self._act = act
        self.notes: list[str] = []

    def begun(self, path: Path, manifest: Any) -> None: ...

    def progress(self, point: Any, progress: Any, elapsed_s: float) -> None:
        if self._act is not None:
            self._act(point, progress)

    def point_done(self, point: Any, rows: Any, duration_s: float) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


def small(requests: int = 24) -> tuple[Any, Workload]:
    """One setting of a simulator that takes 0.1 s a request, and its set."""
    text = (
        FILE.replace("[1, 4]\n[[", "[2]\n[[")
        .replace("0.008", "0.02")
        .replace("concurrency = [1, 4]", "concurrency = [2]")
    )
    tree = tomllib.loads(text)
    del tree["setting"]
    prompts = [
        Prompt(f"p{i}", "triage", ({"role": "user", "content": f"question {i}"},), None, 6) for i in range(requests)
    ]
    return parse_matrix(tree, where="test"), make_workload("test", prompts)


def test_stopped_and_taken_up_again(tmp_path):
    """Ctrl-C in a point ends the matrix; the attempt stays, and the next one has a folder of its own."""
    spec, workload = small()
    with open_matrix(tmp_path, spec.plan(workload.content_hash)) as folder:
        stop = Watcher(while_stopped(lambda: signal.raise_signal(signal.SIGINT)))
        with faults("batch:2:stop"):
            outcomes = list(measure(spec, workload, folder, stop, lambda _: None))
        assert [(one.status, one.path.name) for one in outcomes] == [("stopped", "slots-2")]
        before = (tmp_path / "slots-2" / "requests.parquet").read_bytes()
        again = list(measure(spec, workload, folder, Watcher(), lambda _: None))
        assert [(one.status, one.path.name) for one in again] == [("measured", "slots-2--2")]
        assert (tmp_path / "slots-2" / "requests.parquet").read_bytes() == before
        kept = list(measure(spec, workload, folder, Watcher(), lambda _: None))
        assert [(one.status, one.path.name) for one in kept] == [("kept", "slots-2--2")]
        with pytest.raises(InputError, match="another benchsuite"), open_matrix(tmp_path, folder.plan):
            pass


def test_a_server_that_dies_is_a_failed_setting(tmp_path):
    """Its rows are kept, the attempt does not count, nobody waits for its return, and it is measured anew next time."""
    spec, workload = small()
    with open_matrix(tmp_path, spec.plan(workload.content_hash)) as folder:

        def kill() -> None:
            served = json.loads((tmp_path / "slots-2" / "manifest.json").read_text())["launched_server"]
            os.kill(served["pid"], signal.SIGKILL)

        view = Watcher(while_stopped(kill))
        with faults("batch:2:stop"):
            (outcome,) = measure(spec, workload, folder, view, lambda _: None)
        assert outcome.status == "failed"
        assert "the sweep ends here: the server has ended" in view.notes
        assert outcome.reason.startswith("its server died during the measurement")
        assert folder.kept_run(spec.settings[0], spec.sweep_of(spec.settings[0])) is None


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("start\ntorch.OutOfMemoryError: 2 GiB\nRuntimeError: see above\nbye\n", "torch.OutOfMemoryError: 2 GiB"),
        ("start\nRuntimeError: see above\nbye\n", "RuntimeError: see above"),
        ("one\ntwo\n \n", "two"),
        ("", None),
    ],
)  # fmt: skip
def test_the_line_that_says_why(log, cause, tmp_path):
    """Memory before errors before the last line; an empty log, or none, says nothing."""
    path = tmp_path / "serve.log"
    assert cause_in_log(path) is None
    path.write_text(log)
    assert cause_in_log(path) == cause
