"""Fixtures of the tests that start servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from launch_fixtures import Fakes


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Fake programs, alone on PATH beside the system's."""
    return Fakes(tmp_path, monkeypatch)
