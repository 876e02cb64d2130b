"""README, SECURITY, CHANGELOG and CONTRIBUTING as pages of the site: links between them and docs/ are rewritten.

A link to another file of the repository leads to that file by the url Repository of pyproject.toml.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md")
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]


def on_files(files: Files, config: Any) -> Files:
    """The four pages, added as if they were in docs/."""
    for name in PAGES:
        text = re.sub(r"(\]\(|src=\")docs/", r"\1", (ROOT / name).read_text("utf-8"))
        text = re.sub(r"\]\((CITATION\.cff|LICENSE)\)", rf"]({REPOSITORY}/blob/main/\1)", text)
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A link that leaves docs/ for one of the four leads to its page of the site."""
    pages = "|".join(map(re.escape, PAGES))
    return re.sub(rf"\]\(((?:\.\./)*)\.\./({pages})", r"](\1\2", markdown)
