"""The README as the long text of wheel and sdist: its links into the repository are absolute there, for PyPI."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme`. Pictures lead to the raw file, other links to its page, both by the url Repository."""
        url = metadata["urls"]["Repository"]
        text = (Path(self.root) / "README.md").read_text("utf-8")
        text = re.sub(r"(!\[[^]]*\]\()(?!https?:|#)", rf"\1{url}/raw/main/", text)
        text = re.sub(r"((?<!!)\[[^]]*\]\()(?!https?:|#)", rf"\1{url}/blob/main/", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
