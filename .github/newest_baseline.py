"""Print `run_id=N`, the workflow run with the newest baseline of the default branch; an empty one if there is none.

For gate.yml. An artifact is taken only if a run of this repository made it on its default branch, not a fork's, whose
branch may have the same name.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any


def newest(artifacts: Iterable[Mapping[str, Any]], branch: str) -> int | None:
    """The id of the run that made the newest artifact of the branch; None if there is none."""
    made = [
        (artifact["created_at"], artifact["workflow_run"]["id"])
        for artifact in artifacts
        if not artifact["expired"]
        and artifact["workflow_run"]["head_branch"] == branch
        and artifact["workflow_run"]["head_repository_id"] == artifact["workflow_run"]["repository_id"]
    ]
    return max(made)[1] if made else None


def main() -> None:
    """Ask GitHub for artifacts of that name."""
    api, repository = os.environ["GITHUB_API_URL"], os.environ["GITHUB_REPOSITORY"]
    request = urllib.request.Request(
        f"{api}/repos/{repository}/actions/artifacts?name=gate-baseline&per_page=100",
        headers={"Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}", "Accept": "application/vnd.github+json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = newest(json.load(answer)["artifacts"], os.environ["DEFAULT_BRANCH"])
    print(f"run_id={'' if found is None else found}")


if __name__ == "__main__":
    main()
