"""`benchsuite` for tests, in this process: the fixture `cli`."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from benchsuite.cli.main import cli as command_line
from benchsuite.errors import BenchsuiteError


@dataclass(frozen=True)
class Ended:
    """How a command ended. error: what it raised, with its fields."""

    code: int
    out: str
    err: str
    error: Any = None

    @property
    def data(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """What it printed, on one line."""
        return " ".join(self.out.split())


class CommandLine:
    """`benchsuite` without a process of its own."""

    def __call__(self, *words: str | Path | tuple[str, ...], **environment: str) -> Ended:
        """Run it. A string is split as a shell does, a path is one word, a tuple is words as they are."""
        argv: list[str] = []
        for word in words:
            argv += shlex.split(word) if isinstance(word, str) else word if isinstance(word, tuple) else [str(word)]
        done = CliRunner().invoke(command_line, argv, standalone_mode=False, env=environment)
        error = done.exception
        if isinstance(error, BenchsuiteError):
            return Ended(error.exit_code, done.stdout, done.stderr, error)
        if isinstance(error, click.ClickException):
            return Ended(error.exit_code, done.stdout, done.stderr, error)
        if isinstance(error, SystemExit):
            return Ended(int(error.code or 0), done.stdout, done.stderr)
        if error is not None:
            raise error
        return Ended(done.return_value or 0, done.stdout, done.stderr)

    def data(self, *words: str | Path | tuple[str, ...], code: int = 0) -> Any:
        """The JSON that it prints with --json, after it ended with `code`."""
        ended = self(*words, "--json")
        assert ended.code == code, (ended.code, ended.error, ended.err)
        return ended.data
