"""comparison.html: several runs, or the models of a table of points, in one self-contained file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchsuite.economics.frontier import Placed
from benchsuite.report.page import render_template
from benchsuite.report.sections import compare, compare_figures
from benchsuite.report.sections.compare import Contender
from benchsuite.report.sections.warnings import cards
from benchsuite.report.svg import marker
from benchsuite.report.words import DASH, usd


def render_comparison(
    contenders: Sequence[Contender], placed: Sequence[Placed], notes: Sequence[str], price: str
) -> str:
    """The page. placed: the models' places in cost and score, empty without scores. notes: what differs between them.

    price: where the hour's price is from, in words. Raises ValueError without contenders.
    """
    if not contenders:
        raise ValueError("nothing to compare")
    if all(one.usd_per_hour_total is None for one in contenders):
        price = "none given"
    said = compare.comparison(contenders, placed)
    figures = compare_figures.curves(contenders)
    scored = any(one.on_frontier is not None for one in placed)
    points_head, points = compare.all_levels(contenders)
    warnings = cards((one.name, j) for one in contenders for j in one.judged)
    content: dict[str, Any] = {
        "page_title": said.sentence,
        "counted": compare.counted(contenders),
        "about": [f"SLO {contenders[0].slo}", f"price: {price}"],
        "feasible": any(one.decision.kind == "optimum" for one in contenders),
        "answer": said,
        "notes": list(notes),
        "picture": compare_figures.frontier_figure(placed) if scored else figures[-1],
        "head": compare.head_of(contenders),
        "optima": compare.side_by_side(contenders),
        "legend": [(one.name, _swatch(i)) for i, one in enumerate(contenders)],
        "figures": figures if scored else figures[:-1],
        "found_warnings": warnings,
        "points_head": points_head,
        "points": points,
        "facts": _facts(contenders, price),
    }
    named = (("optima", "Side by side"), ("levels", "Against concurrency"), ("warnings", f"Warnings ({len(warnings)})"))
    rest = (("points", "All levels"), ("provenance", "Provenance"))
    sections = [one for one in (*named, *rest) if one[0] != "warnings" or warnings]
    return render_template("comparison.html.j2", content | {"sections": sections})


def _swatch(i: int) -> str:
    return f'<svg class="bs swatch" viewBox="0 0 14 14" aria-hidden="true">{marker(7, 7, i)}</svg>'


def _facts(contenders: Sequence[Contender], price: str) -> list[tuple[str, str]]:
    hourly = sorted({usd(one.usd_per_hour_total) for one in contenders})
    return [
        ("SLO", str(contenders[0].slo)),
        ("price", price),
        ("an hour of the machine", ", ".join(hourly) or DASH),
        *((one.name, one.source) for one in contenders),
    ]
