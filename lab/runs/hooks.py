"""How a run is watched, steered and stopped from outside."""

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.runs import live


class Interrupted(Exception):
    """Training was asked to stop; everything up to here is in a checkpoint."""


@dataclass(frozen=True)
class Progress:
    """One message to whoever watches. ``phase``: compile, train, evaluate."""

    phase: str
    step: int
    steps: int
    loss_nats: float | None = None
    tokens_per_s: float | None = None
    seconds_left: float | None = None
    share_of_peak: float | None = None  # of the devices, where their peak is published


@dataclass
class Hooks:
    """How the outside sees and steers a run. Called between chunks of steps.

    ``check`` is called before each write into a run folder, and raises :class:`Lost` where the run was taken
    over: a process that slept must not write beside the one that replaced it.
    """

    progress: Callable[[Progress], None] = lambda progress: None
    warn: Callable[[str], None] = lambda text: None
    should_stop: Callable[[], bool] = lambda: False
    check: Callable[[], None] = lambda: None
    checkpoint_seconds: float = 30.0
    provenance: dict = field(default_factory=dict)
    track: live.Open = lambda job: None
