"""Which software made a run: its own source's digest, and a CycloneDX 1.6 bill of materials of what it depends on.

Names, versions and digests alone: nothing tells the machine, its user or a path. A distribution is stood for by its
RECORD, the list in which its installer wrote down the digest of each of its files.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = ("cli", "compliance", "dp", "fedsec", "fl_engine", "secagg")
_NAME = "fedsec"


@cache
def source_digest() -> str:
    """SHA-256 over ``sha256  path`` lines, one for each .py file of fedsec's packages, by rising path; in hex.

    The lines are those of ``sha256sum``, paths relative to the folder that holds the packages.
    """
    lines = []
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None  # our own packages have an __init__.py
        root = Path(spec.origin).parent
        for path in root.rglob("*.py"):
            name = f"{package}/{path.relative_to(root).as_posix()}"
            lines.append((name, hashlib.sha256(path.read_bytes()).hexdigest()))
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(lines))
    return hashlib.sha256(listing.encode()).hexdigest()


def bill_of_materials() -> bytes:
    """The CycloneDX document, JSON: fedsec, Python, and every distribution that fedsec needs, directly or not."""
    bom = Bom()
    own = distribution(_NAME)
    bom.metadata.component = _component(
        ComponentType.APPLICATION, _NAME, own.version, source_digest(), of="source files"
    )
    bom.components.add(
        _component(ComponentType.PLATFORM, "python", platform.python_version(), _interpreter(), of="interpreter")
    )
    found = closure(own)
    components = {name: _library(each) for name, each in found.items()}
    bom.components.update(components.values())
    bom.register_dependency(bom.metadata.component, [components[name] for name in _needs(own) if name in components])
    for name, each in found.items():
        bom.register_dependency(components[name], [components[other] for other in _needs(each) if other in components])
    return JsonV1Dot6(bom).output_as_string(indent=1).encode() + b"\n"


def closure(root: Distribution) -> dict[str, Distribution]:
    """What is installed of all that ``root`` needs, itself left out, by normalised name."""
    found: dict[str, Distribution] = {}
    open_names = list(_needs(root))
    while open_names:
        name = open_names.pop()
        if name in found or name == canonicalize_name(_NAME):
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        open_names += _needs(found[name])
    return dict(sorted(found.items()))


def _needs(owner: Distribution) -> list[str]:
    """Normalised names of the distributions that ``owner`` needs here, extras left out."""
    requirements = [Requirement(line) for line in owner.requires or ()]
    return sorted(
        {
            str(canonicalize_name(each.name))
            for each in requirements
            if each.marker is None or each.marker.evaluate({"extra": ""})
        }
    )


def _library(each: Distribution) -> Component:
    record = each.read_text("RECORD") or ""
    digest = hashlib.sha256(record.encode()).hexdigest()
    return _component(ComponentType.LIBRARY, each.metadata["Name"], each.version, digest, of="RECORD")


def _component(kind: ComponentType, name: str, version: str, digest: str, *, of: str) -> Component:
    purl = PackageURL(type="generic" if kind is ComponentType.PLATFORM else "pypi", name=name, version=version)
    return Component(
        type=kind,
        name=name,
        version=version,
        bom_ref=str(purl),
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        properties=[Property(name="fedsec:sha256-of", value=of)],
    )


@cache
def _interpreter() -> str:
    return hashlib.sha256(Path(sys.executable).read_bytes()).hexdigest()
