"""How this project starts another Python: with its packages, and nothing from the working folder.

``python -c`` and ``python -m`` put the working folder first on the path, so that a ``tomllib.py`` or an
``analysis/`` that lies beside a foreign study or store would be executed. Every process of ours is started
through this module.
"""

import os
import site
import sys
from collections.abc import Mapping
from pathlib import Path

EXECUTABLE = sys.executable
ROOT = Path(__file__).resolve().parents[1]  # where `lab` was imported from


def command(*arguments: object) -> list[str]:
    """This interpreter with the arguments (``-m lab worker ...``), without the working folder on its path."""
    return [EXECUTABLE, "-P", *map(str, arguments)]


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of such a process: `base`, or this one's, made safe for it and for what it starts.

    Empty and relative entries of PYTHONPATH mean the working folder and are dropped. A source tree that is
    not installed (`python -m lab` inside it) is named, since the child would not find it.
    """
    found = dict(os.environ if base is None else base)
    places = [place for place in found.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(place)]
    if str(ROOT) not in (*places, *site.getsitepackages(), site.getusersitepackages()):
        places.insert(0, str(ROOT))
    found |= {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(places)}
    if not places:
        del found["PYTHONPATH"]
    return found
