"""The gate as JUnit XML: a test case per criterion and level, for CI systems that show tests. Pure."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from benchsuite.report.criteria import Criterion, GateResult

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot carry


def junit_xml(result: GateResult, *, strict: bool = False) -> str:
    """One test suite. A fail is a failure; inconclusive is skipped with its reason, with `strict` a failure."""
    failed = [one for one in result.criteria if is_failure(one, strict)]
    skipped = [one for one in result.criteria if one.verdict == "inconclusive" and not strict]
    counts = {
        "tests": str(len(result.criteria)),
        "failures": str(len(failed)),
        "errors": "0",
        "skipped": str(len(skipped)),
    }
    root = ET.Element("testsuites", {"name": "benchsuite gate", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": _clean(f"benchsuite gate {result.run_id}"), **counts})
    properties = ET.SubElement(suite, "properties")
    for name, value in (("run", result.run_id), ("baseline", result.baseline_id), ("verdict", result.verdict)):
        if value is not None:
            ET.SubElement(properties, "property", {"name": name, "value": _clean(value)})
    for one in result.criteria:
        _case(suite, one, strict)
    if result.notes:
        ET.SubElement(suite, "system-out").text = _clean("\n".join(result.notes))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def is_failure(one: Criterion, strict: bool) -> bool:
    """Whether the criterion fails the gate."""
    return one.verdict == "fail" or (strict and one.verdict == "inconclusive")


def _case(suite: ET.Element, one: Criterion, strict: bool) -> None:
    name = f"{one.asked} at {one.concurrency}"
    case = ET.SubElement(suite, "testcase", {"classname": f"benchsuite.{one.kind}", "name": _clean(name), "time": "0"})
    message = _clean(f"{one.asked} at {one.concurrency}: {one.said}")
    if is_failure(one, strict):
        failure = ET.SubElement(case, "failure", {"type": one.verdict, "message": message})
        failure.text = message
    elif one.verdict == "inconclusive":
        ET.SubElement(case, "skipped", {"message": message})


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
