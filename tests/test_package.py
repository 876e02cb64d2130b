"""What is published: wheel and sdist hold what they should, say what they are, and work outside the repository."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NAME = f"{PROJECT['name']}-{PROJECT['version']}"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of wheel and sdist: $DIST, as `make dist` has built it, or built here from what git would hold."""
    if "DIST" in os.environ:
        return Path(os.environ["DIST"]).resolve()
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True, timeout=200)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl")


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return email.message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))


def package_files() -> set[str]:
    """All files below benchsuite/ but what Python leaves there."""
    below = (path for path in (ROOT / "benchsuite").rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in below if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Every module, template, table and text of the package, py.typed, the licence; no tests, benchmarks or results."""
    held = {name for name in wheel.namelist() if not name.endswith("/")}
    info = {
        f"{NAME}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    assert held == package_files() | info
    assert "benchsuite/py.typed" in held
    assert {Path(name).suffix for name in held} >= {".py", ".toml", ".j2", ".css", ".js", ".json", ".txt"}


def test_the_sdist_can_be_built_and_tested(dist: Path) -> None:
    """What a packager needs is there: package, tests, docs, lock, licence; nothing that git ignores or a run left."""
    with tarfile.open(dist / f"{NAME}.tar.gz") as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held >= package_files() | {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO"}
    assert {"tests/conftest.py", "docs/GUIDE.md", "requirements.lock"} <= held
    assert not [name for name in held if re.match(r"(\.venv|build|dist|\.git)/|.*(__pycache__|\.pyc)", name)]


def test_it_says_what_it_is(metadata: Message) -> None:
    """Name, version, Python, licence, pages, typed, the README with absolute links; each Python that CI runs."""
    assert (metadata["Name"], metadata["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {text.split(",")[0] for text in metadata.get_all("Project-URL", [])} >= {
        "Repository",
        "Documentation",
        "Issues",
    }
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    assert not [text for text in classifiers if text.startswith("License ::")]  # the expression says it
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    (pythons,) = re.findall(r"python: \[(.*)\]", ci)
    versions = {text.rpartition(" ")[2] for text in classifiers if re.search(r"Python :: 3\.\d", text)}
    assert versions == set(re.findall(r"[\d.]+", pythons))
    assert metadata["Description-Content-Type"] == "text/markdown"
    text, url = str(metadata.get_payload()), PROJECT["urls"]["Repository"]
    links = re.findall(r"(!?)\[[^]]*\]\(([^)]*)\)", text)
    assert links
    for picture, target in links:  # none is relative: it would lead nowhere on PyPI
        place, _, path = target.removeprefix(f"{url}/").partition("/main/")
        assert (place, (ROOT / path.partition("#")[0]).exists()) == ("raw" if picture else "blob", True), target
    assert re.sub(rf"{re.escape(url)}/(raw|blob)/main/", "", text) == (ROOT / "README.md").read_text("utf-8")


def test_its_extras_are_those_of_the_guide(metadata: Message) -> None:
    """Each extra that README, guide or a message names exists, and what runs the demo is one."""
    extras = set(metadata.get_all("Provides-Extra", []))
    texts = [ROOT / "README.md", ROOT / "docs" / "GUIDE.md", *(ROOT / "benchsuite").rglob("*.py")]
    named = {one for path in texts for one in re.findall(r"benchsuite\[(\w+)\]", path.read_text("utf-8"))}
    assert named <= extras
    assert {"engine", "fast", "hf", "prices", "tokenizers"} <= extras


def test_versions_are_one() -> None:
    """Package, citation and changelog name the same version."""
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text("utf-8")


def installed(wheel: zipfile.ZipFile, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`benchsuite WORDS` in an empty folder, from the wheel's files alone."""
    site, empty = folder / "site", folder / "empty"
    if not site.exists():
        wheel.extractall(site)
        empty.mkdir()
    env = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(folder), "XDG_STATE_HOME": str(folder)}
    command = [sys.executable, "-P", "-m", "benchsuite", *words]
    return subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.parametrize(
    "words", ["--version", "schema", "cost --preset h100-low", "workload describe wineval", "plan --init"]
)
def test_its_data_is_there_outside_the_repository(wheel: zipfile.ZipFile, tmp_path: Path, words: str) -> None:
    """What reads a table or a text of the package finds it in the wheel."""
    done = installed(wheel, tmp_path, *words.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
@pytest.mark.engine
def test_the_demo_works_from_an_empty_folder(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """The demo needs the wheel and its engine: no git, no make, no file of the repository; and leaves a report."""
    done = installed(wheel, tmp_path, "demo", "--quiet", "--output", "run")
    assert done.returncode in (0, 6), done.stderr
    assert (tmp_path / "empty" / "run" / "report.html").stat().st_size > 50_000
