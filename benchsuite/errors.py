"""Every error that benchsuite raises, in one tree.

    BenchsuiteError                 exit code
    ├── InputError                  2   the person can fix it before anything is measured
    │   ├── SpecError                   a sweep.toml or a flag
    │   ├── SloError                    an SLO expression
    │   ├── WorkloadError               a request set
    │   ├── PointsError                 a table of aggregated points, or a run folder that cannot be read
    │   └── PriceError                  a price, a preset, a cost parameter
    └── RunError                    1   the world did not play along
        ├── ServerUnreachable           nothing answers at the base URL
        ├── ServerRefused               it answers, but not to what was asked (model, endpoint, field)
        ├── EngineError                 a server that we start did not start
        ├── StoreError                  facts could not be written or read
        └── TelemetryError              GPUs cannot be sampled; a sweep goes on without and says so

A request that fails while a point is measured is never an exception: it is a row (`RequestRecord.status`).
"""

from __future__ import annotations


class BenchsuiteError(Exception):
    """Something went wrong; the message says what, where, what was given, what was expected, and what to do."""

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        given: object = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.where, self.given, self.expected, self.hint = what, where, given, expected, hint
        lines = [what]
        for label, value in (("where", where), ("given", given), ("expected", expected), ("try", hint)):
            if value is not None:
                lines.append(f"  {label + ':':<10}{_shown(value)}")
        super().__init__("\n".join(lines))


def _shown(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"


class InputError(BenchsuiteError):
    """The input is wrong and nothing was measured."""

    exit_code = 2


class SpecError(InputError):
    """A sweep specification (file or flags) does not hold together."""


class SloError(InputError):
    """An SLO expression does not parse."""


class WorkloadError(InputError):
    """A request set cannot be read or is not usable."""


class PointsError(InputError):
    """A points table or run folder cannot be read."""


class PriceError(InputError):
    """A price or cost parameter makes no sense."""


class RunError(BenchsuiteError):
    """The run could not be done; what was measured before stays on disk."""

    exit_code = 1


class ServerUnreachable(RunError):
    """Nothing answers at the base URL."""


class ServerRefused(RunError):
    """The server answers but refuses what the run needs."""


class EngineError(RunError):
    """A server started by benchsuite did not become ready or died."""


class StoreError(RunError):
    """Facts could not be written or read."""


class TelemetryError(RunError):
    """GPUs cannot be sampled: no library, no driver, no such GPU. A sweep goes on without them and says so."""
