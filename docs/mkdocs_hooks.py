"""README, SECURITY and CHANGELOG of the repository as pages of the site: links between them and docs/ are rewritten."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PAGES = ("README.md", "SECURITY.md", "CHANGELOG.md")


def on_files(files: Files, config: Any) -> Files:
    """The three pages, added as if they were in docs/."""
    for name in PAGES:
        text = (Path(config.docs_dir).parent / name).read_text("utf-8")
        files.append(File.generated(config, name, content=re.sub(r"(\]\(|src=\")docs/", r"\1", text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A link that leaves docs/ for one of the three leads to its page of the site."""
    pages = "|".join(map(re.escape, PAGES))
    return re.sub(rf"\]\(((?:\.\./)*)\.\./({pages})", r"](\1\2", markdown)
