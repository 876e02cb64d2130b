"""Points that others have measured: a CSV table with one line per model and concurrency level, parsed from its text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping

from benchsuite.errors import PointsError
from benchsuite.results import EMPTY, Distribution, PointSummary, Warn

REQUIRED = ("model", "concurrency", "requests", "time_s")
OPTIONAL = ("ttft_s", "input_tokens", "output_tokens", "total_tokens", "throughput_tok_s")


def parse_points(text: str, *, where: str) -> list[PointSummary]:
    """One PointSummary per line of a CSV table with a header, in the table's order.

    Columns read: model, concurrency, requests, time_s (one run of the set), and where present ttft_s (mean),
    input_tokens, output_tokens, total_tokens, throughput_tok_s; all others are left alone. An empty cell is None.
    Throughput is recomputed as output / (time * concurrency); the printed one serves without output tokens, and
    otherwise only for a warning. `where` names the table in errors. Raises PointsError naming the line.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            raise PointsError(
                "the points table lacks columns: " + ", ".join(missing),
                where=f"{where}:1",
                given=", ".join(header) or "an empty file",
                expected=", ".join(REQUIRED) + "; optional: " + ", ".join(OPTIONAL),
            )
        points: dict[tuple[str | None, int], PointSummary] = {}
        for row in reader:
            at = f"{where}:{reader.line_num}"
            point = _point(_Cells(row, at))
            key = point.model, point.concurrency
            if key in points:
                raise PointsError("a level of a model appears twice", where=at, given=f"{key[0]}, {key[1]}")
            points[key] = point
    except csv.Error as error:
        raise PointsError(
            "the points table is not valid CSV", where=f"{where}:{reader.line_num}", given=error
        ) from None
    if not points:
        raise PointsError("the points table has no rows", where=where, expected="one line per model and level")
    return list(points.values())


class _Cells:
    """The cells of one line, read as numbers."""

    def __init__(self, row: Mapping[str | None, str | list[str] | None], where: str) -> None:
        if None in row or None in row.values():
            raise PointsError("a line has not as many cells as the header", where=where)
        self.row, self.where = row, where

    def text(self, name: str) -> str:
        value = self.row.get(name) or ""
        return value.strip() if isinstance(value, str) else ""

    def number(self, name: str, *, above_zero: bool = False) -> float | None:
        """None for an empty or absent cell."""
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
            expected = "a number above 0" if above_zero else "a number of at least 0"
            raise PointsError(f"{name} does not read", where=self.where, given=repr(text), expected=expected)
        return value

    def count(self, name: str, *, above_zero: bool = False) -> int | None:
        value = self.number(name, above_zero=above_zero)
        if value is not None and not value.is_integer():
            raise PointsError(
                f"{name} does not read", where=self.where, given=self.text(name), expected="a whole number"
            )
        return None if value is None else int(value)

    def need(self, name: str, value: float | str | None) -> None:
        if value is None or value == "":
            raise PointsError(f"{name} is empty", where=self.where, expected="a value in this column")


def _point(cells: _Cells) -> PointSummary:
    model, concurrency = cells.text("model"), cells.count("concurrency", above_zero=True)
    requests, time_s = cells.count("requests", above_zero=True), cells.number("time_s", above_zero=True)
    for name, value in zip(REQUIRED, (model, concurrency, requests, time_s), strict=True):
        cells.need(name, value)
    assert concurrency is not None
    assert requests is not None
    assert time_s is not None
    ttft_s, printed = cells.number("ttft_s"), cells.number("throughput_tok_s")
    input_tokens, output_tokens = cells.count("input_tokens"), cells.count("output_tokens")
    throughput = printed if output_tokens is None else output_tokens / (time_s * concurrency)
    both = None if input_tokens is None or output_tokens is None else input_tokens + output_tokens
    return PointSummary(
        model=model,
        concurrency=concurrency,
        repeat_count=1,
        n_ok=requests,
        n_failed=None,
        failures={},
        error_rate=None,
        wall_s=time_s,
        ttft_s=EMPTY if ttft_s is None else Distribution(n=requests, mean=ttft_s),
        ttfa_s=EMPTY,
        tpot_s=EMPTY,
        e2e_s=EMPTY,
        chunk_gap_s=EMPTY,
        dispatch_s=EMPTY,
        throughput_paper_tok_s=throughput,
        decode_tok_s=None,
        request_e2e_tok_s=EMPTY,
        request_decode_tok_s=EMPTY,
        output_tok_s=None if output_tokens is None else output_tokens / time_s,
        total_tok_s=None if both is None else both / time_s,
        request_per_s=requests / time_s,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        steady=None,
        occupancy=None,
        max_in_flight=None,
        little_error=None,
        warnings=tuple(_warnings(cells, concurrency, throughput, printed, both)),
    )


def _warnings(
    cells: _Cells, concurrency: int, throughput: float | None, printed: float | None, both: int | None
) -> list[Warn]:
    found = []
    decimals = len(cells.text("throughput_tok_s").partition(".")[2])
    # One whole unit of the last printed place: the inputs of the formula were rounded before printing too.
    if throughput is not None and printed is not None and abs(throughput - printed) > 10.0**-decimals:
        found.append(
            Warn(
                "throughput_identity",
                f"{cells.where}: printed throughput {printed:g} tok/s, the formula gives {throughput:.2f}",
                "output / (time * concurrency) is used; check the row against its source",
                concurrency,
            )
        )
    total = cells.count("total_tokens")
    if total is not None and both is not None and total != both:
        found.append(
            Warn(
                "token_identity",
                f"{cells.where}: printed total {total} tokens, input + output is {both}",
                "input + output is used; check the row against its source",
                concurrency,
            )
        )
    return found
