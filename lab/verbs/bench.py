"""The verb ``lab bench``."""

import json
import sys
from typing import Annotated

import tyro

from lab.errors import InputError
from lab.strict import problems_of


def bench(argv: list[str]) -> int:
    def command(
        shapes: tuple[str, ...] = (),
        batch: int = 8,
        seconds: float = 2.0,
        turns: int = 5,
        peer_python: str | None = None,
        grid: bool = False,
        coordinates: bool = False,
        as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    ) -> int:
        """How fast this machine trains: tokens a second, beside its matrix products and beside PyTorch.

        Measure on an idle machine. With torch in the interpreter that --peer-python names, a decoder of the
        same shape in PyTorch (best of eager and compiled, small and large batch, a process a core too) takes
        turns with it.

        Args:
            shapes: width,layers,heads of each; by default 32,2,1 64,4,2 128,4,4 256,6,8.
            batch: sequences a step.
            seconds: length of one turn.
            turns: medians are over so many.
            peer_python: an interpreter that has torch.
            grid: measure a grid of 5 sizes and 5 budgets instead: as a study, and as a process for each cell.
            coordinates: check the parametrisations instead: do activations keep their size over widths.
            as_json: print one JSON object.
        """
        if coordinates:
            from lab.machine import devices

            devices.configure()  # before the check, which imports jax
            devices.enable_compilation_cache()

            from lab.bench import coordinates as check

            found = check.coordinates()
            print(json.dumps(found) if as_json else check.render(found))
            return 0

        def tell(text: str) -> None:
            print(text, file=sys.stderr, flush=True)

        if grid:
            from lab.bench import grid as grids
            from lab.bench import peer

            if peer_python and (reason := peer.available(peer_python)):
                raise InputError(f"--peer-python: {reason}")
            found = grids.grid(peer_python, tell)
            print(json.dumps(found) if as_json else grids.text(found))
            return 0

        from lab.bench import bench as timing

        problems = [
            f"--{n}: should be positive, is {v}" for n, v in (("batch", batch), ("turns", turns)) if v < 1
        ]
        if seconds <= 0:
            problems.append(f"--seconds: should be positive, is {seconds}")
        parsed = tuple(_shape(text, problems) for text in shapes) or timing.SHAPES
        if problems:
            raise InputError(*problems)
        options = timing.Options(batch=batch, seconds=seconds, turns=turns, peer_python=peer_python)
        found = timing.bench(parsed, options, tell)
        print(json.dumps(found) if as_json else timing.text(found))
        return 0

    return tyro.cli(command, args=argv, prog="lab bench")


def _shape(text: str, problems: list[str]):
    from lab.bench.bench import Shape
    from lab.config import ModelConfig

    try:
        width, layers, heads = (int(part) for part in text.split(","))
    except ValueError:
        problems.append(f"--shapes: {text!r} should be width,layers,heads, such as 64,4,2")
        return None
    wrong = [f"--shapes {text}: {key}: {why}" for key, why in problems_of(ModelConfig(width, layers, heads))]
    problems.extend(wrong)
    return Shape(width, layers, heads)
