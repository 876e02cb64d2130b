"""Draw the README's figure from a run folder: python docs/make_pictures.py RUN_DIR docs/pictures/demo.svg

One standalone SVG: cost and TTFT against concurrency, the optimum marked, the levels that miss the SLO shaded. The
run, its model and its server are named in it.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

from benchsuite.report.figures import Figure, picture, ttft_figure
from benchsuite.report.judgement import judge_run
from benchsuite.report.svg import CSS, SMALL
from benchsuite.store import Run, read_run

PAD, HEAD, FOOT = 16, 34, 30


def draw(run: Run) -> str:
    """The figure of a run as SVG text."""
    judgement = judge_run(run)
    panels = [
        picture(judgement.judged, judgement.decision),
        ttft_figure(judgement.judged, judgement.decision, judgement.slo),
    ]
    width, height = 2 * SMALL.width + 3 * PAD, HEAD + SMALL.height + FOOT
    server = (run.manifest.get("preflight") or {}).get("profile")
    source = f"{judgement.model} on {server}, SLO {judgement.slo}, run {judgement.run_id}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{CSS}\n.bs .head{{font-size:14px;font-weight:700;fill:var(--ink)}}</style>"
        f'<g class="bs"><rect width="{width}" height="{height}" rx="8" fill="var(--ground)"/>'
        + "".join(_panel(figure, PAD + i * (SMALL.width + PAD)) for i, figure in enumerate(panels))
        + f'<text x="{PAD}" y="{height - 10}">{escape(source)}</text></g></svg>\n'
    )


def _panel(figure: Figure, left: float) -> str:
    title = f'<text x="4" y="24" class="head">{escape(figure.title)}</text>'
    return f'<g transform="translate({left} 0)">{title}<g transform="translate(0 {HEAD})">{figure.svg}</g></g>'


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    target = Path(sys.argv[2])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(draw(read_run(Path(sys.argv[1]))), "utf-8")
