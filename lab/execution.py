"""How a run is computed: over which mesh, in how many parts, with what computed again. Never what it is.

Nothing here is part of a run id; a test holds each of these to the plain run within 1e-5. Imports no jax: the
mesh must be known before jax is told how many virtual devices there are.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Literal

from lab.config import RunConfig
from lab.errors import InputError
from lab.strict import nearest

AXES = ("data", "fsdp", "tensor")


@dataclass(frozen=True)
class MeshShape:
    """Devices along three axes.

    ``data``: each holds all parameters and a part of the batch. ``fsdp``: each holds a part of the batch and
    of every matrix and its moments, and gathers a layer when it needs it (1910.02054, stage 3). ``tensor``:
    each holds some heads and hidden units of every layer, of the same sequences (1909.08053).
    """

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.data, self.fsdp, self.tensor

    @property
    def devices(self) -> int:
        return prod(self.sizes)

    def __str__(self):
        return ",".join(f"{name}={size}" for name, size in zip(AXES, self.sizes, strict=True) if size > 1)

    @classmethod
    def parse(cls, text: str) -> "MeshShape":
        """From ``data=2,fsdp=2``; axes left out are 1.

        Raises:
            InputError: a line for each part that is not an axis and a whole number.
        """
        sizes: dict[str, int] = {}
        problems = []
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, _, size = part.partition("=")
            if name not in AXES:
                problems.append(f"--mesh: {name!r} is no axis; {nearest(name, AXES)}")
            elif not size.isdigit() or int(size) < 1:
                problems.append(f"--mesh: {name} should be a whole number above 0, is {size!r}")
            elif name in sizes:
                problems.append(f"--mesh: {name} is given twice")
            else:
                sizes[name] = int(size)
        if problems:
            raise InputError(*problems)
        return cls(**sizes)


@dataclass(frozen=True)
class Execution:
    """Options of one run that leave its result as it is, up to rounding."""

    mesh: MeshShape = field(default_factory=MeshShape)
    accumulate: int = 1  # parts of a batch, one after another; gradients are summed
    remat: bool = False  # keep a layer's input alone, and compute the layer again on the way back
    memory: Literal["check", "ignore"] = "check"  # refuse what the prediction says cannot fit, or go on
    evaluate_every: int = 0  # steps between validations, in whole calls of 20; 0: at the end alone

    def problems(self, config: RunConfig):
        """Lines for what does not divide."""
        m, data, fsdp, tensor = config.model, *self.mesh.sizes
        if self.evaluate_every < 0:
            yield f"--evaluate-every: should be 0 or a number of steps, is {self.evaluate_every}"
        if self.accumulate < 1:
            yield f"--accumulate: should be at least 1, is {self.accumulate}"
            return
        parts = self.accumulate * data * fsdp
        if config.batch % parts:
            yield (
                f"batch: {config.batch} sequences cannot be cut into {parts} equal parts "
                f"(accumulate {self.accumulate} x data {data} x fsdp {fsdp})"
            )
        if m.heads % tensor:
            yield f"--mesh: tensor should divide {m.heads} heads, is {tensor}"
        if m.hidden % tensor:
            yield f"--mesh: tensor should divide the hidden width {m.hidden}, is {tensor}"
        if m.width % fsdp:
            yield f"--mesh: fsdp should divide width {m.width}, is {fsdp}"

    def check(self, config: RunConfig) -> None:
        """Raises InputError with all :meth:`problems`."""
        if problems := list(self.problems(config)):
            raise InputError(*problems)
