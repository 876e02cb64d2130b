"""`benchsuite find`: a search from the command line, its answer, its refusals, and how it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchsuite
from benchsuite.find_spec import FindSpec
from benchsuite.load.find import continued
from benchsuite.load.search import SearchSpec
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.run_folder import read_manifest

# a token every 1 ms + 0.1 ms x active: 200 tokens/s at 40 users
ENGINE = SimulatorConfig(latency=LatencyModel(ttft_s=0.005, itl_s=0.001, itl_per_stream_s=0.0001, slots=256))
FEW = "--max-output-tokens 40 --gpu off"
PRICE = "--usd-per-hour 3.6"


@pytest.fixture(scope="module")
def server():
    with simulator(ENGINE) as running:
        yield running


@pytest.fixture(scope="module")
def found(cli, tmp_path_factory):
    """A search that went to its end, or to that of a minute, whose server is gone: its folder, and how it ended."""
    path = tmp_path_factory.mktemp("found") / "run"
    with simulator(ENGINE) as running:
        slo = "--slo decode_throughput>200 --high 96 --budget-min 1"
        done = cli("find --json --base-url", running.base_url, slo, FEW, PRICE, "--output", path)
    return path, done


def test_the_answer(found):
    """A level that was measured; the exit code says why it ended; what it cost is its time at its price; and it is the
    same in --json, summary.json, the manifest and on the terminal."""
    path, done = found
    search, manifest = done.data["search"], read_manifest(path)
    end = search["end"]

    assert {"confident": 0, "budget_minutes": 6, "none_feasible": 3}[end["reason"]] == done.code
    assert end["answer"]["level"] in [point.concurrency for point in manifest.points]
    assert end["probes"] == len(manifest.points) == len(manifest.complete_points)
    assert end["spent_usd"] == pytest.approx(end["seconds"] * 0.001)
    value, low, high = end["answer"]["usd"]
    assert low < value < high
    assert value == pytest.approx(0.001 / end["answer"]["throughput"][0])
    assert manifest.search.model_dump(mode="json") == search
    assert json.loads((path / "summary.json").read_text())["search"] == search
    assert f"at concurrency {end['answer']['level']:.0f}, P(good) {end['answer']['p_good']:.2f}" in done.err
    assert f"after {end['probes']} probes" in done.err
    assert (path / "report.html").exists()


def test_an_ended_search_says_its_answer_without_a_server(cli, found):
    """Nothing is sent; another price is another cost of the same throughput, another SLO would be another search."""
    path, done = found
    before = read_manifest(path)
    again = cli("find --quiet --resume", path)
    dearer = cli("find --json --usd-per-hour 7.2 --resume", path).data["search"]["end"]
    refused = cli("find --slo ttft_mean<1s --resume", path)

    assert (again.code, len(again.out.splitlines())) == (done.code, 1)
    assert again.out.strip() in done.err
    assert dearer["answer"]["usd"][0] == pytest.approx(2 * before.search.end.answer.usd[0])
    assert read_manifest(path).points == before.points
    assert not [one.name for one in path.iterdir() if one.is_dir()]
    assert refused.code == 2
    assert "goes on with the SLO" in refused.error.what
    cli("find --quiet --usd-per-hour 3.6 --resume", path)


def test_only_a_search_goes_on_with_a_search(cli, found, stored):
    path, _ = found
    assert "benchsuite find --resume" in cli("sweep --base-url http://h:1 --resume", path).error.hint
    assert "benchsuite sweep --resume" in cli("find --base-url http://h:1 --resume", stored / "repeated").error.hint


def test_a_budget_that_ends_may_be_raised(cli, server, tmp_path):
    """A search without time for a second probe is undecided, and says how it goes on; with more it keeps what it has,
    and what that took."""
    asked = ("find --slo ttft_mean<10s --budget-min 0.001 --base-url", server.base_url, FEW)
    first = cli(*asked, "--output", tmp_path / "run")
    before = read_manifest(tmp_path / "run")
    run = benchsuite.find(resume=tmp_path / "run", base_url=server.base_url, budget_min=0.05)
    after = run.stored.manifest

    assert first.code == 6
    assert "--budget-min 0.002" in first.err
    assert "more minutes" in " ".join(first.out.split())
    assert before.search.end.reason == "budget_minutes"
    assert [point.probe for point in after.points[: len(before.points)]] == [point.probe for point in before.points]
    assert len(after.points) > len(before.points)
    assert after.search.end.seconds > before.search.end.seconds
    assert run.manifest["search"]["end"]["probes"] == len(after.points)


def test_no_level_is_good_enough(cli, server, tmp_path):
    """No first token comes within a microsecond."""
    done = cli("find --slo ttft_mean<1us --high 2 --base-url", server.base_url, FEW, "--output", tmp_path / "run")
    assert done.code == 3
    assert "no level meets ttft_mean<1us; already missed at concurrency 1" in done.words


def test_the_highest_level_is_no_optimum(cli, server, tmp_path):
    """Where it is good too, the answer says that what lies above was not allowed."""
    asked = "find --slo ttft_mean<10s --high 2 --budget-min 1 --base-url"
    done = cli(asked, server.base_url, FEW, "--output", tmp_path / "run")
    assert done.code == 0
    assert "best at concurrency 2" in done.words
    assert "no optimum is bracketed" in done.words


REFUSED = {
    "--slo itl_p95<5ms": "does not tell itl",
    "--slo occupancy>0.9,ttft<1s": "does not tell occupancy",
    "--variable rate --slo output_throughput_per_user>20": "does not tell output_throughput_per_user",
    "--budget-usd 2": "needs a price",
    "--low 9 --high 8": "low < high",
    "--high 7.5": "whole number",
    "--start 2000": "start between",
    "--confidence 5%": "share from 0.5",
    "--variable rate --low 0.0001": "a rate is",
    "--arrival constant": "is of an open loop",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_refusals(cli, flags):
    """Before anything is sent, and so without a server."""
    refused = cli("find --base-url http://127.0.0.1:1 --dry-run", flags)
    assert (refused.code, REFUSED[flags] in str(refused.error)) == (2, True), refused.error


@pytest.mark.parametrize(
    ("table", "line", "instead"),
    [
        ("load", "concurrency = [8, 16]", "--low, --high, --start"),
        ("load", "rate = 4", "--variable rate"),
        ("load", "repeats = 3", "--confidence"),
        ("load", "max_errors = 3", "error_rate<5%"),
        ("load", "warmup_requests = 3", "nothing"),
        ("arrivals", "replay = true", "sweep --replay"),
    ],
)
def test_keys_of_a_sweep(cli, tmp_path, table, line, instead):
    """A file that says what only a sweep has is refused with what a search has instead."""
    (tmp_path / "s.toml").write_text(f'[server]\nbase_url = "http://127.0.0.1:1"\n[{table}]\n{line}\n')
    refused = cli("find --dry-run", tmp_path / "s.toml")
    assert (refused.code, instead in str(refused.error)) == (2, True), refused.error


def test_a_file_of_a_search(cli, tmp_path):
    """`find` takes its table, and no flag stands in the way; a sweep refuses it, and names the verb."""
    file = tmp_path / "s.toml"
    text = 'slo = "ttft<1s"\n[server]\nbase_url = "http://127.0.0.1:1"\n[price]\nusd_per_hour = 6\ngpus = 2\n'
    file.write_text(text + '[find]\nhigh = 64\nconfidence = "90%"\nbudget_min = 30\nbudget_usd = 5\n')
    planned = cli("find --dry-run", file)
    printed = cli("find --print-spec --low 2", file)

    assert planned.words == (
        "the first probe is at 32 users, or the server's slots if fewer; levels from 1 to 64; about 30 min "
        "of probes at most, $5 at $12 an hour"
    )
    assert "low = 2.0 " in printed.out
    assert "confidence = 0.9 " in printed.out
    assert "\nconcurrency =" not in printed.out
    assert "benchsuite find" in cli("sweep --dry-run", file).error.hint


def manifest_of(path: Path, probes: list[dict[str, object]], slots: int):
    points = [
        {"point_id": f"f{i:02d}", "status": "complete", "started_s": 0.0, "ended_s": 7.0} | ({"probe": p} if p else {})
        for i, p in enumerate(probes)
    ]
    ends = [{"base_url": url, "role": "own"} for url in ("http://a", "http://b")]
    facts = {"endpoints": ends, "points": points, "server_probe": {"capacity": {"concurrent_requests": slots}}}
    path.mkdir()
    (path / "manifest.json").write_text(json.dumps({"schema": 1, **facts}))
    return read_manifest(path)


def test_how_a_search_goes_on(tmp_path):
    """The slots are those of all servers; probes that failed at the end are measured again, and what they took counts,
    as does what was stopped."""
    kept = {"level": 8.0, "phase": "bracket", "n_requests": 40, "seconds": 5.0, "saturated": False, "failed": False,
            "margins": {"ttft_mean": [0.4, 0.01]}, "shares": {}, "ln_x": [3.0, 0.01]}  # fmt: skip
    failed = kept | {"level": 16.0, "failed": True, "margins": {}, "ln_x": None, "seconds": 3.0}
    manifest = manifest_of(tmp_path / "run", [kept, {}, failed, failed], 600)

    search, results = continued(SearchSpec(), FindSpec(), manifest)
    assert (search.slots, search.high, search.spent_s) == (1200.0, 2400.0, 13.0)
    assert [one.level for one in results] == [8.0]
    search, _ = continued(SearchSpec(high=64), FindSpec(high=64, start=16), manifest)
    assert (search.slots, search.high) == (None, 64)
