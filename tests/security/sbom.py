"""`make sbom`: what docker/requirements.lock installs, as a CycloneDX document with package URLs and hashes."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from pip_requirements_parser import RequirementsFile

from benchsuite import __version__

LOCK = Path(__file__).parents[2] / "docker" / "requirements.lock"


def sbom(lock: Path = LOCK) -> str:
    """The document. Raises ValueError for a requirement without a version and a hash."""
    bom = Bom()
    bom.metadata.component = Component(name="benchsuite", version=__version__, type=ComponentType.APPLICATION)
    for requirement in RequirementsFile.from_file(str(lock)).requirements:
        name, version = requirement.name, requirement.get_pinned_version
        hashes = [text.removeprefix("sha256:") for text in requirement.hash_options]
        if version is None or not hashes:
            raise ValueError(f"{lock}: {requirement.line} has no version or no hash")
        purl = PackageURL("pypi", None, name, version)
        component = Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            purl=purl,
            bom_ref=str(purl),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=text) for text in hashes],
        )
        bom.components.add(component)
        bom.register_dependency(bom.metadata.component, [component])
    return JsonV1Dot6(bom).output_as_string(indent=1)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(exist_ok=True)
    target.write_text(sbom() + "\n", "utf-8")
