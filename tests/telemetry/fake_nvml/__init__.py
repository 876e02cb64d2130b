"""A fake NVML: a C library under the real one's name, that says what its control file says (the knobs: nvml.c).

`fake = FakeNvml(folder, gpus=2, watts=300)`, then run a program with `env=fake.environment()`; `fake.set(...)` changes
what it says from then on, also while the program runs. `without` leaves functions out of the library. In the process
itself `fake.load()` works once, before anything has loaded NVML: ctypes keeps what it loaded.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml.c")
SONAME = "libnvidia-ml.so.1"


def compiler() -> str | None:
    """A C compiler, or None where there is none: then these tests cannot run."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path, without: Sequence[str] = ()) -> Path:
    """Build the library into a folder, which is then one for LD_LIBRARY_PATH. Functions in `without` are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    left_out = [f"-D{name}=left_out_{i}" for i, name in enumerate(without)]
    options = ["-O1", "-shared", "-fPIC", f"-Wl,-soname,{SONAME}", *left_out]
    subprocess.run([compiler() or "cc", *options, "-o", str(folder / SONAME), str(SOURCE)], check=True)
    return folder


class FakeNvml:
    """A control file and its library. built: a folder of `build`, else one is built; knobs: see nvml.c."""

    def __init__(
        self, folder: Path, built: Path | None = None, *, without: Sequence[str] = (), **knobs: object
    ) -> None:
        self.library = built or build(folder / "nvml", without)
        folder.mkdir(parents=True, exist_ok=True)
        self.control = folder / "nvml.control"
        self.knobs: dict[str, object] = {}
        self.set(**knobs)

    def set(self, **knobs: object) -> None:
        """Change knobs; None takes one away. `__` stands for a dot: rc__nvmlDeviceGetPowerUsage=999."""
        self.knobs |= {key.replace("__", "."): value for key, value in knobs.items()}
        lines = [f"{key}={value}\n" for key, value in self.knobs.items() if value is not None]
        fresh = self.control.with_suffix(".new")
        fresh.write_text("".join(lines), "utf-8")
        fresh.replace(self.control)

    def environment(self) -> dict[str, str]:
        """os.environ with the fake in it."""
        return os.environ | {"LD_LIBRARY_PATH": str(self.library), "FAKE_NVML": str(self.control)}

    def load(self) -> ctypes.CDLL:
        """Load it into this process, where the binding then finds it by its name; returns it, for its counters."""
        os.environ["FAKE_NVML"] = str(self.control)
        return ctypes.CDLL(str(self.library / SONAME))
