"""Several runs or models beside each other: who is worth its money, in a sentence and in tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchsuite.economics.frontier import Placed
from benchsuite.report.bubbles import surely
from benchsuite.report.figures import Row
from benchsuite.report.sections.answer import Answer, Tile
from benchsuite.report.words import DASH, chance, count, limit_name, ms, number, usd
from benchsuite.results import Decision, Judged
from benchsuite.slo import Slo

HEAD = (
    "model", "users", "$ per run", "$ per 1M output", "TTFT mean ms", "tok/s per user", "output tok/s", "wall s",
    "P opt", "next level misses",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contender:
    """One model's judged curve. source: where it was read from. usd_per_hour_total: the machine's, None if unknown.

    model: where the name is another, for several runs of one model.
    """

    name: str
    source: str
    judged: tuple[Judged, ...]
    decision: Decision
    slo: Slo
    usd_per_hour_total: float | None
    model: str | None = None


def counted(contenders: Sequence[Contender]) -> str:
    """'9 models', '2 runs of gpt-oss-20b', '3 runs of 2 models'."""
    models = {one.model or one.name for one in contenders}
    if len(models) == len(contenders):
        return f"{len(models)} model{'s' * (len(models) > 1)}"
    return f"{len(contenders)} runs of {models.pop() if len(models) == 1 else f'{len(models)} models'}"


def head_of(contenders: Sequence[Contender]) -> Row:
    """The columns of `side_by_side`."""
    return ("model" if "runs of" not in counted(contenders) else "run", *HEAD[1:])


def comparison(contenders: Sequence[Contender], placed: Sequence[Placed]) -> Answer:
    """What the page says first: the frontier where there are scores, else the cheapest that keeps the SLO."""
    kept = [(_expense(one), one) for one in contenders if one.decision.kind == "optimum"]
    if not kept:
        return Answer(f"None of {len(contenders)} keeps the SLO at any level", ())
    cheapest, second, *_ = [one for _, one in sorted(kept, key=lambda pair: pair[0])] + [None, None]
    assert cheapest is not None
    best = [one for one in placed if one.on_frontier and surely(one)]
    tiles = [
        Tile("Cheapest" if cheapest.usd_per_hour_total is not None else "Shortest run", cheapest.name, _at(cheapest))
    ]
    scored = [(one.score, one) for one in placed if one.score is not None and one.on_frontier is not None]
    if scored:
        score, top = max(scored, key=lambda pair: pair[0])
        tiles.append(Tile("Best score", top.model, f"{number(score)} at {usd(top.cost_usd)} per run of the set"))
        out = [one.model for one in placed if one.on_frontier is False]
        what = f"{len(best)} of {len(scored)}"
        tiles.append(Tile("Worth their money", what, f"dominated: {', '.join(out) or 'none'}"))
    tiles.append(_certainty(contenders, placed, cheapest, second))
    if best:
        names = ", ".join(one.model for one in sorted(best, key=lambda one: one.cost_usd or 0.0))
        sentence = f"{len(best)} of {len(scored)} models are worth their money: {names}"
    else:
        how = "in the shortest run" if cheapest.usd_per_hour_total is None else "at the least cost"
        tied = "" if second is None or _apart(cheapest, second) is not False else f", not told apart from {second.name}"
        sentence = f"{cheapest.name} keeps the SLO {how}{tied}: {_at(cheapest)}"
    return Answer(sentence, tuple(tiles))


def _expense(one: Contender) -> float:
    assert one.decision.kind == "optimum"
    choice = one.decision.choice
    return choice.cost.cost_usd or choice.point.wall_s or 0.0


def _at(one: Contender) -> str:
    assert one.decision.kind == "optimum"
    choice = one.decision.choice
    users = f"{choice.point.concurrency} users"
    if choice.cost.cost_usd is None:
        return f"{users}, {number(choice.point.wall_s)} s per run of the set"
    return (
        f"{users}, {usd(choice.cost.cost_usd)} per run of the set, "
        f"{usd(choice.cost.usd_per_1m_output_tokens)} per 1M output tokens"
    )


def _ends(one: Contender) -> tuple[float, float] | None:
    """The interval of what the cheapest is chosen by; None with one run."""
    assert one.decision.kind == "optimum"
    choice = one.decision.choice
    found = choice.intervals.get("wall_s" if choice.cost.cost_usd is None else "cost_usd")
    return None if found is None or found.low is None or found.high is None else (found.low, found.high)


def _apart(cheapest: Contender, second: Contender) -> bool | None:
    """Whether their intervals lie apart; None where one has none."""
    ends, others = _ends(cheapest), _ends(second)
    return None if ends is None or others is None else ends[1] < others[0]


def _certainty(
    contenders: Sequence[Contender], placed: Sequence[Placed], cheapest: Contender, second: Contender | None
) -> Tile:
    unsure = [one for one in placed if one.p_on_frontier is not None]
    if unsure:
        told = ", ".join(f"{one.model} {one.p_on_frontier:.2f}" for one in unsure[:6] if one.p_on_frontier is not None)
        return Tile("Certainty", "P on frontier", told)
    runs = {j.point.repeat_count for one in contenders for j in one.judged}
    if runs == {1}:
        return Tile("Certainty", "one run", "a level was run once: costs and places have no interval")
    said = f"{max(runs)} runs" if len(runs) == 1 else f"{min(runs)} to {max(runs)} runs"
    apart = None if second is None else _apart(cheapest, second)
    if second is None or apart is None:
        return Tile("Certainty", said, "of each level; the charts show their intervals")
    how = "lies below that" if apart else "overlaps that"
    end = "" if apart else ": they may swap places"
    detail = f"a level; the 95 % interval of {cheapest.name} {how} of the next, {second.name}{end}"
    return Tile("Certainty", said, detail)


def side_by_side(contenders: Sequence[Contender]) -> list[tuple[Row, bool, bool]]:
    """Each contender at its optimum, the cheapest first: cells, does it keep the SLO, is it the cheapest."""
    kept = sorted((one for one in contenders if one.decision.kind == "optimum"), key=_expense)
    others = [one for one in contenders if one.decision.kind == "none"]
    return [(_row(one), one.decision.kind == "optimum", one in kept[:1]) for one in (*kept, *others)]


def _row(one: Contender) -> Row:
    if one.decision.kind == "none":
        return (one.name, *[DASH] * (len(HEAD) - 2), one.decision.reason)
    choice = one.decision.choice
    point = choice.point
    return (
        one.name,
        str(point.concurrency),
        usd(choice.cost.cost_usd),
        usd(choice.cost.usd_per_1m_output_tokens),
        ms(point.ttft_s.mean),
        number(point.throughput_paper_tok_s),
        number(point.output_tok_s),
        number(point.wall_s),
        chance(one.decision.p_opt),
        one.decision.binding or DASH,
    )


def all_levels(contenders: Sequence[Contender]) -> tuple[Row, list[tuple[Row, bool, bool]]]:
    """Every level of every contender: head, and rows marked like those of `side_by_side`."""
    head = ("model", "users", "wall s", "TTFT mean ms", "tok/s per user", "output tok/s", "output tokens", "$ per run",
            "$ per 1M output", "SLO misses")  # fmt: skip
    rows: list[tuple[Row, bool, bool]] = []
    for one in contenders:
        chosen = one.decision.choice if one.decision.kind == "optimum" else None
        for j in one.judged:
            point = j.point
            doubts = [limit_name(miss) for miss in j.misses] + [f"{limit_name(doubt)}?" for doubt in j.unknown]
            cells = (
                one.name, str(point.concurrency), number(point.wall_s), ms(point.ttft_s.mean),
                number(point.throughput_paper_tok_s), number(point.output_tok_s), count(point.output_tokens),
                usd(j.cost.cost_usd), usd(j.cost.usd_per_1m_output_tokens), ", ".join(doubts) or "none",
            )  # fmt: skip
            rows.append((cells, j.meets_slo, j is chosen))
    return head, rows
