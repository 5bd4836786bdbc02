"""Robust losses: rho of a residual with two derivatives, and how residuals hang on the log loss."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analysis.errors import InputError
from analysis.tables.columns import nearest

NAMES = ("huber", "l1", "squared", "asymmetric")


@dataclass(frozen=True)
class Rho:
    """rho(r): `huber` (r^2/2 up to delta, then delta(|r| - delta/2)), `l1` (|r|), `squared` (r^2).

    over: factor on rows predicted too high (r < 0). l1 is minimised through huber/delta, whose delta shrinks;
    `smooth` is that delta. scale (n,): factors on the residuals, typical noise over each row's own. scaled:
    whether huber's corner may follow the noise where rows are few (`solve.scale`).
    """

    name: str
    delta: float
    raw: bool
    over: float = 1.0
    smooth: float | None = None
    scale: np.ndarray | None = field(default=None, compare=False)
    scaled: bool = False

    def parts(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rho, rho', rho'') at each residual."""
        if self.name == "squared":
            rho, slope, bend = residual**2, 2 * residual, np.full_like(residual, 2.0)
        else:
            delta = self.delta if self.name == "huber" else self.smooth
            inside = np.abs(residual) <= delta
            slope = np.clip(residual, -delta, delta)
            rho = slope * (residual - 0.5 * slope)
            bend = inside.astype(float)
            if self.name == "l1":
                rho, slope, bend = rho / delta, slope / delta, bend / delta
        if self.over != 1.0:
            factor = np.where(residual < 0, self.over, 1.0)
            rho, slope, bend = factor * rho, factor * slope, factor * bend
        return rho, slope, bend

    def exact(self, residual: np.ndarray) -> np.ndarray:
        """rho itself, without the smoothing of l1."""
        if self.name != "l1":
            return self.parts(residual)[0]
        return np.abs(residual) * np.where(residual < 0, self.over, 1.0)

    def residual(self, target: np.ndarray, log_loss: np.ndarray) -> np.ndarray:
        """Measured minus predicted, times `scale`; `target` is the log of the measured loss."""
        plain = np.exp(target) - np.exp(log_loss) if self.raw else target - log_loss
        return plain if self.scale is None else plain * self.scale

    def in_log_loss(self, target, log_loss) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rho, and its first two derivatives in the predicted log loss)."""
        rho, slope, bend = self.parts(self.residual(target, log_loss))
        if self.scale is not None:
            slope, bend = slope * self.scale, bend * self.scale**2
        if not self.raw:
            return rho, -slope, bend
        loss = np.exp(log_loss)
        return rho, -slope * loss, bend * loss**2 - slope * loss


def objective(name: str, delta: float | None, residual: str, over_weight: float | None) -> Rho:
    """The Rho of a user's choice. Raises InputError for unknown names and senseless numbers."""
    problems = []
    scaled = name == "huber" and delta is None
    if name not in NAMES:
        problems.append(f"objective: no {name!r}{nearest(name, NAMES)}")
    if residual not in ("log", "raw"):
        problems.append(f"residual: {residual!r} is neither 'log' nor 'raw'")
    delta = 1e-3 if delta is None else delta
    if not np.isfinite(delta) or delta <= 0:
        problems.append(f"delta: {delta} is not a positive number")
    if over_weight is not None and not (np.isfinite(over_weight) and over_weight > 0):
        problems.append(f"over_weight: {over_weight} is not a positive number")
    if problems:
        raise InputError(*problems)
    # 10 is the factor of the one published asymmetric fit (github.com/kyo-takano/chinchilla).
    over = over_weight if over_weight is not None else (10.0 if name == "asymmetric" else 1.0)
    return Rho(
        "l1" if name == "asymmetric" else name, float(delta), residual == "raw", float(over), scaled=scaled
    )
