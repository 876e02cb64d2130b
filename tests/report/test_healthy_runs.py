"""Stored runs with nothing wrong give no warning that something is, and the like run with the fault gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory import rate_folder, run_folder

from benchsuite.records import RequestRecord
from benchsuite.report.judge import judge_run
from benchsuite.store.run_folder import read_run

Row = Callable[[RequestRecord], RequestRecord]


def warned(folder: Path, *codes: str) -> set[tuple[str, float]]:
    """Code and level of every warning of these codes."""
    points = [one.point for one in judge_run(read_run(folder)).judged]
    return {(w.code, p.level.number) for p in points for w in p.warnings if w.code in codes}


@pytest.mark.parametrize(
    ("row", "levels"),
    [
        (lambda row: row._replace(finish_reason="length", asked_output_tokens=11), set()),
        # the server's own limit comes before the one that was asked for
        (lambda row: row._replace(finish_reason="length", asked_output_tokens=64), {2.0, 4.0, 8.0}),
        # each of a trace at a length of its own
        (lambda row: row._replace(finish_reason="length", asked_output_tokens=row.output_tokens), set()),
        (
            lambda row: row._replace(
                finish_reason="stop" if row.concurrency == 4 and row.request_id == "q3" else "length",
                asked_output_tokens=row.output_tokens,
            ),
            {4.0},
        ),
    ],
)
def test_answers_that_are_all_cut_at_the_length_that_was_asked_for(
    tmp_path: Path, row: Row, levels: set[float]
) -> None:
    """They are as long at every level; where one is not cut, or the server cuts sooner, lengths depend on the limit."""
    run = run_folder(tmp_path / "r", row=row)
    assert warned(run, "truncated_by_max_tokens") == {("truncated_by_max_tokens", level) for level in levels}


@pytest.mark.parametrize(("empty", "codes"), [(1, {"empty"}), (12, {"empty", "empty_under_load"})])
def test_an_empty_answer_by_chance_is_not_the_loads_doing(tmp_path: Path, empty: int, codes: set[str]) -> None:
    """One of 64 at the highest level and none below is what a model does now and then; twelve are not."""

    def row(one: RequestRecord) -> RequestRecord:
        emptied = one.concurrency == 8 and int(one.request_id[1:]) < empty
        return one._replace(output_tokens=0, n_chunks=0) if emptied else one

    run = run_folder(tmp_path / "r", requests=64, row=row)
    assert {code for code, _ in warned(run, "empty", "empty_under_load")} == codes


@pytest.mark.parametrize(("slots", "levels"), [(8, set()), (32, {32.0})])
def test_users_who_wait_in_a_full_server_leave_it_full(tmp_path: Path, slots: int, levels: set[float]) -> None:
    """Of 32 users 24 wait for a slot: as they run out of requests, throughput stays; where all are served it falls."""
    latency, noise = {32: (0.05, 0.010)}, 0.5
    run = run_folder(tmp_path / "r", levels=(32,), requests=160, latency=latency, slots=slots, noise=noise)
    assert warned(run, "ramp_up_down") == {("ramp_up_down", level) for level in levels}


FULL = {level: (0.05 * level / 16, 0.010 * level / 16) for level in (16, 32, 64)}  # 16 slots are all it has


@pytest.mark.parametrize("seed", range(4))
def test_levels_of_a_full_server_differ_by_chance(tmp_path: Path, seed: int) -> None:
    """Three levels with the same throughput, three runs each that differ by 2 %: none is lower or longer than another.
    One that is 20 % lower is."""
    shared: dict[str, Any] = {"levels": list(FULL), "repeats": 3, "requests": 128, "noise": 0.06, "seed": seed}
    codes = ("throughput_drop", "duration_rises", "slow_level", "superlinear_scaling")
    assert warned(run_folder(tmp_path / "full", latency=FULL, **shared), *codes) == set()
    lower = FULL | {64: (0.25, 0.050)}
    assert warned(run_folder(tmp_path / "lower", latency=lower, **shared), *codes) == {("throughput_drop", 64.0)}


@pytest.mark.parametrize(("last", "codes"), [(1.6, set()), (2.0, set()), (1.1, {"throughput_drop", "usl_residual"})])
def test_a_peak_is_no_disturbed_level(tmp_path: Path, last: float, codes: set[str]) -> None:
    """At 32 a third less throughput than at 16: at 64 no more than that, and 16 is the peak; or nearly all of it."""
    slower = {4: 1.0, 8: 1.0, 16: 1.0, 32: 1.5, 64: last}
    latency = {level: (0.005 * level * f, 0.001 * level * f) for level, f in slower.items()}
    latency |= {4: (0.03, 0.006), 8: (0.045, 0.009)}
    run = run_folder(tmp_path / "r", levels=tuple(latency), requests=256, latency=latency)
    assert {code for code, _ in warned(run, "throughput_drop", "duration_rises", "usl_residual")} == codes


def test_users_without_a_last_request_make_a_level_no_slower(tmp_path: Path) -> None:
    """64 requests of 24 users end with 16 of them: a sixth less of a user's throughput, and every answer as fast."""
    flat = dict.fromkeys((8, 16, 24, 32), (0.05, 0.010))
    shared: dict[str, Any] = {"levels": list(flat), "requests": 64}
    codes = ("slow_level", "superlinear_scaling", "usl_residual")
    assert warned(run_folder(tmp_path / "flat", latency=flat, **shared), *codes) == set()
    slow = flat | {24: (0.10, 0.020)}
    found = warned(run_folder(tmp_path / "slow", latency=slow, **shared), *codes)
    assert found >= {("slow_level", 24.0), ("superlinear_scaling", 32.0)}


@pytest.mark.parametrize("slots", [4, 8, 16])
def test_a_server_that_is_full_has_a_knee(tmp_path: Path, slots: int) -> None:
    """Throughput that rises to so many slots and stays there is no level off a law; one that is halved is."""
    levels = (1, 2, 4, 8, 16, 32, 64)
    shared: dict[str, Any] = {"levels": levels, "requests": 128, "slots": slots}
    flat = dict.fromkeys(levels, (0.05, 0.010))
    assert warned(run_folder(tmp_path / "knee", latency=flat, **shared), "usl_residual") == set()
    slow = run_folder(tmp_path / "slow", latency=flat | {4: (0.12, 0.025)}, **shared)
    assert ("usl_residual", 4.0) in warned(slow, "usl_residual")


def test_users_who_wait_for_a_rate_are_as_asked_for(tmp_path: Path) -> None:
    """Under --max-request-rate users are idle by intent, and a level that is not reached has that for its reason."""

    def rest(row: RequestRecord) -> RequestRecord:
        later = 0.7 * int(row.request_id[1:])
        times = ("scheduled_s", "sent_s", "headers_s", "first_token_s", "first_answer_s", "last_token_s", "closed_s")
        return row._replace(**{name: getattr(row, name) + later for name in times})

    codes = ("idle_users", "ramp_up_down", "concurrency_not_reached")
    free = run_folder(tmp_path / "free", row=rest)
    assert {code for code, _ in warned(free, *codes)} >= {"concurrency_not_reached", "idle_users"}
    limited = run_folder(tmp_path / "limited", row=rest, spec={"load": {"max_request_rate": 1.4}})
    (found, *_) = (w for w in judge_run(read_run(limited)).judged[0].point.warnings if w.code in codes)
    assert {code for code, _ in warned(limited, *codes)} == {"concurrency_not_reached"}
    assert "--max-request-rate" in found.remedy


def test_answers_of_a_rate_are_of_the_requests_that_came(tmp_path: Path) -> None:
    """What came at one rate was longer than at the others: no run of a set is compared by it."""
    rates = (2.0, 4.0, 6.0)
    longer: Row = lambda row: row._replace(output_tokens=22) if row.rate_per_s == 6.0 else row  # noqa: E731
    assert warned(rate_folder(tmp_path / "r", rates=rates, row=longer), "output_length") == set()
    longer = lambda row: row._replace(output_tokens=22) if row.concurrency == 8 else row  # noqa: E731
    assert warned(run_folder(tmp_path / "c", row=longer), "output_length") == {("output_length", 8.0)}
