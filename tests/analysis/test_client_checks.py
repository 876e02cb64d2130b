"""The verdict on the measuring client."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from factory import run_folder

from benchsuite.analysis.client_accuracy import client_effects
from benchsuite.analysis.summary import parse_points
from benchsuite.analysis.warnings import ClientEffects, ClientVerdict, judge_client, token_balance
from benchsuite.level import Level
from benchsuite.report.judge import judge_run
from benchsuite.store.run_folder import read_run
from benchsuite.telemetry import host
from benchsuite.telemetry.host import CpuMark
from benchsuite.warning_table import warn


def state(**over: Any) -> dict[str, Any]:
    lag = {"n": 1000, "p50_us": 20.0, "p99_us": 100.0, "max_us": 900.0}
    quiet = {"cpu_share_mean": 0.1, "cpu_share_max_1s": 0.2, "run_queue_wait_share": 0.01, "steal_s": 0.0}
    return quiet | {"read_lag": lag, "loop_lag": lag, "dispatch_lag": lag} | over


def lag(p99_us: float) -> dict[str, Any]:
    return {"n": 9, "p50_us": 1.0, "p99_us": p99_us, "max_us": p99_us}


def judged(states: Sequence[dict[str, Any]], calibrated_s: float | None = None, **effects: Any) -> ClientVerdict:
    quiet = {"kernel_stamps": True, "gap_p50_s": 0.010, "late_share": 0.001, "merged_share": 0.0}
    return judge_client(states, ClientEffects(**quiet | {"merged_by_sender_share": 0.0} | effects), calibrated_s)


@pytest.mark.parametrize(
    ("over", "effects", "verdict"),
    [
        ({}, {}, "ok"),
        ({}, {"merged_share": 0.0128}, "degraded"),
        ({}, {"merged_share": 0.11}, "client-bound"),
        ({}, {"merged_by_sender_share": 0.5}, "ok"),  # the sender's doing is no fault of the client
        ({}, {"late_share": 0.05}, "ok"),
        ({}, {"late_share": 0.06}, "degraded"),
        ({}, {"late_share": 0.16}, "client-bound"),
        ({"cpu_share_max_1s": 0.95}, {}, "ok"),  # busy, and nothing came of it
        ({"cpu_share_mean": 0.92}, {}, "degraded"),
        ({"cpu_share_mean": 0.99}, {}, "client-bound"),
        ({"run_queue_wait_share": 0.4}, {}, "ok"),  # starved, and the kernel's stamps are right all the same
        ({"read_lag": lag(11_000), "loop_lag": lag(9000)}, {}, "ok"),  # as above
        ({"loop_lag": lag(600)}, {"kernel_stamps": False}, "degraded"),
        ({"loop_lag": lag(2600)}, {"kernel_stamps": False}, "client-bound"),
        ({"cpu_share_max_1s": None, "read_lag": None}, {"merged_share": None, "late_share": None}, "ok"),
    ],
)
def test_limits(over: dict[str, Any], effects: dict[str, Any], verdict: str) -> None:
    """Each limit of METHODS, The measuring client, with a median gap of 10 ms: what moves a figure, not what might."""
    assert judged([state(**over)], **effects).verdict == verdict


@pytest.mark.parametrize(
    ("over", "cause"),
    [
        ({"cpu_share_max_1s": 0.95}, "busy"),
        ({"run_queue_wait_share": 0.3}, "starved"),
        ({"run_queue_wait_share": None}, "late"),  # stored runs and other systems do not tell
        ({}, "late"),
    ],
)
def test_the_cause_is_told_apart(over: dict[str, Any], cause: str) -> None:
    """Own CPU time is busy, waiting for a CPU is starved; more workers are advised to a busy client alone."""
    found = judged([state(**over)], late_share=0.2)
    (warning,) = found.warnings(Level(8))
    assert (found.cause, warning.code, warning.level.users) == (cause, "client_bound", 8)
    assert ("more --workers, and" in warning.remedy) == (cause == "busy")


def test_a_calibration_says_what_late_stamps_do() -> None:
    """Without kernel stamps the machine's own calibration counts, unless the client was busy or starved meanwhile."""
    late, starved = state(loop_lag=lag(5000)), state(loop_lag=lag(5000), run_queue_wait_share=0.2)
    assert judged([late], kernel_stamps=False).verdict == "client-bound"
    assert judged([late], 0.0003, kernel_stamps=False).verdict == "ok"
    assert judged([starved], 0.0003, kernel_stamps=False).verdict == "client-bound"


def test_the_worst_repeat_counts() -> None:
    """Two repeats, one of them bad: bad."""
    found = judged([state(), state(cpu_share_mean=0.99, cpu_share_max_1s=1.0)])

    assert (found.verdict, found.cause) == ("client-bound", "busy")
    assert found.figures["cpu_share_max_1s"] == 1.0


@pytest.mark.parametrize(
    ("effects", "codes"),
    [
        ({"merged_share": 0.2}, ["client_bound"]),
        ({"merged_share": 0.02}, ["client_degraded"]),
        ({"merged_by_sender_share": 0.02}, ["merged_by_sender"]),
        ({}, []),
    ],
)
def test_the_verdict_as_a_warning(effects: dict[str, Any], codes: list[str]) -> None:
    """One code for each verdict that is not ok; none when all is well."""
    assert [warning.code for warning in judged([state()], **effects).warnings(Level(8))] == codes


@pytest.mark.parametrize(
    ("effects", "responses", "explained"),
    [
        ({"merged_share": 0.02}, 8, True),
        ({"merged_share": 0.02}, 40, False),  # more than a client does that comes late now and then
        ({"merged_share": 0.5}, 40, True),
        ({"merged_by_sender_share": 0.5}, 8, False),
    ],
)
def test_responses_in_one_chunk_by_the_client(effects: dict[str, Any], responses: int, explained: bool) -> None:
    """A client that merged reads has no word of buffering in the server beside its own warning."""
    single = warn("single_chunk", Level(8), responses=responses, ok=100)
    assert judged([state()], **effects).explains(single) is explained


@pytest.mark.parametrize(
    ("over", "effects", "effect"),
    [
        ({}, {"merged_share": 0.02}, "TPOT and ITL are coarser than they look"),
        ({"loop_lag": lag(600)}, {"kernel_stamps": False}, "TPOT and ITL are coarser than they look"),
        ({}, {"late_share": 0.06}, "throughput is too low, $ too high"),
        ({}, {"late_p99_s": 0.004, "rate_per_s": 20.0}, "TTFT and E2E include how late the client sent"),
        ({"cpu_share_mean": 0.92}, {}, "figures may be too high or too low"),
        ({}, {"late_p99_s": 0.004, "rate_per_s": 1.0, "merged_share": 0.02},
         "TPOT and ITL are coarser than they look; TTFT and E2E include how late the client sent"),
    ],
)  # fmt: skip
def test_the_effect_is_that_of_the_reasons(over: dict[str, Any], effects: dict[str, Any], effect: str) -> None:
    """Requests that were sent late make no token's time coarser; each effect once, however many reasons have it."""
    (warning,) = judged([state(**over)], **effects).warnings(Level(8))
    assert (warning.code, warning.effect) == ("client_degraded", effect)


def rows(read_lag_us: int | None, *, merged: int = 5, waited_s: float = 0.0, kept: bool = True) -> pa.Table:
    """Eight answers of 50 reads, 20 ms apart; `merged` reads of each held several events."""
    return pa.Table.from_pylist(
        [
            {"scheduled_s": i * 2.0, "sent_s": i * 2.0 + waited_s, "closed_s": i * 2.0 + 1,
             "first_token_s": i * 2.0 + 0.02, "last_token_s": i * 2.0 + 1, "n_reads": 50, "n_chunks": 60,
             "merged_reads": merged, "read_lag_max_us": read_lag_us,
             "stamp_source": "user" if read_lag_us is None else "kernel", "connection_reused": kept}
            for i in range(8)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("table", "loop_lag_s", "shares"),
    [
        (rows(200), None, (0.0, 0.1)),  # every read was taken 0.2 ms after it came, and the next came 20 ms later
        (rows(30_000), None, (0.1, 0.0)),
        (rows(None), 0.001, (0.0, 0.1)),
        (rows(None), 0.050, (0.1, 0.0)),
        (rows(None, merged=1), 0.001, (0.02, 0.0)),  # the loop's p99 says nothing of two reads in a hundred
    ],
)
def test_who_merged_the_reads(table: pa.Table, loop_lag_s: float | None, shares: tuple[float, float]) -> None:
    """A client that took each read long before the next could come merged nothing: the sender did."""
    found = client_effects(table, 0.02, loop_lag_s, paced=False)
    assert (found.merged_share, found.merged_by_sender_share) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("waited_s", "read_lag_us", "loop_lag_s", "by_sender"),
    [(0.3, 200, 0.0005, True), (0.3, 200, None, True), (0.3, 200, 0.3, False), (0.3, 20_000, 0.0005, False),
     (0.001, 200, 0.0005, False), (0.3, None, 0.0005, True), (0.3, None, None, False)],
)  # fmt: skip
def test_who_merged_a_whole_answer(
    waited_s: float, read_lag_us: int | None, loop_lag_s: float | None, by_sender: bool
) -> None:
    """Thirty tokens in one read, 0.3 s after the request: a client that was never late did not gather them."""
    row = {"scheduled_s": 0.0, "sent_s": 0.0, "closed_s": waited_s, "first_token_s": waited_s,
           "last_token_s": waited_s, "n_reads": 2, "n_chunks": 30, "merged_reads": 1, "read_lag_max_us": read_lag_us,
           "stamp_source": "user" if read_lag_us is None else "kernel", "connection_reused": True}  # fmt: skip
    found = client_effects(pa.Table.from_pylist([row] * 8), None, loop_lag_s, paced=False)
    assert (found.merged_by_sender_share == 0.5) is by_sender
    assert (found.merged_share == 0.5) is not by_sender


def test_the_users_time_that_the_client_let_pass() -> None:
    """Of one second a request, 0.2 s before it left; not where a rate makes users wait."""
    assert client_effects(rows(200, waited_s=0.2), 0.02, None, paced=False).late_share == pytest.approx(0.2)
    assert client_effects(rows(200, waited_s=0.2), 0.02, None, paced=True).late_share is None


def test_a_server_that_closes_connections_is_no_late_client() -> None:
    """Of one second a request, 0.2 s on a new connection: that is said, and not that users were idle for that time."""
    effects = client_effects(rows(200, waited_s=0.2, kept=False), 0.02, None, paced=False)
    assert (effects.late_share, effects.connecting_share) == pytest.approx((0.0, 0.2))
    verdict = judge_client([state()], replace(effects, merged_share=0.0, merged_by_sender_share=0.0))
    (warning,) = verdict.warnings(Level(8))
    assert (verdict.cause, warning.code, warning.values["share"]) == (None, "connections_closed", pytest.approx(0.2))
    for occupancy, explained in ((0.79, True), (0.75, False)):  # of the 25 % idle, a part is the client's
        assert verdict.explains(warn("idle_users", Level(8), occupancy=occupancy, shown="")) is explained


def test_few_new_connections_are_no_warning() -> None:
    """Users that connect for 2 % of their time or less are as busy as they need be."""
    for share, codes in ((0.02, []), (0.021, ["connections_closed"])):
        assert [one.code for one in judged([state()], connecting_share=share).warnings(Level(8))] == codes


def test_users_that_are_idle_by_the_client_and_by_connecting() -> None:
    """A client that was late says it, whatever part of the time went by on connections."""
    idle = warn("idle_users", Level(8), occupancy=0.75, shown="")
    assert judged([state()], late_share=0.2, connecting_share=0.01).explains(idle)
    assert not judged([state()], connecting_share=0.01).explains(idle)


@pytest.mark.parametrize(("late_ms", "rate", "verdict"), [
    (1.9, 1000.0, "ok"), (2.1, 10.0, "degraded"), (2.1, 1000.0, "client-bound"), (21.0, 1.0, "client-bound"),
])  # fmt: skip
def test_late_requests_of_a_rate(late_ms: float, rate: float, verdict: str) -> None:
    """METHODS, The measuring client: ok up to 2 ms whatever the rate, degraded to 20 ms or half the mean gap."""
    assert judged([state()], late_p99_s=late_ms / 1e3, rate_per_s=rate, late_share=None).verdict == verdict


def test_run_queue_wait_is_read_where_linux_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second number of /proc/self/schedstat in seconds; None where there is no such file."""
    now = CpuMark.now()
    assert (now.run_queue_wait_s is None) == (not Path("/proc/self/schedstat").exists())

    def missing() -> float:
        raise FileNotFoundError

    monkeypatch.setattr(host, "_run_queue_wait_s", missing)
    assert CpuMark.now().run_queue_wait_s is None


def test_a_level_whose_figures_may_be_moved_decides_nothing(tmp_path: Path) -> None:
    """A fifth of the users' time was the client's own: what met its SLO is undecided; less is only warned of."""
    slo = "ttft_mean<100ms"

    def verdict(waited_s: float) -> str:
        late = run_folder(
            tmp_path / f"{waited_s}", levels=(2,), slo=slo, row=lambda r: r._replace(scheduled_s=r.sent_s - waited_s)
        )
        return judge_run(read_run(late)).judged[0].slo_verdict

    assert verdict(0.0) == "met"
    assert verdict(0.01) == "met"
    assert verdict(0.1) == "undecided"


@pytest.mark.parametrize(
    ("counts", "warned"),
    [([500.0, 500.0], False), ([500.0, 504.0], False), ([500.0, 506.0], True), ([500.0, None], False), ([], False)],
)
def test_token_balance(counts: list[float | None], warned: bool) -> None:
    """1,000 tokens here; up to half a percent apart is agreement, an unknown count is no verdict."""
    (point,) = parse_points("model,concurrency,requests,time_s,output_tokens\nm,8,10,5,1000\n", where="t.csv")
    found = token_balance(point, counts)

    assert (found is not None) == warned
    if found is not None:
        assert (found.code, found.level.users) == ("token_balance", 8)
        assert found.values == {"ours": 1000, "servers": 1006}


def test_a_server_that_speaks_unasked():
    """One connection on which it did is an error: any response may be another request's."""
    found = judged([state(), state(unasked_responses=1)])
    assert [(w.code, w.severity) for w in found.warnings(Level(8))] == [("unasked_responses", "error")]
