"""The gate itself: every named mutant still applies, and one that no test notices is reported as alive.

``make mutants`` runs the named tests against the mutants; here the gate runs on a tree of three lines.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.mutants import generated, named
from tests.mutants.catalogue import CATALOGUE
from tests.mutants.generated import Explanation, Survivor
from tests.mutants.mutant import Edit, Mutant
from tests.mutants.workshop import ROOT, NotApplicableError, mutated, run_tests, texts, workshop

# PROTOCOL T7 and "Failures seen in shipped systems", by the mutants that stand for them.
DEMANDED = {
    "mask seed folded to 32 bits": ("mask-seed-folded-to-32-bits",),
    "off-by-one sampler": (
        "sampler-never-yields-R-minus-1",
        "shares-never-yield-p-minus-1",
        "noise-sampler-off-by-one",
    ),
    "missing disjointness check": ("survivors-not-among-dealers", "both-share-kinds-kept"),
    "missing signature check": (
        "session-signature-unchecked",
        "round-signature-unchecked",
        "plan-signature-unchecked",
        "keys-signatures-unchecked-by-clients",
        "dealings-signatures-unchecked-by-clients",
        "agreement-signatures-unchecked-by-clients",
        "list-signature-unchecked",
        "draw-list-signature-unchecked",
        "draw-commitment-signature-unchecked",
        "draw-nonce-signature-unchecked",
        "keys-signatures-unchecked-by-the-server",
        "dealings-signature-unchecked-by-the-server",
        "masked-inputs-signature-unchecked-by-the-server",
        "agreements-signature-unchecked-by-the-server",
        "revealed-shares-signature-unchecked-by-the-server",
    ),
    "T2 left out of a key": ("T2-left-out-of-pair-keys", "T2-left-out-of-self-keys"),
    "post-quantum half left out of a key": (
        "pair-secret-left-out-of-the-masks",
        "kem-secret-left-out-of-the-ciphertext-keys",
        "kem-ciphertext-left-out-of-the-key",
    ),
    "downgrade accepted": ("session-without-the-post-quantum-half-taken",),
    "a list that is not everybody's": ("list-signature-unchecked", "list-root-unchecked", "list-path-unchecked"),
    "a sparse graph that protects less": (
        "graph-seed-unchecked",
        "graph-that-falls-apart-taken",
        "threshold-that-corrupt-neighbours-reach-taken",
        "sparse-graph-against-an-active-server-taken",
        "stranger-taken-for-a-neighbour",
        "survivors-near-below-threshold-taken",
    ),
    "a round reused": ("round-reused", "round-reused-after-a-restart", "step-answered-twice"),
    "t off by one": ("t-off-by-one", "insecure-threshold-taken", "agreement-one-signature-short"),
    "saturation after noise": ("saturation-after-noise", "saturation-between-noise-and-mask"),
    "commitment unchecked": (
        "self-seed-unchecked",
        "mask-seed-unchecked",
        "mask-kem-key-unchecked-at-the-opening",
        "share-leaf-unchecked-by-the-receiver",
        "kem-commitment-unchecked-by-the-receiver",
        "kem-commitment-unchecked-at-the-opening",
        "draw-own-commitment-unchecked",
        "draw-opening-unchecked-by-members",
        "draw-opening-unchecked-by-the-server",
    ),
    "model digest left out": (
        "model-digest-left-out-of-sid",
        "sid-left-out-of-T2",
        "model-not-compared-with-its-digest",
    ),
    "the secret key returned as the public key": ("secret-key-returned-as-public-key",),
    "one scalar mask for a whole tensor": ("one-scalar-masks-the-whole-vector",),
    "the client accepts any threshold, even 1": ("any-threshold-taken",),
    "over-range values that wrap silently": ("over-range-input-wraps-silently", "ring-overflow-unchecked"),
}


def test_every_demanded_mutant_is_in_the_catalogue() -> None:
    names = [mutant.name for mutant in CATALOGUE]
    assert len(set(names)) == len(names)
    wanted = {name for group in DEMANDED.values() for name in group}
    assert wanted <= set(names)
    assert not wanted <= set(names) - {"round-reused"}  # control: one that is gone is missed


@pytest.mark.parametrize("mutant", CATALOGUE, ids=lambda mutant: mutant.name)
def test_a_named_mutant_applies_to_the_code_as_it_is(mutant: Mutant) -> None:
    """Old texts once each, Python before and after; its test exists."""
    for honest, wrong in texts(mutant, ROOT).values():
        assert ast.dump(ast.parse(honest)) != ast.dump(ast.parse(wrong)), "only a comment or a blank has changed"
    file, *_, test = mutant.killer.partition("[")[0].split("::")
    assert (ROOT / file).is_file(), file
    assert re.search(rf"^ *def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), test


HONEST = "def double(value):\n    return value + value  # twice\n"
TEST = "from secagg.double import double\n\ndef test_double():\n    assert double(3) == 6\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for file, text in {
        "secagg/__init__.py": "",
        "secagg/double.py": HONEST,
        "tests/test_double.py": TEST,
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-q --import-mode=importlib"\n',
    }.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text, "utf-8")
    return tmp_path


def changed(old: str, new: str, *, killer: str = "tests/test_double.py::test_double") -> Mutant:
    return Mutant(name="a", claim="b", killer=killer, edits=(Edit(file="secagg/double.py", old=old, new=new),))


VERDICTS = (
    (changed("value + value", "value + 1"), "killed", "tests/test_double.py::test_double"),
    (changed("value + value", "value * 2"), "alive", ""),
    (changed("value + value", "value +"), "broken", "tests/test_double.py"),  # no Python any more: no verdict
    (changed("value - value", "value"), "does not apply", "a: 0 times in secagg/double.py: 'value - value'"),
    (changed("value", "1"), "does not apply", "a: 3 times in secagg/double.py: 'value'"),
    (changed("# twice", "# twice"), "does not apply", "a: nothing changes"),
)


def test_a_verdict_is_what_the_test_says(tree: Path) -> None:
    honest, verdicts = named.run([mutant for mutant, _, _ in VERDICTS], workers=1, source=tree)
    assert [(verdict.status, verdict.by) for verdict in verdicts] == [(status, by) for _, status, by in VERDICTS]
    assert honest.status == "passed"
    assert (tree / "secagg/double.py").read_text("utf-8") == HONEST  # the tree itself was never touched


def test_a_test_that_is_not_there_kills_nothing(tree: Path) -> None:
    mutant = changed("value + value", "value + 1", killer="tests/test_double.py::test_gone")
    honest, (verdict,) = named.run([mutant], workers=1, source=tree)
    assert (honest.status, verdict.status) == ("broken", "broken")


def test_a_mutant_that_runs_for_ever_is_stopped(tree: Path) -> None:
    with workshop(tree) as copy, mutated(changed("    return", "    while True: pass\n    return"), copy):
        assert run_tests(copy, ["tests"], seconds=3).status == "timeout"


def test_a_mutant_is_taken_back(tree: Path) -> None:
    with workshop(tree) as copy:
        with mutated(changed("value + value", "value + 1"), copy):
            assert run_tests(copy, ["tests"]).status == "failed"
        assert run_tests(copy, ["tests"]).status == "passed"
    with pytest.raises(NotApplicableError):
        texts(changed("nothing", ""), tree)


DIFF = """# secagg.double.x_double__mutmut_1: survived
--- secagg/double.py
+++ secagg/double.py
@@ -1,2 +1,2 @@
 def double(value):
-    return value + value
+    return value * 2
"""


def test_a_survivor_is_explained_by_its_text_or_reported(capsys: pytest.CaptureFixture[str]) -> None:
    survivor = generated.parse("secagg.double.x_double__mutmut_1", DIFF)
    assert survivor == Survivor(
        name="secagg.double.x_double__mutmut_1",
        file="secagg/double.py",
        old="return value + value",
        new="return value * 2",
    )
    codes: dict[str, int | None] = {survivor.name: 0, "other": 1, "slow": -24}
    right = Explanation(file=survivor.file, old=survivor.old, new=survivor.new, reason="the same")
    pattern = Explanation(change=r"return (\w+) \+ \1 -> return \1 \* 2", reason="the same")
    for explanation in (right, pattern):
        assert generated.report(codes, [survivor], [explanation]) == []
    assert "2 of 3 mutants noticed (66.7 %), 1 of them by running too long" in capsys.readouterr().out
    elsewhere = Explanation(file="secagg/tree.py", old=survivor.old, new=survivor.new, reason="the same")
    another = Explanation(file=survivor.file, old=survivor.old, new="return value", reason="the same")
    for explanation in (elsewhere, another):
        assert generated.report(codes, [survivor], [explanation]) == [survivor.name]
    assert "explains nothing" in capsys.readouterr().out


def test_every_explanation_on_file_has_a_reason_and_a_pattern_that_compiles() -> None:
    explanations = generated.read()
    assert explanations
    for each in explanations:
        assert len(each.reason) > 10 and bool(each.change) != bool(each.old)
        re.compile(each.change)


def test_every_explanation_on_file_is_of_code_that_is_there() -> None:
    exact = [each for each in generated.read() if each.old]
    assert exact
    for each in exact:
        assert each.old in (ROOT / each.file).read_text("utf-8"), f"{each.file} has no line {each.old!r} any more"
    gone = Explanation(file="secagg/packing.py", old="if bits % 8 == 0:", new="", reason="control")
    assert gone.old not in (ROOT / gone.file).read_text("utf-8")
