"""Published figures of accelerators, and the time a run would take on them by the model's own arithmetic.

A prediction, not a measurement: products at a stated share of the published peak, memory traffic and
communication at the published rates, nothing overlapped. Models narrower than a chip's matrix unit, and steps
shorter than what starting a program costs, take longer than predicted.
"""

from dataclasses import dataclass

from lab.config import RunConfig
from lab.errors import InputError
from lab.execution import Execution
from lab.model import accounting, memory
from lab.strict import nearest

UTILISATION = 0.4  # of the peak, in products: what well-kept trainers report (PaLM 0.46, 2204.02311 table 3)


@dataclass(frozen=True)
class Chip:
    """FLOP/s dense with 16-bit inputs, and with 32-bit ones; bytes of memory, bytes/s of memory and of links.

    ``link`` is what one chip can send to its neighbours in a pod or a box, in one direction.
    """

    flops: float
    flops_f32: float
    memory: float
    bandwidth: float
    link: float
    source: str

    @property
    def platform(self) -> str:
        """As jax calls it."""
        return "gpu" if self.source.startswith("NVIDIA") else "tpu"


CHIPS = {
    # 32-bit products round their inputs by default: to TF32 on these GPUs, to bfloat16 on TPUs.
    # Links: one direction, half of what is published for both
    "a100": Chip(312e12, 156e12, 80e9, 2.039e12, 300e9, "NVIDIA A100 80GB SXM data sheet, 2021"),
    "h100": Chip(989e12, 495e12, 80e9, 3.35e12, 450e9, "NVIDIA H100 SXM data sheet, 2023"),
    "h200": Chip(989e12, 495e12, 141e9, 4.8e12, 450e9, "NVIDIA H200 SXM data sheet, 2024"),
    "v5e": Chip(197e12, 197e12, 16e9, 819e9, 100e9, "Cloud TPU v5e documentation, 1,600 Gbit/s a chip"),
    "v5p": Chip(459e12, 459e12, 95e9, 2.765e12, 300e9, "Cloud TPU v5p documentation, 4,800 Gbit/s a chip"),
    "v6e": Chip(918e12, 918e12, 32e9, 1.64e12, 224e9, "Cloud TPU v6e documentation, 3,584 Gbit/s a chip"),
}


@dataclass(frozen=True)
class Prediction:
    """Seconds are of one step; ``bytes_needed`` of the device that holds most."""

    chip: str
    devices: int
    products_s: float
    memory_s: float  # optimiser and activations
    communication_s: float
    step_s: float
    tokens_per_s: float
    hours: float
    utilisation: float  # of the whole step: FLOPs of the model over what the chips could do
    bytes_needed: int
    bytes_there: float
    source: str

    @property
    def fits(self) -> bool:
        return self.bytes_needed <= self.bytes_there


def find(name: str) -> Chip:
    """Raises InputError with the nearest name."""
    if name not in CHIPS:
        raise InputError(f"--predict: no figures for {name!r}; {nearest(name, CHIPS)}")
    return CHIPS[name]


def of_kind(kind: str) -> Chip | None:
    """By the name that jax gives a device; None where no figures are known."""
    said = kind.lower().replace("lite", "e").replace(" ", "")
    if "tpu" in said:
        said = said.replace("tpuv5p", "v5p").replace("tpu", "")
        return CHIPS.get("v5p" if said == "v5" else said)
    return next((chip for name, chip in CHIPS.items() if name in said and chip.platform == "gpu"), None)


def predict(config: RunConfig, vocab: int, name: str, how: Execution) -> Prediction:
    """What ``config`` would take on ``how.mesh`` of the chip called ``name``.

    Products: three forward passes (four with remat) of the whole square of attention, at
    :data:`UTILISATION` of the peak. Memory: parameters, gradients and moments are read and written once, what
    the backward pass keeps is written and read. Communication, by ring algorithms that each send (n - 1) / n:
    gradients summed over ``data`` (twice), matrices gathered over ``fsdp`` twice and their gradients
    scattered once, activations summed over ``tensor`` four times a layer (1909.08053, section 3).
    """
    how.check(config)
    chip, c, mesh = find(name), config.model, how.mesh
    data, fsdp, tensor = mesh.sizes
    half = config.precision == "bfloat16"
    size = 2 if half else 4
    peak = chip.flops if half else chip.flops_f32
    tokens = config.batch_tokens
    forward = accounting.forward_flops(c, vocab, config.data.context, causal=False) * tokens
    products = forward * (4 if how.remat else 3) / (mesh.devices * peak * UTILISATION)
    held = memory.breakdown(config, vocab, "mesh", how=how, platform=chip.platform)
    traffic = 2 * held.state + 2 * held.gradients + 2 * held.activations * how.accumulate
    params = accounting.count_params(c, vocab).total
    own = params / tensor  # of one tensor group
    sent = 2 * 4 * own / fsdp * _ring(data)
    sent += how.accumulate * (2 * size + 4) * own * _ring(fsdp)
    sent += 4 * c.layers * 2 * size * c.width * tokens / (data * fsdp) * _ring(tensor)
    parts = products, traffic / chip.bandwidth, sent / chip.link
    step = sum(parts)
    exact = 3 * accounting.forward_flops(c, vocab, config.data.context) * tokens
    return Prediction(
        name,
        mesh.devices,
        *parts,
        step_s=step,
        tokens_per_s=tokens / step,
        hours=step * config.steps / 3600,
        utilisation=exact / (step * mesh.devices * peak),
        bytes_needed=held.total,
        bytes_there=chip.memory,
        source=chip.source,
    )


def as_text(p: Prediction) -> str:
    parts = f"products {1e3 * p.products_s:.3g}, memory {1e3 * p.memory_s:.3g}, communication "
    return "\n".join(
        (
            f"{p.devices} x {p.chip}: {1e3 * p.step_s:.3g} ms a step ({parts}{1e3 * p.communication_s:.3g}), "
            f"{p.tokens_per_s:,.0f} tokens/s, {p.hours:.3g} h, {100 * p.utilisation:.0f} % of the peak",
            f"{p.bytes_needed / 1e9:.3g} GB a device of {p.bytes_there / 1e9:.3g}: "
            + ("fits" if p.fits else "does NOT fit"),
            f"assumed: products at {100 * UTILISATION:.0f} % of the peak, nothing overlapped; {p.source}",
        )
    )


def _ring(n: int) -> float:
    return (n - 1) / n
