"""``python -m tests.mutants [NAME ..]``: the named mutants. ``--generated``: mutmut's, over all of ``secagg``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from tests.mutants import generated, named
from tests.mutants.catalogue import CATALOGUE


def _named(names: Sequence[str], *, workers: int, as_json: bool) -> int:
    unknown = set(names) - {mutant.name for mutant in CATALOGUE}
    if unknown:
        print(f"no mutant is called {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    chosen = [mutant for mutant in CATALOGUE if not names or mutant.name in names]
    width = max(len(mutant.name) for mutant in chosen)

    def tell(verdict: named.Verdict) -> None:
        mutant = verdict.mutant
        by = verdict.by.partition("::")[2] or verdict.by or mutant.killer
        print(
            f"{mutant.name:{width}}  {verdict.status:8}  {verdict.seconds:5.1f} s  {by}  | {mutant.claim}", flush=True
        )

    honest, verdicts = named.run(chosen, workers=workers, tell=(lambda _: None) if as_json else tell)
    if as_json:
        print(
            json.dumps(
                [
                    {
                        "mutant": v.mutant.name,
                        "claim": v.mutant.claim,
                        "test": v.mutant.killer,
                        "status": v.status,
                        "by": v.by,
                        "seconds": round(v.seconds, 1),
                    }
                    for v in verdicts
                ],
                indent=1,
            )
        )
    killed = sum(verdict.status == "killed" for verdict in verdicts)
    control = f"control: the same tests on the honest code {honest.status} {honest.failed}".rstrip()
    print(f"{control}\n{killed} of {len(verdicts)} named mutants killed", file=sys.stderr if as_json else sys.stdout)
    return int(killed < len(verdicts) or honest.status != "passed")


def main() -> int:
    """Run what the arguments ask for; 0 if every mutant is killed or, if generated, explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="named mutants; all where none is given")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="verdicts on the named mutants as JSON")
    parser.add_argument("--generated", action="store_true", help="mutants made by mutmut, against survivors.toml")
    parser.add_argument("--files", nargs="*", default=[], help="with --generated: only these files, as secagg/tree.py")
    options = parser.parse_args()
    if options.generated:
        return generated.run(options.files, workers=options.workers)
    return _named(options.names, workers=options.workers, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
