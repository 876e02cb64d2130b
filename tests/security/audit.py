"""`make check`'s last step: known holes in what requirements.lock pins, by pip-audit; skipped, with a word, without it.

Fails only for a hole that was found: where pip-audit is not installed, or its database cannot be asked, it says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements.lock"
_LIMIT_S = 120


def main() -> int:
    beside = Path(sys.executable).parent
    program = shutil.which("pip-audit", path=os.pathsep.join((str(beside), os.environ.get("PATH", ""))))
    if program is None:
        print("pip-audit: skipped, it is not installed (pip install pip-audit)")
        return 0
    command = [program, "--requirement", str(LOCK), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        print("pip-audit: skipped, its database cannot be asked from here")
        return 0
    holes = [(one["name"], one.get("version"), hole) for one in packages for hole in one.get("vulns", ())]
    for name, version, hole in holes:
        fixed = ", ".join(hole.get("fix_versions") or ()) or "no release yet"
        print(f"pip-audit: {name} {version}: {hole.get('id')}; fixed in {fixed}")
    print(f"pip-audit: {len(packages)} packages, {len(holes)} known holes")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
