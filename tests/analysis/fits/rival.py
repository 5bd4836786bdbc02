"""An independent search for comparison: SciPy from many starts, its own formulas, complex-step gradients."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

# name -> (log loss of theta (P,) at centred log inputs n, d; box of the starts). Coefficients are logarithms.
FORMULAS = {
    "chinchilla": (
        lambda t, n, d: np.log(np.exp(t[0]) + np.exp(t[1] - t[3] * n) + np.exp(t[2] - t[4] * d)),
        [(-3, 0), (-4, 1), (-4, 1), (0.05, 1.2), (0.05, 1.2)],
    ),
    "chinchilla-tied": (
        lambda t, n, d: np.log(np.exp(t[0]) + np.exp(t[1] - t[3] * n) + np.exp(t[2] - t[3] * d)),
        [(-3, 0), (-4, 1), (-4, 1), (0.05, 1.2)],
    ),
    "kaplan": (
        lambda t, n, d: t[3] * np.log(np.exp(t[2] / t[3] * (t[0] - n)) + np.exp(t[1] - d)),
        [(-4, 3), (-4, 3), (0.03, 0.8), (0.03, 0.8)],
    ),
    "coupled": (
        lambda t, n, d: np.log(np.exp(t[0]) + (np.exp(t[1] - t[3] * n) + np.exp(t[2] - t[4] * d)) ** t[5]),
        [(-3, 0), (-4, 1), (-4, 1), (0.05, 1.2), (0.05, 1.2), (0.3, 1.5)],
    ),
    "power-tokens-offset": (
        lambda t, n, d: np.log(np.exp(t[0]) + np.exp(t[1] - t[2] * d)),
        [(-3, 0), (-4, 1), (0.03, 1.5)],
    ),
}
EXPONENTS = {"chinchilla": (3, 4), "chinchilla-tied": (3,), "kaplan": (2, 3), "coupled": (3, 4, 5)}
STEP = 1e-30


def rho(residual, name, over):
    """(sum, slope) of huber with corner 1e-3, squared, or asymmetric l1 smoothed at 1e-7."""
    factor = np.where(residual < 0, over, 1.0)
    if name == "squared":
        return (factor * residual**2).sum(), factor * 2 * residual
    corner = 1e-3 if name == "huber" else 1e-7
    slope = np.clip(residual, -corner, corner)
    scale = 1.0 if name == "huber" else 1 / corner
    return scale * (factor * slope * (residual - 0.5 * slope)).sum(), scale * factor * slope


def lowest(table, law, name="huber", raw=False, over=1.0, starts=20, seed=0):
    """The lowest objective that L-BFGS-B (and Nelder-Mead after it) reaches from random starts."""
    formula, box = FORMULAS[law]
    n, d = np.log(table["params"]), np.log(table["tokens"])
    n, d, y = n - n.mean(), d - d.mean(), np.log(table["loss"])
    level = 0.0 if raw else y.mean()

    def objective(theta):
        with np.errstate(all="ignore"):
            points = theta + 1j * STEP * np.eye(len(theta))
            values = np.stack([formula(point, n, d) for point in points]) + level
            log_loss = values[0].real
            residual = np.exp(y) - np.exp(log_loss) if raw else y - log_loss
            total, slope = rho(residual, name, over)
            jacobian = values.imag / STEP * (np.exp(log_loss) if raw else 1.0)
            gradient = -jacobian @ slope
        if not (np.isfinite(total) and np.isfinite(gradient).all()):
            return 1e6, np.zeros(len(theta))
        return 1e3 * total, 1e3 * gradient

    def exact(theta):
        log_loss = formula(np.array(theta), n, d) + level
        residual = np.exp(y) - np.exp(log_loss) if raw else y - log_loss
        return float((np.where(residual < 0, over, 1.0) * np.abs(residual)).sum())

    rng = np.random.default_rng(seed)
    low, high = np.array(box).T
    bounds = [(-60, 60)] * len(box)
    for index in EXPONENTS.get(law, (2,)):
        bounds[index] = (1e-3 if law == "kaplan" else 0, 12)
    if law == "coupled":
        bounds[5] = (1e-2, 20)
    options = {"maxiter": 3000, "maxfun": 6000, "ftol": 1e-15, "gtol": 1e-12, "maxls": 60}
    found = []
    for _ in range(starts):
        begin = low + rng.random(len(box)) * (high - low)
        begin[0] += raw * y.mean() * (law != "kaplan")
        done = minimize(objective, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        found.append((done.fun, tuple(done.x)))
    found.sort()
    best = found[0][0]
    for _, theta in found[:3]:
        settings = {"maxiter": 4000, "maxfev": 4000, "xatol": 1e-10, "fatol": 1e-16, "adaptive": True}
        done = minimize(
            lambda t: objective(t)[0], theta, method="Nelder-Mead", bounds=bounds, options=settings
        )
        best = min(best, done.fun)
        again = minimize(objective, done.x, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        best = min(best, again.fun)
        found.append((again.fun, tuple(again.x)))
    if name != "l1":
        return best / 1e3
    return min(exact(theta) for _, theta in found)


def messy(seed):
    """(law, table): a random law on a random design, noise from 0.1 to 5 %, one row in twelve far off."""
    rng = np.random.default_rng(seed)
    law = list(FORMULAS)[int(rng.integers(len(FORMULAS)))]
    count = int(rng.integers(10, 160))
    kind = int(rng.integers(4))
    sizes = 10 ** rng.uniform(6, 9.5, count)
    params = sizes if kind % 2 else rng.choice(np.geomspace(1e6, 3e9, int(rng.integers(3, 9))), count)
    tokens = params * 20 * 10 ** rng.uniform(-1, 1.3, count)
    if kind > 1:
        tokens = rng.choice(np.geomspace(1e8, 1e11, int(rng.integers(3, 8))), count)
    table = {"params": params, "tokens": tokens}
    n, d = np.log(params), np.log(tokens)
    box = np.array(FORMULAS[law][1])
    theta = box[:, 0] + rng.random(len(box)) * (box[:, 1] - box[:, 0])
    log_loss = FORMULAS[law][0](theta, n - n.mean(), d - d.mean()) + rng.uniform(-0.5, 2)
    noise = rng.choice([1e-3, 0.01, 0.05]) * rng.standard_normal(count)
    noise += (rng.random(count) < 0.08) * rng.normal(0, 0.3, count)
    if rng.random() < 0.3:
        twice = rng.choice(count, count // 4)
        table = {key: np.append(values, values[twice]) for key, values in table.items()}
        log_loss, noise = np.append(log_loss, log_loss[twice]), np.append(noise, noise[twice])
    fitted = law if rng.random() < 0.7 else list(FORMULAS)[int(rng.integers(len(FORMULAS)))]
    return fitted, {**table, "loss": np.exp(log_loss + noise)}


# Ranges of the inputs of any law, in powers of ten.
RANGES = {"params": (6, 9.5), "tokens": (8, 11), "flops": (15, 21), "learning_rate": (-4, -2)}
RANGES |= {"batch_tokens": (4.5, 6.5), "bits": (0.3, 1.2), "bits_after": (0.3, 1.0), "loss": (0.3, 1.0)}
RANGES |= {f"bits_{part}": (0.3, 1.2) for part in ("weights", "activations", "attention")}


def planted(law, seed):
    """(x, target, truth): a table of 15 to 80 rows in which any law is planted, as `search` takes it.

    Noise from 0.1 to 5 %, one row in twelve far off.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(15, 80))
    inputs = {name: 10 ** rng.uniform(*RANGES.get(name, (0, 1)), count) for name in law.inputs}
    if {"flops", "params", "tokens"} <= set(inputs):
        inputs["flops"] = 6 * inputs["params"] * inputs["tokens"]
    if "unique_tokens" in inputs:
        inputs["unique_tokens"] = inputs["tokens"] / rng.choice([1, 2, 4, 16, 40], count)
    x = np.log(np.stack([inputs[name] for name in law.inputs]))
    middle = x.mean(axis=1)
    for name, other in law.alike.items():
        middle[law.inputs.index(name)] = middle[law.inputs.index(other)]
    x = x - middle[:, None]
    box = np.array([parameter.start for parameter in law.parameters])
    for _ in range(200):
        truth = np.clip(box[:, 0] + rng.random(len(box)) * (box[:, 1] - box[:, 0]), *law.bounds)
        with np.errstate(all="ignore"):
            target = law.log_loss(truth[None], x)[0]
        if np.isfinite(target).all() and 0.1 < np.ptp(target) < 5:
            break
    noise = rng.choice([1e-3, 0.01, 0.05]) * rng.standard_normal(count)
    target = target - target.mean() + noise + (rng.random(count) < 0.08) * rng.normal(0, 0.3, count)
    return x, target - target.mean(), truth


def descended(law, x, target, rho, begin):
    """The lowest objective that L-BFGS-B reaches from `begin` (S, P), by the law's own derivatives."""

    def objective(theta):
        with np.errstate(all="ignore"):
            at = law.evaluate(theta[None], x)
            value, slope, _ = rho.in_log_loss(target, at.value[0])
            gradient = at.jacobian[0] @ slope
        if not (np.isfinite(value.sum()) and np.isfinite(gradient).all()):
            return 1e6, np.zeros(len(theta))
        return 1e3 * value.sum(), 1e3 * gradient

    low, high = law.bounds
    options = {"maxiter": 3000, "maxfun": 5000, "ftol": 1e-15, "gtol": 1e-12, "maxls": 60}
    best = np.inf
    for theta in np.clip(begin, low, high):
        bounds = list(zip(low, high, strict=True))
        done = minimize(objective, theta, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        best = min(best, done.fun / 1e3)
    return best


CHOICES = (
    ("huber", False, 1.0),
    ("squared", False, 1.0),
    ("huber", True, 1.0),
    ("huber", False, 3.0),
    ("l1", False, 1.0),
    ("l1", True, 10.0),
)
