"""`benchsuite ab`: two run folders that were measured in turn, whose truth is known; and what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from test_gate_command import SAME, make_run

pytestmark = pytest.mark.usefixtures("in_stored")
LATER = {"clock": {"origin_wall_ns": 10**13}}
PROBED = SAME["server_probe"] | {"stamp_source": "user"}
SERVED = {"launched_server": {"plan": "vllm m"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs whose points lie in turn on one clock: a, the same again, 20 % slower, and one repeat of two."""
    root = tmp_path_factory.mktemp("ab")
    return {
        "a": make_run(root / "a"),
        "same": make_run(root / "same", 1.002, seed=1),
        "slow": make_run(root / "slow", 1.2, seed=2),
        "one": make_run(root / "one", repeats=1),
        "one_slow": make_run(root / "one_slow", 1.2, repeats=1),
    }


@pytest.mark.parametrize(
    ("a", "b", "code", "said"),
    [
        ("a", "same", 0, {"no difference"}),
        ("a", "slow", 5, {"slower"}),
        ("slow", "a", 0, {"faster"}),
        ("one", "one_slow", 6, {"undecided"}),
    ],
)
def test_four_results(cli, runs, a, b, code, said):
    """The same again is proven the same, 20 % is found both ways, one run each decides nothing; exit codes of gate."""
    found = cli.data("ab", runs[a], runs[b], code=code)
    assert {row["verdict"] for row in found["rows"]} == said
    assert {row["name"] for row in found["rows"]} == {"usd_per_1m_output_tokens", "ttft_mean_s"}
    truth = 1.2 if b == "slow" else 1 / 1.2
    if "no difference" not in said:
        assert all(row["low"] < row["ratio"] < row["high"] for row in found["rows"])
    if code == 5 or said == {"faster"}:
        assert all(row["low"] < truth < row["high"] for row in found["rows"])
    assert (found["more"] is not None) == (code == 6)


def test_metrics_and_margins_are_chosen(cli, runs):
    """--metrics with margins of their own, --margin for the others: 20 % slower is nothing where 40 % may be."""
    found = cli.data("ab", runs["a"], runs["slow"], "--metrics tpot,throughput=40% --margin 50%")
    assert [(row["name"], row["margin"], row["verdict"]) for row in found["rows"]] == [
        ("tpot_mean_s", 0.5, "no difference"),
        ("output_tok_s", 0.4, "no difference"),
    ]


def test_limits_of_b_and_what_ci_reads(cli, runs, tmp_path):
    """--slo holds B to limits too; JUnit has a case for each, the summary a row."""
    junit, summary = tmp_path / "ab.xml", tmp_path / "ab.md"
    ended = cli(
        "ab",
        runs["a"],
        runs["same"],
        "--slo ttft_mean<50ms --inconclusive fail",
        "--junit",
        junit,
        "--summary",
        summary,
    )
    assert ended.code == 5
    cases = {case.get("name"): case.find("failure") is not None for case in ET.parse(junit).getroot().iter("testcase")}
    assert [name for name, failed in cases.items() if failed] == ["ttft_mean<50ms at 2"]
    assert len(cases) >= 3
    assert "benchsuite ab: fail" in summary.read_text("utf-8")


def test_restarts_are_the_unit(cli, tmp_path):
    """Six repeats in three starts of each server are three units, not six."""
    first = make_run(tmp_path / "probe", repeats=6)
    points = json.loads((first / "manifest.json").read_text("utf-8"))["points"]
    at = [points[i]["started_s"] - 0.1 for i in (0, 2, 4)]
    more = {"sessions": [{"started_s": one} for one in at], **SERVED}
    sides = [make_run(tmp_path / name, repeats=6, seed=i, manifest=more) for i, name in enumerate("ab")]
    found = cli.data("ab", *sides, "--margin 20%")
    assert found["unit"] == "restart"
    assert all("3 against 3" in row["finding"] or "over 3 repeats" in row["finding"] for row in found["rows"])


def test_the_repeats_of_one_visit_are_one_unit(cli, tmp_path):
    """Servers that were there already: six repeats in three visits of each are three rounds."""
    first = make_run(tmp_path / "probe", repeats=6)
    points = json.loads((first / "manifest.json").read_text("utf-8"))["points"]
    at = [points[i]["started_s"] - 0.1 for i in (0, 2, 4)]
    more = {"sessions": [{"started_s": one} for one in at]}
    sides = [make_run(tmp_path / name, 1.5**i, repeats=6, seed=i, manifest=more) for i, name in enumerate("ab")]
    found = cli.data("ab", *sides, code=5)
    assert found["unit"] == "round"
    assert all("3 against 3" in row["finding"] or "over 3 repeats" in row["finding"] for row in found["rows"])


def test_two_rounds_decide_nothing_and_say_so(cli, tmp_path):
    """Half as slow again, and failures: with two rounds of each all is undecided, with the reason and what would do."""
    sides = [
        make_run(tmp_path / "a", repeats=2),
        make_run(tmp_path / "b", 1.5, repeats=2, seed=1, faults={"timeout": 20}),
    ]
    found = cli.data("ab", *sides, code=6)
    assert {row["name"]: row["verdict"] for row in found["rows"]} == dict.fromkeys(
        ("usd_per_1m_output_tokens", "ttft_mean_s", "error_rate"), "undecided"
    )
    assert all(row["finding"].endswith("fewer than 3 rounds") for row in found["rows"])
    assert "rounds of each arm" in found["more"]


def test_a_client_at_its_limit_proves_no_sameness(cli, tmp_path, runs):
    """What limits both arms alike hides what differs: undecided, unless --allow client."""
    client = {"workers": 1, "cpu_share_mean": 0.99, "cpu_share_max_1s": 1.0}
    same = make_run(tmp_path / "same", 1.002, seed=1, client=client)
    assert [cli("ab", runs["a"], same).code, cli("ab", runs["a"], same, "--allow client").code] == [6, 0]


def test_arms_that_others_stamped_prove_nothing_of_time(cli, tmp_path, runs):
    """The wall clock was set between the arms: A's times are the kernel's, B's the client's, which lag behind."""
    by_user = {"row": lambda row: row._replace(stamp_source="user"), "manifest": {"server_probe": PROBED}}
    same = make_run(tmp_path / "same", 1.002, seed=1, **by_user)
    found = cli.data("ab", runs["a"], same, code=6)
    assert found["differs"] == ["time stamps: the kernel's in one arm, the client's in the other at 2"]
    assert {row["name"]: row["verdict"] for row in found["rows"]} == {
        "usd_per_1m_output_tokens": "no difference", "ttft_mean_s": "undecided",
    }  # fmt: skip
    assert cli("ab", runs["a"], same, "--allow client").code == 0
    both = make_run(tmp_path / "both", 1.2, seed=2, **by_user)
    assert cli("ab", same, both).code == 5


def test_more_failures_are_a_fail(cli, tmp_path, runs):
    """B that is as fast, but fails a quarter of its requests, is worse; A's failures are no fault of B."""
    bad = make_run(tmp_path / "bad", faults={"timeout": 10})
    found = cli.data("ab", runs["a"], bad, code=5)
    assert [row["verdict"] for row in found["rows"] if row["name"] == "error_rate"] == ["slower"]
    assert "error_rate" not in {row["name"] for row in cli("ab", bad, runs["a"], "--json").data["rows"]}


def test_what_arms_are_meant_to_differ_in_is_listed(cli, tmp_path, runs):
    """Another server version and other launch flags are what one compares."""
    newer = {"server_probe": {"profile": "vllm", "server": {"version": "0.10"}}, "launched_server": {"plan": "vllm n"}}
    found = cli.data("ab", runs["a"], make_run(tmp_path / "n", 1.002, seed=1, manifest=newer))
    assert [one.split(":")[0] for one in found["differs"]] == ["server started as", "server version"]


@pytest.mark.parametrize(
    ("group", "changed"),
    [
        ("machine", {"manifest": {"host": {"cpu_model": "D", "cpu_count": 2}}}),
        ("driver", {"manifest": {"telemetry": {"gpu": {**SAME["telemetry"]["gpu"], "driver": "590.0"}}}}),
        ("model", {"manifest": {"model": "other"}}),
        ("workload", {"manifest": {"workload": {"content_hash": "def"}}}),
        ("protocol", {"spec": {"load": {"warmup_requests": 3}}}),
        ("levels", {"levels": (2, 4)}),
    ],
)
def test_unlike_arms_are_refused(cli, tmp_path, runs, group, changed):
    """Exit 2 with the difference and the flag that allows it; allowed, the same rows are no difference."""
    refused = cli("ab", runs["a"], make_run(tmp_path / "other", **changed))
    assert (refused.code, refused.error.where) == (2, "ab")
    assert f"--allow {group}" in refused.error.hint
    assert cli("ab", runs["a"], tmp_path / "other", f"--allow {group}").code == 0


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ("", "ab"),
        ("one.toml", "ab"),
        ("--base-url http://127.0.0.1:1", "ab"),
        ("--serve simulator", "ab"),
        ("--serve simulator --serve simulator --base-url http://127.0.0.1:1 --base-url http://127.0.0.1:2", "ab"),
        ("--base-url http://127.0.0.1:1 --base-url http://127.0.0.1:2 --restarts 2", "--restarts"),
        ("--base-url http://127.0.0.1:1 --base-url http://127.0.0.1:2 --margin 5x", "--margin"),
        ("--base-url http://127.0.0.1:1 --base-url http://127.0.0.1:2 --metrics nothing", "--metrics"),
        ("--base-url http://127.0.0.1:1 --base-url http://127.0.0.1:2 --allow servers", "--allow"),
    ],
)
def test_what_makes_no_two_arms_is_refused(cli, arguments, where):
    """Before anything is measured: exit 2, and the flag that is wrong."""
    refused = cli("ab", arguments)
    assert (refused.code, refused.error.where) == (2, where)


def test_sessions_apart_are_refused(cli, tmp_path, runs):
    """Two runs of one engine an hour apart differ by what the machine did meanwhile."""
    later = make_run(tmp_path / "later", 1.002, seed=1, manifest=LATER)
    assert cli("ab", runs["a"], later).error.hint.startswith("measure both with `benchsuite ab`")


def test_one_price_for_both_or_none(cli, tmp_path, runs):
    """A cost in dollars against a cost in hours is no ratio."""
    assert cli("ab", runs["a"], make_run(tmp_path / "free", usd_per_hour=None)).error.where == "price"
