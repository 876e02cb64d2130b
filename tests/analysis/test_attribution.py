"""Where TTFT goes and how full the server was, from tables whose answers are known on paper."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from factory import request_row as row
from samples_for_tests import server_table

from benchsuite.analysis.time_series import ServerSeries, ServerWindow, windows_of
from benchsuite.analysis.ttft_breakdown import attribute, server_use
from benchsuite.level import Level
from benchsuite.manifest import RunManifest
from benchsuite.records import ServerSample

N = 50
A, B = "http://a", "http://b"


def requests(n: int = N, *, point: str = "p", ttft_s: float = 0.200, endpoint: str = A, **fields: Any) -> pa.Table:
    """n requests of 11 tokens, one after the other from 10 s on: 200 ms to the first token, then 10 ms each."""
    rows = [
        row(10.0 + 0.3 * i, ttft_s, [0.010] * 10, point_id=point, concurrency=1, endpoint=endpoint, **fields)
        for i in range(n)
    ]
    return pa.Table.from_pylist([one._asdict() for one in rows])


def window(point: str = "p", **client: Any) -> ServerWindow:
    """The point from 9.9 s to 25.1 s, busy from 10 s to 25 s."""
    return ServerWindow(point, Level(1), 9.9, 25.1, (10.0, 25.0), client)


def sample(at_s: float, endpoint: str = A, **figures: float) -> ServerSample:
    return ServerSample(at_s, 1e9 + at_s, endpoint, **figures)


def series(*samples: ServerSample) -> ServerSeries:
    return ServerSeries(server_table(*samples))


def histograms(
    count: float, *, queue_s: float, prefill_s: float, ttft_s: float, itl_s: float = 0.009
) -> dict[str, float]:
    """What vLLM's histograms hold after `count` requests of 11 tokens with these means."""
    means = {"queue": queue_s, "prefill": prefill_s, "ttft": ttft_s}
    figures = {f"{name}_sum_s": mean * count for name, mean in means.items()}
    figures |= {f"{name}_count": count for name in means}
    return figures | {"itl_sum_s": itl_s * 10 * count, "itl_count": 10 * count}


BEFORE = histograms(7, queue_s=1.0, prefill_s=2.0, ttft_s=3.5)  # earlier requests: nothing of them may show


def after(count: float = N, **means: float) -> dict[str, float]:
    """BEFORE and `count` requests more."""
    told = histograms(count, **({"queue_s": 0.030, "prefill_s": 0.120, "ttft_s": 0.180} | means))
    return {name: BEFORE[name] + value for name, value in told.items()}


def test_vllm_histograms():
    """The means of the point alone, and parts that add up to TTFT."""
    told = series(sample(1.0, queue_sum_s=0.0, queue_count=0.0), sample(9.9, **BEFORE), sample(25.1, **after()))
    (one,) = attribute(requests(), [window(read_lag={"p50_us": 40.0})], told)
    assert (one.level.users, one.n) == (1, N)
    assert one.ttft_s == pytest.approx(0.200)
    assert (one.client_s, one.queue_s, one.prefill_s) == (0.0, pytest.approx(0.030), pytest.approx(0.120))
    assert (one.server_ttft_s, one.network_s) == (pytest.approx(0.180), pytest.approx(0.020))
    assert one.rest_s == pytest.approx(0.030)  # inside the server, neither queue nor prefill
    assert (one.server_itl_s, one.client_itl_s) == (pytest.approx(0.009), pytest.approx(0.010))
    assert (one.dispatch_s, one.read_lag_p50_s) == (0.0, pytest.approx(40e-6))
    assert (one.sources["queue"], one.reasons, one.warnings) == ("server histogram", {}, ())


@pytest.mark.parametrize(("count", "fits"), [(49, True), (51, True), (48, False), (60, False), (0, False)])
def test_other_requests(count, fits):
    """A server that counted more than 2 % more or fewer requests than ours tells nothing of ours."""
    told = series(sample(9.9, **BEFORE), sample(25.1, **after(count)))
    (one,) = attribute(requests(), [window()], told)
    assert (one.queue_s is not None) is fits
    if not fits:
        assert (one.prefill_s, one.network_s, one.rest_s) == (None, None, None)
        assert one.reasons["queue"] == f"the server counted {count} requests and the client 50 in p"


def test_counted_late():
    """A server that counts its last requests a moment after the end is read at the next sample."""
    told = series(sample(9.9, **BEFORE), sample(25.1, **after(40)), sample(25.6, **after()))
    (one,) = attribute(requests(), [window()], told)
    assert one.queue_s == pytest.approx(0.030)


def test_what_each_answer_says_goes_first():
    """Durations in the answers are ours for certain: they go before the histograms."""
    said = requests(server_queue_s=0.010, server_prefill_s=0.150, server_decode_s=0.080)
    (one,) = attribute(said, [window()], series(sample(9.9, **BEFORE), sample(25.1, **after())))
    assert (one.queue_s, one.prefill_s) == (pytest.approx(0.010), pytest.approx(0.150))
    assert (one.server_itl_s, one.sources["prefill"]) == (pytest.approx(0.008), "each answer")
    (alone,) = attribute(said, [window()], None)
    assert (alone.network_s, alone.rest_s) == (None, pytest.approx(0.040))
    assert alone.reasons["network"] == "the server's metrics were not sampled"


def test_llamacpp_sums():
    """Sums without a count are over our requests if the server generated just our tokens; else they tell nothing."""
    before = sample(9.9, prefill_sum_s=100.0, decode_sum_s=10.0, generated_tokens=1000.0)
    for tokens, prefill_s in ((11 * N, 0.150), (12 * N, None)):
        told = series(before, sample(25.1, prefill_sum_s=107.5, decode_sum_s=14.0, generated_tokens=1000.0 + tokens))
        (one,) = attribute(requests(), [window()], told)
        assert one.prefill_s == (None if prefill_s is None else pytest.approx(prefill_s))
        assert one.queue_s is None
        if prefill_s is not None:
            assert (one.server_itl_s, one.rest_s) == (pytest.approx(0.008), pytest.approx(0.050))
            assert one.sources["prefill"] == "server sum over our requests"


def test_batches_are_no_requests():
    """TGI times the prefill of a batch: a mean over batches is not one over requests."""
    told = series(
        sample(9.9, prefill_sum_s=0.0, prefill_count=0.0), sample(25.1, prefill_sum_s=1.0, prefill_count=N / 5)
    )
    (one,) = attribute(requests(), [window()], told)
    assert (one.prefill_s, one.reasons["prefill"]) == (None, "the server counted 10 requests and the client 50 in p")


def test_more_than_the_whole():
    """Parts that are more than TTFT leave a negative rest, shown and warned of, never cut off."""
    told = series(sample(9.9, **BEFORE), sample(25.1, **after(queue_s=0.150, prefill_s=0.120)))
    (one,) = attribute(requests(), [window()], told)
    assert one.rest_s == pytest.approx(-0.090)
    (warn,) = one.warnings
    assert (warn.code, warn.level.users) == ("ttft_breakdown_mismatch", 1)
    assert (warn.values["part"], warn.values["excess_ms"]) == ("rest", pytest.approx(90))


def test_failed_requests_are_left_out():
    """Means are over successful requests, and so is the count that the server's is held against."""
    table = pa.concat_tables([requests(), requests(5, status="timeout", ttft_s=9.0)])
    (one,) = attribute(table, [window()], series(sample(9.9, **BEFORE), sample(25.1, **after())))
    assert (one.n, one.ttft_s, one.queue_s) == (N, pytest.approx(0.200), pytest.approx(0.030))


def test_no_request_succeeded():
    """A level of failures has no parts at all."""
    (one,) = attribute(
        requests(5, status="timeout"), [window()], series(sample(9.9, **BEFORE), sample(25.1, **after()))
    )
    assert (one.n, one.ttft_s, one.client_s, one.queue_s, one.rest_s) == (0, None, None, None, None)
    assert one.reasons["rest"] == "no request succeeded"


def test_a_server_that_was_not_sampled():
    """Answers of another server, an API for the overflow, are not explained by this one's histograms."""
    table = requests(endpoint="http://api")
    (one,) = attribute(table, [window()], series(sample(9.9, **BEFORE), sample(25.1, **after())))
    assert one.queue_s is None
    assert one.reasons["queue"] == "50 requests were answered by a server that was not sampled"


def test_two_servers():
    """Sums and counts of several endpoints are added before they are divided."""
    told = series(
        sample(9.9, A, **BEFORE),
        sample(9.9, B, **BEFORE),
        sample(25.1, A, **after(20, queue_s=0.010)),
        sample(25.1, B, **after(30, queue_s=0.060)),
    )
    (one,) = attribute(requests(), [window()], told)
    assert one.queue_s == pytest.approx((20 * 0.010 + 30 * 0.060) / 50)


def test_repeats():
    """A level is over all its points; one that cannot be known leaves the level empty."""
    table = pa.concat_tables([requests(), requests(point="q")])
    later = ServerWindow("q", Level(1), 29.9, 45.1, (30.0, 45.0))
    samples = [sample(9.9, **BEFORE), sample(25.1, **after()), sample(29.9, **after())]
    twice = {name: 2 * value - BEFORE[name] for name, value in after().items()}
    (one,) = attribute(table, [window(), later], series(*samples, sample(45.1, **twice)))
    assert (one.n, one.queue_s) == (2 * N, pytest.approx(0.030))
    (lost,) = attribute(table, [window(), later], series(*samples))
    assert (lost.queue_s, lost.reasons["queue"]) == (None, "no sample within 2 s of the point's edges")


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([sample(9.9), sample(25.1)], "the server does not report it"),
        ([sample(5.0, **BEFORE), sample(25.1, **after())], "no sample within 2 s of the point's edges"),
        ([sample(9.9, **after()), sample(25.1, **BEFORE)], "a counter decreased: the server was restarted"),
    ],
)
def test_why_not(samples, reason):
    """What cannot be known is empty, with the reason."""
    (one,) = attribute(requests(), [window()], series(*samples))
    assert (one.queue_s, one.reasons["queue"]) == (None, reason)


def test_stamps_of_the_process():
    """Without kernel stamps the client's part is not known, and not called zero."""
    (one,) = attribute(requests(stamp_source="user"), [window()], None)
    assert (one.client_s, one.rest_s, one.reasons["rest"]) == (None, None, "none of the parts is known")


def test_use():
    """Gauges over the time that each sample stands for, between first send and last close; counters over the point."""
    counted = [{"prefix_cache_hits": h, "prefix_cache_queries": 100.0 + q, "preemptions": 3.0 + p}
               for h, q, p in ((5.0, 0.0, 0.0), (45.0, 80.0, 2.0))]  # fmt: skip
    told = series(
        sample(9.9, running=0.0, waiting=0.0, kv_cache_ratio=0.0, **counted[0]),
        sample(12.0, running=4.0, waiting=0.0, kv_cache_ratio=0.2),
        sample(18.0, running=8.0, waiting=6.0, kv_cache_ratio=0.8),
        sample(25.1, running=0.0, waiting=0.0, kv_cache_ratio=0.0, **counted[1]),
    )
    (use,) = server_use(told, [window()])
    # 12 s stands for 10 to 15 s, 18 s for 15 to 25 s
    assert (use.running_mean, use.running_max) == (pytest.approx((4 * 5 + 8 * 10) / 15), 8.0)
    assert (use.waiting_mean, use.waiting_max) == (pytest.approx(4.0), 6.0)
    assert (use.kv_cache_mean_ratio, use.kv_cache_max_ratio) == (pytest.approx(0.6), 0.8)
    assert (use.prefix_cache_hit_ratio, use.preemptions, use.n_samples) == (0.5, 2.0, 2)
    assert use.reasons == {}


def test_use_unknown():
    """Nothing sampled, or nothing inside the level, is None with the reason, never 0."""
    (use,) = server_use(None, [window()])
    assert (use.running_mean, use.preemptions, use.reasons) == (
        None, None, {"all": "the server's metrics were not sampled"},
    )  # fmt: skip
    (use,) = server_use(series(sample(9.9, running=1.0), sample(25.1, running=1.0)), [window()])
    assert (use.running_mean, use.n_samples) == (None, 0)
    assert set(use.reasons) == {"running", "waiting", "kv_cache_ratio", "prefix_cache", "preemptions"}


def test_a_rate():
    """What was due in its window alone, by what each answer says; counters and gauges are those of the window."""
    at = {"rate_per_s": 2.0, "window_start_s": 20.0, "window_end_s": 40.0, "concurrency": None, "point_id": "q2-r0"}
    rows = [
        row(t, 0.2 if 20 <= t < 40 else 9.0, [0.01] * 10, endpoint=A, server_queue_s=0.05, **at)
        for t in (10.0 + 0.5 * i for i in range(100))
    ]
    table = pa.Table.from_pylist([one._asdict() for one in rows])
    entries = [{"point_id": "q2-r0", "status": "complete", "rate_per_s": 2.0, "started_s": 9.0, "ended_s": 70.0}]
    counted = {"preemptions": 0.0, "prefix_cache_hits": 0.0, "prefix_cache_queries": 0.0, "running": 1.0}
    told = [sample(float(t), **(counted | {"preemptions": float(t), "prefix_cache_hits": 10.0 * (t < 20 or t > 40),
                                           "prefix_cache_queries": 2.0 * t, "ttft_sum_s": 1.0, "ttft_count": float(t)}))
            for t in range(5, 75)]  # fmt: skip
    windows = windows_of(RunManifest(points=entries), table)
    assert [(one.started_s, one.ended_s, one.busy_s) for one in windows] == [(20.0, 40.0, (20.0, 40.0))]
    (one,) = attribute(table, windows, series(*told))
    assert (one.n, one.ttft_s, one.queue_s) == (40, pytest.approx(0.2), pytest.approx(0.05))
    assert one.sources["queue"] == "each answer"
    assert (one.server_ttft_s, one.network_s) == (None, None)
    assert "before and behind" in one.reasons["server_ttft"]
    (use,) = server_use(series(*told), windows)
    assert (use.preemptions, use.prefix_cache_hit_ratio) == (20.0, 0.0)


def test_windows():
    """Points that ran to their end, each once, the latest; busy from first send to last close."""
    entries = [
        {"point_id": "p", "status": "complete", "concurrency": 4, "started_s": 9.0, "ended_s": 26.0},
        {"point_id": "x", "status": "stopped", "concurrency": 4, "started_s": 1.0, "ended_s": 2.0},
        {"point_id": "old", "status": "complete", "concurrency": 4},
        {"point_id": "p", "status": "complete", "concurrency": 4, "started_s": 9.5, "ended_s": 26.0},
    ]
    (one,) = windows_of(RunManifest(points=entries), requests())
    assert (one.point_id, one.level.users, one.started_s, one.ended_s) == ("p", 4, 9.5, 26.0)
    assert one.busy_s == (10.0, pytest.approx(10.0 + 0.3 * 49 + 0.3))
    assert windows_of(RunManifest(), requests()) == []
