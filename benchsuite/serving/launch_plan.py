"""What to start: a server as a plan, read from text such as `vllm MODEL --max-num-seqs 64`; and its command here."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchsuite.errors import EngineError, InputError, did_you_mean, user_path
from benchsuite.servers import LAUNCHED, SERVERS
from benchsuite.servers.base import Local, Server, argument, fill
from benchsuite.serving.process import LOOPBACK, without_secrets

_FORM = "ENGINE [MODEL] [--port P] [--python PY] [--image IMAGE] [--] [the server's own arguments]"
_OURS = ("--port", "--python", "--image")


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """A server to start; what cannot be started as it stands is refused. Raises InputError."""

    engine: str  # its name in SERVERS
    args: tuple[str, ...] = ()  # the server's own, unchanged, without model, host and port
    docker: bool = False
    model: str | None = None  # None where `args` names it, or where the engine has one of its own
    port: int | None = None  # of 127.0.0.1; None finds a free one
    python: str | None = None  # the interpreter, or the folder of the environment, that has it; None looks on PATH
    image: str | None = None  # of the container; None is the server's own

    def __post_init__(self) -> None:
        if self.engine not in LAUNCHED:
            raise InputError(
                "no such engine",
                where="--serve",
                given=self.engine,
                expected=", ".join(LAUNCHED),
                hint=did_you_mean(self.engine, LAUNCHED),
            )
        where, local = f"serve {self.engine}", self.local
        if self.docker and self.server.docker is None:
            expected = "docker with " + ", ".join(name for name, server in SERVERS.items() if server.docker)
            raise InputError(f"{self.engine} is not started with docker", where=where, expected=expected)
        if self.image is not None and not self.docker:
            given = f"--image {self.image}"
            raise InputError("a local server has no image", where=where, given=given, hint="docker:ENGINE")
        port_flag = local.flag_of("{port}") or "--port"
        if (port := argument(self.args, port_flag)) is not None:
            raise InputError(
                "benchsuite sets the port and must know it",
                where=where,
                given=f"{port_flag} {port} among the server's own arguments",
                hint=f"--port before the --: {where} MODEL --port P -- ...",
            )
        if local.needs_model and self.model is None and argument(self.args, local.flag_of("{model}")) is None:
            raise InputError(
                f"{self.engine} needs a model",
                where=where,
                expected=f"{self.engine} MODEL [arguments]",
                hint="the model follows the engine",
            )
        _ = self.settings

    @property
    def server(self) -> Server:
        return SERVERS[self.engine]

    @property
    def local(self) -> Local:
        """How it is started here; `plan_of` takes no other servers."""
        assert self.server.local is not None, self.engine
        return self.server.local

    @property
    def quantization(self) -> str | None:
        """As the arguments ask for it; None where they do not."""
        return next(filter(None, (argument(self.args, flag) for flag in self.local.quantization_flags)), None)

    @property
    def gpus(self) -> int | None:
        """How many GPUs the arguments spread the model over; None where they do not say."""
        return self.server.gpus(self.args)

    @property
    def served_name(self) -> str | None:
        """The model's name in requests, from what the server is told; None where nothing tells."""
        model = self.model or argument(self.args, self.local.flag_of("{model}"))
        return argument(self.args, self.local.name_flag) or (model if self.local.named_by_model else None) or None

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of a server that has a list of them, by name. Raises InputError."""
        known, settings, rest = self.local.settings or {}, {}, list(self.args) if self.local.settings else []
        while rest:
            flag, equals, value = rest.pop(0).partition("=")
            name = flag.removeprefix("--")
            if not flag.startswith("--") or name not in known or not (equals or rest):
                raise InputError(
                    f"{self.engine} has no such setting, or it has no value",
                    where=f"serve {self.engine}",
                    given=flag,
                    expected=", ".join(f"--{each}" for each in known) + ", each with a value",
                    hint=did_you_mean(flag, [f"--{each}" for each in known]),
                )
            settings[name] = value = value if equals else rest.pop(0)
            if known[name] is int and not (value.isdecimal() and int(value) > 0):
                what = f"--{name} must be a whole number of at least 1"
                raise InputError(what, where=f"serve {self.engine}", given=f"--{name} {value}")
        return {name: known[name](value) for name, value in settings.items()}

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a server that takes them as variables: --num-parallel 8 is OLLAMA_NUM_PARALLEL=8."""
        return {self.variable(name): value for name, value in self.settings.items()} if self.local.as_env else {}

    def variable(self, setting: str) -> str:
        """The variable that such a server takes a setting from."""
        return f"{self.local.as_env}{setting.upper().replace('-', '_')}"

    @property
    def arguments(self) -> tuple[str, ...]:
        return () if self.local.as_env else self.args

    @property
    def text(self) -> str:
        """The plan as one writes it; `parse_serve` reads it back."""
        ours = [("--port", self.port), ("--python", self.python), ("--image", self.image)]
        words = [f"docker:{self.engine}" if self.docker else self.engine]
        words += [self.model] if self.model else []
        words += [word for flag, value in ours if value is not None for word in (flag, str(value))]
        return shlex.join([*words, "--", *self.args] if self.args else words)


def parse_serve(text: str) -> LaunchPlan:
    """Read `llamacpp --slots 4`, `vllm MODEL --max-num-seqs 64`, `docker:vllm MODEL -- --max-num-seqs 64`.

    The model follows the engine; --port, --python and --image are benchsuite's; all else, and all after `--`, is the
    server's. Raises InputError.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError("the server to start cannot be read", where="--serve", given=text, hint=str(error)) from None
    if not words:
        raise InputError("no server to start is named", where="--serve", given=repr(text), expected=_FORM)
    how, _, engine = words[0].rpartition(":")
    if how not in ("", "local", "docker"):
        raise InputError("a server is local or docker", where="--serve", given=words[0], expected=_FORM)
    return plan_of(engine, words[1:], docker=how == "docker")


def refuse_secrets(plan: LaunchPlan) -> LaunchPlan:
    """The plan; for one that is written into a run folder. Raises InputError if its arguments hold a secret."""
    if without_secrets(plan.args) != list(plan.args):
        raise InputError(
            "a secret among the server's arguments would be written into the run folder",
            where="--serve",
            given=" ".join(without_secrets(plan.args)),
            expected="no --api-key, --hf-token or the like",
            hint=f"put it into the server's environment: {plan.local.key_variables}",
        )
    return plan


def plan_of(engine: str, words: Sequence[str], *, docker: bool = False) -> LaunchPlan:
    """The plan of an engine's name and the words after it. Raises InputError."""
    rest, ours, args, model = list(words), {}, [], None
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if word == "--":
            args += rest
            break
        if flag in _OURS:
            if not equals and not rest:
                raise InputError(f"{flag} needs a value", where=f"--serve {engine}", expected=_FORM)
            ours[flag] = value if equals else rest.pop(0)
        elif model is None and not args and not word.startswith("-"):
            model = word
        else:
            args.append(word)
    port = ours.get("--port")
    if port is not None and not (port.isdecimal() and 0 < int(port) < 65536):
        raise InputError("no such port", where="--serve", given=f"--port {port}", expected="1 to 65535")
    number = None if port is None else int(port)
    return LaunchPlan(engine, tuple(args), docker, model, number, ours.get("--python"), ours.get("--image"))


class LocalCommand(NamedTuple):
    """A command that serves. env: on top of ours. python: the interpreter that runs it; None for other programs."""

    words: Sequence[str]
    env: Mapping[str, str]
    python: str | None


def local_command(plan: LaunchPlan, port: int) -> LocalCommand:
    """How the server of `plan` is started on `port` here. Raises EngineError: not installed."""
    local = plan.local
    ours = [sys.executable, "-m", local.module or ""]
    program, python = (ours, sys.executable) if local.embedded else _program(plan)
    words = local.module_words if local.module_words and "-m" in program else local.words
    host = LOOPBACK if argument(plan.args, local.flag_of("{host}")) is None else None
    added = [flag for flag, opposites in local.added.items() if not {flag, *opposites} & set(plan.args)]
    command = [*program, *fill(words, model=plan.model, host=host, port=str(port)), *added, *plan.arguments]
    env = {name: value.format(host=LOOPBACK, port=port) for name, value in local.env.items()}
    return LocalCommand(command, env | plan.environment, python)


def _program(plan: LaunchPlan) -> tuple[list[str], str | None]:
    """How to call its program, and the interpreter of a Python one: as asked, on PATH, or this one."""
    local, variable = plan.local, f"BENCHSUITE_{plan.engine.upper()}_PYTHON"
    asked = plan.python or os.environ.get(variable)
    if local.module is not None and asked:
        path = user_path(asked)
        python = path / "bin" / "python" if path.is_dir() else path
        if not (python.is_file() and os.access(python, os.X_OK)):
            raise EngineError(
                f"there is no Python to run {plan.engine} with",
                where="--python" if plan.python else f"${variable}",
                given=asked,
                expected="an interpreter, or the folder of a virtual environment",
            )
        script = python.parent / local.program
        return [str(script)] if script.is_file() else [str(python), "-m", local.module], str(python)
    if program := shutil.which(local.program):
        python = Path(program).resolve().parent / "python"
        return [program], None if local.module is None else str(python) if python.is_file() else sys.executable
    if local.module is not None and importlib.util.find_spec(local.module.partition(".")[0]) is not None:
        return [sys.executable, "-m", local.module], sys.executable
    raise EngineError(
        f"{plan.engine} is not installed here",
        where=f"PATH, {sys.executable}, ${variable}" if local.module else "PATH",
        expected=f"the program {local.program}" + (", or an interpreter that has it" if local.module else ""),
        hint=local.install
        or f"pip install {local.package!r} in a separate environment and give it with --python"
        + ("; or --docker" if plan.server.docker else ""),
    )
