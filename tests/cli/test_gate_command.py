"""`benchsuite gate`: run folders whose truth is known, exit codes, and what CI systems are given."""

from __future__ import annotations

import json
import math
import random
import xml.etree.ElementTree as ET
from array import array

import pytest
from factory import rate_folder, run_folder

pytestmark = pytest.mark.usefixtures("in_stored")
TPOT = "--max-regression tpot=5%"
GPU = {"uuid": "GPU-1", "name": "H100"}
SAME = {
    "host": {"cpu_model": "C", "cpu_count": 2},
    "server_probe": {"profile": "vllm", "server": {"version": "0.9"}},
    "telemetry": {"gpu": {"used": ["GPU-1"], "devices": [GPU], "driver": "580.1"}},
}


def make_run(path, factor=1.0, *, seed=0, levels=(2,), repeats=5, **more):
    """40 requests of 10 tokens a repeat: TTFT about 0.1 s, TPOT about 10 ms, times `factor`; repeats differ by 1 %."""
    latency = dict.fromkeys(levels, (0.1 * factor, 0.01 * factor))
    more["manifest"] = SAME | more.get("manifest", {})
    made = {"levels": levels, "repeats": repeats, "requests": 40, "latency": latency, "tokens": 10, "noise": 0.03}
    return run_folder(path, **made | {"slo": "ttft_mean<0.2s", "usd_per_hour": 2.0, "seed": seed} | more)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A baseline, the same again, 20 % slower, and one repeat of each."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "base": make_run(root / "base"),
        "same": make_run(root / "same", 1.002, seed=1),
        "slow": make_run(root / "slow", 1.2, seed=2),
        "one": make_run(root / "one", repeats=1),
        "one_slow": make_run(root / "one_slow", 1.2, repeats=1),
        "one_double": make_run(root / "one_double", 2.0, repeats=1),
    }


def verdicts(found):
    return {one["name"]: one["verdict"] for one in found["criteria"]}


def test_the_same_again_passes(cli, runs):
    """A/A with five repeats: exit 0, every criterion proven."""
    found = cli.data("gate", runs["same"], "--baseline", runs["base"])
    assert found["verdict"] == "pass"
    assert verdicts(found) == dict.fromkeys(("usd_per_1m_output_tokens", "ttft_mean_s"), "pass")


def test_twenty_percent_slower_fails(cli, runs):
    """A/B: exit 5; the change has an interval around the truth; the other way round is no regression."""
    margins = "--max-regression tpot=5%,throughput=5%,ttft_p90"
    found = cli.data("gate", runs["slow"], "--baseline", runs["base"], margins, code=5)
    assert verdicts(found) == {
        "tpot_mean_s": "fail", "output_tok_s": "fail", "ttft_p90_s": "fail",
    }  # fmt: skip
    by_name = {one["name"]: one for one in found["criteria"]}
    tpot, output = by_name["tpot_mean_s"], by_name["output_tok_s"]
    assert tpot["change_low"] < 0.2 < tpot["change_high"]
    assert output["change_low"] < 1 / 1.2 - 1 < output["change_high"] < 0
    assert cli("gate", runs["base"], "--baseline", runs["slow"]).code == 0


def test_one_run_each_is_inconclusive_unless_far(cli, runs):
    """One repeat: exit 6; twice as slow is far enough for 5."""
    assert cli("gate", runs["one_slow"], "--baseline", runs["one"], TPOT).code == 6
    assert cli("gate", runs["one_double"], "--baseline", runs["one"], TPOT).code == 5


@pytest.mark.parametrize(
    ("word", "code", "counts"),
    [("warn", 6, ["1", "0", "1"]), ("pass", 0, ["1", "0", "1"]), ("fail", 5, ["1", "1", "0"])],
)
def test_what_undecided_does_to_the_build(cli, runs, tmp_path, word, code, counts):
    """--inconclusive: its exit code, and whether the undecided case is a failure or skipped; warn is the default."""
    flags = ("gate", runs["one_slow"], "--baseline", runs["one"], TPOT, "--junit", tmp_path / "j.xml")
    assert cli(*flags, f"--inconclusive {word}").code == code
    junit = ET.parse(tmp_path / "j.xml").getroot()
    assert [junit.get(key) for key in ("tests", "failures", "skipped")] == counts
    assert cli(*flags).code == 6


def test_a_run_cut_short_does_not_pass(cli, tmp_path):
    """A level that was planned and not measured to its end is undecided; --levels leaves it out by intent."""
    cut = make_run(tmp_path / "cut", manifest={"planned_points": ["c0002-r0", "c0004-r0", "c0008-r0"]})
    manifest = json.loads((cut / "manifest.json").read_text("utf-8"))
    manifest["points"].append({"point_id": "c0004-r0", "concurrency": 4, "repeat": 0, "status": "stopped"})
    (cut / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    found = cli.data("gate", cut, code=6)
    unmeasured = {one["concurrency"]: one["verdict"] for one in found["criteria"] if one["name"] == "measured"}
    assert unmeasured == {4: "inconclusive", 8: "inconclusive"}
    assert cli("gate", cut, "--levels 2").code == 0


def test_times_that_the_client_stamped_prove_less(cli, runs, tmp_path):
    """Against the kernel's: a run's prove no fail, a baseline's no pass, but for what is beyond the client's lag."""
    lag = {"workers": 1, "loop_lag": {"p99_us": 1500}}  # of a TTFT of 100 ms, and of gaps of 10 ms
    made = {"row": lambda row: row._replace(stamp_source="user"), "client": lag}
    slow, slower, same = (
        make_run(tmp_path / name, factor, seed=2, **made) for name, factor in (("a", 1.06), ("b", 1.2), ("c", 1.0))
    )
    by_kernel = make_run(tmp_path / "d", 1.06, seed=2)

    def verdict(run, baseline):
        found = cli("gate", run, "--baseline", baseline, "--max-regression ttft_mean=3% --json").data
        return next(one["verdict"] for one in found["criteria"] if one["kind"] == "regression")

    assert [verdict(one, runs["base"]) for one in (slow, slower, same)] == ["inconclusive", "fail", "pass"]
    assert verdict(by_kernel, runs["base"]) == verdict(slow, same) == "fail"
    assert verdict(runs["base"], same) == "inconclusive"
    assert verdict(same, same) == verdict(runs["base"], runs["base"]) == "pass"


def test_rates_of_many_digits_are_measured(cli, tmp_path):
    """A point's name has six digits of its rate; a name that is no rate names no level."""
    names = ["q0.333333-r0", "q2-r0", "q1.2.3-r0", "q1e999-r0", "q-1-r0"]
    cut = rate_folder(tmp_path / "cut", rates=(1 / 3,), manifest={"planned_points": names})
    found = cli.data("gate", cut, code=6)
    assert [one["rate_per_s"] for one in found["criteria"] if one["name"] == "measured"] == [2]


@pytest.mark.parametrize(
    ("run", "slo", "code"),
    [
        ("base", "ttft_mean<0.2s", 0),
        ("base", "ttft_mean<50ms", 5),
        ("base", "ttft_mean<0.1s", 6),
        ("base", "ttft_p90<1s", 0),
        ("base", "ttft_p99<1s", 6),  # of 200 requests: a pass needs 459 without a violation
        ("one", "ttft_mean<0.2s", 0),
        ("one", "ttft_mean<0.11s", 6),
        ("one", "ttft_mean<0.05s", 5),
    ],
)
def test_slo_met_missed_undecided(cli, runs, run, slo, code):
    """Repeats prove a kept limit and a missed one, and nothing near the figure; one run proves only what is far."""
    found = cli.data("gate", runs[run], "--slo", slo, code=code)
    assert found["verdict"] == {0: "pass", 5: "fail", 6: "inconclusive"}[code]


def test_failing_requests_fail_the_gate(cli, tmp_path, runs):
    """A run that is as fast because a quarter of its requests failed does not pass against its baseline."""
    found = cli.data("gate", make_run(tmp_path / "bad", faults={"timeout": 10}), "--baseline", runs["base"], code=5)
    assert verdicts(found)["error_rate"] == "fail"


@pytest.mark.parametrize(
    ("group", "changed", "words"),
    [
        ("machine", {"telemetry": {"gpu": {"used": ["GPU-2"], "devices": [], "driver": "580.1"}}}, "GPU"),
        ("machine", {"host": {"cpu_model": "D", "cpu_count": 2}}, "client CPU"),
        ("driver", {"telemetry": {"gpu": {"used": ["GPU-1"], "devices": [GPU], "driver": "590.0"}}}, "590.0"),
        ("model", {"model": "other"}, "model"),
        ("workload", {"workload": {"content_hash": "def"}}, "workload content"),
        ("levels", {}, "levels"),
    ],
)
def test_an_unlike_baseline_is_refused(cli, tmp_path, runs, group, changed, words):
    """Exit 2 with the difference and the flag that allows it; with it the comparison goes on and notes it."""
    other = make_run(tmp_path / "other", levels=(2, 4) if group == "levels" else (2,), manifest=changed)
    refused = cli("gate", other, "--baseline", runs["base"])
    assert (refused.code, refused.error.where) == (2, "--baseline")
    assert words in refused.error.what
    assert f"--allow {group}" in refused.error.hint
    found = cli.data("gate", other, "--baseline", runs["base"], "--allow", group)
    assert any(words in note for note in found["notes"])


def test_another_server_version_is_compared_and_noted(cli, tmp_path, runs):
    """What one upgrades is what one wants to compare."""
    newer = make_run(tmp_path / "newer", manifest={"server_probe": {"profile": "vllm", "server": {"version": "0.10"}}})
    notes = cli.data("gate", newer, "--baseline", runs["base"])["notes"]
    assert any(note.startswith("server version: 0.9") and "0.10" in note for note in notes)


def test_levels_in_common_are_compared_alone(cli, tmp_path, runs):
    """--levels 2 of a run with 2 and 4 needs no 4 in the baseline."""
    more = make_run(tmp_path / "more", levels=(2, 4))
    found = cli.data("gate", more, "--baseline", runs["base"], "--levels 2")
    assert {one["concurrency"] for one in found["criteria"]} == {2}


def test_a_client_at_its_limit_proves_no_fail(cli, tmp_path, runs):
    """Slower with a client at its limit: undecided; --allow client takes it as it is."""
    client = {"workers": 1, "cpu_share_mean": 0.99, "cpu_share_max_1s": 1.0}
    slow = make_run(tmp_path / "slow", 1.2, client=client)
    flags = ("gate", slow, "--baseline", runs["base"], "--max-regression tpot")
    assert [cli(*flags).code, cli(*flags, "--allow client").code] == [6, 5]


def test_github_gets_summary_and_annotations(cli, runs, tmp_path):
    """In an action: Markdown is appended to the job's summary, unless --summary has a place; fails are errors."""
    step, file = tmp_path / "step.md", tmp_path / "own.md"
    step.write_text("before\n")
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(step)}
    flags = ("gate", runs["slow"], "--baseline", runs["base"], TPOT)
    assert cli(*flags, **github).out.count("::error title=benchsuite gate%3A ") == 1
    appended = step.read_text()
    assert appended.startswith("before\n### ")
    cli(*flags, "--summary", file, **github)
    assert step.read_text() == appended == f"before\n{file.read_text()}"


@pytest.mark.parametrize("place", ["nowhere/step.md", "/dev/full"])
def test_a_summary_that_cannot_be_written_hides_no_verdict(cli, runs, place):
    """The action's summary is an extra: its failure is a warning, and the exit code is the gate's."""
    flags = ("gate", runs["slow"], "--baseline", runs["base"], TPOT)
    ended = cli(*flags, GITHUB_STEP_SUMMARY=place)
    assert ended.code == cli(*flags).code
    assert "cannot be written" in ended.err


def test_names_from_elsewhere_are_no_commands(cli, tmp_path, runs):
    """A model name with a line of its own cannot give GitHub a command, move a cursor or leave its table cell."""
    other = make_run(tmp_path / "other", model="m\n::error::x\x1b[2J|<img>")
    ended = cli("gate", other, "--baseline", runs["base"], "--allow model", "--summary", tmp_path / "s.md")
    assert not any(line.startswith("::") for line in ended.out.splitlines())
    assert "\x1b" not in ended.out + (tmp_path / "s.md").read_text()
    assert "<img>" not in (tmp_path / "s.md").read_text()


def make_history(root, n=10, change_at=None, cv=0.01, **more):
    """Earlier runs, one a day, sessions differing by `cv`; 10 % faster and of another version from `change_at` on."""
    rng = random.Random(7)
    for day in range(n):
        factor, version = (1.0, "0.9") if change_at is None or day < change_at else (0.9, "0.10")
        facts = {"server_probe": {"profile": "vllm", "server": {"version": version}}} | started(day)
        make_run(root / f"r{day}", factor * math.exp(cv * rng.gauss(0, 1)), seed=day, repeats=2, manifest=facts, **more)
    return root


def started(day):
    return {"run_id": f"run-{day}", "created": f"2026-01-{day + 1:02}T00:00:00+00:00"}


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Ten runs of which the last five are 10 % faster, and five that do not count; and runs of the eleventh day."""
    root = tmp_path_factory.mktemp("history")
    make_history(root / "runs", change_at=5)
    changed = {"driver": {"telemetry": {"gpu": {"used": ["GPU-1"], "devices": [GPU], "driver": "590.0"}}}}
    unlike = [changed["driver"], changed["driver"], {"model": "other"}, {"status": "stopped"}, started(40)]
    for i, facts in enumerate(unlike):
        make_run(root / "runs" / "nested" / f"u{i}", manifest=started(10 + i) | {"run_id": f"u{i}"} | facts)
    today = {"server_probe": {"profile": "vllm", "server": {"version": "0.10"}}} | started(15)
    make_run(root / "same", 0.9, seed=90, repeats=2, manifest=today)
    make_run(root / "slow", 1.15, seed=91, repeats=2, manifest=today)
    make_run(root / "slight", 0.95, seed=92, repeats=2, manifest=today)
    make_run(root / "base", 0.9, seed=93, repeats=2, manifest=today | {"run_id": "base"})
    return root


MARGINS = "--max-regression tpot=6%,throughput=6%"


@pytest.mark.parametrize(("run", "code"), [("same", 0), ("slow", 5), ("slight", 6)])
def test_a_run_is_held_against_its_history(cli, history, run, code):
    """As fast as the runs since the last change: pass; 28 % slower: fail; 6 % slower: undecided."""
    found = cli.data("gate", history / run, "--history", history / "runs", MARGINS, code=code)
    facts = found["history"]
    assert (facts["runs"], facts["runs_since"], facts["since"]) == (10, 5, "run-5")
    assert found["baseline_id"] is None
    for one in found["criteria"]:
        seen, fails = one["visible_ratio"], one["fails_from_ratio"]
        assert (0 < seen < 0.06 and fails > 0.06) if one["name"] == "tpot_mean_s" else (-0.06 < seen < 0 > fails)


def test_what_is_unlike_is_left_out_and_counted(cli, history):
    """Runs of another driver or model, cut short, or later than the run."""
    found = cli.data("gate", history / "same", "--history", history / "runs", MARGINS)
    assert found["history"]["left_out"] == {
        "later than the run": 1, "not finished": 1, "of another driver": 2, "of another model": 1,
    }  # fmt: skip
    allowed = cli.data("gate", history / "same", "--history", history / "runs", MARGINS, "--allow driver,model")
    assert allowed["history"]["runs"] == 13


def test_a_run_with_the_client_at_its_limit_is_no_history(cli, history, tmp_path):
    """It is left out, unless --allow client takes it as it is."""
    make_history(tmp_path / "runs", 3)
    client = {"workers": 1, "cpu_share_mean": 0.99, "cpu_share_max_1s": 1.0}
    make_run(tmp_path / "runs" / "busy", 1.2, repeats=2, client=client, manifest=started(8))
    flags = ("gate", history / "same", "--history", tmp_path / "runs", MARGINS, "--inconclusive pass")
    found = cli.data(*flags)["history"]
    assert (found["runs"], found["left_out"]) == (3, {"with the client at its limit": 1})
    assert cli.data(*flags, "--allow client")["history"]["runs"] == 4


def test_a_copy_counts_once_and_links_are_followed(cli, history, tmp_path):
    """A finished run counts beside an unfinished copy of it, a second copy does not; a linked folder is read."""
    make_history(tmp_path / "runs", 3)
    make_run(tmp_path / "runs" / "a-copy-of-r1", manifest=started(1) | {"status": "stopped"})
    make_run(tmp_path / "runs" / "z-copy-of-r1", manifest=started(1))
    make_run(tmp_path / "elsewhere", seed=9, repeats=2, manifest=started(7))
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "elsewhere")
    found = cli.data("gate", history / "same", "--history", tmp_path / "runs", MARGINS, "--inconclusive pass")
    assert found["history"]["runs"] == 4
    assert found["history"]["left_out"] == {"copied": 1, "not finished": 1}


def test_a_history_of_other_levels_says_which_flag_helps(cli, history, tmp_path):
    """No level set is allowed: --levels judges those in common."""
    make_history(tmp_path / "runs", 3, levels=(4,))
    refused = cli("gate", history / "same", "--history", tmp_path / "runs", MARGINS)
    assert refused.code == 2
    assert "--levels" in refused.error.hint
    assert "--allow" not in refused.error.hint


def test_a_change_is_named(cli, history):
    """The run that it begins with, by how much of which figures, and what differs between it and the one before."""
    (change,) = cli.data("gate", history / "same", "--history", history / "runs", MARGINS)["history"]["change_points"]
    assert (change["run_id"], change["created"]) == ("run-5", "2026-01-06T00:00:00+00:00")
    assert change["change_ratios"]["tpot_mean_s"]["2"] == pytest.approx(-0.1, abs=0.03)
    assert change["change_ratios"]["output_tok_s"]["2"] == pytest.approx(1 / 0.9 - 1, abs=0.03)
    assert [text.split(":")[0] for text in change["differs"]] == ["server version"]


def test_sessions_widen_a_comparison_with_a_baseline(cli, history, tmp_path):
    """Two runs of six repeats that are alike: the interval also holds what earlier runs differ by."""
    for i, name in enumerate(("same", "base")):
        facts = started(15) | {"run_id": name}
        make_run(tmp_path / name, 0.9, seed=80 + i, repeats=6, manifest=facts)
    flags = ("gate", tmp_path / "same", "--baseline", tmp_path / "base", MARGINS, "--inconclusive pass")
    alone, wide = cli.data(*flags), cli.data(*flags, "--history", history / "runs")
    assert (alone["history"], wide["history"]["runs"]) == (None, 10)
    assert wide["baseline_id"] == "base"
    for a, b in zip(alone["criteria"], wide["criteria"], strict=True):
        assert a["change_ratio"] == b["change_ratio"]
        assert b["change_high"] - b["change_low"] > a["change_high"] - a["change_low"]


def test_two_earlier_runs_decide_nothing(cli, tmp_path, history):
    """Fewer than three: undecided, and no change is looked for; a figure that they lack is said so."""
    make_history(tmp_path / "few", 2)
    found = cli.data("gate", history / "slow", "--history", tmp_path / "few", MARGINS, code=6)
    assert {one["finding"] for one in found["criteria"]} == {"fewer than 3 earlier runs"}


def test_a_history_of_something_else_is_refused(cli, tmp_path, history):
    """No run folder, or none that is like the run: exit 2 with what differs most."""
    (tmp_path / "empty").mkdir()
    refused = cli("gate", history / "same", "--history", tmp_path / "empty", MARGINS)
    assert (refused.code, refused.error.where) == (2, "--history")
    make_history(tmp_path / "other", 3, model="other")
    refused = cli("gate", history / "same", "--history", tmp_path / "other", MARGINS)
    assert refused.code == 2
    assert "in 3" in refused.error.what
    assert "--allow model" in refused.error.hint


def test_a_plan_says_how_many_repeats_decide(cli, history):
    """Of the run's own repeats, of a baseline and of a history: repeats that decide, and what they take."""
    margins = "--max-regression tpot=6%,throughput=6% --plan"
    for more in ((), ("--baseline", history / "base"), ("--history", history / "runs")):
        found = cli.data("gate", history / "same", *more, margins)
        assert found["repeats_now"] == 2
        figures = {one["name"]: one for one in found["figures"]}
        assert set(figures) == {"tpot_mean_s", "output_tok_s"}
        assert found["repeats"] == max(one["repeats"] for one in figures.values()) < 6
        assert found["requests"] == 40 * found["repeats"]
        assert found["usd"] == pytest.approx(found["minutes"] / 60 * 2.0)
        one = figures["tpot_mean_s"]
        assert one["margin"] == 0.06
        assert (one["margin_now"] <= 0.06) == (one["repeats"] <= 2)
        assert one["margin_in_time"] <= one["margin_now"]
    assert cli("gate", history / "same", margins, "--junit", history / "j.xml").code == 2


def test_a_plan_has_the_criteria_of_the_anchor(cli, history):
    """--plan with --anchor plans what the gate will judge: each figure against the history and against the anchor."""
    flags = ("gate", history / "same", "--history", history / "runs", "--anchor", history / "base", TPOT)
    planned = [(one["name"], one["reference"]) for one in cli.data(*flags, "--plan")["figures"]]
    assert planned == [("tpot_mean_s", "earlier runs"), ("tpot_mean_s", "anchor")]
    criteria = json.loads(cli(*flags, "--json").out)["criteria"]
    assert [one["name"] for one in criteria if one["kind"] == "regression"] == ["tpot_mean_s"] * 2
    alone = cli.data("gate", history / "same", "--anchor", history / "base", TPOT, "--plan")
    assert [one["reference"] for one in alone["figures"]] == ["anchor"]


@pytest.mark.parametrize(
    ("slo", "figures"),
    [
        ("ttft_p95<1s", {"ttft_p95_s"}),
        ("tpot_p99<1s,ttft_mean<1s,error_rate<1%", {"tpot_p99_s", "ttft_mean_s"}),
        ("output_throughput_per_user>1", {"ttft_mean_s"}),  # cost per token changes with it
    ],
)
def test_what_the_slo_limits_is_compared_by_default(cli, runs, tmp_path, slo, figures):
    """Next to cost: each latency of the run's own SLO, or of --slo; TTFT where it limits none."""
    run = make_run(tmp_path / "run", slo=slo)
    for found in (
        cli.data("gate", run, "--baseline", runs["base"], "--inconclusive pass"),
        cli.data("gate", runs["same"], "--baseline", runs["base"], "--slo", slo, "--inconclusive pass"),
    ):
        compared = {one["name"]: one["margin"] for one in found["criteria"] if one["kind"] == "regression"}
        assert compared.keys() == {"usd_per_1m_output_tokens", *figures}
        assert compared.pop("usd_per_1m_output_tokens") == pytest.approx(0.05)
        assert [*compared.values()] == pytest.approx([0.1] * len(figures))


def test_no_repeats_decide_a_margin_below_what_sessions_differ_by(cli, tmp_path, history):
    """Sessions that differ by 5 % do not decide 2 %, however often one is repeated."""
    make_history(tmp_path / "wild", 8, cv=0.05)
    flags = ("gate", history / "same", "--history", tmp_path / "wild", "--max-regression tpot=2%")
    found = cli.data(*flags, "--plan")
    assert (found["repeats"], found["figures"][0]["repeats"]) == (None, None)
    assert found["figures"][0]["margin_in_time"] > 0.05


def test_a_figure_that_is_not_there_has_no_history(cli, tmp_path, history):
    """Answers of one token have no TPOT: of the run it is undecided; an earlier run that lacks it is left out."""
    short = make_run(tmp_path / "run", repeats=2, row=_one_token, manifest=started(15))
    found = cli.data("gate", short, "--history", history / "runs", "--max-regression tpot", code=6)
    assert [one["finding"] for one in found["criteria"]] == ["not known in every repeat, or 0"]
    make_run(tmp_path / "earlier" / "short", repeats=2, row=_one_token, manifest=started(3))
    found = cli.data("gate", history / "same", "--history", tmp_path / "earlier", "--max-regression tpot", code=6)
    assert found["history"]["left_out"] == {"without a figure": 1}


def test_a_plan_of_an_unknown_figure_says_why(cli, tmp_path):
    """Answers of one token: cost is planned, TPOT is listed with the reason, and no number of repeats decides all."""
    short = make_run(tmp_path / "run", repeats=3, row=_one_token)
    found = cli.data("gate", short, "--max-regression tpot,cost --plan")
    figures = {one["name"]: one for one in found["figures"]}
    assert figures["usd_per_1m_output_tokens"]["repeats"] is not None
    assert figures["tpot_mean_s"]["repeats"] is None
    assert figures["tpot_mean_s"]["unknown"] == "not known in every repeat, or 0"
    assert (found["repeats"], found["repeats_now"]) == (None, 3)


def _one_token(row):
    return row._replace(output_tokens=1, chunk_gap_us=array("i"), n_chunks=1, last_token_s=row.first_token_s)


def main_branch(cli, root, day, factor, *more, **facts):
    """A run of the main branch on that day, held against what was kept of earlier ones: exit code, and whether kept."""
    run = make_run(root / f"day-{day}", factor, seed=50 + day, repeats=3, manifest=started(day), **facts)
    flags = ("--history", root / "history", "--anchor", root / "anchor", "--refresh", "--inconclusive pass")
    ended = cli("gate", run, *flags, MARGINS, *more)
    return ended.code, "note: kept in" in ended.out


def kept(root):
    return sorted(path.name for path in (root / "history").glob("*")), (root / "anchor" / "manifest.json").exists()


def test_the_baseline_is_refreshed_by_rule(cli, tmp_path):
    """The first run is the anchor, eight that do not fail begin the history; then what passes joins it."""
    assert main_branch(cli, tmp_path, 0, 1.0) == (0, True)
    assert kept(tmp_path) == ([], True)
    for day in range(1, 9):
        assert main_branch(cli, tmp_path, day, 1.0 + 0.002 * (day % 3)) == (0, True)
    assert main_branch(cli, tmp_path, 9, 1.2) == (5, False)  # slower: failed
    assert main_branch(cli, tmp_path, 10, 1.055) == (0, False)  # undecided, which this build takes
    client = {"workers": 1, "cpu_share_mean": 0.99, "cpu_share_max_1s": 1.0}
    assert main_branch(cli, tmp_path, 11, 0.99, client=client) == (0, False)
    assert main_branch(cli, tmp_path, 12, 1.0) == (0, True)
    assert kept(tmp_path)[0] == sorted(f"run-{day}" for day in (*range(1, 9), 12))
    assert main_branch(cli, tmp_path, 12, 1.0) == (0, False)  # it is there
    copied = {path.name for path in (tmp_path / "anchor").iterdir()}
    assert copied >= {"manifest.json", "requests.parquet"}
    assert "report.html" not in copied


@pytest.mark.slow
def test_small_losses_do_not_add_up(cli, tmp_path):
    """Runs that each lose 2 % on the one before end at the anchor's margin, where without it none would fail."""
    factors = [1.02 ** max(0, day - 8) for day in range(15)]
    found = [main_branch(cli, tmp_path, day, factor) for day, factor in enumerate(factors)]
    assert (5, False) in found
    worst = max(factor for factor, (_, joined) in zip(factors, found, strict=True) if joined)
    assert worst < 1.06
    run = tmp_path / "day-14"
    criteria = cli.data(
        "gate", run, "--history", tmp_path / "history", "--anchor", tmp_path / "anchor", MARGINS, code=5
    )
    assert {one["verdict"] for one in criteria["criteria"] if "than the anchor" in one["requirement"]} == {"fail"}


def test_a_name_of_a_run_is_no_path(cli, tmp_path):
    """What a manifest calls its run names a folder below the history, wherever it would lead."""
    main_branch(cli, tmp_path, 0, 1.0)
    run = make_run(tmp_path / "other", seed=3, repeats=3, manifest=started(1) | {"run_id": "../../x\n::error::y"})
    flags = ("--history", tmp_path / "history", "--anchor", tmp_path / "anchor", "--refresh --inconclusive pass")
    assert cli("gate", run, *flags, MARGINS).code == 0
    (name,) = kept(tmp_path)[0]
    assert name.endswith("x___error__y")
    assert {path.name for path in tmp_path.iterdir()} == {"day-0", "other", "anchor", "history"}


@pytest.mark.parametrize(
    "flags", ["", "--history h", "--history h --anchor a --baseline b", "--history h --anchor a --plan"]
)
def test_a_refresh_needs_a_place_and_an_anchor(cli, runs, flags):
    """A history that grows without an anchor would creep: exit 2, and nothing is copied."""
    assert cli("gate", runs["base"], "--refresh", flags).code == 2


def test_an_unlike_anchor_is_refused_as_one(cli, tmp_path, runs):
    """The error names the option that is meant."""
    other = make_run(tmp_path / "other", manifest={"model": "other"})
    refused = cli("gate", runs["same"], "--anchor", other)
    assert (refused.code, refused.error.where) == (2, "--anchor")
    assert "anchor" in refused.error.what
