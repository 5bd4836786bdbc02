"""Which attention a platform runs: its own kernel where there is one for the shape, else ours.

jax is imported where it is asked: memory is predicted by processes that have yet to set it up.
"""

import re
from typing import Literal

Kernel = Literal["cudnn", "xla", "blocks"]
QUERY_BLOCK = 64  # of "blocks"; smaller ones skip more of the masked square but make narrower products


def attention(dtype, head_width: int, platform: str, capability: tuple[int, int] = (0, 0)) -> Kernel:
    """``cudnn``: the flash kernel of NVIDIA GPUs from Ampere on, for 16-bit activations and head widths that
    are multiples of 8 up to 128 (256 from Hopper on). ``xla``: one masked square, on other accelerators and
    for other shapes. ``blocks``: ours, which skips what is masked, on CPU.
    """
    if platform == "cpu":
        return "blocks"
    import jax.numpy as jnp

    widest = 256 if capability >= (9, 0) else 128
    half = jnp.dtype(dtype).itemsize == 2
    fits = half and head_width % 8 == 0 and head_width <= widest
    return "cudnn" if platform == "gpu" and capability >= (8, 0) and fits else "xla"


def here(dtype, head_width: int) -> Kernel:
    """:func:`attention` on the default device."""
    import jax

    device = jax.devices()[0]
    return attention(dtype, head_width, device.platform, capability(device) or (0, 0))


def capability(device) -> tuple[int, int] | None:
    """Of an NVIDIA GPU, as 9.0; None of anything else, such as AMD's gfx942."""
    found = re.fullmatch(r"(\d+)\.(\d+)", str(getattr(device, "compute_capability", "")))
    return (int(found[1]), int(found[2])) if found else None


def turns_gradients() -> bool:
    """Whether products are faster with gradients computed as transposed ones: XLA's CPU compiler alone."""
    import jax

    return jax.default_backend() == "cpu"
