"""`lab laws`: the laws that are named, with formula, domain and source."""

from __future__ import annotations

from dataclasses import dataclass

import tyro


@dataclass(frozen=True)
class LawsOptions:
    """List the laws that `--law` knows. Terms go on them: chinchilla+rate+batch.

    A file's own law is FILE.py:NAME.
    """

    json: bool = False
    """Print one JSON object."""


def laws(argv: list[str]) -> int:
    """`lab laws`."""
    options = tyro.cli(LawsOptions, args=argv, prog="lab laws")
    from analysis.laws.named import LAWS

    rows = [
        {"name": law.name, "formula": law.formula, "inputs": list(law.inputs), "domain": law.domain}
        | {"source": law.source}
        for law in LAWS.values()
    ]
    if options.json:
        from analysis.text import dumps

        print(dumps({"laws": rows}))
        return 0
    for row in rows:
        print(row["name"], *(f"  {row[key]}" for key in ("formula", "domain", "source")), sep="\n")
    return 0
