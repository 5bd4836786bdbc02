"""How analysis starts another Python: with the packages that run here, and nothing from the working folder.

``python -c`` puts the working folder first on the path, so that an ``analysis/`` or a ``json.py`` beside a
foreign table would be executed.
"""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[1])  # where `analysis` was imported from


def command(*arguments: str) -> list[str]:
    """This interpreter with the arguments, without the working folder on its path."""
    return [sys.executable, "-P", *arguments]


def environment() -> dict[str, str]:
    """This environment; empty and relative entries of PYTHONPATH mean the working folder, and are dropped."""
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(place)]
    if _ROOT not in (*places, *site.getsitepackages(), site.getusersitepackages()):
        places.insert(0, _ROOT)
    found = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(places)}
    if not places:
        del found["PYTHONPATH"]
    return found
