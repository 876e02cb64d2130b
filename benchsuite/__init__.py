"""benchsuite: which model, which GPU, which concurrency, at what cost, under which promise, and how sure.

A sweep turns a spec into files of raw facts; everything after is a pure function of those files.

In a notebook: `run = benchsuite.read_run("results/RUN")`, then `run.requests`, `benchsuite.summarise(run)`,
`benchsuite.find_optimum(run)` (benchsuite/api.py). Nothing heavy is imported before one of them is used.
"""

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchsuite.api import (
        Run,
        ab,
        columns,
        cost,
        decide,
        find,
        find_optimum,
        matrix,
        memory_fit,
        plan,
        read_run,
        summarise,
        sweep,
    )
    from benchsuite.scoring import score

__version__ = "0.1.0"

__all__ = [
    "Run",
    "__version__",
    "ab",
    "columns",
    "cost",
    "decide",
    "find",
    "find_optimum",
    "matrix",
    "memory_fit",
    "plan",
    "read_run",
    "score",
    "summarise",
    "sweep",
]


def _no_pandas(name: str, *_: object) -> None:
    if name == "pandas" and "datasets" not in sys.modules:  # of Hugging Face, which needs it
        raise ModuleNotFoundError(name)


def keep_pandas_out() -> None:
    """Hide pandas from pyarrow in a process that makes no frame: its first array would import it, 0.7 s, 50 MB."""
    sys.meta_path.insert(0, SimpleNamespace(find_spec=_no_pandas))


def __getattr__(name: str) -> Any:
    if name in __all__:
        from benchsuite import api, scoring

        return getattr(scoring if name == "score" else api, name)
    raise AttributeError(f"module 'benchsuite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
