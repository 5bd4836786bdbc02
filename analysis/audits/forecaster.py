"""What a forecast knows, kept to predict further runs without fitting anything again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.audits.blend import Blend
from analysis.audits.misses import Misses, widening
from analysis.audits.predictions import predicted
from analysis.audits.results import Prediction
from analysis.errors import InputError
from analysis.fits.results import Fit
from analysis.laws.repeated import assumed
from analysis.notes import Note


@dataclass(frozen=True, eq=False)
class Forecaster:
    """The fitted law (it leads `blend`, where several forecast together) with its earlier misses.

    top: the largest compute that was fitted, in FLOPs.
    """

    fit: Fit
    blend: Blend | None
    earlier: Misses | None
    top: float
    level: float

    @property
    def together(self) -> bool:
        return self.blend is not None and len(self.blend.laws) > 1

    def factors(self, flops: np.ndarray) -> np.ndarray:
        """By how much the interval of a run of `flops` is stretched (n,): at least 1, NaN where no earlier
        window could tell."""
        known = 1.0 if self.fit.calibration is None else self.fit.calibration.widest
        out = np.full(np.shape(flops), np.nan)
        for index, spent in np.ndenumerate(flops):
            if self.earlier is not None:
                factor = widening(self.earlier, self.level, spent / self.top, self.together)
                # Earlier misses are in units of intervals that were not calibrated.
                out[index] = np.nan if factor is None else max(1.0, factor / known)
        return out

    def predict(
        self,
        params: float | np.ndarray,
        tokens: float | np.ndarray,
        unique_tokens: float | np.ndarray | None = None,
    ) -> Prediction:
        """The loss at params and tokens (which broadcast), as `Forecast.predict` says."""
        given = [params, tokens] + ([] if unique_tokens is None else [unique_tokens])
        arrays = np.broadcast_arrays(*(np.asarray(value, float) for value in given))
        names = ("params", "tokens", "unique_tokens")
        inputs: dict[str, np.ndarray] = {
            name: np.atleast_1d(value).ravel() for name, value in zip(names, arrays, strict=False)
        }
        problems = [
            f"{name}: must be positive numbers, not {value[~(np.isfinite(value) & (value > 0))][0]:g}"
            for name, value in inputs.items()
            if not (np.isfinite(value) & (value > 0)).all()
        ]
        if lacking := set(self.fit.law.inputs) - {*inputs, "flops"}:
            problems.append(f"the law {self.fit.law.name} needs {', '.join(sorted(lacking))} too")
        if problems:
            raise InputError(*problems)
        inputs["flops"] = 6 * inputs["params"] * inputs["tokens"]
        loss, low, high = predicted(self.fit, inputs, self.level, self.blend)
        shape = arrays[0].shape
        if low is None or high is None:
            return Prediction(*arrays[:2], loss.reshape(shape), None, None, self.level)
        stretch = np.nan_to_num(self.factors(inputs["flops"]), nan=1.0)
        low, high = loss * (low / loss) ** stretch, loss * (high / loss) ** stretch
        bounds = (low.reshape(shape), high.reshape(shape))
        return Prediction(*arrays[:2], loss.reshape(shape), *bounds, self.level)

    def said(self, inputs: Mapping[str, object]) -> list[Note]:
        """What must be said of a prediction with these inputs named."""
        if "unique_tokens" not in inputs or "unique_tokens" in self.fit.law.inputs:
            return []
        return [Note("repetition_assumed", assumed(self.fit.law))]
