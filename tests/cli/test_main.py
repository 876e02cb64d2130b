"""The command line as a whole: what it imports, what it lists, and how it says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchsuite.cli.main import VERBS, cli, main
from benchsuite.simulator.config import SimulatorConfig
from benchsuite.simulator.server import simulator

HEAVY = {"numpy", "pandas", "pyarrow", "asyncio", "httpx", "openai", "scipy", "pydantic", "rich", "jinja2"}


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of `benchsuite ARGUMENTS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["benchsuite", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["-h"]])
def test_help_imports_nothing_heavy(arguments):
    """Help and version come without any of the libraries that take their time."""
    script = (
        "import sys\n"
        "from benchsuite.cli.main import main\n"
        f"sys.argv = ['benchsuite', *{arguments!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "import json; print(); print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


def test_help_lists_every_verb(monkeypatch, capsys):
    """Every verb is listed with its line."""
    code, out, _ = run(monkeypatch, capsys, "--help")
    assert code == 0
    for verb, text in VERBS.items():
        assert f"  {verb} " in out
        assert text.split()[0] in out


def with_subcommands(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    """A command and, if it is a group, all below it."""
    found = [(name, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for sub in command.list_commands(context):
            found += with_subcommands(f"{name} {sub}", command.get_command(context, sub))
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_has_help(verb):
    """Every verb says what it does, and every option what it is for."""
    for name, command in with_subcommands(verb, cli.get_command(None, verb)):
        assert command.help, name
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or parameter.help, (name, parameter.name)
        assert CliRunner().invoke(command, ["--help"]).exit_code == 0, name


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples(verb):
    """Every verb, and every verb below it, shows how it is called."""
    for name, command in with_subcommands(verb, cli.get_command(None, verb)):
        if not isinstance(command, click.Group):
            text = CliRunner().invoke(command, ["--help"]).output
            assert "Example" in text, name
            assert f"benchsuite {name}" in text, name


def completions(words: list[str], folder: Path) -> list[str]:
    """What bash would complete the last of `words` to, asked of the script as bash asks it."""
    script = CliRunner().invoke(cli.get_command(None, "completion"), ["bash"]).output
    (folder / "benchsuite").write_text(f'#!/bin/sh\nexec {sys.executable} -m benchsuite.cli.main "$@"\n')
    (folder / "benchsuite").chmod(0o755)
    (folder / "script").write_text(script)
    asked = " ".join(f"'{word}'" for word in words)
    done = subprocess.run(
        ["bash", "-c", f"source {folder}/script 2>/dev/null; COMP_WORDS=({asked}); COMP_CWORD={len(words) - 1}; "
         '_benchsuite_completion benchsuite; printf "%s\\n" "${COMPREPLY[@]}"'],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["benchsuite", "rec"], ["recover"]),
        (["benchsuite", "sweep", "--fallback-us"], ["--fallback-usd-per-1m-input", "--fallback-usd-per-1m-output"]),
        (["benchsuite", "serve", "sim"], ["simulator"]),
        (["benchsuite", "completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes(tmp_path, words, told):
    """The script completes verbs, their verbs, options and choices in a real bash."""
    assert completions(words, tmp_path) == told


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell):
    """The scripts of zsh and fish name the program."""
    said = CliRunner().invoke(cli.get_command(None, "completion"), [shell])
    assert said.exit_code == 0
    assert f"_BENCHSUITE_COMPLETE={shell}_complete" in said.output


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("workload", "descibe"), "'describe'"),
        (("serve", "vlm"), "'vllm'"),
        (("decide", "--usd-per-our", "1"), "--usd-per-hour"),
        (("sweep", "--base-url", "http://127.0.0.1:9", "--profile", "olama"), "did you mean 'ollama'?"),
        (("sweep", "--base-url", "http://127.0.0.1:9", "--slo", "tftt_p95<1s"), "did you mean 'ttft_p95'?"),
        (("sweep", "--base-url", "http://127.0.0.1:9", "--preset", "h10-low"), "did you mean 'h100-low'?"),
    ],
)
def test_what_was_likely_meant(monkeypatch, capsys, tmp_path, words, hint):
    """A mistyped verb below a verb, option, profile, metric or preset is answered with the likely one."""
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, *words)
    assert code == 2
    assert hint in err


@pytest.mark.parametrize(
    ("wrong", "hint"), [("sweeep", "Did you mean 'sweep'?"), ("decid", "Did you mean 'decide'?"), ("zzz", "No such")]
)
def test_unknown_verbs(monkeypatch, capsys, wrong, hint):
    """A mistyped verb is answered with the likely one."""
    code, _, err = run(monkeypatch, capsys, wrong)
    assert code == 2
    assert hint in err


def told(err: str) -> dict[str, str]:
    """The parts of an error message: error, where, given, expected, try."""
    parts: dict[str, str] = {}
    for line in err.splitlines():
        label, _, text = line.strip().partition(":")
        if label in ("error", "where", "given", "expected", "try"):
            parts[label] = text.strip()
    return parts


def test_an_unknown_key_in_the_spec(monkeypatch, capsys, tmp_path):
    """A mistyped key is named with its table, the file and the likely key."""
    path = tmp_path / "sweep.toml"
    path.write_text('[server]\nbase_url = "http://127.0.0.1:9"\n[load]\nconcurency = [1]\n')
    code, out, err = run(monkeypatch, capsys, "sweep", str(path))
    assert (code, out) == (2, "")
    assert "load.concurency: unknown key; did you mean 'concurrency'?" in err
    assert told(err)["error"] == "the sweep spec has 1 mistake:"
    assert told(err)["where"] == str(path)
    assert told(err)["expected"].startswith("the keys and types of")


URL = ("--base-url", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--slo", "ttft<1"), "slo: ttft needs a unit ('ttft<1'); expected s, ms or us"),
        (("--concurrency", "0"), "load.concurrency: a concurrency level is a whole number of at least 1, not 0"),
        (("--concurrency", "8,x"), "'8,x' is not a list of whole numbers such as 8,16,32"),
        (("--concurrency", "8,8"), "load.concurrency: a concurrency level appears twice"),
        (("--requests", "0"), "workload.requests: Input should be greater than or equal to 1"),
        (("--profile", "vlm"), "server.profile: Input should be 'auto', 'vllm'"),
        (("--usd-per-hour", "1", "--preset", "x"), "price: give usd_per_hour or preset, not both"),
        (("--preset", "no-such-gpu"), "no-such-gpu"),
        (("--nonsense",), "No such option"),
    ],
)
def test_flags_that_make_no_sense(monkeypatch, capsys, tmp_path, flags, message):
    """A flag that makes no sense is refused with exit code 2 before anything is asked of a server."""
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "sweep", *URL, *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_no_server_named(monkeypatch, capsys):
    """A sweep of nothing says which flag is missing."""
    code, _, err = run(monkeypatch, capsys, "sweep")
    assert code == 2
    assert "server: required but missing (--base-url URL)" in err


def test_a_workload_line_that_is_not_json(monkeypatch, capsys, tmp_path):
    """A broken line of a workload is named by file and line, with what is there and what should be."""
    path = tmp_path / "set.jsonl"
    path.write_text('{"prompt": "a"}\n{oops\n')
    code, _, err = run(monkeypatch, capsys, "sweep", *URL, "--workload", str(path))
    assert code == 2
    parts = told(err)
    assert parts["error"].startswith("the line is not valid JSON: ")
    assert (parts["where"], parts["given"]) == (f"{path}:2", "{oops")
    assert parts["expected"] == "one JSON object per line"


def test_a_level_beyond_the_set(monkeypatch, capsys):
    """A level that the set cannot keep busy is refused before the server is asked."""
    code, _, err = run(monkeypatch, capsys, "sweep", *URL, "--concurrency", "4,16", "--requests", "8")
    assert code == 2
    parts = told(err)
    assert parts["given"] == "level 16 with 8 requests"
    assert parts["expected"].startswith("at least 16 requests")
    assert parts["try"] == "--requests 160, or lower levels"


def test_a_server_that_is_not_there(monkeypatch, capsys, tmp_path):
    """A server that cannot be reached is exit code 1, with its address and what to try."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    code, _, err = run(monkeypatch, capsys, "sweep", "--base-url", url, "--concurrency", "1", "--requests", "2")
    assert code == 1
    parts = told(err)
    assert parts["error"] == "the server cannot be reached"
    assert (parts["where"], parts["expected"]) == (f"{url}/v1/models", "an OpenAI-compatible server")
    assert "benchsuite serve" in parts["try"]
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_there(monkeypatch, capsys, tmp_path):
    """A model that the server does not have is exit code 1, with those that it has."""
    monkeypatch.chdir(tmp_path)
    with simulator(SimulatorConfig()) as server:
        flags = ("--base-url", server.base_url, "--model", "gpt", "--concurrency", "1", "--requests", "2")
        code, _, err = run(monkeypatch, capsys, "sweep", *flags, "--profile", "vllm")
    assert code == 1
    parts = told(err)
    assert parts["error"] == "the server does not have the model"
    assert (parts["given"], parts["expected"]) == ("gpt", "one of simulator")


@pytest.mark.parametrize(("slo", "code"), [("ttft<10s", 0), ("ttft<1us", 3)])
def test_a_whole_sweep(monkeypatch, capsys, tmp_path, slo, code):
    """A sweep leaves its folder, prints its decision, and its exit code says whether the SLO is met."""
    workload = tmp_path / "set.jsonl"
    workload.write_text("".join(f'{{"prompt": "question {i}", "max_output_tokens": 4}}\n' for i in range(8)))
    with simulator(SimulatorConfig()) as server:
        flags = ("--base-url", server.base_url, "--workload", str(workload), "--concurrency", "1,2", "--slo", slo)
        flags += ("--warmup-requests", "2", "--usd-per-hour", "2", "--output", str(tmp_path / "run"), "--quiet")
        ended, out, err = run(monkeypatch, capsys, "sweep", *flags)
    assert ended == code, err
    assert out
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"manifest.json", "requests.parquet", "server.parquet", "summary.json", "report.html"}
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "complete"


def test_the_output_folder_is_taken(monkeypatch, capsys, tmp_path):
    """A folder that holds files of a run that cannot be gone on with is refused, and nothing in it changes."""
    (tmp_path / "requests.parquet").write_text("{}")
    with simulator(SimulatorConfig()) as server:
        flags = ("--base-url", server.base_url, "--concurrency", "1", "--requests", "2", "--output", str(tmp_path))
        code, _, err = run(monkeypatch, capsys, "sweep", *flags)
    assert code == 2
    assert told(err)["given"] == "a folder with requests.parquet"
    assert (tmp_path / "requests.parquet").read_text() == "{}"
