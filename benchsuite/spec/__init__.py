"""What is asked for: a sweep's specification. One frozen value; nobody edits it, overrides make a new one.

From TOML plus flags, checked as a whole: every mistake is named at once, with a suggestion for a mistyped key.
"""

from benchsuite.spec.load import DEFAULT_LEVELS, DriverName, LoadSpec, TimeoutSpec, WorkloadSpec
from benchsuite.spec.price import OwnedSpec, PriceSpec
from benchsuite.spec.reading import load_spec, parse_spec
from benchsuite.spec.server import FallbackSpec, ProfileName, ServerSpec
from benchsuite.spec.sweep import SweepSpec, TelemetrySpec

__all__ = [
    "DEFAULT_LEVELS",
    "DriverName",
    "FallbackSpec",
    "LoadSpec",
    "OwnedSpec",
    "PriceSpec",
    "ProfileName",
    "ServerSpec",
    "SweepSpec",
    "TelemetrySpec",
    "TimeoutSpec",
    "WorkloadSpec",
    "load_spec",
    "parse_spec",
]
