"""What to say when an optional library is not installed."""

from __future__ import annotations

from benchsuite.errors import EngineError


def missing_extra(library: str, purpose: str) -> EngineError:
    """The error for a `library` of the extra `engine` that `purpose` needs."""
    return EngineError(
        f"{purpose} needs the Python package {library}, which is not installed",
        expected="the optional dependencies named `engine`",
        hint="pip install 'benchsuite[engine]'",
    )
