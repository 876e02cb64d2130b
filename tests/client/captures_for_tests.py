"""Reads tests/data/captures: what real servers said, byte for byte."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data" / "captures"


def capture(name: str) -> bytes:
    """The body of a capture, its status line and headers taken off."""
    content = (FOLDER / f"{name}.txt").read_bytes()
    return content.split(b"\r\n\r\n", 1)[1] if content.startswith(b"HTTP/") else content
