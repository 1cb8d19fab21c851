"""Steps 19 and 20: what is only stated, and what no evidence can show."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fedsec_verify.bundle import SBOM, Bundle, Options
from fedsec_verify.decoding import from_json
from fedsec_verify.findings import require
from fedsec_verify.steps import ASSUMED, ATTESTED, Outcome


class Hash(msgspec.Struct, frozen=True, kw_only=True):
    """A digest of a component."""

    alg: str
    content: str


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """What these steps read of a component of CycloneDX."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    version: Annotated[str, msgspec.Meta(min_length=1)]
    hashes: tuple[Hash, ...] = ()


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the list of components is about."""

    component: Component


class Components(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What these steps read of a CycloneDX document."""

    bom_format: Literal["CycloneDX"]
    spec_version: Literal["1.6"]
    metadata: Metadata
    components: Annotated[tuple[Component, ...], msgspec.Meta(min_length=1)]


def check_software(bundle: Bundle, _: Options) -> Outcome:
    """Step 19: which software ran, as the coordinator says; that it ran is not shown."""
    listed = from_json(bundle.read(SBOM), Components, SBOM)
    statement = bundle.statement
    main = listed.metadata.component
    said = f"fedsec {statement.fedsec}"
    require(f"{main.name} {main.version}" == said, SBOM, f"the components of {said}", f"{main.name} {main.version}")
    versions = {component.name: component.version for component in listed.components}
    python = versions.get("python", "")
    require(python == statement.software.python, SBOM, f"python {statement.software.python}", python)
    for component in listed.components:
        digests = [one.content for one in component.hashes if one.alg == "SHA-256"]
        holds = len(digests) == 1 and len(digests[0]) == 64 and set(digests[0]) <= set("0123456789abcdef")
        require(holds, SBOM, f"a SHA-256 of {component.name}")
    return Outcome(kind=ATTESTED, detail=f"{said} and {len(listed.components)} components, as the signers state")


def check_honest_banks(bundle: Bundle, _: Options) -> Outcome:
    """Step 20: nothing shows that a bank clipped its records and added its noise; at least h have to."""
    plan = bundle.plan
    h = plan.threshold - plan.corrupt
    detail = f"at most {plan.corrupt} banks deviate, so at least {h} of each sum clipped and added their noise"
    return Outcome(kind=ASSUMED, detail=detail)
