"""report.html: one self-contained file, from a run folder. Nothing is fetched when it is read.

The page is complete without its script, which adds hover values in one style, the keyboard, and CSV downloads. The
policy in its head allows that script and that style by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from benchsuite.economics.prices import preset, price_book
from benchsuite.economics.scaling import scaling
from benchsuite.economics.sensitivity import Range
from benchsuite.fault_points import reach
from benchsuite.report import sections_cost, sections_levels, sections_run
from benchsuite.report.charts import CSS
from benchsuite.report.format import DASH, asides, best_tail, has_intervals, sentence, spaced
from benchsuite.report.judge import Judgement, balance_lines, judge_run
from benchsuite.report.sections_levels import level_figures, picture
from benchsuite.report.sections_run import answer, cards, timeline_figure
from benchsuite.report.sections_scaling import points_by_repeat, scaling_figures, scaling_sentences
from benchsuite.report.terminal import INTERVAL_COLUMNS, attribution_of
from benchsuite.results import EvaluatedLevel
from benchsuite.spec_reading import parse_spec
from benchsuite.store.files import REPORT, write_bytes
from benchsuite.store.run_folder import Run, read_run

_IN_TILES = ("one run per level", "no price:")  # asides of the terminal that the page's tiles say already


def write_report(run_dir: Path) -> Path:
    """Write report.html into the run folder, and return its path. Raises PointsError or StoreError."""
    reach("report")
    path = run_dir / REPORT
    write_bytes(path, render(read_run(run_dir)).encode())
    return path


def render(run: Run) -> str:
    """The page of a run."""
    return render_template("report.html.j2", _content(run, judge_run(run)))


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
    requests, said = run.whole, answer(decision, judged, judgement.slo)
    nearest = decision.recommended if decision.kind == "optimum" else decision.nearest
    shown = picture(judged, decision, slo=judgement.slo)
    content: dict[str, Any] = {
        "page_title": f"{judgement.model or 'unnamed model'}: {said.sentence}",
        "model": judgement.model or "unnamed model",
        "about": _about(run, judgement),
        "feasible": decision.kind == "optimum",
        "answer": said,
        "asides": [sentence(text) for text in asides(decision, judged) if not text.startswith(_IN_TILES)],
        "status": run.manifest.get("status"),
        "picture": shown,
        "found_warnings": cards(("", one) for one in judged),
        "figures": [
            one
            for one in level_figures(judged, decision, judgement.slo)
            if (one.title, one.head) != (shown.title, shown.head)
        ],
        "point_head": sections_run.point_head(judged),
        "points": _marked([sections_run.point_row(j, best_tail(judged)) for j in judged], judgement),
        "point_note": sections_run.point_note(judged),
        "interval_head": [head for head, _ in INTERVAL_COLUMNS],
        "intervals": _marked(sections_run.interval_rows(judgement), judgement) if has_intervals(judged) else [],
        "gpu": sections_levels.gpu_figures(judged, decision),
        "gpu_head": sections_levels.GPU_HEAD,
        "gpu_rows": sections_levels.gpu_rows(judged),
        "energy_head": sections_levels.ENERGY_HEAD,
        "energy_rows": sections_levels.energy_rows(judged),
        "distributions": sections_levels.distribution_figures(requests, judgement.slo) if judged else [],
        "timeline": None
        if nearest is None
        else timeline_figure(requests, nearest.point.concurrency, run.gpu, run.server),
        "money": _money(run, judgement, nearest),
        "client_head": sections_run.CLIENT_HEAD,
        "client": sections_run.client_rows(run, judgement),
        "facts": sections_run.facts(run, judgement),
        "spec": json.dumps(run.manifest.get("spec"), indent=1, ensure_ascii=False),
    }
    content |= _scaling(run, judgement) | _server(run, judgement)
    return content | {"sections": _sections(content)}


def _sections(content: dict[str, Any]) -> list[tuple[str, str]]:
    """The parts that the page has, for its list of links."""
    named = (
        ("warnings", f"Warnings ({len(content['found_warnings'])})", content["found_warnings"]),
        ("levels", "Against concurrency", True),
        ("points", "Points", True),
        ("sure", "Intervals", content["intervals"]),
        ("gpu", "GPUs and energy", content["gpu"] or content["gpu_rows"] or content["energy_rows"]),
        ("server", "Server", content["server_figures"] or content["use_rows"] or content["endpoint_rows"]),
        ("scaling", "Scaling", content["scaling"]),
        ("distributions", "Distributions", content["distributions"]),
        ("timeline", "Over time", content["timeline"]),
        ("money", "Cost", content["money"]),
        ("client", "Client", content["client"]),
        ("provenance", "Provenance", True),
    )
    return [(anchor, name) for anchor, name, there in named if there]


def _about(run: Run, judgement: Judgement) -> list[str]:
    """The line above the decision: what ran, where, when."""
    found = run.manifest.get("preflight") or {}
    server = " ".join(str(v) for v in (found.get("profile"), (found.get("server") or {}).get("version")) if v)
    created = str(run.manifest.get("created") or "")[:10]
    said = [f"on {server}" if server else "", f"SLO {judgement.slo}", f"measured {created}" if created else ""]
    return [text for text in (*said, f"run {judgement.run_id}") if text]


def _scaling(run: Run, judgement: Judgement) -> dict[str, Any]:
    p_met = {j.point.concurrency: j.p_met for j in judgement.judged if j.p_met is not None}
    found = scaling(
        [j.point for j in judgement.judged],
        judgement.slo,
        judgement.usd_per_hour_total,
        repeats=points_by_repeat(run, judgement.model),
        p_met=p_met,
    )
    figures = scaling_figures(found, judgement.judged, judgement.decision)
    return {"scaling": figures, "scaling_said": [spaced(sentence(text)) for text in scaling_sentences(found)]}


def _server(run: Run, judgement: Judgement) -> dict[str, Any]:
    """What the server told of itself, and who answered."""
    found, use = attribution_of(run)
    figure = sections_run.ttft_figure(found)
    return {
        "server_figures": [
            *([] if figure is None else [figure]),
            *sections_run.use_figures(use, judgement.judged, judgement.decision),
        ],
        "use_head": sections_run.USE_HEAD,
        "use_rows": sections_run.use_rows(found, use),
        "endpoint_head": sections_run.ENDPOINT_HEAD,
        "endpoint_rows": sections_run.endpoint_rows(judgement.balance),
        "balance_said": [] if judgement.balance is None else [sentence(t) for t in balance_lines(judgement.balance)],
    }


def _money(run: Run, judgement: Judgement, level: EvaluatedLevel | None) -> list[Any]:
    """Sensitivity, API or own, capacity, as far as price and tokens are known; none without a level that may be run."""
    if level is None or judgement.decision.kind == "none":
        return []
    found = []
    total = level.cost.usd_per_hour
    if total is not None:
        spec = parse_spec(run.manifest["spec"], where=str(run.path)).price
        price = None if spec.preset is None else preset(spec.preset)
        owned = None if price is None else price.owned
        alone = [Range(key, *ends) for key, ends in price.tornado.items()] if price is not None else []
        found.append(
            sections_cost.sensitivity_figure(
                level, judgement.judged, total / judgement.gpus, judgement.gpus, owned=owned, alone=alone
            )
        )
        found.append(sections_cost.api_figure(level, total, [*price_book().apis.values()]))
    found.append(sections_cost.capacity_figure(level, judgement.judged, judgement.slo, judgement.gpus))
    return [one for one in found if one is not None]


def _marked(rows: list[Any], judgement: Judgement) -> list[tuple[Any, bool, bool]]:
    """Rows of levels, with whether the level meets the SLO, and whether it is the one decided on."""
    decision = judgement.decision
    chosen = decision.recommended if decision.kind == "optimum" else None
    return [(row, j.meets_slo, j is chosen) for row, j in zip(rows, judgement.judged, strict=True)]
