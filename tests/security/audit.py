"""`make check`'s last step: known vulnerabilities of what requirements.lock pins, by pip-audit.

Exit code 1 for each that is found. Where something could not be checked (no pip-audit, no answer from its database,
packages that it does not know) that is said; with AUDIT=required in the environment, as in CI, it fails too.
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
    bin_folder = Path(sys.executable).parent
    program = shutil.which("pip-audit", path=os.pathsep.join((str(bin_folder), os.environ.get("PATH", ""))))
    if program is None:
        return not_checked("NOTHING was checked: pip-audit is not installed (make setup)")
    command = [program, "--requirement", str(LOCK), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
        packages = json.loads(done.stdout)["dependencies"]
        found = [
            (package["name"], package["version"], hole) for package in packages for hole in package.get("vulns", ())
        ]
        skipped = sum("skip_reason" in package for package in packages)
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return not_checked("NOTHING was checked: its database cannot be asked from here")
    for name, version, hole in found:
        fixed = ", ".join(hole.get("fix_versions") or ()) or "no release yet"
        print(f"pip-audit: {name} {version}: {hole.get('id')}; fixed in {fixed}")
    print(f"pip-audit: {len(packages) - skipped} packages checked, {len(found)} known vulnerabilities")
    if skipped or not packages:
        some = f"{skipped} of {len(packages)} packages were not checked"
        words = some if skipped < len(packages) else "NOTHING was checked"
        return not_checked(f"{words}: its database does not know them") or int(bool(found))
    return 1 if found else 0


def not_checked(words: str) -> int:
    """Say so; the exit code."""
    required = os.environ.get("AUDIT") == "required"
    print(f"pip-audit: {words}{'; AUDIT=required' * required}")
    return int(required)


if __name__ == "__main__":
    sys.exit(main())
