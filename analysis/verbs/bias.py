"""`lab bias`: associations in embeddings, and error rates by group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from analysis.errors import InputError
from analysis.tables.limits import LIMITS
from analysis.verbs.options import Reading, print_json


@dataclass(frozen=True)
class BiasOptions:
    """Measure associations in embeddings (WEAT), error rates by group, or what models make of an association
    that was planted in their training text.

    lab bias vectors.txt --x rose,tulip --y ant,wasp --a love,peace --b hatred,ugly
    """

    what: Annotated[str, tyro.conf.Positional] = ""
    """A text file of word vectors (with --x --y --a --b), a table of predictions (with --group --label
    --prediction), compas: the published counts; or a store whose models were trained on a planted
    association."""
    x: str = ""
    """Target words, parted by commas."""
    y: str = ""
    """The other target words."""
    a: str = ""
    """Attribute words that X may be near to."""
    b: str = ""
    """Attribute words that Y may be near to."""
    draws: int = 10_000
    """Partitions drawn, where there are too many to try all."""
    seed: int = 0
    """Seed of the draws."""
    group: str = ""
    """The column of the group."""
    label: str = ""
    """The column of what is so, 0 or 1."""
    prediction: str = ""
    """The column of what was predicted, 0 or 1."""
    counts: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Instead of a table: NAME=TRUE+,FALSE+,FALSE-,TRUE- of a group; may be repeated."""
    limits: Reading = LIMITS
    json: bool = False
    """Print one JSON object."""


def bias(argv: list[str]) -> int:
    """`lab bias FILE ...`."""
    options = tyro.cli(BiasOptions, args=argv, prog="lab bias")
    sets = {"--x": options.x, "--y": options.y, "--a": options.a, "--b": options.b}
    if any(sets.values()):
        return _weat(options, sets)
    if options.what and Path(options.what).is_dir():
        return _planted(options)
    from analysis.bias import groups
    from analysis.bias.show import groups_text

    if options.counts:
        if options.what:
            raise InputError(f"--counts: instead of a table; {options.what[:60]!r} is one too many")
        found = tuple(groups.parsed(text) for text in options.counts)
        if len({one.name for one in found}) < len(found):
            raise InputError("--counts: a group stands twice")
    elif options.what == "compas":
        found = groups.COMPAS
    else:
        found = _from_table(options)
    if options.json:
        return print_json(groups.to_dict(found))
    print(groups_text(found))
    return 0


def _planted(options: BiasOptions) -> int:
    """`lab bias STORE`."""
    from analysis.bias.planted import associations, associations_text
    from analysis.tables.table import read

    found = associations(read(Path(options.what), limits=options.limits))
    if options.json:
        return print_json({"store": options.what, "associations": [one.to_dict() for one in found]})
    print(associations_text(found))
    return 0


def _from_table(options: BiasOptions):
    from analysis.bias.groups import counted
    from analysis.tables.files import columns_of

    given = {"--group": options.group, "--label": options.label, "--prediction": options.prediction}
    if missing := [name for name, value in given.items() if not value]:
        raise InputError(
            f"give a table and {', '.join(missing)}; or vectors and --x --y --a --b; --counts; compas"
        )
    path = Path(options.what)
    if not options.what or not path.is_file():
        raise InputError(f"{options.what[:200] or 'no table'}: no such file")
    return counted(columns_of(path, options.limits, []), options.group, options.label, options.prediction)


def _weat(options: BiasOptions, sets: dict[str, str]) -> int:
    import numpy as np

    from analysis.bias.show import weat_text
    from analysis.bias.weat import read_vectors, weat

    words = {name: [word.strip() for word in text.split(",") if word.strip()] for name, text in sets.items()}
    if empty := [name for name, found in words.items() if not found]:
        raise InputError(*(f"{name}: no words; WEAT needs --x, --y, --a and --b" for name in empty))
    for name, found in words.items():
        if len(set(found)) < len(found):
            raise InputError(f"{name}: a word stands twice")
    if both := sorted(set(words["--x"]) & set(words["--y"])):
        raise InputError(f"--y: {both[0]!r} is in --x too")
    path = Path(options.what)
    if not options.what or not path.is_file():
        raise InputError(f"{options.what[:200] or 'no vectors'}: no such file")
    vectors = read_vectors(path, [word for found in words.values() for word in found])
    arrays = [np.array([vectors[word] for word in found]) for found in words.values()]
    found = weat(*arrays, options.draws, options.seed)
    if options.json:
        return print_json(found.to_dict())
    print(weat_text(found))
    return 0
