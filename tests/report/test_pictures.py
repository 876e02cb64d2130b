"""The README's pictures are what the code draws of the paper's tables."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def pictures() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "docs" / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn: dict[str, str] = module.pictures()
    return drawn


@pytest.mark.parametrize("name", ["frontier.svg", "paper_curves.svg"])
def test_the_papers_pictures_are_up_to_date(pictures: dict[str, str], name: str):
    """As committed; if not, run docs/make_pictures.py and look at them."""
    assert pictures[name] == (ROOT / "docs" / "pictures" / name).read_text("utf-8")


def test_nine_models_are_named(pictures: dict[str, str]):
    """In the frontier, and in each of the two charts of curves."""
    models = (ROOT / "docs" / "examples" / "paper_scores.csv").read_text("utf-8").splitlines()[1:]
    for name, times in (("frontier.svg", 1), ("paper_curves.svg", 2)):
        texts = [one.text for one in ElementTree.fromstring(pictures[name]).iter(f"{SVG}text")]
        assert len(models) == 9
        for model in models:
            assert texts.count(model.split(",")[0]) == times


def test_every_picture_of_the_readme_is_there():
    """And is not large."""
    for line in (ROOT / "README.md").read_text("utf-8").splitlines():
        for part in line.split("docs/pictures/")[1:]:
            path = ROOT / "docs" / "pictures" / part.split('"')[0].split(")")[0]
            assert 0 < path.stat().st_size < 200_000
