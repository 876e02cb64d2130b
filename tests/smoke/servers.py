"""Real servers of the smoke runs: where they are, whether their torch sees CUDA, and how each is started."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchsuite.serving.tiny_model import cached_tiny_model

ROOT = Path(__file__).resolve().parents[2]
VENVS = {"vllm": ROOT / ".venv-vllm", "transformers": ROOT / ".venv-transformers"}
_ASK_TORCH = (
    "import torch; print(torch.__version__); print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
)
_OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
MAX_MODEL_LEN = 8192  # the longest prompt of the set has 5,539 tokens of the tiny model


@dataclass(frozen=True, slots=True)
class Found:
    """A server that is installed. python: the interpreter that has it; gpu: the card that its torch sees, or None."""

    name: str
    python: Path
    torch: str
    gpu: str | None


@dataclass(frozen=True, slots=True)
class Serve:
    """How it is started: the text of --serve, its environment, and its model under the name that the text uses."""

    text: str
    env: Mapping[str, str]
    models: Mapping[str, Path]


def find(name: str) -> Found | None:
    """vllm or transformers: as BENCHSUITE_..._PYTHON says, in the smoke runs' own environment, or on PATH.

    Where there are several, the first whose torch sees a GPU, else the first.
    """
    found = [one for python in dict.fromkeys(_places(name)) if (one := _look(name, python))]
    return next((one for one in found if one.gpu), found[0] if found else None)


def _look(name: str, python: Path) -> Found | None:
    if not python.is_file() or not ((python.parent / name).is_file() or _imports(python, name)):
        return None
    try:
        said = subprocess.run([python, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # no torch that works, so no server
    version, gpu = [*said.stdout.splitlines(), "", ""][:2]
    return Found(name, python, version, gpu or None)


def serve(found: Found, *, cuda: bool, name: str = "tiny-llama", model: Path | None = None) -> Serve:
    """The start on CUDA or on the CPU of the tiny model, or of another with 8,192 tokens of context at least.

    The interpreter is named in the environment and the model by a link, so that no run tells where they are.
    """
    env = {**_OFFLINE, f"BENCHSUITE_{found.name.upper()}_PYTHON": str(found.python)}
    models = {name: model or cached_tiny_model()}
    if not cuda:
        env |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}  # GiB
    if found.name == "vllm":
        memory = " --gpu-memory-utilization 0.5" if cuda else ""
        return Serve(f"vllm {name} -- --max-model-len {MAX_MODEL_LEN} --enforce-eager{memory}", env, models)
    # on the CPU its paged cache takes 9 GiB of memory unless it is told
    where = "cuda:0 --dtype bfloat16" if cuda else "cpu --dtype float32 --cb-num-blocks 512 --cb-max-batch-tokens 512"
    return Serve(f"transformers {name} -- --continuous-batching --device {where}", env, models)


def _places(name: str) -> list[Path]:
    asked = os.environ.get(f"BENCHSUITE_{name.upper()}_PYTHON")
    if asked:
        path = Path(asked).expanduser()
        return [path / "bin" / "python" if path.is_dir() else path]
    places = [VENVS[name] / "bin" / "python"]
    if on_path := shutil.which(name):
        places.append(Path(on_path).resolve().parent / "python")
    if python := shutil.which("python3"):
        places.append(Path(python))
    return places


def _imports(python: Path, name: str) -> bool:
    said = subprocess.run([python, "-c", f"import {name}"], capture_output=True, timeout=120, check=False)
    return said.returncode == 0
