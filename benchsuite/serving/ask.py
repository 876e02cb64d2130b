"""Short questions to a server on this machine, past any proxy that the environment names."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit


def ask_json(base_url: str, path: str, *, timeout_s: float = 5.0) -> dict[str, Any] | None:
    """The JSON object at GET `path`; None where there is none."""
    with closing(_connect(base_url, timeout_s)) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            tree = json.loads(answer.read()) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
    return tree if isinstance(tree, dict) else None


def post_json_lines(base_url: str, path: str, body: dict[str, Any], *, timeout_s: float) -> Iterator[dict[str, Any]]:
    """The JSON objects, one a line, that answer POST `path`, as they come; an HTTP error is one {"error": ...}.

    timeout_s: of silence. Raises OSError when the connection breaks.
    """
    with closing(_connect(base_url, timeout_s)) as connection:
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            for line in answer:
                if line.strip():
                    yield _object(line, answer.status)
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


def _object(line: bytes, status: int) -> dict[str, Any]:
    try:
        tree = json.loads(line)
    except ValueError:
        tree = None
    if isinstance(tree, dict) and (status == 200 or "error" in tree):
        return tree
    return {"error": f"HTTP {status}: {line.decode(errors='replace').strip()[:200]}"}


def _connect(base_url: str, timeout_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(base_url)
    return http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
