"""Every figure of a point against a table worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pyarrow as pa
import pytest
from factory import request_frame as frame
from factory import request_row as row

from benchsuite.analysis.requests import level_rows
from benchsuite.analysis.summary import point_figures, summarise_points
from benchsuite.analysis.warnings import check_levels
from benchsuite.errors import PointsError
from benchsuite.metrics import LATENCIES, METRICS
from benchsuite.records import RequestRecord
from benchsuite.results import EMPTY
from benchsuite.slo import parse_goodput

# Two users, four requests: A 0..4 and D 4..7 by the one, B 0..2 and C 2..6 by the other.
A = row(0.0, 1.0, [1.0, 1.0, 1.0], concurrency=2)  # 4 tokens
B = row(0.0, 0.5, [0.5, 1.0], concurrency=2)  # 3 tokens
C = row(2.0, 2.0, [2.0], concurrency=2, scheduled_s=1.9)  # 2 tokens
D = row(4.0, 1.0, [0.5, 0.5, 0.5, 0.25], tail_s=0.25, concurrency=2)  # 5 tokens
HAND = frame(A, B, C, D)


def point(table=HAND, **how):  # type: ignore[no-untyped-def]
    (found,) = summarise_points(table, model="m", **how)
    return found


def test_counts_and_time():
    """n, T = last close - first send, token sums."""
    p = point()
    assert (p.model, p.level.users, p.repeat_count, p.n_ok, p.n_failed, p.failures) == ("m", 2, 1, 4, 0, {})
    assert (p.duration_s, p.ratios["error_rate"], p.input_tokens, p.output_tokens, p.tokens_wasted) == (
        7.0,
        0.0,
        40,
        14,
        0,
    )


def test_latencies():
    """TTFT from the first token, E2E to the last, TPOT over the tokens after the first."""
    p = point()
    assert p.ttft_s.mean == pytest.approx((1 + 0.5 + 2 + 1) / 4)
    assert (p.ttft_s.n, p.ttft_s.p50, p.ttft_s.p99, p.ttft_s.max) == (4, 1.0, 2.0, 2.0)
    assert p.distributions["ttfa_s"] == p.ttft_s
    assert p.distributions["e2e_s"].mean == pytest.approx((4 + 2 + 4 + 2.75) / 4)
    assert p.distributions["tpot_s"].mean == pytest.approx((1 + 0.75 + 2 + 1.75 / 4) / 4)
    assert p.distributions["itl_s"].n == 10
    assert p.distributions["itl_s"].mean == pytest.approx((3 + 1.5 + 2 + 1.75) / 10)
    assert p.distributions["itl_s"].max == pytest.approx(2.0)
    assert p.distributions["dispatch_s"].mean == pytest.approx(0.1 / 4)
    assert p.distributions["dispatch_s"].max == pytest.approx(0.1)


def test_throughputs():
    """The paper's, the decode speed weighted by tokens, per request, and of the system."""
    p = point()
    assert p.ratios["output_tok_s_per_user"] == pytest.approx(14 / (7 * 2))
    assert p.ratios["decode_tok_s"] == pytest.approx((3 + 2 + 1 + 4) / (3 + 1.5 + 2 + 1.75))
    assert p.distributions["request_e2e_tok_s"].mean == pytest.approx((4 / 4 + 3 / 2 + 2 / 4 + 5 / 2.75) / 4)
    assert p.distributions["request_decode_tok_s"].max == pytest.approx(4 / 1.75)
    assert p.output_tok_s == pytest.approx(2.0)
    assert p.ratios["total_tok_s"] == pytest.approx(54 / 7)
    assert p.request_per_s == pytest.approx(4 / 7)


@pytest.mark.parametrize(("tokens", "chunks", "share"), [(8, 2, 3 / 7), (24, 6, 3 / 23)])
def test_several_tokens_in_a_chunk(tokens, chunks, share):
    """Four tokens every 120 ms: 30 ms a token and 33.3 tok/s, however long the answer; warned of with its size."""
    several = [row(float(i), 0.2, [0.12] * (chunks - 1), output_tokens=tokens) for i in range(4)]
    p = point(frame(*several))
    assert p.distributions["tpot_s"].mean == pytest.approx(0.03)
    assert p.ratios["decode_tok_s"] == pytest.approx(100 / 3)
    assert p.distributions["request_decode_tok_s"].p50 == pytest.approx(100 / 3)
    (found,) = (warning for warning in p.warnings if warning.code == "several_tokens_per_chunk")
    assert found.values == {"tokens": pytest.approx(4.0), "correction": pytest.approx(share)}


def test_reasoning_that_is_in_no_chunk():
    """Of 12 tokens 8 were thought before the first of 4 chunks: a token a chunk, and TPOT over the 3 behind it."""
    hidden = {"output_tokens": 12, "reasoning_tokens": 8, "first_answer_s": 0.2}
    p = point(frame(row(0.0, 0.2, [0.1] * 3, **hidden)))
    assert p.distributions["tpot_s"].mean == pytest.approx(0.1)
    assert "several_tokens_per_chunk" not in codes(p)
    single = point(frame(row(0.0, 0.2, [], output_tokens=9, reasoning_tokens=8, first_answer_s=0.2)))
    assert "single_chunk" not in codes(single)


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "maxTokens", "FINISH_REASON_MAX_TOKENS", "stop"])
def test_ends_at_the_cap(reason):
    """A response at its cap is one under each spelling."""
    p = point(frame(row(0.0, 0.2, [0.1] * 3, finish_reason=reason)))
    assert ("truncated_by_max_tokens" in codes(p)) is (reason != "stop")


@pytest.mark.parametrize(
    ("tokens", "chunks", "after_first"),
    [
        (33, 32, 32),  # a stop token that is counted and has no chunk
        (32, 33, 31),  # a chunk more than tokens: the role's, in another tool's file
        (400, 390, 400 - 400 / 390),  # few chunks hold two: corrected, by less than is worth a warning
        (30, None, 29),  # chunks not known, as of some imported runs
    ],
)
def test_one_token_a_chunk_has_all_tokens_but_the_first(tokens, chunks, after_first):
    """TPOT over o - 1 where a chunk is a token, and no warning."""
    p = point(frame(row(0.0, 0.2, [1.0], output_tokens=tokens, n_chunks=chunks)))
    assert p.distributions["tpot_s"].mean == pytest.approx(1 / after_first, rel=1e-9)
    assert "several_tokens_per_chunk" not in codes(p)


def test_in_flight():
    """C is sent the moment B closes and D when A does: never three; the slots are used 13 of 14 seconds."""
    p = point()
    assert p.max_in_flight == 2
    assert p.ratios["occupancy"] == pytest.approx((4 + 2 + 4 + 3) / 14)
    assert p.littles_law_error == pytest.approx(0.0, abs=1e-12)


def test_no_steady_window_when_the_last_send_is_the_second_completion():
    """The 2nd completion is at 4, and so is the last send: nothing lies between."""
    assert point().steady is None


def test_steady_window_counts_tokens_when_they_come():
    """Window from the 1st completion (2 s) to the last send (6 s); 2 of the long one's 4 tokens are inside."""
    table = frame(
        row(0.0, 1.0, [1.0]),  # tokens at 1, 2: before
        row(2.0, 1.0, [1.0]),  # tokens at 3, 4: inside
        row(4.0, 1.0, [0.5], output_tokens=6),  # 6 tokens in two chunks at 5, 5.5: inside
        row(5.0, 0.5, [0.25, 0.5, 0.25], concurrency=1),  # chunks at 5.5, 5.75 inside; 6.25, 6.5 after
        row(6.0, 0.5, [0.5]),  # after
    )
    steady = point(table).steady
    assert steady is not None
    assert steady.duration_s == pytest.approx(4.0)
    assert steady.output_tok_s == pytest.approx((2 + 6 + 2) / 4)
    assert steady.request_per_s == pytest.approx(10 / 4 / (16 / 5))
    assert (steady.ttft_s.n, steady.ttft_s.max) == (4, 1.0)


def test_repeats_pool_counts_and_average_time():
    """Two equal runs: twice the counts, the same time and rates; two runs never overlap each other."""
    again = [r._replace(repeat=1) for r in (A, B, C, D)]
    one, two = point(), point(frame(A, B, C, D, *again))
    assert (two.repeat_count, two.n_ok, two.output_tokens, two.ttft_s.n) == (2, 8, 28, 8)
    assert (two.duration_s, two.max_in_flight) == (one.duration_s, one.max_in_flight)
    assert two.ratios == pytest.approx(one.ratios)


def test_a_failed_request_keeps_its_time_and_has_no_latency():
    """A timeout at 10 s lengthens the run; its two tokens are wasted, not output."""
    failed = row(7.0, 1.0, [1.0], concurrency=2, status="timeout", closed_s=10.0, token_source="chunks")
    p = point(frame(A, B, C, D, failed))
    assert (p.n_ok, p.n_failed, p.failures, p.ratios["error_rate"]) == (4, 1, {"timeout": 1}, 0.2)
    assert (p.duration_s, p.output_tokens, p.tokens_wasted, p.ttft_s.n) == (10.0, 14, 2, 4)
    assert p.ratios["occupancy"] == pytest.approx(16 / 20)
    assert "errors" in codes(p)


def test_nothing_connected():
    """All requests refused: counts and nothing else, no division by zero."""
    p = point(frame(row(None, None, [], status="connect_error", output_tokens=None, closed_s=0.1)))
    assert (p.n_ok, p.n_failed, p.ratios["error_rate"], p.duration_s, p.output_tok_s) == (0, 1, 1.0, None, None)
    assert (p.ttft_s, p.ratios["occupancy"], p.max_in_flight, p.tokens_wasted) == (EMPTY, None, None, None)


def test_without_streaming_only_whole_answers_are_timed():
    """TTFT and TPOT are missing, not 0; E2E ends when the response does."""
    p = point(frame(row(0.0, None, [], closed_s=2.0, output_tokens=8, n_chunks=0)))
    assert (p.ttft_s, p.distributions["tpot_s"], p.distributions["itl_s"], p.ratios["decode_tok_s"]) == (
        EMPTY,
        EMPTY,
        EMPTY,
        None,
    )
    assert (p.distributions["e2e_s"].mean, p.distributions["request_e2e_tok_s"].mean, p.output_tok_s) == (2.0, 4.0, 4.0)
    assert "single_chunk" not in codes(p)


def test_one_token_has_no_tpot_and_a_burst_neither():
    """o = 1: E2E = TTFT. A burst of 5 tokens: no pace, and a warning."""
    burst = row(1.0, 1.0, [], output_tokens=5)
    p = point(frame(row(0.0, 1.0, []), burst))
    assert (p.distributions["tpot_s"], p.ratios["decode_tok_s"], p.distributions["request_decode_tok_s"]) == (
        EMPTY,
        None,
        EMPTY,
    )
    assert (p.ttft_s.n, p.distributions["e2e_s"].mean) == (2, 1.0)
    assert "single_chunk" in codes(p)


def test_an_empty_answer_is_ok_but_has_no_latency():
    """o = 0 counts as ok, with a warning, and does not make latencies look good."""
    p = point(frame(row(0.0, None, [], closed_s=0.01, output_tokens=0), row(0.01, 1.0, [1.0])))
    assert (p.n_ok, p.distributions["e2e_s"].n, p.distributions["e2e_s"].mean) == (2, 1, pytest.approx(2.0))
    assert "empty" in codes(p)


def test_what_is_empty():
    """No token, and the end's alone, is empty; a token that came in a chunk, or in a whole response, is not."""
    none = row(0.0, None, [], closed_s=0.01, output_tokens=0, n_chunks=0)
    end = none._replace(output_tokens=1)
    p = point(frame(none, end, row(1.0, 1.0, []), end._replace(last_token_s=0.01), row(2.0, 1.0, [1.0])))
    assert p.ratios["empty_rate"] == pytest.approx(2 / 5)
    (found,) = [warn for warn in p.warnings if warn.code == "empty"]
    assert found.values["responses"] == 2


def test_thoughts_that_were_not_streamed_are_not_decoded():
    """30 of 36 tokens came in no chunk: TPOT is of the 6 that did, 0.1 s each, and the thoughts are in TTFT."""
    seen = row(0.0, 3.0, [0.1] * 5, output_tokens=36, reasoning_tokens=30)
    p = point(frame(seen))
    assert (p.distributions["tpot_s"].mean, p.reasoning_tokens) == (pytest.approx(0.1), 30)
    streamed = row(0.0, 3.0, [0.1] * 35, reasoning_tokens=30, first_answer_s=6.0)
    tagged = row(0.0, 3.0, [0.1] * 35, reasoning_tokens=30)  # in the text, between <think> and </think>
    assert (
        point(frame(streamed)).distributions["tpot_s"].mean
        == point(frame(tagged)).distributions["tpot_s"].mean
        == pytest.approx(0.1)
    )


def test_a_cap_that_leaves_thoughts_out():
    """A server that caps the answer alone keeps its cap with 6 of 8 tokens, though it counts 36 in all."""
    thinks = row(0.0, 1.0, [0.1] * 35, reasoning_tokens=30, asked_output_tokens=8)
    assert "usage_over_cap" not in codes(point(frame(thinks)))
    assert "usage_over_cap" in codes(point(frame(thinks._replace(reasoning_tokens=None))))


def test_empty_answers_above_a_level_without_any():
    """The same prompts had answers at one user: it is the server, and a level of its own says so."""
    low_rows = [row(2.0 * i, 1.0, [1.0]) for i in range(40)]
    rows = [A, B._replace(output_tokens=0), C, D] * 5
    (low, high) = summarise_points(frame(*low_rows, *rows), model="m")
    (found,) = [warn for warn in check_levels([low, high]) if warn.code == "empty_under_load"]
    assert (found.level.users, found.values["share"], found.values["below"].users) == (2, 0.25, 1)
    assert "empty_under_load" not in {warn.code for warn in check_levels([high])}


NOTES = (
    "tokens_without_chunks",
    "finish_reason_missing",
    "finish_reason_unknown",
    "usage_below_chunks",
    "usage_without_reasoning",
    "events_not_separated",
    "not_json_after_end",
)


def test_notes_become_warnings():
    """Each note of a successful row is the warning of its code, with the number of rows; others' are left alone."""
    rows = [A._replace(notes=" ".join(NOTES), finish_reason="banana"), B._replace(notes=NOTES[0]), C]
    found = {warn.code: warn for warn in point(frame(*rows, D._replace(notes="of_a_later_version"))).warnings}
    assert [found[code].values["responses"] for code in NOTES] == [2, 1, 1, 1, 1, 1, 1]
    assert found["finish_reason_unknown"].values["ends"] == "'banana'"
    many = frame(*(A._replace(notes="finish_reason_unknown", finish_reason=f"end {i}") for i in range(9)))
    (unknown,) = (warn for warn in point(many).warnings if warn.code == "finish_reason_unknown")
    assert unknown.values["ends"].count("'end ") == 5
    assert not codes(point()) & set(NOTES)
    assert "of_a_later_version" not in found


def test_reasoning_counts_for_ttft_and_not_for_ttfa():
    """The first token is a thought, the first answer token comes 2 s later."""
    p = point(frame(row(0.0, 1.0, [2.0, 1.0], first_answer_s=3.0)))
    assert (p.ttft_s.mean, p.distributions["ttfa_s"].mean) == (1.0, 3.0)


def test_unknown_tokens_are_left_out_and_said():
    """A missing count is not a 0: sums hold the others, with a warning."""
    p = point(frame(A, B._replace(output_tokens=None), C, D))
    assert p.output_tokens == 11
    assert "output_tokens_unknown" in codes(p)
    assert point(frame(A._replace(output_tokens=None))).output_tokens is None


def codes(p):  # type: ignore[no-untyped-def]
    return {warn.code for warn in p.warnings}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"token_source": "chunks"}, "tokens_estimated"),
        ({"finish_reason": "length"}, "truncated_by_max_tokens"),
        ({"merged_reads": 1, "n_reads": 10}, "merged_reads"),
        ({"concurrency": 3}, "concurrency_not_reached"),
        ({"closed_s": None}, "unfinished_requests"),
        ({"input_tokens": None}, "input_tokens_unknown"),
    ],
)
def test_a_doubtful_row_gives_its_warning(change, code):
    """One cause, one code, with the level and a remedy."""
    changed = frame(*(r._replace(**change) for r in (A, B, C, D)))
    (found,) = [warn for warn in point(changed).warnings if warn.code == code]
    assert found.level.users == change.get("concurrency", 2)
    assert found.remedy
    assert code not in codes(point())


def test_fixed_length_expects_what_natural_length_warns_of():
    """Ending by length is right when a length was asked for; another length is then wrong."""
    rows = [r._replace(finish_reason="length", asked_output_tokens=r.output_tokens) for r in (A, B, C, D)]
    assert not codes(point(frame(*rows), fixed_length=True)) & {"truncated_by_max_tokens", "length_not_kept"}
    rows[0] = rows[0]._replace(output_tokens=3)
    assert "length_not_kept" in codes(point(frame(*rows), fixed_length=True))
    assert "length_not_kept" not in codes(point(frame(*rows)))


def test_lost_rows_break_littles_law():
    """A request without an end is sent but never counted as in flight: the two sides differ."""
    p = point(frame(A, B, C._replace(closed_s=None), D))
    assert p.littles_law_error == pytest.approx(1 / 3)
    assert "littles_law" in codes(p)


def test_idle_users_inside_the_steady_window():
    """One user that rests 1 s after each 1 s request: busy half of the window."""
    p = point(frame(*(row(2.0 * k, 0.5, [0.5]) for k in range(5))))
    assert p.steady is not None
    assert p.steady.occupancy == pytest.approx(3 / 7)
    assert "idle_users" in codes(p)


def test_levels_come_apart_in_ascending_order():
    """One summary per concurrency."""
    table = frame(A, B, C, D, row(0.0, 1.0, [1.0]))
    assert [p.level.users for p in summarise_points(table, model=None)] == [1, 2]


def test_arrow_and_pandas_agree():
    """The same rows as a pyarrow Table give the same point."""
    assert point(pa.Table.from_pandas(HAND)) == point()


def test_no_rows_no_points_and_missing_columns_are_named():
    """An empty table is fine, a strange one is refused."""
    assert summarise_points(HAND.iloc[:0], model=None) == []
    with pytest.raises(PointsError, match="closed_s, chunk_gap_us"):
        summarise_points(HAND.drop(columns=["closed_s", "chunk_gap_us"]), model=None)


def test_every_figure_is_a_plain_number():
    """No numpy scalars and no NaN reach the results."""

    def walk(value):  # type: ignore[no-untyped-def]
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list | tuple):
            for item in value:
                walk(item)
        else:
            assert value is None or type(value) in (int, float, str, bool), type(value)
            assert not (isinstance(value, float) and math.isnan(value))

    walk(dataclasses.asdict(point()))


def test_all_columns_are_of_the_record():
    """What the metrics read is what the record has."""
    assert set(pd.DataFrame(HAND).columns) == set(RequestRecord._fields)


def test_more_tokens_than_were_allowed_is_a_wrong_usage():
    """Asked for one token less than usage says: named; where usage keeps the cap, no word of it."""
    kept = [r._replace(asked_output_tokens=r.output_tokens) for r in (A, B, C, D)]
    over = [kept[0]._replace(asked_output_tokens=kept[0].output_tokens - 1), *kept[1:]]

    assert "usage_over_cap" in codes(point(frame(*over)))
    assert "usage_over_cap" not in codes(point(frame(*kept)))


def test_goodput_and_attainment():
    """Of 7 requests in 10 s a failure and a late one miss; one token, or all in one piece, leaves no TPOT to keep."""
    rows = [
        A,  # TTFT 1, TPOT 1: kept
        B,  # TTFT 0.5, TPOT 0.75: kept
        C,  # TTFT 2: late
        D,  # TTFT 1, TPOT 0.4375: kept
        row(7.0, 1.0, [], concurrency=2),  # one token: kept
        row(7.0, 1.0, [], concurrency=2, output_tokens=5),  # one piece: kept
        row(8.0, 0.5, [0.5], concurrency=2, status="timeout", closed_s=10.0),
    ]
    (level,) = level_rows(frame(*rows), parse_goodput("ttft<=1s,tpot<=1s"))
    assert [level.ratio(METRICS[key]) for key in ("attainment", "goodput_per_s")] == [5 / 7, 5 / 10]


def test_goodput_that_nobody_knows():
    """Without limits, or of a latency that no request tells, it is missing; where all fail it is 0."""
    whole = frame(row(0.0, None, [], closed_s=2.0, output_tokens=8, n_chunks=0))
    failed = frame(row(0.0, None, [], closed_s=2.0, output_tokens=None, status="timeout"))
    limits = parse_goodput("ttft<1s")
    found = [level_rows(HAND), level_rows(whole, limits), level_rows(failed, limits)]
    assert [level.ratio(METRICS["attainment"]) for (level,) in map(list, found)] == [None, None, 0.0]


def test_a_point_a_table_at_a_time():
    """The figures of a point that is read in parts, some of them empty, are those of the whole, ITL included."""
    table, whole = pa.Table.from_pandas(HAND), point()
    keys = [metric.key for metric in LATENCIES]
    found = point_figures([table[:1], table[1:1], table[1:]], 1.0, keys)
    assert found is not None
    assert (found.n_ok, found.n_failed, found.duration_s) == (whole.n_ok, whole.n_failed, whole.duration_s)
    assert {key: ratio for key, ratio in found.ratios.items() if ratio is not None} == pytest.approx(
        {key: ratio for key, ratio in whole.ratios.items() if ratio is not None}
    )
    for key in keys:
        ours, theirs = (dataclasses.asdict(one.distributions[key]) for one in (found, whole))
        assert ours == pytest.approx(theirs), key
    assert point_figures([table[:0]], 1.0, keys) is None
