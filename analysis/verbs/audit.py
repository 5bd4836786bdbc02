"""The verb `lab audit`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TextIO

import tyro

from analysis.audits.ranking import CANDIDATES
from analysis.errors import InputError
from analysis.text import line_again
from analysis.verbs.options import TableOptions, read_table, show


@dataclass(frozen=True)
class AuditOptions(TableOptions):
    """Score the laws on scales they have not seen, and say how far one may be trusted at the next."""

    laws: str = ",".join(CANDIDATES)
    """The laws to compare."""
    objective: Literal["huber", "l1", "squared", "asymmetric"] = "huber"
    """What is summed over the residuals."""
    delta: float | None = None
    """Huber's corner (1e-3)."""
    bootstrap: int = 500
    """Draws for the interval at the next scale; 0 for none."""
    level: float = 0.9
    """Level of that interval."""
    factor: float = 10.0
    """The next scale's compute over the table's."""
    alpha: float = 0.05
    """How often a sound ladder may raise an alarm of mistuned rungs."""
    seed: int = 0
    """Seed of the bootstrap."""
    include_held_out: bool = False
    """Use the rows that are marked as held out too."""


def audit(argv: list[str]) -> int:
    """`lab audit TABLE`."""
    options = tyro.cli(AuditOptions, args=argv, prog="lab audit")
    from analysis.audits.audit import audit as judge
    from analysis.audits.show import audit_text

    laws = [name.strip() for name in options.laws.split(",") if name.strip()]
    if not laws:
        raise InputError("--laws: name at least one, as in --laws chinchilla,kaplan")
    result = judge(
        read_table(options),
        laws,
        options.objective,
        options.delta,
        options.bootstrap,
        options.level,
        options.seed,
        options.factor,
        options.alpha,
        not options.include_held_out,
        left_over(sys.stderr) if sys.stderr.isatty() else None,
    )
    if sys.stderr.isatty():
        line_again(sys.stderr)
    return show(options, result, audit_text)


def left_over(stream: TextIO) -> Callable[[float], None]:
    """A line on `stream` with the share that is done and the seconds that are left at this pace."""
    started = time.monotonic()

    def said(share: float) -> None:
        left = f", about {(time.monotonic() - started) * (1 / share - 1):.0f} s left" if share else ""
        line_again(stream, f"rolling laws, {share:.0%}{left}")

    return said
