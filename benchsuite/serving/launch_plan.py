"""What to start: a server as a plan, and how it is read from text such as `vllm MODEL --max-num-seqs 64`."""

from __future__ import annotations

import difflib
import importlib.util
import math
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from benchsuite.errors import EngineError, InputError
from benchsuite.serving.process import LOOPBACK, without_secrets

OLLAMA_SETTINGS = (
    "num-parallel",
    "context-length",
    "max-queue",
    "max-loaded-models",
    "keep-alive",
    "flash-attention",
    "kv-cache-type",
    "load-timeout",
    "sched-spread",
    "gpu-overhead",
    "models",
    "debug",
)


@dataclass(frozen=True, slots=True)
class LlamacppSettings:
    """Of the embedded engine: replies at once, tokens of context for each, compute threads, GGUF file, its name."""

    slots: int = 32
    ctx: int = 8192
    threads: int = 1
    model: Path | None = None
    name: str = "tiny-llama"


def llamacpp_settings(args: Sequence[str]) -> LlamacppSettings:
    """--slots, --ctx, --threads (whole numbers of at least 1), --model, --name. Raises InputError."""
    numbers = {"slots": 32, "ctx": 8192, "threads": 1}
    words: dict[str, str] = {}
    for flag, value in _pairs(args, (*numbers, "model", "name"), "llamacpp"):
        if flag in numbers:
            if not value.isdigit() or int(value) < 1:
                raise InputError(
                    f"--{flag} must be a whole number of at least 1", where="serve llamacpp", given=f"--{flag} {value}"
                )
            numbers[flag] = int(value)
        else:
            words[flag] = value
    model = Path(words["model"]) if "model" in words else None
    return LlamacppSettings(**numbers, model=model, name=words.get("name", "tiny-llama"))


def ollama_environment(args: Sequence[str]) -> dict[str, str]:
    """`ollama serve` takes no arguments: --num-parallel 8 is OLLAMA_NUM_PARALLEL=8. Raises InputError."""
    return {
        "OLLAMA_" + flag.upper().replace("-", "_"): value for flag, value in _pairs(args, OLLAMA_SETTINGS, "ollama")
    }


def _pairs(args: Sequence[str], known: Sequence[str], engine: str) -> list[tuple[str, str]]:
    pairs, rest = [], list(args)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        name = flag.removeprefix("--")
        if not flag.startswith("--") or name not in known or not (equals or rest):
            close = difflib.get_close_matches(name, known, 1)
            raise InputError(
                f"{engine} has no such setting, or it has no value",
                where=f"serve {engine}",
                given=flag,
                expected=", ".join(f"--{each}" for each in known) + ", each with a value",
                hint=f"did you mean --{close[0]}?" if close else None,
            )
        pairs.append((name, value if equals else rest.pop(0)))
    return pairs


_INSTALL = {
    "vllm": "pip install vllm in an environment of its own and name it with --python; or --docker",
    "transformers": "pip install 'transformers[serving]' in an environment of its own and name it with --python",
    "tgi": "it is installed from source or run from its image: --docker",
    "ollama": "see ollama.com/download; or --docker",
}
_MODULES = {"vllm": "vllm.entrypoints.openai.api_server", "transformers": "transformers.cli.transformers"}


@dataclass(frozen=True, slots=True)
class Start:
    """A command that serves. env: on top of ours. ready_path answers 200 when it is ready. model: the name to ask for.

    python: the interpreter that runs it, where it is a Python program; None elsewhere.
    """

    command: tuple[str, ...]
    ready_path: str
    model: str | None
    env: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None


def local_start(plan: LaunchPlan, port: int) -> Start:
    """The start of vllm, tgi, ollama, transformers or the simulator on `port`. Raises EngineError: not installed."""
    address = [] if argument(plan.args, "--host") is not None else ["--host", LOOPBACK]
    address += ["--port", str(port)]
    match plan.engine:
        case "vllm":
            command, python = _python_program(plan, "vllm")
            if command[-2:-1] == ["-m"]:
                command += ["--model", plan.model] if plan.model else []
            else:
                command += ["serve", *([plan.model] if plan.model else [])]
            command += [*address, *plan.args]
            return Start(tuple(command), "/health", served_name(plan), python=python)
        case "transformers":
            command, python = _python_program(plan, "transformers")
            command += ["serve", *([plan.model] if plan.model else []), *address]
            if not {"--continuous-batching", "--no-continuous-batching"} & set(plan.args):
                command.append("--continuous-batching")  # else it serves one request at a time
            return Start((*command, *plan.args), "/health", plan.model, python=python)
        case "tgi":
            command = [_program("text-generation-launcher", "tgi")]
            command += ["--model-id", plan.model] if plan.model else []
            if argument(plan.args, "--hostname") is None:
                command += ["--hostname", LOOPBACK]
            command += ["--port", str(port), *plan.args]
            return Start(tuple(command), "/health", served_name(plan))
        case "ollama":
            env = {"OLLAMA_HOST": f"{LOOPBACK}:{port}", "OLLAMA_KEEP_ALIVE": "-1", **ollama_environment(plan.args)}
            return Start((_program("ollama", "ollama"), "serve"), "/api/version", plan.model, env)
        case "simulator":
            command = [sys.executable, "-m", "benchsuite.cli.main", "serve", "simulator", *plan.args]
            command += ["--model", plan.model] if plan.model else []
            command += ["--port", str(port), "--until-stdin-closes"]
            return Start(tuple(command), "/health", served_name(plan) or "simulator")
        case _:
            raise EngineError(f"{plan.engine} is not started by its own program")


def served_name(plan: LaunchPlan) -> str | None:
    """The model's name in requests, from what the server is told; None where nothing tells."""
    named = argument(plan.args, "--served-model-name") or plan.model
    return named or argument(plan.args, MODEL_FLAGS.get(plan.engine, "")) or None


def package_version(python: str | None, package: str) -> str | None:
    """The version of `package` that the interpreter has; None where it cannot say."""
    if python is None:
        return None
    program = f"import importlib.metadata as m; print(m.version({package!r}))"
    try:
        said = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None


def _program(name: str, engine: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise EngineError(
            f"{engine} is not installed here", where="PATH", expected=f"the program {name}", hint=_INSTALL[engine]
        )
    return found


def _python_program(plan: LaunchPlan, name: str) -> tuple[list[str], str]:
    """How to call a Python server's command line, and the interpreter: as asked, on PATH, or beside benchsuite."""
    variable = f"BENCHSUITE_{name.upper()}_PYTHON"
    asked = plan.python or os.environ.get(variable)
    if asked:
        path = Path(asked).expanduser()
        python = path / "bin" / "python" if path.is_dir() else path
        if not (python.is_file() and os.access(python, os.X_OK)):
            raise EngineError(
                f"there is no Python to run {name} with",
                where="--python" if plan.python else f"${variable}",
                given=asked,
                expected="an interpreter, or the folder of a virtual environment",
            )
        script = python.parent / name
        if script.is_file():
            return [str(script)], str(python)
        return [str(python), "-m", _MODULES[name]], str(python)
    if found := shutil.which(name):
        python = Path(found).resolve().parent / "python"
        return [found], str(python) if python.is_file() else sys.executable
    if importlib.util.find_spec(name) is not None:
        return [sys.executable, "-m", _MODULES[name]], sys.executable
    raise EngineError(
        f"{name} is not installed here",
        where=f"PATH, {sys.executable}, ${variable}",
        expected=f"the program {name}, or an interpreter that has it",
        hint=_INSTALL[name],
    )


EngineName = Literal["llamacpp", "simulator", "vllm", "tgi", "ollama", "transformers"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
DOCKER_ENGINES = ("vllm", "tgi", "ollama")
MODEL_FLAGS = {"vllm": "--model", "tgi": "--model-id", "llamacpp": "--model", "simulator": "--model"}
QUANTISATION_FLAGS = ("--quantization", "-q", "--quantize")
_PARALLEL_FLAGS = (
    ("--tensor-parallel-size", "-tp", "--num-shard"),
    ("--pipeline-parallel-size", "-pp"),
    ("--data-parallel-size", "-dp"),
)
_FORM = "ENGINE [MODEL] [--port P] [--python PY] [--image IMAGE] [--] [the server's own arguments]"
_OWN = ("--port", "--python", "--image")


_KEY_VARIABLES = {"vllm": "VLLM_API_KEY or HF_TOKEN", "tgi": "API_KEY or HF_TOKEN", "llamacpp": "LLAMA_API_KEY"}


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """A server to start. Settings are changed with dataclasses.replace, so that a matrix can vary `args`.

    args: the server's own arguments, unchanged, without model, host and port. model: None where `args` names it, or
    where the engine has one of its own. port: of 127.0.0.1; None finds a free one. python: the interpreter (or the
    folder of the environment) that has vLLM or transformers; None looks on PATH. image: of the container; None is the
    compose file's.
    """

    engine: EngineName
    args: tuple[str, ...] = ()
    how: Literal["local", "docker"] = "local"
    model: str | None = None
    port: int | None = None
    python: str | None = None
    image: str | None = None

    @property
    def quantisation(self) -> str | None:
        """As the arguments ask for it; None where they do not."""
        return next((found for flag in QUANTISATION_FLAGS if (found := argument(self.args, flag))), None)

    @property
    def gpus(self) -> int | None:
        """How many GPUs the arguments spread the model over; None where they do not say."""
        found = [
            int(value)
            for flags in _PARALLEL_FLAGS
            if (value := next((v for flag in flags if (v := argument(self.args, flag))), None)) and value.isdigit()
        ]
        return math.prod(found) if found else None

    @property
    def text(self) -> str:
        """The plan as one writes it; `parse_serve` reads it back."""
        own = [("--port", self.port), ("--python", self.python), ("--image", self.image)]
        words = [f"docker:{self.engine}" if self.how == "docker" else self.engine]
        words += [self.model] if self.model else []
        words += [word for flag, value in own if value is not None for word in (flag, str(value))]
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
            hint=f"put it into the server's environment: {_KEY_VARIABLES.get(plan.engine, 'see its manual')}",
        )
    return plan


def plan_of(engine: str, words: Sequence[str], *, docker: bool = False) -> LaunchPlan:
    """The plan of an engine's name and the words after it. Raises InputError."""
    if engine not in ENGINES:
        close = difflib.get_close_matches(engine, ENGINES, 1)
        raise InputError(
            "there is no such engine",
            where="--serve",
            given=engine,
            expected=", ".join(ENGINES),
            hint=f"did you mean {close[0]!r}?" if close else None,
        )
    rest, own, args, model = list(words), {}, [], None
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if word == "--":
            args += rest
            break
        if flag in _OWN:
            if not equals and not rest:
                raise InputError(f"{flag} needs a value", where=f"--serve {engine}", expected=_FORM)
            own[flag] = value if equals else rest.pop(0)
        elif model is None and not args and not word.startswith("-"):
            model = word
        else:
            args.append(word)
    plan = LaunchPlan(
        engine=engine,
        args=tuple(args),
        how="docker" if docker else "local",
        model=model,
        port=_port(own.get("--port")),
        python=own.get("--python"),
        image=own.get("--image"),
    )
    check_plan(plan)
    return plan


def check_plan(plan: LaunchPlan) -> None:
    """Refuse what cannot be started as it stands. Raises InputError."""
    where = f"serve {plan.engine}"
    if plan.how == "docker" and plan.engine not in DOCKER_ENGINES:
        raise InputError(
            f"{plan.engine} is not started with docker",
            where=where,
            expected="docker with " + ", ".join(DOCKER_ENGINES),
        )
    if plan.how == "local" and plan.image is not None:
        raise InputError(
            "a local server has no image", where=where, given=f"--image {plan.image}", hint="docker:ENGINE"
        )
    if argument(plan.args, "--port") is not None:
        raise InputError(
            "the port is chosen by benchsuite, which must know it",
            where=where,
            given=f"--port {argument(plan.args, '--port')} among the server's own arguments",
            hint=f"--port before the --: {where} MODEL --port P -- ...",
        )
    needs_model = plan.engine in ("vllm", "tgi", "ollama")
    if needs_model and plan.model is None and argument(plan.args, MODEL_FLAGS.get(plan.engine, "")) is None:
        raise InputError(
            f"{plan.engine} needs a model",
            where=where,
            expected=f"{plan.engine} MODEL [arguments]",
            hint="the model comes right after the engine",
        )
    if plan.engine == "ollama":
        ollama_environment(plan.args)
    elif plan.engine == "llamacpp":
        llamacpp_settings(plan.args)


def argument(args: Sequence[str], flag: str) -> str | None:
    """The value of `--flag value` or `--flag=value` in `args`; None if it is not there, "" if nothing follows it."""
    for i, word in enumerate(args):
        if word == flag:
            return args[i + 1] if i + 1 < len(args) else ""
        if flag.startswith("--") and word.startswith(flag + "="):
            return word[len(flag) + 1 :]
    return None


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise InputError("no such port", where="--serve", given=f"--port {text}", expected="1 to 65535")
    return int(text)
