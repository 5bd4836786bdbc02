"""Studies of many runs: built, planned, run and tabulated.

    import sweeps
    study = sweeps.load("study.toml")            # or sweeps.Study(...)
    sweeps.price(study).totals()
    sweeps.run(study, "runs/mine")
    sweeps.table("runs/mine").frame

Names load from `sweeps.api` on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    # A room of this package is no public name: asked for within the package, it must not load all of it.
    if name.startswith("_") or find_spec(f"{__name__}.{name}"):
        raise AttributeError(f"module 'sweeps' has no attribute {name!r}")
    api = import_module("sweeps.api")
    if name not in api.__all__:
        raise AttributeError(f"module 'sweeps' has no attribute {name!r}")
    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(import_module("sweeps.api").__all__)
