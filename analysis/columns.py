"""Which column plays which role (params, tokens, flops, loss, ...), under the names that tables use."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import numpy as np

from analysis.errors import InputError
from analysis.notes import Note

# Names are compared in lower case without punctuation: "Model Size" is modelsize. The second tier of a role
# is read only when the first finds nothing, so that a table's `loss` is not disputed by its `loss_nats`.
_ALIASES: Mapping[str, tuple[str, str]] = {
    "params": (
        "params n parameters nparams numparams nparameters numparameters modelsize modelparams "
        "modelparameters paramscount parametercount",
        "paramstotal totalparams totalparameters nonembeddingparams paramsnonembedding paramsnoembed size",
    ),
    "tokens": (
        "tokens d ntokens numtokens trainingtokens traintokens tokencount totaltokens tokensseen "
        "datasetsize datasize",
        "t data",
    ),
    "flops": (
        "flops flop c compute trainingflop trainingflops trainflops trainflop totalflops totalflop "
        "trainingcompute traincompute flopstotal",
        "flops6nd flopsexact",
    ),
    "loss": (
        "loss l valloss validationloss evalloss testloss finalloss crossentropy crossentropyloss "
        "lossval lossvalidation nll",
        "lossnats trainloss trainingloss losstrain trainlossnats",
    ),
    "unique_tokens": ("uniquetokens u datauniquetokens", ""),
    "held_out": ("heldout holdout", ""),
    "seed": ("seed randomseed", ""),
    "status": ("status", ""),
    "cluster": ("cluster trunk", "runid run runname experiment name modelname"),
}
ALIASES = {role: tuple(tuple(tier.split()) for tier in tiers) for role, tiers in _ALIASES.items()}
NEEDED = ("params", "tokens", "flops", "loss")


def parse_map(text: str, option: str = "--columns") -> dict[str, str]:
    """`params=N,tokens=D` as {"params": "N", "tokens": "D"}. Raises InputError on anything else."""
    pairs: dict[str, str] = {}
    problems = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        role, separator, column = (piece.strip() for piece in part.partition("="))
        if not separator or not column:
            problems.append(f"{option}: {part!r} is not name=value, as in params=N,tokens=D")
        elif role in pairs:
            problems.append(f"{option}: {role!r} is given twice")
        else:
            pairs[role] = column
    if problems:
        raise InputError(*problems)
    return pairs


def normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def nearest(name: str, valid) -> str:
    """`; nearest: x` for the valid name most like `name`, else the list of valid names."""
    lowered = {str(option).lower(): str(option) for option in valid}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if close:
        return f"; nearest: {lowered[close[0]]!r}"
    shown = [str(option) for option in list(valid)[:20]]
    return f"; there are {', '.join(shown)}" + (", ..." if len(lowered) > 20 else "")


def assign(
    columns: Mapping[str, np.ndarray], wanted: Mapping[str, str] | None, source: str
) -> tuple[dict[str, str], list[Note]]:
    """Role -> column name (or a sum or difference of columns, where the map asks for one), and what to say.

    Raises InputError for unknown roles or columns in the map, and for roles with two different candidates.
    """
    wanted = dict(wanted or {})
    problems = []
    notes = []
    roles: dict[str, str] = {}
    for role, column in wanted.items():
        if role not in ALIASES:
            problems.append(f"{source}: column map: no role {role!r}{nearest(role, ALIASES)}")
        elif missing := [name for name in terms(column, columns) if name.lstrip("+-") not in columns]:
            name = missing[0].lstrip("+-")
            problems.append(
                f"{source}: column map: {role}={column}: no column {name!r}{nearest(name, columns)}"
            )
        else:
            roles[role] = column
    for role, tiers in ALIASES.items():
        if role in wanted:
            continue
        for tier in tiers:
            found = [name for name in columns if normal(name) in tier and name not in roles.values()]
            found.sort(key=lambda name: tier.index(normal(name)))
            if not found:
                continue
            if len(found) > 1 and role in NEEDED and not _equal(columns, found):
                names = " and ".join(repr(name) for name in found)
                problems.append(
                    f"{source}: {names} could both be {role}; choose with --columns {role}={found[0]}"
                )
            roles[role] = found[0]
            if found[0] != role and role in NEEDED:
                notes.append(Note("column_alias", f"{role} is the column {found[0]!r}"))
            break
    if problems:
        raise InputError(*problems)
    return roles, notes


def terms(expression: str, columns: Mapping[str, np.ndarray]) -> list[str]:
    """The signed column names of `a`, `a+b` or `a-b`; a column of exactly that name comes first."""
    if expression in columns:
        return [expression]
    return [part.strip() for part in re.findall(r"[+-]?[^+-]+", expression)]


def _equal(columns: Mapping[str, np.ndarray], names: list[str]) -> bool:
    first = columns[names[0]].astype(str)
    return all(np.array_equal(first, columns[name].astype(str)) for name in names[1:])
