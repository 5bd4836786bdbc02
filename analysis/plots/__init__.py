"""Figures of a study, each a function that returns a `Plot`: the figure, its words, and its numbers.

Titles stand beside the figure, not in it, as papers want them. The same input gives the same bytes in SVG,
PDF, PNG and CSV.
"""

from analysis.plots.abilities import abilities
from analysis.plots.ability import ability
from analysis.plots.association import association
from analysis.plots.compression import compression
from analysis.plots.compute import loss_compute
from analysis.plots.contour import law_contour
from analysis.plots.cost import cost
from analysis.plots.demand import demand
from analysis.plots.deviation import deviation
from analysis.plots.frontier import frontier
from analysis.plots.holdout import holdout
from analysis.plots.isoflop import isoflop_curves
from analysis.plots.learning import LearningCurve, learning_curves
from analysis.plots.needle import needle
from analysis.plots.plot import Plot, save
from analysis.plots.rollout import rollouts
from analysis.plots.sobriety import sobriety
from analysis.plots.specification import specification
from analysis.plots.style import palette
from analysis.plots.threshold import threshold
from analysis.plots.transfer import transfer

__all__ = [
    "LearningCurve",
    "Plot",
    "abilities",
    "ability",
    "association",
    "compression",
    "cost",
    "demand",
    "deviation",
    "frontier",
    "holdout",
    "isoflop_curves",
    "law_contour",
    "learning_curves",
    "loss_compute",
    "needle",
    "palette",
    "rollouts",
    "save",
    "sobriety",
    "specification",
    "threshold",
    "transfer",
]
