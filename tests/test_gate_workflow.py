"""The gate's workflow: pinned actions, least rights, no fork's code or baseline, flags that exist."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchsuite.cli.main import cli as command_line

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / ".github" / "workflows" / "gate.yml").read_text("utf-8")
CODE = "\n".join(re.sub(r"(^|\s)#.*", "", line).rstrip() for line in TEXT.splitlines())


def baseline_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("newest_baseline", ROOT / ".github" / "newest_baseline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def artifact(run_id: int, created: str, **more: Any) -> dict[str, Any]:
    """An artifact as GitHub tells of it: made on main by this repository."""
    run = {"id": run_id, "head_branch": "main", "head_repository_id": 7, "repository_id": 7}
    return {"created_at": created, "expired": more.pop("expired", False), "workflow_run": run | more}


def test_actions_are_pinned_and_githubs_own():
    """By commit, the version beside it."""
    used = re.findall(r"uses: (.*)", TEXT)

    assert len(used) == 4
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_rights_are_to_read():
    """It may read the repository and its artifacts, keeps no token for later steps, knows no secret, and ends."""
    permissions = CODE.partition("\npermissions:\n")[2].partition("\n\n")[0]

    assert permissions.split() == ["actions:", "read", "contents:", "read"]
    assert "persist-credentials: false" in CODE
    assert "secrets." not in CODE
    assert "pull_request_target" not in CODE
    assert "timeout-minutes: 120" in CODE


def test_forks_are_turned_away_and_runs_wait_for_each_other():
    """On the labelled runner, never for another repository's code, one at a time with gpu-smoke."""
    smoke = (ROOT / ".github" / "workflows" / "gpu-smoke.yml").read_text("utf-8")

    assert "runs-on: [self-hosted, linux, x64, gpu]" in CODE
    assert (
        "if: github.event.pull_request == null || github.event.pull_request.head.repo.full_name == github.repository"
        in CODE
    )
    assert "group: gpu-0" in CODE
    assert "group: gpu-0" in smoke
    assert "cancel-in-progress: false" in CODE


def test_no_expression_reaches_a_shell():
    """What others can name (branches, titles) goes through the environment; no `${{` stands in a script."""
    for script in re.findall(r"run: [>|]\n((?: {10}.*\n)+)", CODE) + re.findall(r"run: ([^>|\n]+)", CODE):
        assert "${{" not in script


@pytest.mark.parametrize("verb", ["sweep", "gate"])
def test_its_flags_exist(verb):
    """Every flag that it gives to a verb is one of the verb's."""
    module = importlib.import_module(f"benchsuite.cli.{verb}")
    known = {name for param in module.command.params for name in param.opts}
    step = CODE.partition(f"- name: {verb}\n")[2].partition("      - ")[0]
    used = set(re.findall(r"(--[a-z-]+)", step))

    assert used
    assert used <= known


def test_its_gate_step_runs(tmp_path):
    """The gate step on main and of a change, with earlier runs and without: the flags that reach benchsuite."""
    script = re.sub(
        r"^ {10}", "", CODE.partition("- name: gate\n")[2].partition("run: |\n")[2].partition("      - ")[0], flags=re.M
    )
    fake = tmp_path / ".venv" / "bin" / "benchsuite"
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    env = {
        "PATH": os.environ["PATH"],
        "GITHUB_RUN_ID": "5",
        "GITHUB_RUN_ATTEMPT": "1",
        "GATE_SLO": "ttft<1s,decode_throughput>2",
    }
    env |= {"GATE_MARGINS": "cost=5%", "GATE_ALLOW": ""}

    def words(main: str) -> list[str]:
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=tmp_path, env=env | {"MAIN": main}, capture_output=True, check=True
        )
        return done.stdout.decode().split("\n")[:-1]

    start = ["gate", "results/gate-5-1", "--slo", "ttft<1s,decode_throughput>2"]
    earlier = ["--history", "results/gate-baseline/history", "--anchor", "results/gate-baseline/anchor"]
    end = ["--junit", "results/gate-5-1/gate.xml"]
    margins = ["--max-regression", "cost=5%", "--allow", ""]
    refreshed = [*start, *earlier, "--refresh", "--inconclusive", "pass", *margins, *end]
    assert words("false") == [*start, *end]
    assert words("true") == refreshed
    (tmp_path / "results" / "gate-baseline" / "history").mkdir(parents=True)
    assert words("false") == [*start, *earlier, *margins, *end]
    assert words("true") == refreshed


def test_the_newest_baseline_is_ours():
    """The newest of main: not an expired one, not another branch's, not a fork's whose branch is called main too."""
    newest = baseline_script().newest
    found = [
        artifact(1, "2026-01-01T00:00:00Z"),
        artifact(2, "2026-01-02T00:00:00Z"),
        artifact(3, "2026-01-03T00:00:00Z", expired=True),
        artifact(4, "2026-01-04T00:00:00Z", head_branch="topic"),
        artifact(5, "2026-01-05T00:00:00Z", head_repository_id=8),
    ]

    assert newest(found, "main") == 2
    assert newest(found[2:], "main") is None


def test_the_guides_script_measures_and_judges(tmp_path):
    """docs/examples/gate.sh, with a benchsuite that says what it was asked: the words of both commands, by variable."""
    for folder in ("docs/examples", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    script = ROOT / "docs" / "examples" / "gate.sh"
    fake = tmp_path / "bin" / "benchsuite"
    fake.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" END >> asked\n[ "$1" = gate ] || exit ${SWEEP:-0}\nexit ${GATE:-0}\n'
    )
    fake.chmod(0o755)

    def ran(**variables: str) -> tuple[int, list[list[str]]]:
        (tmp_path / "asked").unlink(missing_ok=True)
        env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "RUN": "results/r", **variables}
        done = subprocess.run(["bash", str(script)], cwd=tmp_path, env=env, check=False)
        commands = (tmp_path / "asked").read_text().split("END\n")[:-1]
        return done.returncode, [command.split("\n")[:-1] for command in commands]

    code, (sweep, gate) = ran(URL="http://127.0.0.1:9")
    assert (code, sweep[0], gate[:2]) == (0, "sweep", ["gate", "results/r"])
    assert sweep[sweep.index("--base-url") + 1] == "http://127.0.0.1:9"
    assert gate[gate.index("--history") + 1 :][:3] == ["perf/history", "--anchor", "perf/anchor"]
    assert "--refresh" not in gate
    assert ran(REFRESH="1", GATE="5")[0] == 5
    assert ran(REFRESH="1")[1][1][-1] == "--refresh"
    assert [ran(SWEEP=code)[0] for code in ("3", "6", "1", "2")] == [0, 0, 1, 2]
    for verb, words in (("sweep", sweep), ("gate", gate)):
        module = importlib.import_module(f"benchsuite.cli.{verb}")
        # the main command's settings, as click keeps what --help was first called
        module.command.make_context(verb, words[1:], **command_line.context_settings)
    workflow = (ROOT / "docs" / "examples" / "gate-workflow.yml").read_text("utf-8")
    assert set(re.findall(r"\b([A-Z]{3,})[:=]", workflow)) <= set(re.findall(r"\$\{(\w+)", script.read_text("utf-8")))
    assert "${{" not in "".join(re.findall(r"run: (.*)", workflow))
