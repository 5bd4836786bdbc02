"""A trained model in fewer bytes, without training: what is kept of each array, and the array again.

What a compressed model computes with is what :func:`decode` makes of what :func:`encode` kept, so that the
model that was measured is the model that is written to disk.

Rounding takes every matrix, the input table and the head included. Pruning and low rank take the matrices of
the attention and MLP blocks alone: entries of a table are as large as a token is rare, not as it is needless.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lab.errors import InputError

Kind = Literal[
    "none", "weights", "activations", "cache", "prune_global", "prune_layer", "prune_2_4", "low_rank"
]
GROUP = 4  # of 2:4 sparsity
BITS = (2, 8)  # of an integer format


@dataclass(frozen=True)
class Method:
    """One way to compress. amount: bits; of pruning the part of the weights that is removed; of low rank the
    part of the numbers that is kept."""

    kind: Kind = "none"
    amount: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"{str(self.kind)[:40]!r} is no way to compress")
        if self.kind in ("weights", "activations", "cache"):
            right = BITS[0] <= self.amount <= BITS[1] and self.amount == int(self.amount)
            should = f"bits should be whole, {BITS[0]} to {BITS[1]}"
        else:
            right, should = (
                self.kind in ("none", "prune_2_4") or 0 < self.amount < 1,
                "should be a part, above 0 and below 1",
            )
        if not right:
            raise InputError(f"{self.kind.replace('_', '-')}: {should}, is {self.amount:g}")

    def __str__(self) -> str:
        amount = "" if self.kind in ("none", "prune_2_4") else f"-{self.amount:g}"
        return f"{self.kind.replace('_', '-')}{amount}"

    @classmethod
    def parse(cls, text: str) -> "Method":
        """From ``weights-4``, ``prune-global-0.5``, ``prune-2-4``. Raises InputError."""
        kinds = {kind.replace("_", "-"): kind for kind in get_args(Kind)}
        if text in ("none", "prune-2-4"):
            return cls(kinds[text])
        name, _, amount = text.rpartition("-")
        try:
            return cls(kinds[name], float(amount))
        except (KeyError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{text[:40]!r} is no method; as in weights-4, activations-8, cache-4, prune-global-0.5, "
                "prune-layer-0.5, prune-2-4, low-rank-0.5"
            ) from None


@dataclass(frozen=True)
class Plain:
    """An array as it is, float32."""

    values: np.ndarray


@dataclass(frozen=True)
class Rounded:
    """Whole numbers of at most `bits` bits, and a scale an output channel: a column, of a table a row."""

    codes_IxO: np.ndarray  # int8, from -(2^(bits - 1) - 1) to 2^(bits - 1) - 1
    scales: np.ndarray  # float32, (1, O), of a table (I, 1)
    bits: int


@dataclass(frozen=True)
class Sparse:
    """Which weights are there, a bit each, and those, row by row."""

    kept_IxO: np.ndarray  # bool
    values: np.ndarray  # float32


@dataclass(frozen=True)
class Factors:
    """The product of two thin matrices."""

    left_IxR: np.ndarray  # float32
    right_RxO: np.ndarray


Encoded = Plain | Rounded | Sparse | Factors


def flat(tree: Mapping, path: str = "") -> dict:
    """Arrays of a nested dict by their path, such as ``attention_0/qkv/kernel``, in the order of paths."""
    found: dict[str, np.ndarray] = {}
    for name in sorted(tree):
        one = tree[name]
        found |= flat(one, f"{path}{name}/") if isinstance(one, Mapping) else {f"{path}{name}": one}
    return found


def nested(arrays: Mapping[str, np.ndarray]) -> dict:
    """What :func:`flat` took apart."""
    tree: dict = {}
    for path, array in arrays.items():
        *way, name = path.split("/")
        inner = tree
        for step in way:
            inner = inner.setdefault(step, {})
        inner[name] = array
    return tree


def in_block(path: str, array: np.ndarray) -> bool:
    """Whether it is a matrix of an attention or MLP block."""
    return array.ndim == 2 and path.startswith(("attention_", "mlp_"))


def encode(params: Mapping, method: Method) -> dict[str, Encoded]:
    """Each array by its path, as the method keeps it. Activations and cache are no arrays of the model."""
    arrays = {path: np.asarray(array, np.float32) for path, array in flat(params).items()}
    kept: dict[str, Encoded] = {path: Plain(array) for path, array in arrays.items()}
    blocks = {path: array for path, array in arrays.items() if in_block(path, array)}
    if method.kind == "weights":
        matrices = {path: array for path, array in arrays.items() if array.ndim == 2}
        kept |= {
            path: rounded(a, int(method.amount), path == "embed/embedding") for path, a in matrices.items()
        }
    elif method.kind == "low_rank":
        kept |= {path: low_rank(array, method.amount) for path, array in blocks.items()}
    elif method.kind == "prune_2_4":
        kept |= {path: sparse(array, two_of_four(array)) for path, array in blocks.items()}
    elif method.kind == "prune_layer":
        kept |= {path: sparse(a, largest(np.abs(a), method.amount)) for path, a in blocks.items()}
    elif method.kind == "prune_global" and blocks:
        whole = largest(np.concatenate([np.abs(array).ravel() for array in blocks.values()]), method.amount)
        ends = np.cumsum([array.size for array in blocks.values()])[:-1]
        for (path, array), mask in zip(blocks.items(), np.split(whole, ends), strict=True):
            kept[path] = sparse(array, mask.reshape(array.shape))
    return kept


def decode(kept: Mapping[str, Encoded]) -> dict:
    """The parameters that were kept: a nested dict of float32 arrays."""
    return nested({path: _decoded(one) for path, one in kept.items()})


def _decoded(one: Encoded) -> np.ndarray:
    match one:
        case Rounded(codes_IxO, scales):
            return codes_IxO.astype(np.float32) * scales
        case Sparse(kept_IxO, values):
            whole = np.zeros(kept_IxO.shape, np.float32)
            whole[kept_IxO] = values
            return whole
        case Factors(left_IxR, right_RxO):
            # summed in one order wherever it is computed, so that a written model is the measured one
            return np.einsum("ir,ro->io", left_IxR, right_RxO)
        case Plain(values):
            return values


def rounded(matrix_IxO: np.ndarray, bits: int, is_table: bool = False) -> Rounded:
    """To the nearest of 2^bits - 1 levels from -max to max of each channel: off by half a scale at most."""
    top = 2 ** (bits - 1) - 1
    scales = np.abs(matrix_IxO).max(axis=1 if is_table else 0, keepdims=True).astype(np.float32) / np.float32(
        top
    )
    safe = np.where(scales > 0, scales, 1)
    codes = np.clip(np.rint(matrix_IxO / safe), -top, top).astype(np.int8)
    return Rounded(codes, scales, bits)


def largest(sizes: np.ndarray, removed: float) -> np.ndarray:
    """Which entries stay when the smallest `removed` of them go: of equal ones the first go."""
    gone = round(removed * sizes.size)
    mask = np.ones(sizes.size, bool)
    mask[np.argsort(sizes, axis=None, kind="stable")[:gone]] = False
    return mask.reshape(sizes.shape)


def two_of_four(matrix_IxO: np.ndarray) -> np.ndarray:
    """The two largest of each four inputs of an output (2104.08378); half, rounded up, of a last few."""
    mask = np.zeros(matrix_IxO.shape, bool)
    for start in range(0, len(matrix_IxO), GROUP):
        some = np.abs(matrix_IxO[start : start + GROUP])
        order = np.argsort(-some, axis=0, kind="stable")[: math.ceil(len(some) / 2)]
        np.put_along_axis(mask[start : start + GROUP], order, True, axis=0)
    return mask


def sparse(matrix_IxO: np.ndarray, kept_IxO: np.ndarray) -> Sparse:
    return Sparse(kept_IxO, matrix_IxO[kept_IxO].astype(np.float32))


def low_rank(matrix_IxO: np.ndarray, kept: float) -> Factors:
    """The nearest matrix of the rank whose factors hold `kept` of its numbers (Eckart and Young 1936)."""
    inputs, outputs = matrix_IxO.shape
    rank = max(1, int(kept * inputs * outputs / (inputs + outputs)))
    left, sizes, right = np.linalg.svd(matrix_IxO.astype(np.float64), full_matrices=False)
    root = np.sqrt(sizes[:rank])
    return Factors(
        (left[:, :rank] * root).astype(np.float32), (root[:, None] * right[:rank]).astype(np.float32)
    )
