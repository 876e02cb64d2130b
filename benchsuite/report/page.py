"""report.html: one self-contained file, from a run folder. Nothing is fetched when it is read.

The page is complete without its script, which adds hover values in one style, the keyboard, and CSV downloads. The
policy in its head allows that script and that style by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchsuite.errors import StoreError, os_error_as
from benchsuite.fault_points import reach
from benchsuite.metrics import CONFIDENCE
from benchsuite.redact import html_text
from benchsuite.report import format as fmt
from benchsuite.report import level_tables, sections_levels, sections_run
from benchsuite.report.export import summary_json
from benchsuite.report.judge import Judgement, imbalance_text, judge_run, judged_again, ttft_breakdown
from benchsuite.report.level_tables import ELECTRICITY, ENDPOINTS, ENERGY, FALLBACK, GPUS, SCALING, SERVER
from benchsuite.report.sections_cost import (
    capacity_table,
    scaling_figure,
    scaling_of,
    scaling_sentences,
    sensitivity_table,
)
from benchsuite.report.sections_levels import Figure, Section, Table
from benchsuite.store.files import REPORT, SUMMARY, write_json, write_text
from benchsuite.store.run_folder import Run

_IN_TILES = "one run per level"  # an aside of the terminal that is in the page's tiles


# the colours are Okabe and Ito's, which the colour-blind tell apart, and three more; the ramp is one hue
CHARTS_CSS = Path(__file__).with_name("templates").joinpath("charts.css").read_text("utf-8").strip()


def standalone(chart: str) -> str:
    """The chart as a file of its own: its style inside it."""
    head, close, rest = chart.partition(">")
    return f"{head}{close}<style>{CHARTS_CSS}</style>{rest}"


def write_judged(run: Run) -> Judgement:
    """Judge a run by its own SLO and price, and leave summary.json and report.html in its folder."""
    judgement = judge_run(run)
    write_json(run.path / SUMMARY, summary_json(judgement))
    write_report(judgement)
    return judgement


def write_report(judgement: Judgement) -> Path:
    """Write report.html into the judged run's folder, and return its path. Raises StoreError."""
    path = judgement.facts.path / REPORT
    with os_error_as(StoreError, "a report cannot be written", path):
        reach("report")
        write_text(path, render(judgement))
    return path


def render(judgement: Judgement) -> str:
    """The page of a judged run."""
    decision, judged, manifest = judgement.decision, judgement.judged, judgement.facts.manifest
    server, created = manifest.server_probe.name, (manifest.created or "")[:10]
    about = [f"on {server}" if server else "", f"SLO {judgement.slo}", f"measured {created}" if created else ""]
    shown = sections_levels.picture(judgement)
    return render_page(
        name=judgement.model or "unnamed model",
        about=[text for text in (*about, f"run {manifest.run_id}") if text],
        answer=sections_run.answer(judgement),
        notes=[fmt.sentence(text) for text in fmt.asides(decision, judged) if not text.startswith(_IN_TILES)],
        picture=shown,
        sections=_sections(judgement, shown),
        cards=sections_run.cards(("", one) for one in judged),
        facts=sections_run.facts(judgement),
        status=manifest.status,
        again=judged_again(judgement),
        spec=json.dumps(manifest.spec, indent=1, ensure_ascii=False),
    )


def render_page(*, name: str, sections: Sequence[Section], cards: Sequence[sections_run.Card], **content: Any) -> str:
    """A page. content: what the template names; sections without content are left out."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("benchsuite.report")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: Markup(html_text(value)) if type(value) is str else value,
    )
    css = CHARTS_CSS + "\n" + loader.get_source(environment, "page.css")[0]
    script = loader.get_source(environment, "page.js")[0]
    policy = (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(script)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    sections = [
        replace(one, figures=[*filter(None, one.figures)], tables=[*filter(None, one.tables)]) for one in sections
    ]
    sections = [one for one in sections if one.figures or one.items or one.tables]
    warnings = [("warnings", f"Warnings ({len(cards)})")] if cards else []
    links = [*warnings, *((one.anchor, one.link) for one in sections), ("provenance", "Provenance")]
    content |= {"name": name, "sections": sections, "cards": cards, "links": links}
    return environment.get_template("page.html.j2").render(
        {"status": "complete", "spec": "", "again": []} | content | {"css": css, "script": script, "policy": policy}
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _sections(judgement: Judgement, shown: Figure) -> list[Section]:
    """Every part that the page of a run may have, in its order. shown: the figure next to the decision."""
    judged, best, nearest = judgement.judged, judgement.best, judgement.nearest
    marks = sections_levels.mark_rows(judgement)

    stat = fmt.best_tail(judged)  # the highest percentile of TTFT that any level supports
    points = Table("points", *level_tables.levels_table(judged), left=(-1,), marks=marks)
    no_tail = all(fmt.tail(j.point.ttft_s, stat) is None for j in judged)
    intervals = Table("intervals", *level_tables.interval_table(judged, judgement.decision), marks=marks)

    parts, use, scaling = ttft_breakdown(judgement), judgement.server_use, scaling_of(judgement)
    loads = [(one.level, one, load) for one, load in zip(parts, use, strict=True) if load.n_samples]
    several = any(len(level.parts) > 1 for level in judgement.endpoints.values())
    endpoints = level_tables.endpoint_rows(judgement) if several else []
    scaled = scaling_figure(scaling, judgement)
    costs = [] if best is None else [sensitivity_table(best, judgement), capacity_table(best, judgement)]
    time = [] if nearest is None else [sections_run.timeline_figure(judgement, nearest.point.level)]
    metrics = [one for one in sections_levels.level_figures(judgement) if one.title != shown.title]
    gpu_tables = [
        _table("gpu", "GPU use", GPUS, [(j.point.level, j.gpu) for j in judged if j.gpu]),
        _table(
            "energy", "Energy per run of the set, GPUs only", (*ENERGY, *ELECTRICITY),
            [(j.point.level, j.energy) for j in judged if j.energy],
        ),
    ]  # fmt: skip
    server = [sections_run.ttft_figure(parts, judgement), *sections_levels.use_figures(judgement, "server")]
    server_tables = [
        _table("server", "Server load", SERVER, loads),
        _table("endpoints", "Requests by endpoint", ENDPOINTS, endpoints),
        _table("fallback", "Fallback to an API", FALLBACK, [*judgement.fallback.items()]),
    ]
    uneven = [fmt.sentence(text)] if (text := imbalance_text(judgement)) else []
    said = [fmt.spaced(fmt.sentence(text)) for text in scaling_sentences(scaling)] if scaled else []
    by_level = _table("scaling", _ELASTICITY, SCALING, [(one.level, one) for one in scaling.levels if scaled])
    curves = sections_levels.distribution_figures(judgement)
    client = sections_run.client_table(judgement)
    return [
        Section("levels", "Metrics", "Metrics over concurrency", figures=metrics),
        Section("points", "All levels", text=_FEW_REQUESTS.format(stat) if no_tail else "", tables=[points]),
        Section("intervals", "Intervals", text=_INTERVALS, tables=[intervals] * fmt.has_intervals(judged)),
        Section("gpu", "GPUs and energy", figures=sections_levels.use_figures(judgement, "gpu"), tables=gpu_tables),
        Section("server", "Server", figures=server, tables=server_tables, items=uneven),
        Section("scaling", "Scaling", "Scaling with concurrency", figures=[scaled], items=said, tables=[by_level]),
        Section("distributions", "Distributions", text=_CURVES, figures=curves),
        Section("timeline", "Over time", "One repeat over time", figures=time, columns="full"),
        Section("cost", "Cost", "Cost: sensitivity and capacity", tables=costs),
        Section("client", "Client", "The measuring client", _CLIENT, tables=[client] * bool(client.rows)),
    ]


_ELASTICITY = "Elasticity: the relative change of output over that of concurrency, 1 where it scales linearly"
_CURVES = "A curve per level, over its successful requests."
_FEW_REQUESTS = "TTFT {} needs 200 successful requests per level: ten must lie beyond it."
_INTERVALS = (
    f"{CONFIDENCE} intervals over the repeats of each level. P(SLO): share of resampled runs that keep every limit. "
    "P(optimal): how often the rule picks the level when the runs of all levels are resampled together."
)
_CLIENT = (
    "Read lag: from the kernel's receive timestamp until this program reads the bytes; with kernel timestamps it is in "
    "no figure above. Merged reads hold several events, which then share a timestamp."
)


def _table(
    name: str, title: str, columns: Sequence[level_tables.Column], rows: Sequence[tuple[Any, ...]]
) -> Table | None:
    heads, cells = level_tables.level_table(columns, rows)
    left = (-1,) if columns[-1].field == "endpoint" else ()
    return Table(name, heads, cells, title, left) if rows else None
