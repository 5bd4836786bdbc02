"""Tables of runs in; scaling laws, allocations, forecasts and thresholds out.

    import analysis as sl
    runs = sl.read("runs/quickstart")
    law = sl.fit(runs)
    law.predict(params=1e9, tokens=2e10)

Names load from `analysis.api` on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    # A room of this package is no public name: asked for within the package, it must not load all of it.
    if name.startswith("_") or find_spec(f"{__name__}.{name}"):
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    api = import_module("analysis.api")
    if name not in api.__all__:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(import_module("analysis.api").__all__)
