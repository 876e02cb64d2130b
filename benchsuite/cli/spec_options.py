"""The flags that are read off models, and their --help: of a sweep's specification, of a demand, of an owned GPU.

They stand in flags.json, so that --help does not wait for the models to be imported. tests/cli/test_flags.py holds the
file against the models and writes it: pytest tests/cli/test_flags.py --snapshot-update.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchsuite.cli.options import CommaList, Command, Decorator

FLAGS = Path(__file__).with_name("flags.json")
# how click reads a value
_KINDS: dict[str, dict[str, Any]] = {
    "bool": {"is_flag": True},
    "float": {"type": float},
    "int": {"type": int},
    "many": {"multiple": True},
    "ints": {"type": CommaList(int, ranges=True)},
    "floats": {"type": CommaList(float, ranges=True)},
    "text": {"type": str},
    "texts": {"type": CommaList(str)},
    "urls": {"multiple": True, "callback": lambda _, __, urls: urls[0] if len(urls) == 1 else urls},
}


class Flag(NamedTuple):
    """A flag of a key, as flags.json has it."""

    name: str  # of the parameter
    flag: str
    help: str
    kind: str  # of _KINDS
    words: tuple[str, ...] = ()  # that complete it: a wrong one is refused by the model with all other mistakes
    required: bool = False
    table: str = ""  # of the specification
    of: str = ""  # the verb that alone has it: sweep or find

    def option(self, words: str) -> Decorator:
        complete = {"shell_complete": lambda _, __, part: [word for word in self.words if word.startswith(part)]}
        more = _KINDS[self.kind] | (complete if self.words else {})
        return click.option(self.flag, self.name, default=None, help=words, **more)


@cache
def flags_of(model: str) -> list[Flag]:
    """Of a model by its name, in the order of its keys."""
    return [Flag(**flag) for flag in json.loads(FLAGS.read_text("utf-8"))[model]]


def spec_options(*only: str, of: str = "sweep") -> Decorator:
    """Give a command the flags of the spec. only: the names of some, as parameters; none: all of that verb."""

    def decorate(command: Command) -> Command:
        for flag in reversed(flags_of("SweepSpec")):
            if flag.name in only or (not only and flag.of in ("", of)):
                command = flag.option(flag.help)(command)
        return command

    return decorate


def model_options(*models: str, but: Collection[str] = (), words: Mapping[str, str] | None = None) -> Decorator:
    """Give a command a flag for each key of the models. but: not for these. words: their help, where not their own.

    What is required is checked with all else.
    """

    def decorate(command: Command) -> Command:
        for flag in reversed([flag for model in models for flag in flags_of(model)]):
            if flag.name not in but:
                required = "  [required]" * (flag.required and words is None)
                command = flag.option((words or {}).get(flag.name) or flag.help + required)(command)
        return command

    return decorate


class SpecCommand(click.Command):
    """A command whose --help shows the spec's flags under the tables that they are of."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]  # SPEC is in the usage line
        rest = {p.name: record for p in options if (record := p.get_help_record(ctx)) is not None}
        tables: dict[str, list[tuple[str, str]]] = {}
        for flag in flags_of("SweepSpec"):
            if flag.name in rest and (flag.of != "find" or ctx.command.name == "find"):  # `ab` has a --budget-min too
                tables.setdefault(flag.table, []).append(rest.pop(flag.name))
        tables["run"] = [*tables.pop("", []), *rest.values()]
        for table, records in tables.items():
            with formatter.section(table.rpartition(".")[2].capitalize()):
                formatter.write_dl(records)
