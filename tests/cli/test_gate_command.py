"""`benchsuite gate` from the outside: run folders whose truth is known, exit codes, and what CI systems are given."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchsuite.cli.gate import command
from benchsuite.errors import InputError
from benchsuite.spec_reading import parse_spec
from benchsuite.store.run_folder import write_whole_run

TOKENS = 10


def make_run(path: Path, factor: float = 1.0, *, repeats: int = 5, levels: tuple[int, ...] = (2,), **more: Any) -> Path:
    """A run of 40 requests a repeat of 10 tokens: TTFT about 0.1 s and TPOT about 10 ms, times `factor`.

    Repeats differ by 1 %. more: keys of the manifest, or `failed`: how many of each repeat's requests failed.
    """
    rng = np.random.default_rng([round(factor * 1000), repeats])
    failed, rows, points = more.pop("failed", 0), [], []
    for level in levels:
        for repeat in range(repeats):
            point = f"c{level:04d}-r{repeat}"
            points.append({"point_id": point, "concurrency": level, "repeat": repeat, "status": "complete"})
            speed = factor * np.exp(0.01 * rng.standard_normal())
            for i in range(40):
                user, ttft = i % level, speed * 0.1 * np.exp(0.05 * rng.standard_normal())
                sent = 1000.0 * repeat + (i // level) * speed * 0.4 + user * 1e-3
                gap, ok = speed * 0.01, i >= failed
                first, last = sent + ttft, sent + ttft + gap * (TOKENS - 1)
                rows.append(
                    {
                        "run_id": path.name, "point_id": point, "concurrency": level, "repeat": repeat,
                        "request_id": f"{point}-{i}", "prompt_id": f"p{i}", "worker": 0, "scheduled_s": sent,
                        "sent_s": sent, "first_token_s": first, "first_answer_s": first, "last_token_s": last,
                        "closed_s": last, "chunk_gap_us": [round(gap * 1e6)] * (TOKENS - 1), "input_tokens": 5,
                        "output_tokens": TOKENS, "n_chunks": TOKENS, "n_empty_chunks": 0, "n_reads": TOKENS,
                        "merged_reads": 0, "connection_reused": True, "stale_retries": 0, "token_source": "usage",
                        "stamp_source": "kernel", "finish_reason": "stop", "status": "ok" if ok else "timeout",
                    }
                )  # fmt: skip
    spec = parse_spec(
        {
            "server": {"base_url": "http://127.0.0.1:1"},
            "load": {"concurrency": list(levels), "repeats": repeats},
            "price": {"usd_per_hour": 2.0},
            "slo": "ttft_mean<0.2s",
        },
        where="test",
    )
    manifest = {
        "schema": 2, "run_id": path.name, "status": "complete", "model": "m", "spec": spec.model_dump(mode="json"),
        "workload": {"name": "w", "requests": 40, "content_hash": "abc"}, "points": points,
        "host": {"cpu_model": "C", "cpu_count": 2}, "preflight": {"profile": "vllm", "server": {"version": "0.9"}},
        "telemetry": {"gpu": {"used": ["GPU-1"], "devices": [{"uuid": "GPU-1", "name": "H100"}], "driver": "580.1"}},
    }  # fmt: skip
    write_whole_run(path, manifest | more, rows)
    return path


@pytest.fixture(autouse=True)
def _not_on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A baseline, the same again, 20 % slower, and one repeat of each."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "base": make_run(root / "base"),
        "same": make_run(root / "same", 1.002),
        "slow": make_run(root / "slow", 1.2),
        "one": make_run(root / "one", repeats=1),
        "one_slow": make_run(root / "one_slow", 1.2, repeats=1),
        "one_double": make_run(root / "one_double", 2.0, repeats=1),
    }


def gate(*flags: Any) -> tuple[int, str]:
    done = CliRunner().invoke(command, [str(flag) for flag in flags], catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value, done.output


def gated(*flags: Any) -> tuple[int, dict[str, Any]]:
    code, text = gate(*flags, "--json")
    return code, json.loads(text)


def test_the_same_again_passes(runs):
    """A/A with five repeats: exit 0, every criterion proven, repeats paired."""
    code, found = gated(runs["same"], "--baseline", runs["base"])

    assert (code, found["verdict"]) == (0, "pass")
    assert {(one["name"], one["verdict"]) for one in found["criteria"]} == {
        ("error_rate", "pass"), ("usd_per_1m_output_tokens", "pass"), ("ttft_mean_s", "pass"),
    }  # fmt: skip
    assert all("paired t over 5 repeats" in c["said"] for c in found["criteria"] if c["kind"] == "regression")


def test_twenty_percent_slower_fails(runs):
    """A/B: exit 5; the change is told with its interval, around the truth."""
    code, found = gated(runs["slow"], "--baseline", runs["base"], "--max-regression", "tpot=5%,output=5%,ttft_p90")

    assert (code, found["verdict"]) == (5, "fail")
    by_name = {one["name"]: one for one in found["criteria"]}
    assert {name: one["verdict"] for name, one in by_name.items()} == {
        "error_rate": "pass", "tpot_mean_s": "fail", "output_tok_s": "fail", "ttft_p90_s": "fail",
    }  # fmt: skip
    tpot, output = by_name["tpot_mean_s"], by_name["output_tok_s"]
    assert tpot["change_low"] < 0.2 < tpot["change_high"]
    assert output["change_low"] < 1 / 1.2 - 1 < output["change_high"] < 0
    assert tpot["asked"] == "tpot_mean at most 5 % higher"
    assert re.match(r"12\.\d against 9\.\d+ ms: \+2\d\.\d % \[", tpot["said"])
    assert re.search(r" tok/s: -1\d\.\d % \[", output["said"])
    assert output["asked"] == "output at most 5 % lower"


def test_faster_passes(runs):
    """The other way round is no regression."""
    assert gated(runs["base"], "--baseline", runs["slow"])[0] == 0


def test_one_run_each_is_inconclusive_unless_far(runs):
    """One repeat: exit 6 with the number of repeats that would decide; twice as slow is far enough for 5."""
    code, text = gate(runs["one_slow"], "--baseline", runs["one"], "--max-regression", "tpot=5%")

    assert code == 6
    assert "about 11 repeats of each would decide" in text
    assert text.splitlines()[-1] == "inconclusive: 1 of 2 criteria is undecided"
    assert gate(runs["one_double"], "--baseline", runs["one"], "--max-regression", "tpot=5%")[0] == 5


def test_strict_makes_undecided_a_fail(runs, tmp_path):
    """--strict: exit 5, and the undecided test case is a failure instead of skipped."""
    flags = (runs["one_slow"], "--baseline", runs["one"], "--max-regression", "tpot=5%", "--junit", tmp_path / "j.xml")

    assert gate(*flags)[0] == 6
    lax = ET.parse(tmp_path / "j.xml").getroot()
    code, text = gate(*flags, "--strict")
    assert code == 5
    assert text.splitlines()[-1] == "inconclusive: 1 of 2 criteria is undecided, which --strict counts as failed"
    strict = ET.parse(tmp_path / "j.xml").getroot()

    assert [lax.get(key) for key in ("tests", "failures", "skipped")] == ["2", "0", "1"]
    assert [strict.get(key) for key in ("tests", "failures", "skipped")] == ["2", "1", "0"]


def test_a_run_cut_short_does_not_pass(tmp_path):
    """A level that was planned and not measured to its end is undecided; --levels leaves it out by intent."""
    cut = make_run(tmp_path / "cut", repeats=5, planned_points=["c0002-r0", "c0004-r0", "c0008-r0"])
    manifest = json.loads((cut / "manifest.json").read_text("utf-8"))
    manifest["points"].append({"point_id": "c0004-r0", "concurrency": 4, "repeat": 0, "status": "stopped"})
    (cut / "manifest.json").write_text(json.dumps(manifest), "utf-8")

    code, found = gated(cut)

    assert (code, found["verdict"]) == (6, "inconclusive")
    told = {one["concurrency"]: one["said"].split(";")[0] for one in found["criteria"] if one["name"] == "measured"}
    assert told == {4: "stopped", 8: "not begun"}
    assert gated(cut, "--levels", "2")[0] == 0


def test_junit_has_a_case_per_criterion_and_level(runs, tmp_path):
    """A failing criterion is a failure whose message says what was found; notes are kept."""
    gate(runs["slow"], "--baseline", runs["base"], "--max-regression", "tpot=5%", "--junit", tmp_path / "j.xml")
    root = ET.parse(tmp_path / "j.xml").getroot()
    cases = root.findall("./testsuite/testcase")

    assert [(case.get("classname"), case.get("name")) for case in cases] == [
        ("benchsuite.slo", "error_rate <= 1 % at 2"),
        ("benchsuite.regression", "tpot_mean at most 5 % higher at 2"),
    ]
    failure = cases[1].find("failure")
    assert failure is not None
    assert "paired t over 5 repeats" in failure.get("message", "")
    assert cases[0].find("failure") is None


def test_slo_met_missed_undecided(runs):
    """Repeats prove a kept limit (0), a missed one (5), and nothing of one that sits at the figure (6)."""
    assert gated(runs["base"])[0] == 0
    assert gated(runs["base"], "--slo", "ttft_mean<50ms")[0] == 5
    code, found = gated(runs["base"], "--slo", "ttft_mean<0.1s")
    (ttft,) = [one for one in found["criteria"] if one["name"] == "ttft_mean"]
    assert (code, ttft["verdict"]) == (6, "inconclusive")
    assert "would decide" in ttft["said"]


def test_slo_of_one_run_proves_only_what_is_far(runs):
    """TTFT 0.1 s in one run: far below 0.2 s, too near 0.11 s, far above 0.05 s."""
    codes = [gated(runs["one"], "--slo", f"ttft_mean<{limit}")[0] for limit in ("0.2s", "0.11s", "0.05s")]

    assert codes == [0, 6, 5]


def test_a_tail_limit_wants_enough_requests(runs):
    """p99 of 200 requests without a violation: not proven, and how many would is said; p90 of as many is."""
    code, found = gated(runs["base"], "--slo", "ttft_p99<1s")

    assert code == 6
    assert "a pass needs 459 independent requests with no more beyond" in found["criteria"][0]["said"]
    assert gated(runs["base"], "--slo", "ttft_p90<1s")[0] == 0


def test_failing_requests_fail_the_gate(tmp_path, runs):
    """A run that is as fast because a quarter of its requests failed does not pass against its baseline."""
    code, found = gated(make_run(tmp_path / "bad", failed=10), "--baseline", runs["base"])

    assert code == 5
    assert next(one["name"] for one in found["criteria"] if one["verdict"] == "fail") == "error_rate"


@pytest.mark.parametrize(
    ("group", "manifest", "said"),
    [
        ("machine", {"telemetry": {"gpu": {"used": ["GPU-2"], "devices": [], "driver": "580.1"}}}, "GPU-2"),
        ("machine", {"host": {"cpu_model": "D", "cpu_count": 2}}, "client CPU: C, 2 in the baseline, D, 2 in the run"),
        ("driver", {"telemetry": {"gpu": {"used": ["GPU-1"], "devices": [{"uuid": "GPU-1", "name": "H100"}],
                                          "driver": "590.0"}}}, "580.1 in the baseline, 590.0 in the run"),
        ("model", {"model": "other"}, "model: m in the baseline, other in the run"),
        ("workload", {"workload": {"content_hash": "def"}}, "workload hash: abc in the baseline, def in the run"),
        ("schema", {"schema": 1}, "schema of the run folder: 2 in the baseline, 1 in the run"),
        ("levels", {"levels": (2, 4)}, "levels: 2 in the baseline, 2, 4 in the run"),
    ],
)  # fmt: skip
def test_an_unlike_baseline_is_refused(tmp_path, runs, group, manifest, said):
    """Exit 2 with the difference named, and the flag that allows it; with it the comparison goes on and tells it."""
    other = make_run(tmp_path / "other", **manifest)
    with pytest.raises(InputError, match="do not compare") as caught:
        gate(other, "--baseline", runs["base"])

    assert caught.value.exit_code == 2
    assert said in str(caught.value)
    assert f"--allow {group}" in str(caught.value)
    code, found = gated(other, "--baseline", runs["base"], "--allow", group)
    assert code == 0
    assert any(note.startswith(said.partition(":")[0]) or said in note for note in found["notes"])


def test_another_server_version_is_compared_and_told(tmp_path, runs):
    """What one upgrades is what one wants to compare."""
    newer = make_run(tmp_path / "newer", preflight={"profile": "vllm", "server": {"version": "0.10"}})
    code, found = gated(newer, "--baseline", runs["base"])

    assert code == 0
    assert "server version: 0.9 in the baseline, 0.10 in the run" in found["notes"]


def test_levels_in_common_are_compared_alone(tmp_path, runs):
    """--levels 2 of a run with 2 and 4 needs no 4 in the baseline; a level nobody measured is refused."""
    more = make_run(tmp_path / "more", levels=(2, 4))

    code, found = gated(more, "--baseline", runs["base"], "--levels", "2")
    assert code == 0
    assert {one["concurrency"] for one in found["criteria"]} == {2}
    with pytest.raises(InputError, match="a level was not measured"):
        gate(more, "--levels", "8")


def test_a_client_at_its_limit_proves_no_fail(tmp_path, runs):
    """Slower with a client at its limit: undecided, and why; --allow client takes it as it is."""
    slow = make_run(tmp_path / "slow", 1.2)
    manifest = json.loads((slow / "manifest.json").read_text())
    for point in manifest["points"]:
        point["client"] = {"workers": 1, "merged_read_share": 0.5, "cpu_share_max_1s": 1.0}
    (slow / "manifest.json").write_text(json.dumps(manifest))

    code, text = gate(slow, "--baseline", runs["base"], "--max-regression", "tpot")
    assert code == 6
    assert "the client was at its limit in the run" in text
    assert gate(slow, "--baseline", runs["base"], "--max-regression", "tpot", "--allow", "client")[0] == 5


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--max-regression", "tttf=5%"), "did you mean 'ttft_p"),
        (("--max-regression", "ttft=5"), "5% or 0.05"),
        (("--max-regression", "ttft=nan"), "5% or 0.05"),
        (("--max-regression", ","), "for example ttft_p95=5%"),
        (("--max-regression", "ttft=5%,ttft_mean=4%"), "two margins"),
        (("--allow", "weather"), "machine, driver"),
        (("--allow", "mashine"), "did you mean 'machine'?"),
    ],
)
def test_bad_flags_name_themselves(runs, flags, expected):
    """What does not read is refused with the flag and what was expected."""
    with pytest.raises(InputError) as caught:
        gate(runs["same"], "--baseline", runs["base"], *flags)
    assert expected in str(caught.value)
    assert flags[0] in str(caught.value)


def test_github_gets_summary_and_annotations(runs, tmp_path, monkeypatch):
    """In an action: Markdown is appended to the job's summary, fails are errors, text in it is no markup."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    (tmp_path / "step.md").write_text("before\n")

    _, text = gate(runs["slow"], "--baseline", runs["base"], "--max-regression", "tpot=5%")
    summary = (tmp_path / "step.md").read_text()

    assert "::error title=benchsuite gate%3A tpot_mean at most 5 %25 higher at 2::" in text
    assert summary.startswith("before\n### ")
    assert "| ❌ fail | 2 | tpot\\_mean at most 5 % higher | " in summary
    assert "error\\_rate &lt;= 1 %" in summary


def test_summary_file(runs, tmp_path, monkeypatch):
    """--summary writes there, and leaves the job's summary alone."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    gate(runs["base"], "--summary", tmp_path / "own.md")

    assert (tmp_path / "own.md").read_text().startswith("### ✅ benchsuite gate: pass: all 2 criteria are met\n")
    assert not (tmp_path / "step.md").exists()


def test_names_from_elsewhere_are_no_commands(tmp_path, runs):
    """A model name with a line of its own cannot give GitHub a command, move a cursor or leave its table cell."""
    name = "m\n::error::x\x1b[2J|<img>"
    other = make_run(tmp_path / "other", model=name)
    _, text = gate(other, "--baseline", runs["base"], "--allow", "model", "--summary", tmp_path / "s.md")

    assert not any(line.startswith("::") for line in text.splitlines())
    assert "\x1b" not in text
    assert "<img>" not in (tmp_path / "s.md").read_text()
    assert "\x1b" not in (tmp_path / "s.md").read_text()
