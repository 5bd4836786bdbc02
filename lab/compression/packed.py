"""A compressed model as one file: its true size on disk, and what `lab generate` loads.

`packed.bin` is a mark, the length of a header, the header in JSON (method, arrays with path, kind and shape,
SHA-256 of the rest), and the arrays one after the other. Rounded weights take their bits each, without gaps;
a sparse matrix takes a bit a weight and its weights. Nothing of it is executed, and all of it is checked.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lab import files
from lab.compression.encoded import BITS, Encoded, Factors, Method, Plain, Rounded, Sparse, decode, flat
from lab.errors import InputError

NAME = "packed.bin"
_MARK = b"scaling-law-lab packed 1\n"
_FLOAT = np.dtype("<f4")


def dumped(kept: Mapping[str, Encoded], method: Method) -> bytes:
    """All of the file."""
    arrays, parts = [], []
    for path, one in kept.items():
        about, content = _written(one)
        arrays.append({"path": path, **about})
        parts.append(content)
    body = b"".join(parts)
    head = {"method": {"kind": method.kind, "amount": method.amount}, "arrays": arrays}
    head["sha256"] = hashlib.sha256(body).hexdigest()
    text = json.dumps(head, separators=(",", ":")).encode()
    return _MARK + len(text).to_bytes(8, "little") + text + body


def size(kept: Mapping[str, Encoded], method: Method) -> int:
    """Bytes of the file."""
    return len(dumped(kept, method))


def params(path: Path, like: Mapping) -> dict:
    """The parameters in a file, of the shapes of ``like``; raises as :func:`load`."""
    shapes = {name: tuple(one.shape) for name, one in flat(like).items()}
    return decode(load(path, shapes)[0])


def load(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Encoded], Method]:
    """What was written.

    Args:
        shapes: of the model's arrays by path, as its configuration has them.

    Raises:
        InputError: for a file that is none of these, is damaged, or is of another model.
    """
    most = (
        sum(5 * math.prod(shape) + 4096 for shape in shapes.values()) + 4096
    )  # bytes; a mask adds an eighth
    content = files.read_bytes(path, None, most)
    start = len(_MARK) + 8
    if not content.startswith(_MARK) or len(content) < start:
        raise InputError(f"{path}: is no packed model of this version")
    stop = start + int.from_bytes(content[len(_MARK) : start], "little")
    try:
        head = json.loads(content[start:stop])
        arrays, method = head["arrays"], Method(head["method"]["kind"], float(head["method"]["amount"]))
        body = content[stop:]
        if hashlib.sha256(body).hexdigest() != head["sha256"]:
            raise InputError(f"{path}: is damaged: its contents do not match their digest")
        if {one["path"]: tuple(one["shape"]) for one in arrays} != dict(shapes):
            raise InputError(f"{path}: is of another model than spec.json beside it")
        kept, at = {}, 0
        for one in arrays:
            kept[one["path"]], at = _read(one, body, at)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is damaged: its header says what cannot be") from None
    return kept, method


def _written(one: Encoded) -> tuple[dict, bytes]:
    match one:
        case Rounded(codes, scales, bits):
            top = 2 ** (bits - 1) - 1
            bits_NxB = np.unpackbits(
                (codes.ravel() + top).astype(np.uint8)[:, None], axis=1, bitorder="little"
            )
            content = np.packbits(bits_NxB[:, :bits], bitorder="little").tobytes() + _floats(scales)
            about = {"kind": "rounded", "shape": codes.shape, "bits": bits, "table": scales.shape[1] == 1}
            return about, content
        case Sparse(kept, values):
            about = {"kind": "sparse", "shape": kept.shape, "values": len(values)}
            return about, np.packbits(kept, bitorder="little").tobytes() + _floats(values)
        case Factors(left, right):
            shape = left.shape[0], right.shape[1]
            return {"kind": "factors", "shape": shape, "rank": left.shape[1]}, _floats(left) + _floats(right)
        case Plain(values):
            return {"kind": "plain", "shape": values.shape}, _floats(values)


def _read(about: dict, body: bytes, at: int) -> tuple[Encoded, int]:
    shape = tuple(about["shape"])
    count = int(np.prod(shape))

    def bits_of(number: int) -> np.ndarray:
        nonlocal at
        size = -(-number // 8)
        found = np.unpackbits(np.frombuffer(body, np.uint8, size, at), count=number, bitorder="little")
        at += size
        return found

    def floats_of(shape: tuple[int, ...]) -> np.ndarray:
        nonlocal at
        found = np.frombuffer(body, _FLOAT, int(np.prod(shape)), at).reshape(shape).astype(np.float32)
        at += found.size * 4
        return found

    kind = about["kind"]
    if kind == "rounded":
        bits = int(about["bits"])
        if not BITS[0] <= bits <= BITS[1]:
            raise ValueError(bits)
        weights_B = 1 << np.arange(bits)
        codes = bits_of(count * bits).reshape(count, bits) @ weights_B - (2 ** (bits - 1) - 1)
        scales = floats_of((shape[0], 1) if about["table"] else (1, shape[1]))
        return Rounded(codes.astype(np.int8).reshape(shape), scales, bits), at
    if kind == "sparse":
        kept = bits_of(count).astype(bool).reshape(shape)
        if kept.sum() != about["values"]:
            raise ValueError(kind)
        return Sparse(kept, floats_of((int(about["values"]),))), at
    if kind == "factors":
        rank = int(about["rank"])
        return Factors(floats_of((shape[0], rank)), floats_of((rank, shape[1]))), at
    if kind == "plain":
        return Plain(floats_of(shape)), at
    raise ValueError(kind)


def _floats(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, _FLOAT).tobytes()
