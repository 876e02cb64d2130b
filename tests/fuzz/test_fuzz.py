"""The short form of `make fuzz`: every parser of foreign bytes, 300 hostile inputs each, always the same."""

from __future__ import annotations

import os
import random
import signal
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchsuite import strict_model
from benchsuite.errors import read_toml
from benchsuite.limits import most
from tests.fuzz.mutating import TOKENS, mutated
from tests.fuzz.run import block, fuzz
from tests.fuzz.targets import TARGETS, Target, escape_of

SHORT = {"run folder": 30, "DCGM page": 100, "journal": 100, "journal, forged": 100}
SHORT |= {"Parquet": 100, "Parquet, forged": 100}


@pytest.mark.parametrize("name", TARGETS)
def test_its_seeds_are_read(name):
    """The real inputs that the hostile ones are made of are fine: else the fuzzer would only see the first check."""
    for seed in TARGETS[name].seeds():
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_escapes(name):
    """Of mutated real inputs: a clear error, or a result. The parsers of a server's answers raise nothing at all."""
    done, _, found = block(name, 0, SHORT.get(name, 300))
    assert done > 0
    assert found == {}


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "run folder"])
@given(pieces=st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=40)), max_size=12))
@example(pieces=[])
def test_nothing_escapes_of_anything(name, pieces):
    """The same of bytes that hypothesis thinks of, and shrinks."""
    assert escape_of(TARGETS[name], b"".join(pieces)) is None


def test_a_crash_is_a_finding(monkeypatch):
    """A process that a library's fault ends is named with the input that did it."""
    crash = Target(lambda data: data != b"seed" and os.kill(os.getpid(), signal.SIGKILL), lambda: [b"seed"])
    monkeypatch.setitem(TARGETS, "crash", crash)
    inputs, _, found = fuzz("crash", range(2), 5, 1, "fork")
    ((place, data),) = found.items()
    assert inputs == 0
    assert place.startswith("its process ended with -9")
    assert data != b"seed"


DEEP = ("a{0} = 1", "[a{0}]", "[[a{0}]]", "b = {{a{0} = 1}}", 'b = 1\n"a" {0} = 2', "[c]\n'a'{0} = 1")


@pytest.mark.parametrize("part", [".a", " . a", '."a b"', ".'a'", ".1"])
@pytest.mark.parametrize("shape", DEEP)
def test_keys_of_many_parts_are_refused(monkeypatch, shape, part):
    """Before tomllib sees them, which takes the square of their number; so is a text that is too long."""
    monkeypatch.setattr(tomllib, "loads", pytest.fail)
    for text in (shape.format(part * most("toml_parts")), "#" * (most("toml_chars") + 1)):
        with pytest.raises(ValueError, match="more than"):
            read_toml(text)


@pytest.mark.parametrize("text", [
    'a = "' + "Some words. " * 300 + '"', "a = [" + "1.5, " * 300 + "]", "a = 1.5\n" + "b.c.d = 1 # .\n",
    "#" + "..." * 300,
    'a = """\n' + "some.thing\n" * 300 + '"""', "".join(f"a.b{i} = 1.5\n" for i in range(300)),
    'a = "' + "../" * 300 + '"', "a = [" + '"a.b", ' * 300 + "]",
])  # fmt: skip
def test_dots_elsewhere_are_no_keys(text):
    """Prose, paths and numbers with many dots."""
    assert read_toml(text)["a"] if not text.startswith("#") else read_toml(text) == {}


@pytest.mark.parametrize("name", ["plan", "sweep TOML", "matrix TOML", "prices"])
def test_what_is_not_shown_is_not_looked_up(monkeypatch, name):
    """Of thousands of unknown keys the first are explained, the others counted."""
    asked = []
    monkeypatch.setattr(strict_model, "did_you_mean", lambda word, _: asked.append(word))
    keys = b"".join(b"k%d = 1\n" % i for i in range(5000))
    error = escape_of(Target(TARGETS[name].run, list, raises=False), keys)
    assert "500" in str(error)
    assert "mistakes" in str(error)
    assert 0 < len(asked) <= strict_model.MISTAKES_SHOWN


def test_the_fuzzer_sees_what_escapes():
    """A parser with a hole is found, for each kind of promise; a clear error is no finding where one may come."""
    from benchsuite.errors import InputError

    def clear(_: bytes) -> None:
        raise InputError("no")

    broken = Target(lambda data: data.decode("ascii"), lambda: [b"abc"])
    rng = random.Random(0)
    assert any(escape_of(broken, mutated(rng, [b"abc"])) for _ in range(200))
    assert escape_of(Target(clear, list), b"") is None
    assert isinstance(escape_of(Target(clear, list, raises=False), b""), InputError)
