"""Options that verbs share, each declared once; and what commands need that measure for hours."""

from __future__ import annotations

import functools
import io
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from benchsuite.level import as_plain
from benchsuite.redact import json_text, printable

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]
PATH = click.Path(path_type=Path)
# exit codes: the run failed; every level is proven to miss the SLO; a gate failed; what was asked is undecided
FAILED, NOT_MET, WORSE, UNDECIDED = 1, 3, 5, 6


def exit_code(verdicts: Iterable[str]) -> int:
    """0 where one of the decisions is proven to meet its SLO, 3 where all are proven not to, else 6."""
    found = set(verdicts)
    return 0 if "met" in found else NOT_MET if found <= {"not met"} else UNDECIDED


class Number(click.FloatRange):
    """A number from `min` on, that is one: not nan, not infinite, at most `most`, 0 or no nearer to 0 than 1e-12."""

    def __init__(self, min: float | None = None, most: float = 1e15, **more: Any) -> None:
        super().__init__(min, **more)
        self.name, self._most = "float" if min is None else self.name, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not number <= self._most or 0 < abs(number) < 1e-12:
            self.fail(f"expected at most {self._most:g}, and 0 or no nearer to it than 1e-12, not {value}", param, ctx)
        return number

    def _describe_range(self) -> str:
        return "" if self.min is None else super()._describe_range()


SECONDS = Number(min=0, most=1e6, min_open=True)


class CommaList(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """`8,16,32` as a list of whole numbers, `0.5,1` as one of numbers, or `429,queue` as one of words.

    ranges: a part such as `1:16:5` stays as it is.
    """

    name = "list"

    def __init__(self, of: type = int, least: int | None = None, *, ranges: bool = False) -> None:
        self._of, self._least, self._ranges = of, least, ranges

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        if not isinstance(value, str):
            return list(value)
        try:
            parts = [part.strip() for part in value.split(",") if part.strip()]
            items: list[Any] = [part if self._ranges and ":" in part else self._of(part) for part in parts]
            if self._of is int and any(isinstance(item, int) and item > 2**31 for item in items):
                self.fail(f"{value!r:.60} has a number above 2^31", param, ctx)
        except ValueError:
            of = "whole numbers such as 8,16,32" if self._of is int else "numbers such as 0.5,1,2"
            self.fail(f"{value!r} is not a list of {of}", param, ctx)
        if self._least is not None and any(item < self._least for item in items):
            self.fail(f"{value!r} has a number below {self._least}", param, ctx)
        return items


def gathered(name: str, *options: Decorator) -> Decorator:
    """The options, whose values the command takes as one dict `name`, by the options' parameter names."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_dict(*args: Any, **flags: Any) -> Any:
            gathered_here = {key: flags.pop(key) for key in keys}
            return command(*args, **flags, **{name: gathered_here})

        keys: list[str] = []
        for option in reversed(options):
            option(with_dict)
            keys.append(with_dict.__click_params__[-1].name)  # type: ignore[attr-defined]
        return with_dict

    return decorate


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given: without those that are None, or lists or tables of nothing."""
    return {name: value for name, value in flags.items() if value not in (None, (), [], {})}


def print_json(tree: Any) -> None:
    """Plain data, dataclasses and models as JSON on stdout; what is not finite is null."""
    click.echo(json_text(as_plain(tree), default=lambda model: as_plain(model.model_dump(mode="json"))))


def print_line(text: object, *, err: bool = False) -> None:
    """What may hold foreign words on stdout, or stderr, as one line."""
    click.echo(printable(str(text).replace("\n", " ")), err=err)


json_option = click.option("--json", "as_json", is_flag=True, help="Plain data on stdout.")
quiet_option = click.option("--quiet", is_flag=True, help="Print the decision and nothing else.")
levels_csv_option = click.option("--levels-csv", type=PATH, help="A CSV table of levels instead of a run folder.")


columns_option = click.option("--columns", help="Figures in the table, by name: ttft_p50,ttft_p99,tpot_p95,cost.")
# which figures of the levels are printed, as the command's dict `figures`: report.terminal.Shown
figure_options = gathered(
    "figures",
    columns_option,
    click.option("--wide", is_flag=True, help="Also mean, p50, p90, p95, p99 and max of every latency."),
    click.option("-v", "--verbose", is_flag=True, help="--wide, and every warning."),
)


def output_option(words: str = "The run folder.  [default: results/<run_id>]", **more: Any) -> Decorator:
    return click.option("-o", "--output", type=PATH, help=words, **more)


def slo_option(
    words: str = "Limits that must hold.  [default: the run's; of a table ttft_mean<1s,output_throughput_per_user>20]",
) -> Decorator:
    return click.option("--slo", help=words)


goodput_option = click.option("--goodput", help="Limits for each request: ttft<1s,tpot<50ms.")


_GPU_PRICE = (
    click.option("--usd-per-hour", type=Number(), help="Price of one GPU-hour.  [default: the run's]"),
    click.option("--preset", help="A price by name, bundled or from --prices; see `benchsuite cost --list-presets`."),
    click.option("--gpus", type=click.IntRange(min=1), help="GPUs that serve the model.  [default: the run's, or 1]"),
)
PRICE_FILE = click.option("--prices", type=PATH, help="Your own prices (TOML), before the bundled ones.")
_ENERGY_PRICE = (
    click.option("--usd-per-kwh", type=Number(min=0), help="Price of electricity.  [default: the run's]"),
    click.option("--pue", type=Number(min=1), help="Power usage effectiveness (PUE).  [default: the run's]"),
    click.option("--gco2-per-kwh", type=Number(min=0), help="Grams of CO2 per kWh of the grid.  [default: the run's]"),
)


def price_options(*, energy: bool = False) -> Decorator:
    """--usd-per-hour, --preset, --gpus, --prices, and those of energy, as the command's dict `price`."""
    return gathered("price", *_GPU_PRICE, PRICE_FILE, *(_ENERGY_PRICE if energy else ()))


def judging_options(*, energy: bool = False, capacity: bool = False) -> Decorator:
    """What `api.decide` takes: RUNS, --levels-csv, --slo and --goodput as the dict `asked`, and the dict `price`."""
    runs = click.argument("runs", nargs=-1, type=PATH)
    words = "Of rates: a run of the same server in closed loop, whose prediction and price are shown beside them."
    closed = [click.option("--capacity", type=PATH, help=words)] * capacity
    asked = gathered("asked", runs, levels_csv_option, slo_option(), goodput_option, *closed)
    return lambda command: asked(price_options(energy=energy)(command))


as_of_option = click.option("--as-of", help="Date from which the age of prices counts, 2026-11-21.  [default: today]")
_MAX_AGE_DAYS = 90


def age_warnings(prices: Iterable[Any], today: str | None) -> list[str]:
    """What to say about old or undated prices; nothing about those that a flag or the run gave.

    prices: with name, as_of and source. today: None takes the clock's. Raises PriceError for a bad day.
    """
    import datetime

    from benchsuite.economics.prices import AS_GIVEN, age_days, price_date
    from benchsuite.errors import PriceError

    try:
        day = datetime.date.today().isoformat() if today is None else price_date(today)
    except ValueError as error:
        raise PriceError(f"the day {error}", where="--as-of", given=today) from None
    found = []
    for price in prices:
        if price.source != AS_GIVEN and price.as_of is None:
            found.append(f"the price of {price.name} has no date")
        elif price.source != AS_GIVEN and (age := age_days(price.as_of, day)) > _MAX_AGE_DAYS:
            of = f"the price of {price.name} is of {price.as_of}, {age} days old"
            found.append(f"{of}; check it, and give your own with --prices FILE")
    return found


_PATIENCE_S = 10.0
_PIPE_BYTES = getattr(select, "PIPE_BUF", 0)  # that a pipe has room for when it can be written to; 0: on Windows


class _Outliving(io.FileIO):
    """A file descriptor that holds nobody: what a closed pipe, a lost terminal or a full disk does not take is dropped.

    So is what a reader that is stopped has not taken in 10 s, and from then on everything until it reads again.
    """

    patience_s = _PATIENCE_S

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        with suppress(OSError, ValueError):
            writable = not _PIPE_BYTES or bool(select.select([], [self], [], self.patience_s)[1])
            self.patience_s = _PATIENCE_S if writable else 0.0
            if writable:
                return super().write(memoryview(data).cast("B")[: _PIPE_BYTES or size]) or 0
        return size


@contextmanager
def long_running() -> Iterator[None]:
    """Measuring does not end because a `head`, a pager or a terminal did; SIGTERM and SIGHUP end it as Ctrl-C does.

    As an exception, that is, so that locks, servers and manifests are left as they should be; a sweep that is measuring
    drains instead. A SIGHUP that is ignored (nohup) stays so.
    """
    outputs = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    handled = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    try:
        for name, stream in outputs.items():
            setattr(sys, name, _outliving(stream))
        for number in handled:
            signal.signal(number, _end)
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
        for name, stream in outputs.items():
            if getattr(sys, name) is not stream:
                getattr(sys, name).flush()
            setattr(sys, name, stream)


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _outliving(stream: object) -> object:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (OSError, ValueError):  # no file, as in tests; or closed already
        return stream
    binary = io.BufferedWriter(_Outliving(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(binary, stream.encoding, stream.errors, line_buffering=stream.line_buffering)
