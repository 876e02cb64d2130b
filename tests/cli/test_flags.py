"""The flags that are read off models stand in flags.json, so that --help does not import the models."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Literal

import pytest
from pydantic.fields import FieldInfo

from benchsuite.cli.spec_file import kinds_of, meaning_of, words_of
from benchsuite.cli.spec_options import FLAGS
from benchsuite.economics.gpu_hour import Spot
from benchsuite.economics.memory import MemoryDemand
from benchsuite.economics.plan_file import ApiTerms, DemandTable, Extras, Fleet, MachineTerms
from benchsuite.find_spec import NOT_OF_A_SEARCH
from benchsuite.serving.tiny_model import TinyModelSpec
from benchsuite.spec import OwnedSpec, extra, spec_flags

MODELS = (OwnedSpec, Spot, MemoryDemand, DemandTable, Fleet, MachineTerms, ApiTerms, Extras, TinyModelSpec)


def kind(info: FieldInfo) -> str:
    """How click reads a value. Words stay a string: the model refuses a wrong one with all other mistakes."""
    kinds = kinds_of(info.annotation)
    if (dict in kinds and Any not in kinds) or extra(info, "flag") == "--stop":
        return "many"
    if dict in kinds:
        return "text"
    if tuple in kinds:
        return "ints" if int in kinds else "floats" if float in kinds else "texts"
    if bool in kinds:
        return "bool"
    if extra(info, "flag") == "--base-url":
        return "urls"
    return "text" if {str, Literal} & kinds else "float" if float in kinds else "int"


def help_of(info: FieldInfo) -> str:
    """What a key means and what holds where it is left out."""
    words, default = meaning_of(info), extra(info, "default")
    absent = isinstance(info.default, dict) or any(info.default is v for v in (None, False, ()))
    if default is None and not info.is_required() and not absent:
        items = info.default if isinstance(info.default, tuple) else [info.default]
        default = ",".join(f"{i:g}" if isinstance(i, float) else "yes" if i is True else str(i) for i in items)
    return f"{words[:1].upper()}{words[1:]}." + (f"  [default: {default}]" if default else "")


def flag(name: str, info: FieldInfo, key: str = "") -> dict[str, Any]:
    """A key's flag as the file has it, with the table of the specification that it is in, and the verb that alone has
    it. One without a flag of its own is --named-like-it."""
    table = key.rpartition(".")[0]
    own = {"name": name, "flag": extra(info, "flag") or f"--{name.replace('_', '-')}", "help": help_of(info)}
    own |= {"kind": kind(info), "required": info.is_required(), "table": table}
    of = "find" if table == "find" else "sweep" if {table, key} & {*NOT_OF_A_SEARCH} else ""
    own |= {"of": of} if of else {}
    return own | ({"words": list(words_of(info))} if own["kind"] == "text" else {})


def test_flags(pytestconfig: pytest.Config) -> None:
    """The file says what the models say; --snapshot-update writes it."""
    flags = {"SweepSpec": [flag(name, info, key) for name, (key, info) in spec_flags().items()]}
    flags |= {model.__name__: [flag(name, info) for name, info in model.model_fields.items()] for model in MODELS}
    if pytestconfig.option.update_snapshots:
        lines = {model: ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in of) for model, of in flags.items()}
        text = ",\n".join(f'"{model}": [\n  {of}\n]' for model, of in lines.items())
        FLAGS.write_text(f"{{\n{text}\n}}\n", "utf-8")
    assert json.loads(FLAGS.read_text("utf-8")) == flags


@pytest.mark.parametrize("verb", ["find", "sweep", "ab", "doctor", "cost", "memory", "plan", "import", "tiny-model"])
def test_help_imports_no_model(verb: str) -> None:
    """--help of a verb with such flags imports nothing that takes long."""
    script = (
        f"import sys\nfrom benchsuite.cli.main import cli\ntry:\n    cli(['{verb}', '--help'])\nfinally:\n    "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"pydantic", "numpy", "rich", "pyarrow", "httpx"} & set(done.stderr.split())
