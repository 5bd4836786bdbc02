"""A share of a study, for machines that share no file system.

Each machine trains one part into a store of its own; the stores are copied together and merged. Parts depend
on the study alone, so no machine needs to know of another. A trunk and its branches stay together.
"""

from collections import defaultdict
from dataclasses import dataclass

from lab.errors import InputError
from sweeps.plan.cells import Cell, Trunk


@dataclass(frozen=True)
class Part:
    """Part ``index`` (from 1) of ``count``."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """From ``K/N``.

        Raises:
            InputError: for anything else.
        """
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise InputError(f"--part: should be K/N with K from 1 to N, as in 1/4; is {text!r}")
        return cls(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, nodes: list[Cell | Trunk]) -> list[Cell | Trunk]:
        """The nodes of this part. Families of runs that share trunks stay together; each goes, the dearest
        first, to the part that costs least so far."""
        families: dict[str, list] = defaultdict(list)
        for node in nodes:
            families[_family(node)].append(node)
        cost = {
            name: sum(node.flops["flops_6nd"] for node in family if isinstance(node, Cell))
            for name, family in families.items()
        }
        loads, mine = [0.0] * self.count, set()
        for name in sorted(families, key=lambda name: (-cost[name], name)):
            to = loads.index(min(loads))
            loads[to] += cost[name]
            if to == self.index - 1:
                mine.add(name)
        return [node for node in nodes if _family(node) in mine]


def _family(node: Cell | Trunk) -> str:
    return (node.trunk if isinstance(node, Cell) else None) or node.run_id
