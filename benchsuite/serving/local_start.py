"""How each engine is started as a process of this machine: the program found, its command, its environment."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchsuite.errors import EngineError
from benchsuite.serving.engine_settings import ollama_environment
from benchsuite.serving.launch_plan import MODEL_FLAGS, LaunchPlan, argument
from benchsuite.serving.process import LOOPBACK

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
