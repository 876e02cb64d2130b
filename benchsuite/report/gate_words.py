"""The gate for people and for GitHub: lines, a Markdown summary, annotations, plain data. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchsuite.foreign import printable
from benchsuite.report.criteria import Criterion, GateResult
from benchsuite.report.formats import markdown_text

_MARKS = {"pass": "\u2705", "fail": "\u274c", "inconclusive": "\u2754"}
_ANNOTATED = {"fail": "error", "inconclusive": "warning"}


def headline(result: GateResult, *, strict: bool = False) -> str:
    """'fail: 1 of 6 criteria failed, 2 are undecided'. strict: undecided counts as failed, which is said."""
    counts = {verdict: sum(one.verdict == verdict for one in result.criteria) for verdict in _MARKS}
    total = len(result.criteria)
    if result.verdict == "pass":
        return f"pass: all {total} criteria are met" if total != 1 else "pass: the criterion is met"
    said = [f"{counts['fail']} of {total} criteria failed"] if counts["fail"] else []
    if counts["inconclusive"]:
        undecided = counts["inconclusive"]
        of = "" if said else f" of {total} criteria"
        said.append(f"{undecided}{of} {'is' if undecided == 1 else 'are'} undecided")
    counted = ", which --strict counts as failed" if strict and result.verdict == "inconclusive" else ""
    return f"{result.verdict}: {', '.join(said)}{counted}"


def lines(result: GateResult) -> list[str]:
    """A criterion with its finding below it, and what to know beside."""
    told = [(f"{one.verdict.upper():12} at {one.concurrency}: {one.asked}", one.said) for one in result.criteria]
    said = [line for asked, found in told for line in (asked, f"{'':13}{found}")]
    every = [*said, *(f"note: {note}" for note in result.notes)]
    return [printable(line.replace("\n", " ")) for line in every]  # one line each: none can be a command to GitHub


def markdown(result: GateResult) -> str:
    """A summary for a pull request or a job: the verdict, a table, the notes."""
    against = "" if result.baseline_id is None else f" against {_code(result.baseline_id)}"
    rows = [
        f"| {_MARKS[one.verdict]} {one.verdict} | {one.concurrency} | {asked} | {said} |"
        for one in result.criteria
        for asked, said in [(markdown_text(one.asked), markdown_text(one.said))]
    ]
    notes = [f"- {markdown_text(note)}" for note in result.notes]
    said = headline(result)
    parts = [
        f"### {_MARKS[result.verdict]} benchsuite gate: {said}",
        "",
        f"Run {_code(result.run_id)}{against}. Change with its 95 % interval.",
        "",
        "| result | concurrency | asked | found |",
        "|---|---:|---|---|",
        *rows,
        *(["", *notes] if notes else []),
    ]
    return "\n".join(parts) + "\n"


def workflow_commands(result: GateResult) -> list[str]:
    """GitHub's workflow commands: an error for each fail, a warning for each criterion without a decision."""
    return [_annotation(one) for one in result.criteria if one.verdict in _ANNOTATED]


def plain(result: GateResult) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "verdict": result.verdict,
        "run_id": result.run_id,
        "baseline_id": result.baseline_id,
        "criteria": [dataclasses.asdict(one) for one in result.criteria],
        "notes": [*result.notes],
    }


def _annotation(one: Criterion) -> str:
    title = f"benchsuite gate: {one.asked} at {one.concurrency}"
    title = _data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{_ANNOTATED[one.verdict]} title={title}::{_data(one.said)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _code(text: str) -> str:
    return f"`{printable(' '.join(text.replace('`', '').split()))}`"
