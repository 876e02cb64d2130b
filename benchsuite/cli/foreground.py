"""A server in the foreground: one line when it is ready, then it runs until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager
from types import FrameType

import click

from benchsuite.serving.engines import Engine


def until_stopped(starting: AbstractContextManager[Engine], *, tell_log: bool = False) -> int:
    """Enter, print `ready: URL model NAME`, hold; 0 when stopped. Raises EngineError when the server ends by itself.

    tell_log: name the log's file on stderr.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with starting as engine:
            click.echo(f"ready: {engine.base_url} model {engine.model or '(named by each request)'}")
            if tell_log:
                click.echo(f"log: {engine.log_path}", err=True)
            engine.process.wait()
            raise engine.process.died("the server ended by itself")
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
    raise KeyboardInterrupt
