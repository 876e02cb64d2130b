"""A matrix from TOML: the settings it makes, the GPUs they pay for, and its mistakes in words."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchsuite.errors import SpecError
from benchsuite.matrix_spec import differences, implied_gpus, load_matrix, parse_matrix, serve_text
from benchsuite.serving.launch import parse_serve

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def matrix(text: str) -> Any:
    return parse_matrix(tomllib.loads(text), where="test.toml")


def test_the_product_in_the_files_order():
    """Every combination once, the first list slowest, as flags behind the engine."""
    found = matrix('serve.engine = "llamacpp"\n[settings]\nslots = [2, 4]\nthreads = [1, 2]')
    assert [one.serve for one in found.settings] == [
        "llamacpp --slots 2 --threads 1",
        "llamacpp --slots 2 --threads 2",
        "llamacpp --slots 4 --threads 1",
        "llamacpp --slots 4 --threads 2",
    ]
    assert found.settings[1].name == "slots=2 threads=2"
    assert found.settings[1].slug == "slots-2_threads-2"


def test_exclude_and_settings_by_hand():
    """Excluded combinations are gone, those written out come last with their own engine, name and GPUs."""
    found = matrix("""
        serve.engine = "vllm M"
        [settings]
        tensor-parallel-size = [1, 2]
        quantization = ["none", "fp8"]
        [[settings.exclude]]
        tensor-parallel-size = [2, 4]
        quantization = "fp8"
        [[setting]]
        name = "other"
        engine = "vllm N"
        gpus = 8
        max-num-seqs = 64
    """)
    assert [(one.serve, one.gpus) for one in found.settings] == [
        ("vllm M --tensor-parallel-size 1", 1),
        ("vllm M --tensor-parallel-size 1 --quantization fp8", 1),
        ("vllm M --tensor-parallel-size 2", 2),
        ("vllm N --max-num-seqs 64", 8),
    ]
    assert found.settings[3].name == "other"


@pytest.mark.parametrize(
    ("engine", "values", "text"),
    [
        ("vllm M", {"a": "none", "b": False, "c": True, "d": 0, "e": 0.9}, "vllm M --c --d 0 --e 0.9"),
        ("vllm {model} -- --x", {"model": "org/M 1", "-tp": 2}, "vllm 'org/M 1' -- --x -tp 2"),
        ("vllm M --config '{\"a\": 1}'", {"b": 1}, "vllm M --config '{\"a\": 1}' --b 1"),
    ],
)
def test_values_as_flags(engine, values, text):
    """none and false leave a flag out, true has no value, {key} is a place; other braces stay."""
    assert serve_text(engine, values) == text


@pytest.mark.parametrize(
    ("serve", "gpus"),
    [
        ("vllm M", 1),
        ("vllm M -- --tensor-parallel-size 2", 2),
        ("vllm M -tp 2 --pipeline-parallel-size=2 --data-parallel-size 3", 12),
        ("tgi M -- --num-shard 4", 4),
        ("vllm M --tensor-parallel-size", 1),
    ],
)
def test_gpus_follow_the_parallel_flags(serve, gpus):
    """Without `gpus` the server's own flags say how many GPUs are paid for."""
    assert implied_gpus(serve) == gpus


def test_the_price_is_of_all_gpus_of_the_setting():
    """gpus names a setting; each sweep pays for its own number, at one price of a GPU-hour."""
    found = matrix("""
        gpus = "tp"
        serve.engine = "vllm M --tensor-parallel-size {tp}"
        settings.tp = [1, 4]
        sweep.price.usd_per_hour = 2.0
    """)
    sweeps = [found.sweep_of(one, "http://127.0.0.1:9", "M") for one in found.settings]
    assert [(one.price.usd_per_hour, one.price.gpus) for one in sweeps] == [(2.0, 1), (2.0, 4)]
    assert {(one.server.base_url, one.server.model) for one in sweeps} == {("http://127.0.0.1:9", "M")}


def test_every_mistake_is_named_at_once():
    """Unknown keys, empty and doubled lists, a URL, GPUs in two places, a rule that excludes nothing."""
    with pytest.raises(SpecError) as refused:
        matrix("""
            gpus = "tensor"
            setings = 1
            serve.engin = "x"
            [settings]
            slots = [1, 1]
            ctx = []
            threads = [1, 2]
            exclude = [{threads = 3}, {slot = 1}]
            [sweep]
            server.base_url = "http://127.0.0.1:1"
            price.gpus = 2
        """)
    for said in (
        "11 mistakes",
        "setings: unknown key",
        "serve.engin: unknown key",
        "serve.engine: required",
        "settings.slots: a value appears twice",
        "settings.ctx: a list",
        "settings.exclude[0]: excludes nothing",
        "settings.exclude[1].slot: not one of the settings threads",
        "gpus: it follows 'tensor'",
        "sweep.server.base_url: the matrix starts",
        "sweep.price.gpus: say gpus at the top",
    ):
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('serve.engine = "llamacpp"', "nothing to compare"),
        ('serve.engine = "x {slots}"\nsettings.a = [1]', "{slots} is not a setting"),
        ('serve.engine = "x"\nsettings.a = [1]\nsweep.slo = "ttft<"', "slo"),
        ('serve.engine = "x"\nsettings.a = [1]\nsweep.lod.seed = 1', "did you mean 'load'"),
        ('serve.engine = "x"\nsettings.a = [1]\n[[setting]]\na = 1', "starts the same server as another"),
        ('serve.engine = "x"\nsettings.a = [1]\n[[setting]]\na = 2\nname = "A=1"', "has the name of another"),
        ('gpus = 0\nserve.engine = "x"\nsettings.a = [1]', "gpus: a whole number"),
        ('serve.engine = "x"\n[[setting]]\na = 1\nengine = 0', "setting.engine: a text"),
    ],
)
def test_one_mistake(text, said):
    """Each is refused in words, the sweep's own among them."""
    with pytest.raises(SpecError, match="mistake") as refused:
        matrix(text)
    assert said in str(refused.value)


def test_the_plan_knows_what_it_measures():
    """Another level, setting or request set is another plan, and the difference is named; the keys' order is not."""
    base = 'serve.engine = "x"\nsettings.a = [1, 2]\nsweep.load.concurrency = [1]\nsweep.slo = "ttft<1s"'
    one = matrix(base).plan("sha256:1")
    moved = matrix('sweep.slo = "ttft<1s"\n' + base.rpartition("\n")[0]).plan("sha256:1")
    assert moved["content_hash"] == one["content_hash"]
    other = matrix(base.replace("[1]", "[1, 2]").replace("[1, 2]", "[1]", 1)).plan("sha256:2")
    assert other["content_hash"] != one["content_hash"]
    assert differences(one, other) == [
        'settings.a-2: was {"name": "a=2", "serve": "x --a 2", "gpus": 1}, is nothing',
        "sweep.load.concurrency: was [1], is [1, 2]",
        'workload_hash: was "sha256:1", is "sha256:2"',
    ]


@pytest.mark.parametrize("name", ["matrix_llamacpp.toml", "matrix_vllm.toml"])
def test_the_examples(name):
    """Both examples are whole, and every server in them can be started as it is written."""
    found = load_matrix(EXAMPLES / name)
    assert [parse_serve(one.serve).engine for one in found.settings] == [name[7:-5]] * len(found.settings)
    assert sorted({one.gpus for one in found.settings}) == ([1] if "llamacpp" in name else [1, 2])
