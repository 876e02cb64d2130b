"""AIPerf's profile_export.jsonl: its latencies added to its start, in whatever unit they are."""

import json

import pytest

from benchsuite.errors import PointsError
from benchsuite.importers.aiperf import parse
from tests.importers.files_for_tests import AIPERF


def lines():
    return [json.loads(line) for line in AIPERF.read_text("utf-8").splitlines()]


def joined(records):
    return "\n".join(json.dumps(record) for record in records)


def test_times_are_seconds_after_the_first_request():
    """Nanoseconds since 1970 lose nothing on the way; warm-up is left out."""
    (point,) = parse(AIPERF.read_text("utf-8"), where="x")

    first, second = point.requests[:2]
    assert len(point.requests) == 5
    assert point.facts == {"warmup_requests": 1}
    assert (point.model, point.level) == (None, None)
    assert [first.scheduled_s, first.sent_s, first.headers_s] == pytest.approx([-0.001, 0.0, 0.002])
    assert [first.first_token_s, first.last_token_s, first.closed_s] == pytest.approx([0.1, 0.14, 0.145])
    assert first.chunk_gap_us == (5000,) * 8
    assert second.sent_s == pytest.approx(0.001, abs=1e-12)


def test_the_servers_usage_goes_before_its_own_count():
    """And only then is the count called the server's."""
    first, second = parse(AIPERF.read_text("utf-8"), where="x")[0].requests[:2]

    assert (first.output_tokens, first.input_tokens, first.token_source) == (9, 550, None)
    assert (second.output_tokens, second.input_tokens, second.token_source) == (9, 551, "usage")


def test_failures():
    """Cancelled, refused, not connected: classes of ours; a failed request has no tokens."""
    failed = parse(AIPERF.read_text("utf-8"), where="x")[0].requests[2:]

    assert [(r.status, r.http_status) for r in failed] == [
        ("cancelled", None),
        ("http_error", 503),
        ("connect_error", None),
    ]
    assert {r.output_tokens for r in failed} == {None}


def test_units_are_the_files():
    """A latency in microseconds is not one in milliseconds."""
    record = lines()[1]
    record["metrics"]["time_to_first_token"] = {"value": 250.0, "unit": "us"}

    assert parse(json.dumps(record), where="x")[0].requests[0].first_token_s == pytest.approx(0.00025)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{\n "request_latency": {"unit": "ms"}\n}'])
def test_the_aggregated_file_is_refused_with_the_remedy(text):
    """Totals alone make no rows; the message names the file that has them."""
    with pytest.raises(PointsError, match=r"profile_export\.jsonl"):
        parse(text, where="x.json")


@pytest.mark.parametrize(
    ("break_it", "key"),
    [
        (lambda r: r["metadata"].pop("request_start_ns"), "metadata.request_start_ns"),
        (lambda r: r["metadata"].update(request_start_ns=-1), "metadata.request_start_ns"),
        (lambda r: r["metadata"].update(request_end_ns=0), "top level"),
        (lambda r: r["metrics"]["time_to_first_token"].update(unit="hours"), "metrics.time_to_first_token"),
        (lambda r: r["metrics"]["time_to_first_token"].update(value="1"), "metrics.time_to_first_token"),
        (lambda r: r["metrics"]["inter_chunk_latency"].update(value=[-1]), "metrics.inter_chunk_latency.0"),
        (lambda r: r["metrics"].update(time_to_first_token=[]), "metrics.time_to_first_token"),
    ],
)
def test_a_wrong_value_is_named(break_it, key):
    """The message has the file, the line and the key."""
    records = lines()
    break_it(records[1])

    with pytest.raises(PointsError) as caught:
        parse(joined(records), where="x")

    assert caught.value.where == "x:2"
    assert caught.value.what.split("\n")[1].strip().startswith(f"line 2: {key}: ")


def test_a_broken_line_is_named():
    """Such as the last one of a run that was killed."""
    with pytest.raises(PointsError, match="line 7"):
        parse(AIPERF.read_text("utf-8") + '{"metadata": {"requ', where="x")
