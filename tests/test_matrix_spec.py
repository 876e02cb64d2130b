"""A matrix from TOML: the settings it makes, the GPUs they pay for, and its mistakes in words."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchsuite.errors import SpecError
from benchsuite.matrix_spec import implied_gpus, load_matrix, parse_matrix, serve_text
from benchsuite.serving.launch_plan import parse_serve

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


def mistakes(text: str) -> list[str]:
    """What the refusal of a matrix names, a line each."""
    with pytest.raises(SpecError) as refused:
        matrix(text)
    assert refused.value.where == "test.toml"
    header, *lines = refused.value.what.split("\n")
    assert f" {len(lines)} mistake" in header
    return [line.strip() for line in lines]


def test_every_mistake_of_single_values_is_named_at_once():
    """Unknown keys, empty and doubled lists, a URL and GPUs in two places; each with its key."""
    lines = mistakes("""
        setings = 1
        serve.engin = "x"
        [settings]
        slots = [1, 1]
        ctx = []
        [[setting]]
        a = [1]
        engine = 0
        [sweep]
        server.base_url = "http://127.0.0.1:1"
        price.gpus = 2
    """)
    assert [line.split(": ")[0] for line in lines] == [
        "serve.engine",
        "serve.engin",
        "settings.slots",
        "settings.ctx",
        "setting.0.engine",
        "setting.0.a",
        "sweep",
        "setings",
    ]
    assert "did you mean 'engine'" in lines[1]
    assert "server.base_url" in lines[6]
    assert "price.gpus" in lines[6]
    assert "did you mean 'settings'" in lines[7]


def test_every_mistake_between_values_is_named_at_once():
    """Rules that exclude nothing or name no setting, places and GPUs that follow no setting."""
    lines = mistakes("""
        gpus = "tensor"
        serve.engine = "x {ctx}"
        [settings]
        threads = [1]
        exclude = [{threads = 3}, {slot = 1}]
    """)
    assert [line.split(": ")[0] for line in lines] == [
        "settings.exclude.0",
        "settings.exclude.1.slot",
        "serve.engine",
        "gpus",
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('serve.engine = "llamacpp"', "settings"),
        ('serve.engine = " "\nsettings.a = [1]', "serve.engine"),
        ('serve.engine = "x"\nserve.ready_timeout_s = 0\nsettings.a = [1]', "serve.ready_timeout_s"),
        ('serve.engine = "x {slots}"\nsettings.a = [1]', "serve.engine"),
        ('serve.engine = "x"\nsettings.a = [[1]]', "settings.a"),
        (
            'serve.engine = "x"\nsettings.a = [1]\n[[setting]]\na = 1\nname = "b"',
            "setting 'b' starts the same server as another",
        ),
        (
            'serve.engine = "x"\nsettings.a = [1]\n[[setting]]\na = 2\nname = "A=1"',
            "setting 'A=1' has the name of another",
        ),
        ('serve.engine = "x"\n[[setting]]', "setting"),
        (
            'serve.engine = "x"\n' + "\n".join(f"settings.{key} = {[*range(200)]}" for key in "abcdef"),
            "settings",
        ),
        ('gpus = 0\nserve.engine = "x"\nsettings.a = [1]', "gpus"),
        ('gpus = "a"\nserve.engine = "x"\nsettings.a = ["two"]', "gpus"),
        ('serve.engine = "x"\nsettings.a = [1]\nsweep.price = 1', "sweep"),
        ('serve.engine = "x"\nsettings.a = [1]\nsweep.slo = "ttft<"', "slo"),
        ('serve.engine = "x"\nsettings.a = [1]\nsweep.lod.seed = 1', "lod"),
    ],
)
def test_one_mistake(text, place):
    """Each is refused with its key, the sweep's own among them."""
    assert [line.split(": ")[0] for line in mistakes(text) if not line.startswith("setting ''")] == [place]


def test_the_plan_knows_what_it_measures():
    """Another level, setting or request set is another plan; another order of the keys is not."""
    base = 'serve.engine = "x"\nsettings.a = [1, 2]\nsweep.load.concurrency = [1]\nsweep.slo = "ttft<1s"'
    one = matrix(base).plan("sha256:1")
    moved = matrix('sweep.slo = "ttft<1s"\n' + base.rpartition("\n")[0]).plan("sha256:1")
    assert moved == one
    other = matrix(base.replace("[1]", "[1, 2]").replace("[1, 2]", "[1]", 1)).plan("sha256:2")
    assert other != one


@pytest.mark.parametrize("name", ["matrix_llamacpp.toml", "matrix_vllm.toml"])
def test_the_examples(name):
    """Both examples are whole, and every server in them can be started as it is written."""
    found = load_matrix(EXAMPLES / name)
    assert [parse_serve(one.serve).engine for one in found.settings] == [name[7:-5]] * len(found.settings)
    assert sorted({one.gpus for one in found.settings}) == ([1] if "llamacpp" in name else [1, 2])
