"""The command line as a whole: what it imports, what it lists, and how it says what is wrong."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_line import CommandLine
from factory import run_folder

from benchsuite.cli.main import VERBS, load_verb, main

URL = "--base-url http://127.0.0.1:9"
HEAVY = {"numpy", "pandas", "pyarrow", "asyncio", "httpx", "openai", "scipy", "pydantic", "rich", "jinja2"}


@pytest.mark.parametrize(
    ("words", "heavy", "most"),
    [("--help", HEAVY, 140), ("--version", HEAVY, 140), ("sweep --help", HEAVY - {"pydantic"}, 240)],
)
def test_help_imports_nothing_heavy(words, heavy, most):
    """Help and version come without the libraries that take their time; a sweep's, which reads the spec, with pydantic.

    No validator of the spec is built for it: that takes longer than all else.
    """
    script = (
        "import json, sys\n"
        "from benchsuite.cli.main import main\n"
        f"sys.argv = ['benchsuite', *{words.split()!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "spec = sys.modules.get('benchsuite.spec')\n"
        "assert spec is None or not spec.SweepSpec.__pydantic_complete__\n"
        "print('\\n' + json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=250)
    modules = json.loads(done.stdout.splitlines()[-1])
    assert not heavy & {name.split(".")[0] for name in modules}
    assert len(modules) < most


def with_subcommands(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    """A command and, if it is a group, all below it."""
    below = command.commands.items() if isinstance(command, click.Group) else ()
    return [(name, command), *(found for sub, one in below for found in with_subcommands(f"{name} {sub}", one))]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_has_help(cli, verb):
    """Every verb says what it does and shows how it is called, and every option says what it is for."""
    for name, command in with_subcommands(verb, load_verb(verb)):
        assert command.help, name
        assert all(one.param_type_name == "argument" or one.help or one.hidden for one in command.params), name
        shown = cli(name, "--help")
        assert shown.code == 0, name
        assert isinstance(command, click.Group) or f"benchsuite {name}" in shown.out, name


def completions(words: list[str], folder: Path) -> list[str]:
    """What bash would complete the last of `words` to, asked of the script as bash asks it."""
    script = CommandLine()("completion bash").out
    (folder / "benchsuite").write_text(f'#!/bin/sh\nexec {sys.executable} -m benchsuite "$@"\n')
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
def test_other_shells_have_a_script(cli, shell):
    """The scripts of zsh and fish name the program."""
    ended = cli("completion", shell)
    assert ended.code == 0
    assert f"_BENCHSUITE_COMPLETE={shell}_complete" in ended.out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("workload descibe", "'describe'"),
        ("sweeep", "'sweep'"),
        ("decid", "'decide'"),
        ("decide --usd-per-our 1", "--usd-per-hour"),
        (f"sweep {URL} --profile olama", "'ollama'"),
        (f"sweep {URL} --slo tftt_p95<1s", "'ttft_p95'"),
        (f"sweep {URL} --preset h10-low", "'h100-low'"),
    ],
)
def test_what_was_likely_meant(monkeypatch, capsys, words, hint):
    """A mistyped verb, option, profile, metric or preset is answered with the likely one, on stderr."""
    monkeypatch.setattr(sys, "argv", ["benchsuite", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert hint in said.err


def test_a_server_that_is_not_there(cli, monkeypatch, tmp_path):
    """A server that cannot be reached is exit code 1, with its address, and leaves nothing."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    ended = cli("sweep --concurrency 1 --requests 2 --base-url", url)
    assert (ended.code, ended.error.where) == (1, f"{url}/v1/models")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_there(cli, monkeypatch, tmp_path, simulated):
    """A model that the server does not have is exit code 1, with those that it has."""
    monkeypatch.chdir(tmp_path)
    flags = "sweep --model gpt --concurrency 1 --requests 2 --profile vllm --base-url"
    ended = cli(flags, simulated.base_url)
    assert (ended.code, ended.error.given) == (1, "gpt")
    assert "simulator" in ended.error.expected


def test_a_whole_sweep(cli, tmp_path, simulated):
    """A sweep leaves its folder, prints its decision, and its exit code says whether the SLO is met."""
    workload, run = tmp_path / "set.jsonl", tmp_path / "run"
    workload.write_text("".join(f'{{"prompt": "question {i}", "max_output_tokens": 4}}\n' for i in range(8)))
    flags = "--concurrency 1,2 --slo ttft<10s --warmup-requests 2 --usd-per-hour 2 --quiet"
    ended = cli("sweep --base-url", simulated.base_url, flags, "--workload", workload, "--output", run)
    assert ended.code == cli("decide", run).code, ended
    assert ended.out
    files = {"manifest.json", "requests.parquet", "server.parquet", "summary.json", "report.html"}
    assert {path.name for path in run.iterdir()} == files
    assert json.loads((run / "manifest.json").read_text())["status"] == "complete"
    assert (
        cli(
            "sweep --quiet --slo ttft<1us --resume", run, ("--base-url", simulated.base_url), "--workload", workload
        ).code
        == cli("decide", run).code
    )


def test_the_output_folder_is_taken(cli, tmp_path, simulated):
    """A folder that holds files of a run that cannot be gone on with is refused, and nothing in it changes."""
    (tmp_path / "requests.parquet").write_text("{}")
    ended = cli("sweep --concurrency 1 --requests 2 --base-url", simulated.base_url, "--output", tmp_path)
    assert (ended.code, ended.error.where) == (2, str(tmp_path))
    assert (tmp_path / "requests.parquet").read_text() == "{}"


@pytest.mark.parametrize("words", ["decide RUN > /dev/full", "decide RUN >&-", "decide RUN 2>&-"])
def test_outputs_that_take_nothing(words, tmp_path):
    """A full device is an error of one line; an output that is closed is none."""
    run_folder(tmp_path / "run", levels=(2,))
    command = f"{sys.executable} -m benchsuite {words.replace('RUN', str(tmp_path / 'run'))}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in ended.stderr
    assert ("No space left" in ended.stderr) == ("full" in words)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_takes_a_part(unbuffered, tmp_path):
    """A disk that fills up on the way is an error too, also where Python buffers no output."""
    with (tmp_path / "out").open("wb") as output:
        ended = subprocess.run(
            [sys.executable, "-m", "benchsuite", "schema"], stdout=output, stderr=subprocess.PIPE, text=True,
            # no bytecode, of which Python would leave the first 100 bytes to all later processes
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered, "PYTHONDONTWRITEBYTECODE": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        )  # fmt: skip
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
