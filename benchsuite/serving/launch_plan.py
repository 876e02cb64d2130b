"""What to start: a server as a plan, and how it is read from text such as `vllm MODEL --max-num-seqs 64`."""

from __future__ import annotations

import difflib
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from benchsuite.errors import InputError
from benchsuite.serving.engine_settings import llamacpp_settings, ollama_environment
from benchsuite.serving.process import without_secrets

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
