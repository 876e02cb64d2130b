"""report.html: one self-contained file, from a run folder. Nothing is fetched when it is read.

The page is complete without its script, which adds hover values in one style, the keyboard, and CSV downloads. The
policy in its head allows that script and that style by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchsuite.economics.prices import preset
from benchsuite.economics.sensitivity import Range
from benchsuite.fault_points import reach
from benchsuite.report import sections_cost, sections_levels, sections_run
from benchsuite.report.charts import CSS
from benchsuite.report.export import summary_json
from benchsuite.report.format import DASH, asides, has_intervals, sentence, spaced
from benchsuite.report.judge import Judgement, balance_lines, judge_run, ttft_breakdown
from benchsuite.report.level_tables import (
    ELECTRICITY,
    ENDPOINTS,
    ENERGY,
    GPUS,
    SERVER,
    Column,
    Row,
    endpoint_rows,
    interval_table,
    level_table,
)  # fmt: skip
from benchsuite.report.sections_levels import level_figures, picture
from benchsuite.report.sections_run import answer, cards, timeline_figure
from benchsuite.report.sections_scaling import scaling_figures, scaling_of, scaling_sentences
from benchsuite.results import EvaluatedLevel
from benchsuite.store.files import REPORT, SUMMARY, write_bytes, write_json
from benchsuite.store.run_folder import Run

_IN_TILES = ("one run per level", "no price:")  # asides of the terminal that the page's tiles say already


def write_judged(run: Run) -> Judgement:
    """Judge a run by its own SLO and price, and leave summary.json and report.html in its folder."""
    judgement = judge_run(run)
    write_json(run.path / SUMMARY, summary_json(judgement))
    write_report(judgement)
    return judgement


def write_report(judgement: Judgement) -> Path:
    """Write report.html into the judged run's folder, and return its path. Raises StoreError."""
    reach("report")
    path = judgement.facts.path / REPORT
    write_bytes(path, render(judgement).encode())
    return path


def render(judgement: Judgement) -> str:
    """The page of a judged run."""
    return render_template("report.html.j2", _content(judgement.facts, judgement))


def render_template(name: str, content: dict[str, Any]) -> str:
    """A page of the template `name`, with the style, the script and the policy that allows these two alone."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("benchsuite.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["dash"] = DASH
    css = CSS + "\n" + loader.get_source(environment, "page.css")[0]
    script = loader.get_source(environment, "page.js")[0]
    policy = (
        f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(script)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    frame = {"css": css, "script": script, "policy": policy}
    return environment.get_template(name).render(content | frame)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _content(run: Run, judgement: Judgement) -> dict[str, Any]:
    judged, decision = judgement.judged, judgement.decision
    said = answer(decision, judged, judgement.slo)
    nearest = decision.recommended if decision.kind == "optimum" else decision.nearest
    shown = picture(judged, decision, slo=judgement.slo)
    point_head, points = sections_run.point_table(judged)
    interval_head, intervals = interval_table(judged, decision)
    content: dict[str, Any] = {
        "page_title": f"{judgement.model or 'unnamed model'}: {said.sentence}",
        "model": judgement.model or "unnamed model",
        "about": _about(judgement),
        "feasible": decision.kind == "optimum",
        "answer": said,
        "asides": [sentence(text) for text in asides(decision, judged) if not text.startswith(_IN_TILES)],
        "status": run.manifest.status,
        "picture": shown,
        "found_warnings": cards(("", one) for one in judged),
        "figures": [
            one
            for one in level_figures(judged, decision, judgement.slo)
            if (one.title, one.head) != (shown.title, shown.head)
        ],
        "point_head": point_head,
        "points": _marked(points, judgement),
        "point_note": sections_run.point_note(judged),
        "interval_head": interval_head,
        "intervals": _marked([tuple(row) for row in intervals], judgement) if has_intervals(judged) else [],
        "gpu": sections_levels.gpu_figures(judged, decision),
        "gpu_table": _table(GPUS, [(j.point.concurrency, j.gpu) for j in judged if j.gpu is not None]),
        "energy_table": _table(
            (*ENERGY, *ELECTRICITY), [(j.point.concurrency, j.energy) for j in judged if j.energy is not None]
        ),
        "distributions": sections_levels.distribution_figures(judgement),
        "timeline": None if nearest is None else timeline_figure(judgement, nearest.point.concurrency),
        "money": _money(judgement, nearest),
        "client_head": sections_run.CLIENT_HEAD,
        "client": sections_run.client_rows(judgement),
        "facts": sections_run.facts(judgement),
        "spec": json.dumps(run.manifest.spec, indent=1, ensure_ascii=False),
    }
    content |= _scaling(judgement) | _server(judgement)
    return content | {"sections": _sections(content)}


def _sections(content: dict[str, Any]) -> list[tuple[str, str]]:
    """The parts that the page has, for its list of links."""
    named = (
        ("warnings", f"Warnings ({len(content['found_warnings'])})", content["found_warnings"]),
        ("levels", "Against concurrency", True),
        ("points", "Points", True),
        ("sure", "Intervals", content["intervals"]),
        ("gpu", "GPUs and energy", content["gpu"] or content["gpu_table"] or content["energy_table"]),
        ("server", "Server", content["server_figures"] or content["server_table"] or content["endpoint_table"]),
        ("scaling", "Scaling", content["scaling"]),
        ("distributions", "Distributions", content["distributions"]),
        ("timeline", "Over time", content["timeline"]),
        ("money", "Cost", content["money"]),
        ("client", "Client", content["client"]),
        ("provenance", "Provenance", True),
    )
    return [(anchor, name) for anchor, name, there in named if there]


def _about(judgement: Judgement) -> list[str]:
    """The line above the decision: what ran, where, when."""
    manifest = judgement.facts.manifest
    server, created = manifest.server_probe.name, (manifest.created or "")[:10]
    parts = [f"on {server}" if server else "", f"SLO {judgement.slo}", f"measured {created}" if created else ""]
    return [text for text in (*parts, f"run {manifest.run_id}") if text]


def _scaling(judgement: Judgement) -> dict[str, Any]:
    found = scaling_of(judgement)
    figures = scaling_figures(found, judgement.judged, judgement.decision)
    return {"scaling": figures, "scaling_said": [spaced(sentence(text)) for text in scaling_sentences(found)]}


def _server(judgement: Judgement) -> dict[str, Any]:
    """What the server told of itself, and who answered."""
    found, use = ttft_breakdown(judgement), judgement.server_use
    figure = sections_run.ttft_figure(found)
    several = any(len(level.parts) > 1 for level in judgement.endpoints.values())
    return {
        "server_figures": [
            *([] if figure is None else [figure]),
            *sections_run.use_figures(use, judgement.judged, judgement.decision),
        ],
        "server_table": _table(SERVER, [(o.concurrency, o, u) for o, u in zip(found, use, strict=True) if u.n_samples]),
        "endpoint_table": _table(ENDPOINTS, endpoint_rows(judgement) if several else []),
        "balance_said": [sentence(text) for text in balance_lines(judgement)],
    }


def _table(columns: Sequence[Column], rows: list[tuple[Any, ...]]) -> tuple[Row, list[Row]] | None:
    return level_table(columns, rows) if rows else None


def _money(judgement: Judgement, level: EvaluatedLevel | None) -> list[Any]:
    """Sensitivity, API or own, capacity, as far as price and tokens are known; none without a level that may be run."""
    if level is None or judgement.decision.kind == "none":
        return []
    found = []
    total = level.cost.usd_per_hour
    if total is not None:
        name = None if judgement.price is None else judgement.price.preset
        price = None if name is None else preset(name)
        owned = None if price is None else price.owned
        alone = [Range(key, *ends) for key, ends in price.tornado.items()] if price is not None else []
        found.append(
            sections_cost.sensitivity_figure(
                level, judgement.judged, total / judgement.gpus, judgement.gpus, owned=owned, alone=alone
            )
        )
    found.append(sections_cost.capacity_figure(level, judgement.judged, judgement.gpus))
    return [one for one in found if one is not None]


def _marked(rows: list[Any], judgement: Judgement) -> list[tuple[Any, bool, bool]]:
    """Rows of levels, with whether the level meets the SLO, and whether it is the one decided on."""
    decision = judgement.decision
    chosen = decision.recommended if decision.kind == "optimum" else None
    return [(row, j.meets_slo, j is chosen) for row, j in zip(rows, judgement.judged, strict=True)]
