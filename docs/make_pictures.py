"""Draw every picture of docs/pictures anew: python docs/make_pictures.py [--demo] [--screenshots]

From the run in results/examples/demo: demo.svg, cost and TTFT against concurrency. From the paper's tables in
docs/examples, through the same code: frontier.svg, its figure 1; paper_curves.svg, latency and cost of its Table 4.
--screenshots also takes those of both reports in a headless Chromium, as WebP: desktop, phone, dark, print.
--demo first runs `benchsuite demo` (nothing else should run here), which takes the place of the stored run; then the
pages say what is printed of it. `make examples` is all of it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from html import escape
from pathlib import Path
from typing import Any

from benchsuite.economics.pareto import ParetoPoint
from benchsuite.report import compare_models
from benchsuite.report.charts import CHARACTER, Frame
from benchsuite.report.compare_models import place_models, render_comparison
from benchsuite.report.judge import Judgement, PriceOverride, judge_run, judge_table
from benchsuite.report.page import CHARTS_CSS as CSS
from benchsuite.report.page import render, write_judged
from benchsuite.report.sections_levels import Figure, metric_figure, picture
from benchsuite.store.run_folder import Run, read_run

ROOT = Path(__file__).parents[1]
PICTURES, EXAMPLES = ROOT / "docs" / "pictures", ROOT / "docs" / "examples"
DEMO = ROOT / "results" / "examples" / "demo"
PAPER_USD_PER_HOUR = 1.58
PAD, TITLE, LINE, FOOT = 16, 14, 19, 30
PANEL, NAMED = Frame(430, 280), Frame(480, 330, 50, 140, 44, 44)


def benchsuite(*words: str) -> str:
    """What a command prints. Raises RuntimeError unless it decides, or leaves it undecided."""
    command, environment = [sys.executable, "-m", "benchsuite", *words], os.environ | {"COLUMNS": "80"}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 6):
        raise RuntimeError(f"{words}: exit code {done.returncode}")
    return done.stdout


def measure_demo() -> None:
    """A new run in results/examples/demo, without what names this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "demo"
        print(benchsuite("demo", "--output", str(run)))
        manifest = json.loads((run / "manifest.json").read_text("utf-8"))
        manifest["launched_server"]["command"][0] = "python"
        for facts in ("host", "clock"):
            manifest[facts].pop("boot_id", None)
        shutil.rmtree(DEMO)
        DEMO.mkdir()
        (DEMO / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
        shutil.copy(run / "requests.parquet", DEMO)
    write_judged(read_run(DEMO))


def update_pages() -> None:
    """README's sentence and the guide's plan, as they are printed of the run."""
    decided = benchsuite("decide", str(DEMO.relative_to(ROOT)))
    sentence = re.search(r"^(?:\d|no level).*?(?=\n\S)", decided, re.M | re.S)
    readme, guide = ROOT / "README.md", ROOT / "docs" / "guide" / "api-or-gpus.md"
    command = re.search(r"^benchsuite (plan results/examples/demo.*?[^\\])\n", guide.read_text("utf-8"), re.M | re.S)
    if sentence is None or command is None:
        raise RuntimeError("no sentence of the decision, or no command in the guide")
    plan = benchsuite(*shlex.split(command[1].replace("\\\n", " "))).partition("\nassumed:")[0]
    for page, text in ((readme, sentence[0]), (guide, plan)):
        before, _, rest = page.read_text("utf-8").partition("```text\n")
        text = re.sub(r" +$", "", text.strip(), flags=re.M)
        page.write_text(f"{before}```text\n{text}\n```{rest.partition('```')[2]}", "utf-8")


def demo(run: Run) -> str:
    """Cost and TTFT of a run, which is named in it."""
    found = judge_run(run)
    server = run.manifest.server_probe.profile
    panels = [picture(found, PANEL), metric_figure("ttft_mean_s", found, frame=PANEL)]
    return draw(panels, PANEL, f"{found.model} on {server}, SLO {found.slo}, run {found.run_id}")


def draw(panels: list[Figure], frame: Frame, source: str) -> str:
    """Figures side by side under their titles, with their source below: one standalone SVG."""
    titles = [textwrap.wrap(one.title, int(frame.width / CHARACTER / 1.25)) for one in panels]
    head = PAD + LINE * max(len(lines) for lines in titles)
    width = len(panels) * (frame.width + PAD) + PAD
    sources = textwrap.wrap(source, int((width - 2 * PAD) / CHARACTER))
    height = head + frame.height + FOOT + LINE * (len(sources) - 1)
    body = ""
    for i, (one, lines) in enumerate(zip(panels, titles, strict=True)):
        said = "".join(
            f'<text x="4" y="{PAD + 8 + LINE * k}" class="head">{escape(t)}</text>' for k, t in enumerate(lines)
        )
        left = PAD + i * (frame.width + PAD)
        body += f'<g transform="translate({left:g} 0)">{said}<g transform="translate(0 {head})">{one.svg}</g></g>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}"><style>{CSS}\n.bs .head{{font-size:{TITLE}px;font-weight:700;fill:var(--ink)}}</style>'
        f'<g class="bs"><rect width="{width:g}" height="{height:g}" rx="8" fill="var(--ground)"/>{body}'
        + "".join(
            f'<text x="{PAD + 4}" y="{height - 11 - LINE * k:g}">{escape(line)}</text>'
            for k, line in enumerate(reversed(sources))
        )
        + "</g></svg>\n"
    )


def paper() -> tuple[list[Judgement], list[ParetoPoint], str]:
    """The paper's nine models from its Table 4, their places, and their price in words."""
    price = PriceOverride(PAPER_USD_PER_HOUR, source=f"${PAPER_USD_PER_HOUR:.2f} a GPU-hour as given")
    models = judge_table((EXAMPLES / "paper_table4.csv").read_text("utf-8"), "paper_table4.csv", price=price)
    placed = place_models(models, (EXAMPLES / "paper_scores.csv").read_text("utf-8"), "paper_scores.csv")
    return models, placed, price.source


def pictures() -> dict[str, str]:
    """Every SVG by its file's name."""
    models, placed, price = paper()
    source = f"arXiv 2510.26136, {{}}; {models[0].slo}; {price}"
    models = compare_models.named(models)
    ttft, cost = (compare_models.curves(models, column, NAMED) for column in ("ttft_mean_s", "cost_usd"))
    return {
        "demo.svg": demo(read_run(DEMO)),
        "frontier.svg": draw(
            [compare_models.frontier_figure(placed)], compare_models.FRONTIER, source.format("its figure 1")
        ),
        "paper_curves.svg": draw([ttft, cost], NAMED, source.format("Table 4") + "; hollow: violates the SLO"),
    }


def pages() -> dict[str, str]:
    """Both reports by name: of the demo and of the paper's tables."""
    models, placed, price = paper()
    return {
        "demo": render(judge_run(read_run(DEMO))),
        "paper": render_comparison(models, placed, [], price),
    }


def screenshots(folder: Path) -> None:
    """report_NAME_{desktop,phone,dark,print}.webp of both reports."""
    sys.path.insert(0, str(ROOT / "tests" / "browser"))
    from chromium_for_tests import PROGRAM, Browser

    if not PROGRAM:
        print("no Chromium on PATH: docs/pictures/*.webp are as they were", file=sys.stderr)
        return
    browser = Browser(folder / "profile")
    shots: dict[str, dict[str, Any]] = {
        "desktop": {"width": 1280, "height": 1000},
        "dark": {"width": 1280, "height": 1000, "dark": True},
        "phone": {"width": 360, "height": 1100},
        "print": {"width": 794, "height": 1123},
    }
    for name, html in pages().items():
        page = folder / f"{name}.html"
        page.write_text(html, "utf-8")
        for kind, size in shots.items():
            browser.open(page, **size)
            if kind == "print":
                browser.call("Emulation.setEmulatedMedia", {"media": "print"})
            taken = browser.call("Page.captureScreenshot", {"format": "webp", "quality": 82})
            (PICTURES / f"report_{name}_{kind}.webp").write_bytes(base64.b64decode(taken["data"]))
    browser.close()


if __name__ == "__main__":
    if "--demo" in sys.argv[1:]:
        measure_demo()
        update_pages()
    for file, text in pictures().items():
        (PICTURES / file).write_text(text, "utf-8")
    if "--screenshots" in sys.argv[1:]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            screenshots(Path(scratch))
