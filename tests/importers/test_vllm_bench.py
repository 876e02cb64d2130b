"""vllm bench's files become rows with our words; what a failed request never had stays empty."""

import dataclasses
import json

import pytest

from benchsuite.errors import PointsError
from benchsuite.importers.imported_run import imported_run, with_levels
from benchsuite.importers.vllm_bench import DEFINITIONS, parse
from benchsuite.level import Level
from tests.importers.files_for_tests import VLLM, vllm_tree, vllm_with

FAILURES = {
    "Bad Request": "http_error",
    "Traceback (most recent call last):\n  File\naiohttp.ClientConnectorError: Cannot connect to host": "connect_error",
    "Traceback (most recent call last):\n  File\nTimeoutError": "timeout",
    "Traceback (most recent call last):\naiohttp.client_exceptions.ClientPayloadError: not completed": "stream_error",
    "Never received a valid chunk to calculate TTFT.This response will be marked as failed!": "stream_error",
}


def test_means_are_vllms_own():
    """From the imported times, mean TTFT, TPOT and chunk gap come out as vLLM printed them."""
    tree = vllm_tree()

    (point,) = parse(VLLM.read_text("utf-8"), where="x")

    assert (point.model, point.level.users, point.chat) == ("tiny-llama", 8, False)
    ttft = [r.first_token_s - r.sent_s for r in point.requests]
    tpot = [(r.last_token_s - r.first_token_s) / (r.output_tokens - 1) for r in point.requests]
    gaps = [gap for r in point.requests for gap in r.chunk_gap_us]
    assert sum(ttft) / len(ttft) * 1e3 == pytest.approx(tree["mean_ttft_ms"], rel=1e-6)
    assert sum(tpot) / len(tpot) * 1e3 == pytest.approx(tree["mean_tpot_ms"], rel=1e-6)
    assert sum(gaps) / len(gaps) / 1e3 == pytest.approx(tree["mean_itl_ms"], rel=1e-3)


def test_what_the_file_lacks_is_none():
    """No chunk kinds, no token source, no HTTP headers; and with all requests due at once, no dispatch delay."""
    request = parse(VLLM.read_text("utf-8"), where="x")[0].requests[0]

    assert request.token_source is None
    assert request.headers_s is None
    assert request.first_answer_s is None
    assert request.scheduled_s is None
    assert request.n_chunks == len(request.chunk_gap_us) + 1


def test_queue_time_is_dispatch_delay_in_an_open_loop():
    """At a finite rate a request was due its queue time before it was sent."""
    tree = vllm_tree()

    request = parse(vllm_with(request_rate=4.0), where="x")[0].requests[3]

    assert request.sent_s - request.scheduled_s == pytest.approx(tree["queue_times"][3])


@pytest.mark.parametrize(("error", "status"), FAILURES.items(), ids=FAILURES.values())
def test_failed_requests_have_no_times(error, status):
    """vLLM writes 0.0 where a failed request has nothing: that is empty here, with its class from the error's text."""
    tree = vllm_tree()
    for name, value in (("errors", error), ("ttfts", 0.0), ("itls", []), ("latencies", 0.0), ("output_lens", 0)):
        tree[name][2] = value

    request = parse(vllm_with(**tree), where="x")[0].requests[2]

    assert request.status == status
    assert request.sent_s is not None
    assert [request.first_token_s, request.last_token_s, request.closed_s] == [None, None, None]
    assert [request.output_tokens, request.chunk_gap_us, request.n_chunks] == [None, None, None]


def test_failed_in_mid_stream_keeps_what_came():
    """A request that broke off has its first and last chunk, but no end."""
    tree = vllm_tree()
    tree["errors"][2], tree["latencies"][2], tree["output_lens"][2] = "Traceback\nClientPayloadError: x", 0.0, 0

    request = parse(vllm_with(**tree), where="x")[0].requests[2]

    assert request.status == "stream_error"
    assert request.last_token_s - request.first_token_s == pytest.approx(sum(tree["itls"][2]))
    assert request.closed_s is None


def test_no_error_text_and_no_token_is_a_failure():
    """A response without a reason phrase leaves an empty error: it is no success for that."""
    tree = vllm_tree()
    tree["ttfts"][2], tree["itls"][2], tree["latencies"][2], tree["output_lens"][2] = 0.0, [], 0.0, 0

    request = parse(vllm_with(**tree), where="x")[0].requests[2]

    assert (request.status, request.error) == ("http_error", None)


def test_older_files_have_no_latencies():
    """Before vLLM kept latencies, the last token came a request's gaps after the first."""
    with_them = parse(VLLM.read_text("utf-8"), where="x")[0].requests[0]

    without = parse(vllm_with(latencies=None, queue_times=None), where="x")[0].requests[0]

    assert without.last_token_s == pytest.approx(with_them.last_token_s, abs=1e-6)


def test_totals_alone_are_refused_with_the_remedy():
    """Without --save-detailed there is nothing to recompute; the message says which flag was missing."""
    with pytest.raises(PointsError, match="--save-detailed"):
        parse(vllm_with(ttfts=None, itls=None, start_times=None, input_lens=None, output_lens=None), where="x.json")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"ttfts": [0.1]}, "top level"),
        ({"ttfts": []}, "ttfts"),
        ({"duration": None}, "duration"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"max_concurrency": True}, "max_concurrency"),
        ({"start_times": ["1"] * 12}, "start_times.0"),
        ({"ttfts": [-1.0] * 12}, "ttfts.0"),
        ({"itls": [[0.1, 0.1, {}]] * 12}, "itls.0.2"),
        ({"itls": [[0.1, None, 0.1]] * 12}, "itls.0.1"),  # a missing gap is not a gap of 0
        ({"itls": [[1e9]] * 12}, "itls.0.0"),
        ({"output_lens": [1.5] * 12}, "output_lens.0"),
        ({"output_lens": [2**40] * 12}, "output_lens.0"),
        ({"errors": [1] * 12}, "errors.0"),
        ({"ttfts": {}}, "ttfts"),
        ({"model_id": 5}, "model_id"),
    ],
)
def test_a_wrong_value_is_named(changes, key):
    """The message has the file and the key."""
    with pytest.raises(PointsError) as caught:
        parse(vllm_with(**changes), where="x.json")

    assert caught.value.where == "x.json"
    assert caught.value.what.split("\n")[1].strip().startswith(f"{key}: ")


def test_all_mistakes_at_once():
    """A file with several mistakes names them all."""
    with pytest.raises(PointsError) as caught:
        parse(vllm_with(model_id=5, max_concurrency=0), where="x.json")

    assert [line.split(":")[0].strip() for line in caught.value.what.split("\n")[1:]] == ["model_id", "max_concurrency"]


@pytest.mark.parametrize("rate", [float("inf"), float("nan"), -1.0, 0.0, 1e-9, 1e9])
def test_a_rate_that_none_can_be(rate: float) -> None:
    """From the command line or a file: refused with its place."""
    points = parse(vllm_with(max_concurrency=None, request_rate=None), where="x")
    with pytest.raises(PointsError) as refused:
        with_levels(points, [Level(rate, "rate")])
    assert refused.value.where == "--rate"
    named = [dataclasses.replace(points[0], level=Level(rate, "rate"))]
    with pytest.raises(PointsError) as refused:
        with_levels(named, [])
    assert (refused.value.where, refused.value.expected) == (points[0].where, "0.001 to 100,000 requests/s")


def test_a_rate_is_an_open_loop() -> None:
    """Without a limit of requests in flight the rate is the level, and latencies count from when each was due."""
    tree = json.loads(vllm_with(max_concurrency=None, request_rate=2.5))
    n = len(tree["ttfts"])
    points = parse(json.dumps(tree | {"queue_times": [0.25] * n}), where="x.json")
    manifest, spec, rows = imported_run(with_levels(points, []), "vllm-bench", DEFINITIONS, run_id="r")
    assert (points[0].level, spec["load.rate"]) == (Level(2.5, "rate"), [2.5])
    assert [entry["point_id"] for entry in manifest["points"]] == ["q2.5-r0"]
    for row in rows:
        assert (row["rate_per_s"], row["concurrency"], row["window_start_s"]) == (2.5, None, 0.0)
        assert row["window_start_s"] <= row["scheduled_s"] < row["window_end_s"]
        assert row["sent_s"] - row["scheduled_s"] == pytest.approx(0.25)
    mixed = [*points, dataclasses.replace(points[0], level=Level(8))]
    with pytest.raises(PointsError, match="open and of a closed loop"):
        with_levels(mixed, [])
    with pytest.raises(PointsError, match="another level"):
        with_levels(points, [Level(8)])
