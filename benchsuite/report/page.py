"""report.html: one self-contained file, from a run folder. Nothing is fetched when it is read.

The page is complete without its script, which adds hover values in one style, the keyboard, and CSV downloads. The
policy in its head allows that script and that style by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from benchsuite.errors import InputError, StoreError, did_you_mean, os_error_as
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
    closed_loop_figures,
    scaling_figure,
    scaling_of,
    scaling_sentences,
    sensitivity_table,
)
from benchsuite.report.sections_levels import Figure, Section, Table
from benchsuite.report.sections_run import Card
from benchsuite.store.files import REPORT, SUMMARY, write_json, write_text
from benchsuite.store.run_folder import Run

_Shown = TypeVar("_Shown", Figure, Table)
_IN_TILES, _OF_TABLE = "one run per level", "the tables show"  # asides that are in the tiles, and at the table


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


def render(judgement: Judgement, chosen: Collection[str] = ()) -> str:
    """The page of a judged run. chosen: as of render_page."""
    decision, judged, manifest = judgement.decision, judgement.judged, judgement.facts.manifest
    server, created = manifest.server_probe.name, (manifest.created or "")[:10]
    about = [f"on {server}" if server else "", f"SLO {judgement.slo}", f"measured {created}" if created else ""]
    asides = fmt.asides(decision, judged)
    return render_page(
        chosen,
        name=judgement.model or "unnamed model",
        about=[text for text in (*about, f"run {manifest.run_id}") if text],
        answer=sections_run.answer(judgement),
        notes=[fmt.sentence(text) for text in asides if not text.startswith((_IN_TILES, _OF_TABLE))],
        picture=sections_levels.picture(judgement),
        sections=_sections(judgement, [fmt.sentence(text) for text in asides if text.startswith(_OF_TABLE)]),
        cards=sections_run.cards([("", judgement)]),
        facts=sections_run.facts(judgement),
        status=manifest.status,
        again=judged_again(judgement),
        spec=json.dumps(manifest.spec, indent=1, ensure_ascii=False),
    )


PROVENANCE, ALL = "provenance", "all"
SHOWN_WARNINGS, SHOWN_NOTES, SHOWN_FACTS = 3, 2, 8  # the others are behind a "more"


def render_page(
    chosen: Collection[str] = (), *, picture: Figure, sections: Sequence[Section], cards: Sequence[Card], **content: Any
) -> str:
    """A page. content: what the template names; sections without content are left out.

    chosen: the only sections on it besides decision and warnings, open; "all" for every one. Empty: all, those that are
    `more` behind one "More". Raises InputError for a section that no such page has.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    names = [*(one.anchor for one in sections), PROVENANCE, ALL]
    if unknown := next((name for name in chosen if name not in names), None):
        expected, hint = f"{', '.join(names)}", did_you_mean(unknown, names)
        raise InputError("no such section", where="--sections", given=unknown, expected=expected, hint=hint)
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
        replace(
            one, figures=[*map(_trimmed, filter(None, one.figures))], tables=[*map(_trimmed, filter(None, one.tables))]
        )
        for one in sections
    ]
    sections = [one for one in sections if one.figures or one.items or one.tables]
    empty = [name for name in chosen if name not in (PROVENANCE, ALL, *(one.anchor for one in sections))]
    shown = [one for one in sections if one.anchor in chosen or ALL in chosen or (not chosen and not one.more)]
    more = [one for one in sections if not chosen and one.more]
    links = [("warnings", f"Warnings ({len(cards)})")] if cards else []
    links += [*((one.anchor, one.link) for one in shown), *[("more", "More")] * bool(more)]
    links += [(PROVENANCE, "Provenance")] if not chosen or {PROVENANCE, ALL} & {*chosen} else []
    open_cards = min(SHOWN_WARNINGS, sum(card.severity != "info" for card in cards))
    content |= {"picture": _trimmed(picture), "cards": cards, "links": links, "sections": shown, "more": more}
    content |= {
        "empty": empty,
        "shown_warnings": open_cards,
        "shown_notes": SHOWN_NOTES,
        "shown_facts": SHOWN_FACTS,
    }
    return environment.get_template("page.html.j2").render(
        {"status": "complete", "spec": "", "again": []} | content | {"css": css, "script": script, "policy": policy}
    )


def _trimmed(one: _Shown) -> _Shown:
    """Without columns of nothing."""
    heads, rows = fmt.known_columns(one.head, one.rows)
    return replace(one, head=heads, rows=rows)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _sections(judgement: Judgement, of_table: Sequence[str]) -> list[Section]:
    """Every part that the page of a run may have, in its order. of_table: what is to know of the table of levels."""
    judged, best, nearest = judgement.judged, judgement.best, judgement.nearest
    marks = sections_levels.mark_rows(judgement)

    stat = fmt.best_tail(judged)  # the highest percentile of TTFT that any level supports
    several, no_tail = fmt.has_intervals(judged), all(fmt.tail(j.point.ttft_s, stat) is None for j in judged)
    levels = Table("levels", *level_tables.levels_table(judged, judgement.decision), left=(-1,), marks=marks)
    figures = Table("figures", *level_tables.levels_table(judged), left=(-1,), marks=marks)

    parts, use = ttft_breakdown(judgement), judgement.server_use
    scaling = None if judgement.of_rates else scaling_of(judgement)
    loads = [(one.level, one, load) for one, load in zip(parts, use, strict=True) if load.n_samples]
    balanced = any(len(level.parts) > 1 for level in judgement.endpoints.values())
    endpoints = level_tables.endpoint_rows(judgement) if balanced else []
    scaled = None if scaling is None else scaling_figure(scaling, judgement)
    costs = [] if best is None else [sensitivity_table(best, judgement), capacity_table(best, judgement)]
    time = [] if nearest is None else [sections_run.timeline_figure(judgement, nearest.point.level)]
    metrics = sections_levels.level_figures(judgement)
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
    said, by_level = list[str](), None
    if scaling is not None and scaled is not None:
        said = [fmt.spaced(fmt.sentence(text)) for text in scaling_sentences(scaling)]
        by_level = _table("scaling", _ELASTICITY, SCALING, [(one.level, one) for one in scaling.levels])
    closed = level_tables.closed_loop_table(judged)
    note = " ".join(map(fmt.sentence, judgement.capacity_notes))
    beside = None if closed is None else Table("closed_loop", *closed, level_tables.CLOSED_LOOP_TITLE, note=note)
    curves = sections_levels.distribution_figures(judgement)
    client = sections_run.client_table(judgement)
    few = _FEW_REQUESTS.format(stat) if no_tail else ""
    path = level_tables.search_table(judgement)
    probes = None
    if path is not None:
        words = tuple(map(path[0].index, level_tables.SEARCH_WORDS))
        probes = Table("search", *path, level_tables.SEARCH_TITLE, left=words, note=_MARGIN)
    answered = [fmt.spaced(fmt.sentence(line)) for line in fmt.search_answer(judgement.facts.manifest, judgement.slo)]
    shown = best or nearest
    quality = level_tables.quality_table(judged)
    intervals = f"Value [{CONFIDENCE} interval over the probes]."
    if path is None:
        intervals = _INTERVALS.format("; of scores over items" * (quality is not None))
    scores, worst = list[Table | None](), list[Table | None]()
    if quality is not None and shown is not None:
        load = level_tables.load_table(judged)
        words = tuple(map(quality[0].index, level_tables.QUALITY_WORDS))
        scores = [Table("quality", *quality, "By level and scenario", left=words)]
        scores += [] if load is None else [Table("quality-load", *load, "Do the answers change with load?", left=(-1,))]
        worst = [*sections_run.worst_answers(judgement, shown.point.level)]
    dots = None if quality is None or shown is None else sections_levels.quality_figure({shown.point.level.at: shown})
    told = [] if quality is None else [fmt.sentence(note) for note in level_tables.quality_notes(judged)]
    stored = None if judgement.run is None else judgement.run.scores
    judging = None if stored is None else fmt.judging_of(stored.facts)
    told += [] if judging is None else [fmt.sentence(line) for line in fmt.judge_lines(judging)]
    return [
        Section("search", "Search", figures=[sections_levels.search_figure(judgement)], items=answered,
                tables=[probes]),
        Section("curves", "Curves", f"Against {'the rate' if judgement.of_rates else 'concurrency'}",
                figures=metrics[:_CURVES]),
        Section("levels", "Levels", text=" ".join([intervals] * several + [*of_table]), tables=[levels]),
        Section("quality", "Quality", "Quality: the answers scored", figures=[dots], items=told,
                tables=[*scores, *worst], columns="two"),
        Section("capacity", "Closed loop", "Beside a closed loop of the same server", _CAPACITY,
                closed_loop_figures(judgement), tables=[beside], columns="two"),
        Section("metrics", "More curves", figures=metrics[_CURVES:], more=True),
        Section("figures", "All figures", text=few, tables=[figures], more=True),
        Section("gpu", "GPUs", "GPUs and energy", figures=sections_levels.use_figures(judgement, "gpu"),
                tables=gpu_tables, more=True),
        Section("server", "Server", figures=server, tables=server_tables, items=uneven, more=True),
        Section("scaling", "Scaling", "Scaling with concurrency", figures=[scaled], items=said, tables=[by_level],
                more=True),
        Section("distributions", "Distributions", text=_DISTRIBUTIONS, figures=curves, more=True),
        Section("timeline", "Over time", "One repeat over time", figures=time, columns="full", more=True),
        Section("cost", "Cost", "Cost: sensitivity and capacity", tables=costs, more=True),
        Section("client", "Client", "The measuring client", _CLIENT, tables=[client] * bool(client.rows), more=True),
    ]  # fmt: skip


_CURVES = 3  # on the page, the others behind "More"
_ELASTICITY = "Elasticity: the relative change of output over that of concurrency, 1 where it scales linearly"
_CAPACITY = (
    "Chain: the requests in flight, E2E and idle share that the closed loop's throughput at each concurrency predicts "
    "for random arrivals (a birth-death chain). At capacity: the closed loop's optimum under the same SLO and price. "
    "Not drawn: saturated rates, whose figures grow with the duration."
)
_DISTRIBUTIONS = "A curve per level, over its successful requests."
_FEW_REQUESTS = "TTFT {} needs 200 successful requests per level: ten must lie beyond it."
_INTERVALS = (
    f"Value [{CONFIDENCE} interval over the repeats{{}}]. P(SLO): share of resampled runs that keep every limit. "
    "P(optimal): how often the rule picks the level when the runs of all levels are resampled together."
)
_MARGIN = (
    "Margin: the limit over the figure, less 1 (of a lower limit the other way round), with a 95 % interval within the "
    "probe; above 0 the limit is kept. Minutes: of probes, as they count for the budget."
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
