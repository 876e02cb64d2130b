"""Who may import whom: walks the imports and names the line that breaks a rule.

words      errors, clock, records, results, slo, spec, servers: the standard library, pydantic in spec, and each other.
core       workload, load.schedule, load.arrivals, load.search, client but for connection and reference_clients,
           analysis, economics, quality but for its judge, and what report draws with: words but the clock, and core;
           never a socket, a file, a clock, a process or a terminal. economics.prices and workload.wineval may read the
           tables that are bundled with them.
edges      client.connection, client.reference_clients, telemetry, serving, store, quality.judge: words and core; no
           conductor. quality.judge asks through telemetry.http, and only the face imports it.
conductors load: all of the above.
judgement  analysis, economics, quality, report never import what measures (client, load, telemetry, serving), nor the
           reverse.
face       cli: all. Nobody imports cli but cli.
Each outside library has its places. In client, only connection reads clocks, and reference_clients in its place.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "benchsuite"

WORDS = (
    "errors", "redact", "clock", "level", "limits", "records", "metrics", "results", "slo", "spec", "strict_model",
    "matrix_spec", "base_url", "request_spec", "find_spec", "servers", "manifest", "progress", "warning_table",
    "file_list", "saturation",
    "load.arrivals",  # its profile is a key of the spec
)  # fmt: skip
CORE = (
    "workload", "load.schedule", "load.arrivals", "load.search", "client.stream", "client.request", "client.http",
    "servers",
    "analysis", "economics",
    "quality.normalise", "quality.choice", "quality.choice_patterns", "quality.text", "quality.correction",
    "quality.structure", "quality.score", "quality.paired", "quality.levels", "quality.rubric",
    "importers", "report.charts", "report.charts_special", "report.format",
)  # fmt: skip
MEASURES = ("client", "load", "telemetry", "serving", "simulator", "store", "input_files")
JUDGES = ("analysis", "economics", "quality", "report")

IMPURE = {
    "asyncio", "concurrent", "ctypes", "datetime", "fcntl", "glob", "http", "logging", "multiprocessing", "os",
    "pathlib", "select", "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "sys",
    "tempfile", "threading", "time",
}  # fmt: skip
IMPURE_CALLS = {"open", "input", "print"}

LIBRARIES = {
    "anyio": ("load.preflight",),
    "asyncio_throttle": ("load.worker",),
    "click": ("cli",),
    "datasets": ("input_files",),
    "genai_prices": ("economics.prices",),
    "gguf": ("serving",),
    "huggingface_hub": ("input_files",),
    "httptools": ("client.http",),
    "httpcore": ("telemetry.http",),
    "httpx": ("client.reference_clients", "load", "quality.judge", "telemetry.server_metrics", "telemetry.http"),
    "jinja2": ("report.page",),
    "jsonschema": ("quality.structure",),
    "markupsafe": ("report.page",),
    "numpy": (
        "workload",
        "saturation",
        "load.schedule",
        "load.arrivals",
        "load.search",
        "analysis",
        "economics",
        "quality",
        "api",
        "report",
        "serving",
    ),
    "openai": ("client.reference_clients",),
    "orjson": ("client.stream", "redact"),
    "pandas": ("analysis", "api"),
    "psutil": ("load.doctor", "serving", "telemetry"),
    "pyarrow": ("analysis", "api", "load", "quality", "report", "store", "workload.readers"),
    "pydantic": (
        "base_url",
        "cli.spec_file",
        "economics",
        "find_spec",
        "manifest",
        "matrix_spec",
        "request_spec",
        "serving.tiny_model",
        "importers",
        "simulator",
        "spec",
        "strict_model",
        "workload",
    ),
    "pynvml": ("load.doctor", "telemetry"),
    "rapidfuzz": ("quality.text", "quality.correction"),
    "referencing": ("quality.structure",),
    "rich": ("api", "cli", "report"),
    "safetensors": ("serving",),
    "scipy": ("analysis", "economics", "quality", "report.charts"),
    "tokenizers": ("input_files", "serving", "workload.tokenizer"),
    "uvloop": ("load.worker",),
    "xllamacpp": ("serving",),
}


def within(module: str, places: tuple[str, ...]) -> bool:
    """True if the module is one of the places, or inside one."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


class File:
    """One source file: its module without `benchsuite.`, and what it imports and calls, with line numbers."""

    def __init__(self, path: Path) -> None:
        parts = path.relative_to(ROOT).with_suffix("").parts
        self.module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.path = path.relative_to(ROOT.parent)
        self.ours: list[tuple[int, str]] = []
        self.outside: list[tuple[int, str]] = []
        self.calls: list[tuple[int, str]] = []
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._imported(node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno}: a relative import"
                name = node.module or ""
                if name == "benchsuite" or (ROOT.parent / name.replace(".", "/")).is_dir():
                    for alias in node.names:  # `from benchsuite.client import stamps` imports a module
                        self._imported(node.lineno, f"{name}.{alias.name}")
                else:
                    self._imported(node.lineno, name)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                self.calls.append((node.lineno, node.func.id))

    def _imported(self, line: int, name: str) -> None:
        if name.startswith("benchsuite."):
            self.ours.append((line, name.removeprefix("benchsuite.")))
        elif name != "benchsuite":
            self.outside.append((line, name))

    def offence(self, line: int, what: str) -> str:
        return f"{self.path}:{line}: {self.module} {what}"


@functools.cache
def files() -> list[File]:
    """Every source file, read when the first test asks."""
    return [File(path) for path in sorted(ROOT.rglob("*.py"))]


def offences(rule: object) -> list[str]:
    """What a rule finds in all files."""
    return [found for file in files() for found in rule(file)]


def words_know_only_words(file: File) -> Iterator[str]:
    if within(file.module, WORDS):
        for line, name in file.ours:
            if not within(name, WORDS):
                yield file.offence(line, f"is a word and imports {name}")


def core_knows_words_and_core(file: File) -> Iterator[str]:
    if within(file.module, CORE):
        for line, name in file.ours:
            if name == "clock" or not within(name, (*WORDS, *CORE)):
                yield file.offence(line, f"is core and imports {name}")


def core_touches_nothing(file: File) -> Iterator[str]:
    if within(file.module, CORE):
        for line, name in file.outside:
            if name.split(".")[0] in IMPURE:
                yield file.offence(line, f"is core and imports {name}")
            if name.startswith("importlib") and file.module not in ("economics.prices", "workload.wineval"):
                yield file.offence(line, f"is core and imports {name}")
        for line, name in file.calls:
            if name in IMPURE_CALLS:
                yield file.offence(line, f"is core and calls {name}()")


def edges_know_no_conductor(file: File) -> Iterator[str]:
    if within(file.module, ("client", "telemetry", "serving", "simulator", "store", "input_files", "quality.judge")):
        for line, name in file.ours:
            if within(name, ("load",)):
                yield file.offence(line, f"is an edge and imports {name}")


def clients_know_only_clients(file: File) -> Iterator[str]:
    if within(file.module, ("client",)):
        for line, name in file.ours:
            if not within(name, (*WORDS, "workload", "servers", "client")):
                yield file.offence(line, f"imports {name}")


def what_measures_judges_nothing(file: File) -> Iterator[str]:
    if within(file.module, MEASURES):
        for line, name in file.ours:
            if within(name, (*JUDGES, "cli")):
                yield file.offence(line, f"measures and imports {name}")


def what_judges_measures_nothing(file: File) -> Iterator[str]:
    if within(file.module, JUDGES):
        for line, name in file.ours:
            if (file.module, name) == ("quality.judge", "telemetry.http"):
                continue  # the one that asks
            if within(name, ("client", "load", "telemetry", "serving", "simulator", "input_files", "cli")):
                yield file.offence(line, f"judges and imports {name}")


def nobody_knows_the_face(file: File) -> Iterator[str]:
    if not within(file.module, ("cli", "__main__")):
        for line, name in file.ours:
            if within(name, ("cli",)):
                yield file.offence(line, f"imports {name}")


def the_face_alone_asks_a_judge(file: File) -> Iterator[str]:
    if not within(file.module, ("cli", "api", "scoring")):
        for line, name in file.ours:
            if within(name, ("quality.judge",)):
                yield file.offence(line, f"imports {name}, which asks over the network")


def one_place_reads_the_clock(file: File) -> Iterator[str]:
    if within(file.module, ("client",)) and file.module not in ("client.connection", "client.reference_clients"):
        for line, name in [*file.ours, *file.outside]:
            if name.split(".")[0] in ("clock", "time", "datetime"):
                yield file.offence(line, f"imports {name}; only client/connection.py reads clocks for requests")


def libraries_have_their_places(file: File) -> Iterator[str]:
    for line, name in file.outside:
        library = name.split(".")[0]
        if library not in sys.stdlib_module_names and not within(file.module, LIBRARIES.get(library, ())):
            yield file.offence(line, f"imports {name}")


RULES = (
    words_know_only_words,
    core_knows_words_and_core,
    core_touches_nothing,
    edges_know_no_conductor,
    clients_know_only_clients,
    what_measures_judges_nothing,
    what_judges_measures_nothing,
    nobody_knows_the_face,
    the_face_alone_asks_a_judge,
    one_place_reads_the_clock,
    libraries_have_their_places,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_layers(rule):
    """No import breaks the rule."""
    assert offences(rule) == []


def test_the_walk_sees_imports():
    """The walk finds imports in functions too, of modules as of names, with their lines."""
    (wire,) = [file for file in files() if file.module == "client.connection"]
    assert "clock" in [name for _, name in wire.ours]
    assert "socket" in [name for _, name in wire.outside]
    (workers,) = [file for file in files() if file.module == "load.worker"]
    assert "client.reference_clients.HttpxDriver" not in [name for _, name in workers.ours]
    assert "client.reference_clients" in [name for _, name in workers.ours]
    (sources,) = [file for file in files() if file.module == "input_files"]
    assert all(line > 1 for line, _ in sources.ours)
    assert [name for _, name in sources.ours if name == "workload.wineval"] == ["workload.wineval"]
