"""`benchsuite import`: another tool's result files as a run folder of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchsuite.cli.options import PATH, CommaList, exit_code, output_option, print_line, quiet_option
from benchsuite.cli.spec_options import spec_options

TOOLS = ("vllm-bench", "guidellm", "aiperf")


@click.command(
    epilog="""\b
Examples:
  benchsuite import vllm-bench c8.json c16.json --usd-per-hour 1.99 --output results/theirs
  benchsuite import guidellm benchmarks.json --output results/theirs
  benchsuite import aiperf c8/profile_export.jsonl c16/profile_export.jsonl --concurrency 8,16 --output results/theirs
"""
)
@click.argument("tool", type=click.Choice(TOOLS))
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option(
    "--concurrency",
    type=CommaList(least=1),
    default="",
    help="Where the files do not contain it: one level for all files, or one each.",
)
@click.option(
    "--rate",
    type=CommaList(float),
    default="",
    help="Of an open loop, where the files do not contain it: requests per second, one for all files, or one each.",
)
@click.option("--model", help="Where the files do not contain it.")
@spec_options("usd_per_hour", "preset", "gpus", "slo")
@output_option("The run folder to create.", required=True)
@quiet_option
def command(
    tool: str,
    files: tuple[Path, ...],
    concurrency: list[int],
    rate: list[float],
    model: str | None,
    output: Path,
    quiet: bool,
    **flags: Any,
) -> int:
    """Make a run folder from result FILES of another TOOL, and decide with the definitions of benchsuite.

    Files of one level each (or GuideLLM's, of several) become the levels of one run; several of the same level are
    its repeats. What a file lacks stays empty. vllm bench needs --save-result --save-detailed. Exit codes: 0 the SLO
    is met at some level, 3 at none, 2 bad input.
    """
    import importlib

    from benchsuite.importers.imported_run import imported_run, with_levels
    from benchsuite.level import Level
    from benchsuite.report.judge import unit_price
    from benchsuite.report.page import write_judged
    from benchsuite.report.terminal import print_judgement
    from benchsuite.spec import load_spec, overrides
    from benchsuite.store.run_folder import new_run_id, read_run, write_whole_run

    importer = importlib.import_module(f"benchsuite.importers.{tool.replace('-', '_')}")
    levels = [*map(Level, concurrency), *(Level(one, "rate") for one in rate)]
    points = with_levels([point for path in files for point in _read(importer, path)], levels)
    name = next((point.model for point in points if point.model), model) or tool
    manifest, keys, rows = imported_run(points, tool, importer.DEFINITIONS, run_id=new_run_id(name), model=model)
    spec = load_spec(None, {**keys, **overrides(flags)})
    unit_price(spec.price)
    write_whole_run(output, manifest | {"spec": spec.model_dump(mode="json")}, rows)
    judgement = write_judged(read_run(output))
    if not quiet:
        print_line(f"{len(rows)} requests of {len(points)} point(s) imported from {tool}. Definitions that differ:")
        for line in manifest["imported"]["definitions"]:
            print_line(f"  - {line}")
        print_line("")
    print_judgement(judgement, output, quiet=quiet)
    return exit_code([judgement.decision.verdict])


def _read(importer: Any, path: Path) -> list[Any]:
    """The points of one file, with its hash."""
    import dataclasses
    import hashlib

    from benchsuite.errors import PointsError
    from benchsuite.strict_model import read_text

    hashed = hashlib.sha256()
    text = read_text(path, "the result file", error_type=PointsError, seen=hashed.update)
    return [
        dataclasses.replace(point, facts={"file": path.name, "sha256": hashed.hexdigest()} | point.facts)
        for point in importer.parse(text, where=str(path))
    ]
