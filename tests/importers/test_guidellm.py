"""GuideLLM's benchmarks.json: one point a strategy, its times as they are, its derived figures left alone."""

import json

import pytest

from benchsuite.errors import PointsError
from benchsuite.importers.guidellm import parse
from benchsuite.level import Level
from tests.importers.files_for_tests import GUIDELLM


def tree():
    return json.loads(GUIDELLM.read_text("utf-8"))


def test_a_point_per_benchmark():
    """A synchronous run is one user, a concurrent one its streams; the model is the back end's."""
    points = parse(GUIDELLM.read_text("utf-8"), where="x")

    assert [(p.level.users, p.model, len(p.requests)) for p in points] == [(1, "tiny-llama", 2), (2, "tiny-llama", 4)]
    assert points[0].facts["version"] == "0.8.1"


def test_times_and_tokens():
    """Sent, first, last, closed are its own stamps; TPOT comes out without the first token."""
    request = parse(GUIDELLM.read_text("utf-8"), where="x")[0].requests[0]

    assert request.first_token_s - request.sent_s == pytest.approx(0.1, abs=1e-6)
    assert request.closed_s - request.sent_s == pytest.approx(1.01, abs=1e-6)
    assert (request.last_token_s - request.first_token_s) / (request.output_tokens - 1) == pytest.approx(0.1, abs=1e-6)
    assert request.chunk_gap_us is None
    assert request.scheduled_s is None


def test_statuses():
    """Cut off is cancelled, one that was never sent is no request, an HTTP status is read out of the error."""
    second = parse(GUIDELLM.read_text("utf-8"), where="x")[1]

    assert [r.status for r in second.requests] == ["ok", "ok", "cancelled", "http_error"]
    assert second.requests[3].http_status == 503
    assert second.requests[3].output_tokens is None


def test_without_a_token_count_chunks_are_counted():
    """And the row says so; where GuideLLM has a count, its source is unknown."""
    known, unknown = parse(GUIDELLM.read_text("utf-8"), where="x")[1].requests[:2]

    assert (known.output_tokens, known.n_chunks, known.token_source) == (10, 5, None)
    assert (unknown.output_tokens, unknown.n_chunks, unknown.token_source) == (7, 7, "chunks")


def test_an_open_loop_has_due_times_and_a_rate():
    """At a constant rate the targeted start is when a request was due."""
    changed = tree()
    changed["benchmarks"][0]["config"]["strategy"] = {"type_": "constant", "rate": 2.0}

    point = parse(json.dumps(changed), where="x")[0]

    assert point.level == Level(2.0, "rate")
    assert point.requests[0].sent_s - point.requests[0].scheduled_s == pytest.approx(0.001, abs=1e-6)


def test_a_sample_of_the_requests_is_refused():
    """Rates from a part of the requests would be wrong."""
    changed = tree()
    changed["benchmarks"][0]["requests"]["successful"].pop()

    with pytest.raises(PointsError, match="1 of 2"):
        parse(json.dumps(changed), where="x")


def test_a_clock_that_was_set_back_is_refused():
    """GuideLLM reads the wall clock; a request that ends before it starts is no measurement."""
    changed = tree()
    changed["benchmarks"][0]["requests"]["successful"][0]["info"]["timings"]["request_end"] -= 100

    with pytest.raises(PointsError, match=r"benchmarks.0.requests.successful.0: .*before sent"):
        parse(json.dumps(changed), where="x")


@pytest.mark.parametrize(
    ("break_it", "key"),
    [
        (lambda t: t["metadata"].update(version=1), "metadata.version"),
        (lambda t: t.pop("benchmarks"), "benchmarks"),
        (lambda t: t.update(benchmarks=[]), "benchmarks"),
        (lambda t: t["benchmarks"][1].pop("config"), "benchmarks.1.config.strategy.type_"),
        (lambda t: t["benchmarks"][0]["requests"].update(successful={}), "benchmarks.0.requests.successful"),
        (lambda t: t["benchmarks"][1]["config"]["strategy"].update(streams=0), "benchmarks.1.config.strategy.streams"),
    ],
)
def test_a_wrong_value_is_named(break_it, key):
    """The message has the file and the key."""
    changed = tree()
    break_it(changed)

    with pytest.raises(PointsError) as caught:
        parse(json.dumps(changed), where="x.json")

    assert caught.value.where == "x.json"
    assert caught.value.what.split("\n")[1].strip().startswith(f"{key}: ")


def test_a_benchmark_without_requests_is_refused():
    """Nothing can be recomputed from it."""
    changed = tree()
    changed["benchmarks"][0].pop("requests")
    changed["benchmarks"][0].pop("metrics", None)

    with pytest.raises(PointsError, match=r"x.json: benchmarks.0.requests"):
        parse(json.dumps(changed), where="x.json")
