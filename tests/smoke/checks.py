"""What must hold for a smoke run's folder: pure functions from its files to checks, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "WRONG", "note"]
# a token of the tiny model on an idle laptop GPU, and of the largest model on a whole node, with two zeros to spare
J_PER_OUTPUT_TOKEN = (1e-6, 1e4)
LEAST_SAMPLES_RATIO = 0.8  # of what the rate asks for, of GPUs; a server's page may be slow under load
LEAST_SERVER_SAMPLES_RATIO = 0.5
LATE_TOKENS_RATIO = 0.005
HAVE_METRICS = ("vllm", "llamacpp", "tgi")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. state: note is told and not held against the run."""

    what: str
    state: State
    words: str

    @property
    def line(self) -> str:
        """As it is printed."""
        return f"{self.state:<5}  {self.what}: {self.words}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What was asked of the sweep. gpu: a GPU must have been sampled.

    quiet: the client has cores of its own (a server on the CPU takes them), so that client-bound is wrong.
    """

    profile: str
    levels: tuple[int, ...]
    requests: int
    repeats: int
    max_output_tokens: int
    gpu: bool
    quiet: bool


@dataclass(frozen=True, slots=True)
class RunFiles:
    """A run folder as read. gpu, server: rows of their tables, None where the run has none."""

    manifest: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, Any]]
    gpu: list[dict[str, Any]] | None
    server: list[dict[str, Any]] | None


def check_run(run: RunFiles, asked: Expected) -> list[Check]:
    """All of it: counts, tokens, telemetry, energy, the client."""
    return [
        *_counts(run, asked),
        *_tokens(run, asked),
        *_server_samples(run, asked),
        *_gpu(run, asked),
        *_client(run, asked),
    ]


def equal(what: str, expected: object, found: object) -> Check:
    """A check that two values are the same."""
    if expected == found:
        return Check(what, "ok", str(found))
    return Check(what, "WRONG", f"{found}, expected {expected}")


def _counts(run: RunFiles, asked: Expected) -> Iterator[Check]:
    points = run.summary["points"]
    each = asked.requests * asked.repeats
    yield equal("run status", "complete", run.manifest["status"])
    yield equal("profile found out", asked.profile, run.manifest["server_probe"]["profile"])
    yield equal("levels", sorted(asked.levels), sorted(point["concurrency"] for point in points))
    yield equal("rows", each * len(asked.levels), len(run.rows))
    for point in points:
        level = point["concurrency"]
        of_level = [row for row in run.rows if row["concurrency"] == level]
        yield equal(f"c={level} ok/failed", f"{each}/0", f"{point['n_ok']}/{point['n_failed']}")
        yield equal(f"c={level} rows", each, len(of_level))
        yield equal(f"c={level} distinct prompts", asked.requests, len({row["prompt_id"] for row in of_level}))
    bad = [f"{row['status']} {row['error']}" for row in run.rows if row["status"] != "ok"]
    yield Check("rows that are not ok", "WRONG", f"{len(bad)}: {bad[0]}") if bad else Check("rows not ok", "ok", "0")


def _tokens(run: RunFiles, asked: Expected) -> Iterator[Check]:
    rows = run.rows
    yield equal("rows without the server's token count", 0, sum(row["token_source"] != "usage" for row in rows))
    yield equal(
        "answers shorter or longer than asked",
        0,
        sum(row["output_tokens"] != row["asked_output_tokens"] for row in rows),
    )
    limits = [row["asked_output_tokens"] or 0 for row in rows]
    yield equal(
        "rows that asked for too much or nothing", 0, sum(not 1 <= n <= asked.max_output_tokens for n in limits)
    )
    for point in run.summary["points"]:
        ours = sum(row["output_tokens"] or 0 for row in rows if row["concurrency"] == point["concurrency"])
        yield equal(f"c={point['concurrency']} tokens in summary", ours, point["output_tokens"])
    yield _against_counter(our_tokens(run), server_tokens(run))


def _against_counter(ours: int, theirs: int | None) -> Check:
    """The same to the token; a server may count its last ones a moment after the last sample of its page."""
    what = "tokens ours = the server's"
    if theirs is None:
        return Check(what, "note", f"{ours:,}; the server has no counter")
    if 0 < ours - theirs <= LATE_TOKENS_RATIO * ours:
        return Check(what, "note", f"{theirs:,} of {ours:,}: its last sample came before its last count")
    return equal(what, f"{theirs:,}", f"{ours:,}")


def our_tokens(run: RunFiles) -> int:
    """Output tokens of every request that was sent: preflight, warm-up and measured."""
    warmup = sum(int(point["warmup"]["output_tokens"]) for point in run.manifest["points"])
    measured = sum(int(row["output_tokens"] or 0) for row in run.rows)
    return measured + warmup + int(run.manifest["server_probe"]["output_tokens"])


def server_tokens(run: RunFiles) -> int | None:
    """The server's counter at the end, which started at 0 with the server; None where it has none."""
    counts = [row["generated_tokens"] for row in run.server or () if row["generated_tokens"] is not None]
    return int(max(counts)) if counts else None


def _window_s(run: RunFiles) -> tuple[float, float]:
    """From the first point's start to the last one's end, on the requests' clock."""
    points = run.manifest["points"]
    return min(point["started_s"] for point in points), max(point["ended_s"] for point in points)


def _sampled(what: str, rows: Sequence[dict[str, Any]], run: RunFiles, period_s: float, least_ratio: float) -> Check:
    start_s, end_s = _window_s(run)
    inside = sum(start_s <= row["at_s"] <= end_s for row in rows)
    full = (end_s - start_s) / period_s
    words = f"{inside} in {end_s - start_s:.1f} s at {1 / period_s:g} Hz"
    enough = inside >= int(least_ratio * full)
    return Check(what, "ok" if enough else "WRONG", words if enough else f"{words}, expected {least_ratio:.0%} of it")


def _server_samples(run: RunFiles, asked: Expected) -> Iterator[Check]:
    read = [row for row in run.server or () if row["error"] is None]
    if not read:
        lost: State = "WRONG" if asked.profile in HAVE_METRICS else "note"
        yield Check("server.parquet", lost, f"nothing was read of {asked.profile}'s metrics")
        return
    period_s = run.manifest["telemetry"]["server"][0]["period_s"]
    yield _sampled("server.parquet rows", read, run, period_s, LEAST_SERVER_SAMPLES_RATIO)


def _gpu(run: RunFiles, asked: Expected) -> Iterator[Check]:
    if not asked.gpu:
        yield Check("gpu.parquet", "note", "not asked for: the server runs on the CPU")
        return
    facts = (run.manifest.get("telemetry") or {}).get("gpu") or {}
    if not run.gpu or not facts:
        problems = "; ".join((run.manifest.get("telemetry") or {}).get("problems") or ["no reason was given"])
        yield Check("gpu.parquet", "WRONG", f"no rows: {problems}")
        return
    for uuid in facts["used"]:
        of_card = [row for row in run.gpu if row["uuid"] == uuid]
        yield _sampled(f"gpu.parquet rows of {uuid[:12]}", of_card, run, facts["period_s"], LEAST_SAMPLES_RATIO)
    least, most = J_PER_OUTPUT_TOKEN
    for point in run.summary["points"]:
        name, energy = f"c={point['concurrency']} energy", point["energy"]
        if energy is None or energy.get("gross_j") is None:
            said = "; ".join(code["finding"] for code in (energy or {}).get("codes", ()))
            yield Check(name, "WRONG", f"not known: {said or 'nothing was read'}")
            continue
        per_token = energy["j_per_output_token"]
        sane = energy["gross_j"] > 0 and least <= per_token <= most
        words = f"{energy['gross_j']:.0f} J by {energy['method']}, {per_token:.3g} J per output token"
        yield Check(name, "ok" if sane else "WRONG", words if sane else f"{words}, expected {least:g} to {most:g}")
        for code in energy["codes"]:
            yield Check(name, "note", f"{code['code']}: {code['finding']}")


def client_verdict(point: dict[str, Any]) -> str:
    """ok, degraded or client-bound: by the warnings of the summary's point."""
    codes = {warning["code"] for warning in point["warnings"]}
    return "client-bound" if "client_bound" in codes else "degraded" if "client_degraded" in codes else "ok"


def _client(run: RunFiles, asked: Expected) -> Iterator[Check]:
    for point in run.summary["points"]:
        verdict = client_verdict(point)
        wrong: State = "WRONG" if asked.quiet else "note"
        yield Check(f"c={point['concurrency']} client", wrong if verdict == "client-bound" else "ok", verdict)
