"""The CI workflows keep their promises: pinned actions, least rights, GPUs for nobody's fork, one run a GPU."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def lines(name: str) -> list[str]:
    """The workflow's lines without comments, blank ones left out."""
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8")
    return [line for raw in text.splitlines() if (line := re.sub(r"(^|\s)#.*", "", raw).rstrip())]


def block(name: str, key: str) -> list[str]:
    """What stands under a top-level key, unindented by one step."""
    found = lines(name)
    start = found.index(f"{key}:")
    rest = found[start + 1 :]
    end = next((i for i, line in enumerate(rest) if not line.startswith(" ")), len(rest))
    return [line[2:] for line in rest[:end]]


def value(name: str, key: str) -> list[str]:
    """Every `key: value` of the workflow, however deep, as text."""
    return [m[1].strip() for line in lines(name) if (m := re.match(rf"[\s-]*{re.escape(key)}:(.+)", line))]


def make_targets() -> set[str]:
    """What `make` knows."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


def test_all_are_there() -> None:
    """One for any machine, two for a GPU, one that publishes; gate has tests of its own (test_gate_workflow.py)."""
    assert [path.stem for path in WORKFLOWS] == ["ci", "gate", "gpu-smoke", "release"]


@pytest.mark.parametrize("name", ["ci", "gpu-smoke", "release"])
def test_actions_are_pinned(name: str) -> None:
    """Every action is pinned by its commit, with its version beside it, and is GitHub's, or what publishes."""
    used = value(name, "uses")
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8")

    assert used
    for action in used:
        assert re.fullmatch(r"(actions/[a-z-]+|pypa/gh-action-pypi-publish)@[0-9a-f]{40}", action)
        assert re.search(rf"{action} # v\d+\.\d+\.\d+$", text, re.M)


@pytest.mark.parametrize("name", ["ci", "gpu-smoke"])
def test_rights_and_time_are_limited(name: str) -> None:
    """A workflow reads the repository and nothing else, keeps no token for later steps, and ends."""
    assert block(name, "permissions") == ["contents: read"]
    assert set(value(name, "persist-credentials")) == {"false"}
    assert len(value(name, "persist-credentials")) == sum("checkout@" in line for line in lines(name))
    assert len(value(name, "timeout-minutes")) == len(value(name, "runs-on"))
    assert {int(minutes) for minutes in value(name, "timeout-minutes")} <= {40, 45}
    assert "secrets." not in "\n".join(lines(name))


@pytest.mark.parametrize("name", ["ci", "gpu-smoke"])
def test_no_workflow_runs_a_fork_with_our_rights(name: str) -> None:
    """pull_request_target, which gives a fork's code our token, is nowhere."""
    assert "pull_request_target" not in "\n".join(lines(name))


@pytest.mark.parametrize("name", ["ci", "gpu-smoke"])
def test_commands_exist(name: str) -> None:
    """What the workflows make is in the Makefile."""
    made = re.findall(r"make ([a-z-]+)", "\n".join(lines(name)))

    assert made
    assert set(made) <= make_targets()


def test_ci_checks_demos_and_tests_on_all_pythons() -> None:
    """ci: the commands of a newcomer, on every Python that is supported; the wheel; the half that reads, elsewhere."""
    made = [command for command in value("ci", "run") if command.startswith("make ")]
    assert made == ["make check", "make demo", "make test", "make test-long", "make sbom", "make dist"]
    assert value("ci", "python") == ['["3.11", "3.12", "3.13", "3.14"]']
    assert value("ci", "os") == ["[windows-latest, macos-latest]"]
    assert value("ci", "runs-on") == ["ubuntu-latest", "${{ matrix.os }}", "ubuntu-latest"]


def test_a_release_is_published_without_a_token() -> None:
    """release: by a person's release alone; what builds has no rights, and what publishes runs no code of ours."""
    text = "\n".join(lines("release"))
    build, _, publish = text.partition("  publish:\n")

    assert block("release", "on") == ["release:", "  types: [published]"]
    assert block("release", "permissions") == ["contents: read"]
    assert "id-token" not in build
    assert re.findall(r"^ {4}permissions:\n((?: {6}.*\n)+)", publish, re.M) == ["      id-token: write\n"]
    assert "environment: release" in publish
    assert "run:" not in publish
    assert "secrets." not in text
    for script in re.findall(r"run: \|\n((?: {10}.*\n)+)", text) + re.findall(r"run: ([^|\n]+)", text):
        assert "${{" not in script


def test_ci_fails_without_a_scan_and_keeps_the_sbom() -> None:
    """ci: what could not be scanned for vulnerabilities fails, and the list of what is shipped is an artifact."""
    assert value("ci", "AUDIT") == ["required"]
    assert (value("ci", "path"), value("ci", "if-no-files-found")) == (["build/sbom.cdx.json"], ["error"])


def test_gpu_runs_wait_for_each_other() -> None:
    """gpu-smoke: on the labelled runner, one at a time, and a run that measures is never cut off by the next."""
    assert value("gpu-smoke", "runs-on") == ["[self-hosted, linux, x64, gpu]"]
    assert block("gpu-smoke", "concurrency") == ["group: gpu-0", "cancel-in-progress: false"]


def test_gpu_runs_are_never_started_by_a_fork() -> None:
    """gpu-smoke: by hand, each night and for main; a pull request of another repository is turned away all the same."""
    triggers = [line for line in block("gpu-smoke", "on") if not line.startswith(" ")]
    (guard,) = value("gpu-smoke", "if")[:1]

    assert triggers == ["workflow_dispatch:", "schedule:", "push:"]
    assert value("gpu-smoke", "branches") == ["[main]"]
    assert guard == (
        "github.event.pull_request == null || github.event.pull_request.head.repo.full_name == github.repository"
    )


def test_gpu_run_is_kept_and_wants_cuda() -> None:
    """gpu-smoke: fails without CUDA instead of passing on the CPU, and uploads the run folder whatever happened."""
    (smoke,) = [command for command in value("gpu-smoke", "run") if command.startswith("make smoke-cuda")]
    (kept,) = value("gpu-smoke", "path")

    assert "DEVICE=cuda" in smoke
    assert f"OUTPUT={kept}" in smoke
    assert value("gpu-smoke", "if")[1] == "always()"
