"""How much memory a run takes on each device: predicted before compiling, and the compiler's own figure.

The prediction is arithmetic over the shapes: state and gradients exactly, activations by a count of what the
backward pass keeps. A test holds it to the compiler's own figure within a factor of :data:`FACTOR`.
"""

from dataclasses import dataclass

from lab.config import RunConfig
from lab.errors import InputError
from lab.execution import Execution
from lab.model import accounting, kernels, layers
from lab.ram import ram

EVALUATION_BYTES = 256 * 2**20
_MOST_ROWS = 64
FACTOR = 1.5  # how far prediction and compiler may be apart
_PLAIN = Execution()


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    state: int  # parameters and moments
    gradients: int
    activations: int  # kept for the backward pass, and the largest temporaries
    evaluation: int  # the largest temporaries of a batch that is scored, while nothing is trained

    @property
    def training(self) -> int:
        return self.state + self.gradients + self.activations

    @property
    def total(self) -> int:
        return max(self.training, self.state + self.evaluation)


def predict(
    config: RunConfig,
    vocab: int,
    mode: str = "serial",
    devices: int = 1,
    runs: int = 1,
    how: Execution = _PLAIN,
    platform: str = "cpu",
) -> int:
    """Peak bytes on the device that holds most. Compiles nothing."""
    return breakdown(config, vocab, mode, devices, runs, how, platform).total


def breakdown(
    config: RunConfig,
    vocab: int,
    mode: str = "serial",
    devices: int = 1,
    runs: int = 1,
    how: Execution = _PLAIN,
    platform: str = "cpu",
) -> Memory:
    """:func:`predict` by kind.

    Args:
        devices: those of ``vmap``; ``mesh`` has its own.
        platform: that of jax: ``cpu``, ``gpu``, ``tpu``. It decides which attention runs, and so what is
            kept of the scores: the seen half of the square; with NVIDIA's kernel (from Ampere on) nothing;
            else two whole squares. On a CPU, recomputation saves nothing where layers are unrolled: the
            compiler finds the layers computed twice, and keeps the first result.
    """
    params = accounting.count_params(config.model, vocab)
    data, fsdp, tensor = how.mesh.sizes if mode == "mesh" else (1, 1, 1)
    parts = data * fsdp * how.accumulate
    together = (
        -(-runs // devices) if mode == "vmap" and runs % devices == 0 else runs if mode == "vmap" else 1
    )
    divided = (params.total - params.vectors) / (fsdp * tensor) + params.vectors
    moments = 2.0
    if config.optimizer.algorithm == "muon":  # matrices have one moment
        moments -= params.matrices / params.total
    looped = layers.are_scanned(config.model, fsdp)
    if fsdp > 1:  # one layer at a time is gathered, used with its norm's scale, and has its whole gradient
        whole = 3 * params.matrices / config.model.layers + 2 * (params.embedding + params.head)
        gathered = divided + whole / tensor
    else:  # a loop keeps each layer's matrices as they were used
        gathered = divided + (params.matrices / tensor if looped and mode != "mesh" and not how.remat else 0)
    # Parts of a batch are summed into gradients of their own.
    gradients = gathered + (divided if how.accumulate > 1 else 0)
    kernel = kernels.attention(config.precision, config.model.head_width, platform, (8, 0))
    if kernel == "cudnn" and config.model.document_mask:
        kernel = "xla"
    again = how.remat and (platform != "cpu" or looped)
    keeps = "input" if again else "products" if looped and mode == "mesh" else "all"
    kept = _activations(config, vocab, keeps, tensor, kernel) * config.batch_tokens / parts
    return Memory(
        state=round(4 * together * divided * (1 + moments)),
        gradients=round(4 * together * gradients),
        activations=round(together * kept),
        evaluation=rows(config, vocab) * config.data.context * round(_scored(config, vocab)),
    )


def rows(config: RunConfig, vocab: int, length: int | None = None) -> int:
    """Sequences of ``length`` tokens (a context by default) that are scored in one call, a power of two.

    As many as :data:`EVALUATION_BYTES` hold by :func:`_bound`, and not of what is free at the moment: a run
    is to be scored with the same rounding on every machine, and by every version.
    """
    each = _bound(config, vocab) * (length or config.data.context)
    most = min(_MOST_ROWS, max(1, EVALUATION_BYTES // round(each)))
    return 1 << (most.bit_length() - 1)


def measured(compiled) -> int:
    """Peak bytes of a compiled program (``jit(f).lower(...).compile()``), by the compiler's own account.

    Arguments and results, what is donated counted once, and the largest sum of temporaries alive at a time.
    """
    found = compiled.memory_analysis()
    buffers = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return int(buffers + found.temp_size_in_bytes)


def available(device, sharing: int = 1) -> int | None:
    """Bytes free on a jax device; of the machine's memory, the part of one of ``sharing`` CPU devices."""
    found = device.memory_stats()
    if found and "bytes_limit" in found:
        return found["bytes_limit"] - found.get("bytes_in_use", 0)
    if device.platform != "cpu":
        return None
    free = ram().free
    return None if free is None else free // sharing


def check(config: RunConfig, vocab: int, mode: str, runs: int = 1, how: Execution = _PLAIN) -> None:
    """Raises InputError, one line, when the run cannot fit the devices of this process.

    The prediction is an estimate, and stops no run that may fit: only one that needs more than there is even
    if the prediction is too high by :data:`FACTOR`.
    """
    if how.memory == "ignore":
        return
    import jax

    devices = jax.local_devices()
    used = {"serial": 1, "devices": runs, "pmap": runs}.get(mode, len(devices))
    needed = predict(config, vocab, mode, used, runs, how, devices[0].platform)
    free = available(devices[0], used)
    if free is not None and needed > FACTOR * free:
        raise InputError(refusal(config, needed, free, devices[0].device_kind, mode))


def refusal(config: RunConfig, needed: int, free: int, device: str, mode: str) -> str:
    """What is short, by how much, and what to lower."""
    return (
        f"memory: {needed / 1e9:.3g} GB a device needed (width {config.model.width}, "
        f"layers {config.model.layers}, batch {config.batch}, context {config.data.context}, mode {mode}), "
        f"{free / 1e9:.3g} GB free on {device}; lower the batch or the width, or use --accumulate, "
        f"--mesh fsdp=N{'' if device == 'cpu' else ', --remat'}; --memory ignore tries it all the same"
    )


def _activations(config: RunConfig, vocab: int, keeps: str, tensor: int, kernel: kernels.Kernel) -> float:
    """Bytes a token. ``keeps``: of each layer ``all``, the results of its ``products``, or its ``input``."""
    c, T = config.model, config.data.context
    M, F = c.width, c.hidden
    size = 2 if config.precision == "bfloat16" else 4
    # residual stream and its normalised copy, twice, and what attention returns
    whole = 5 * M
    heads = (3 + 2 + 2 * c.qk_norm) * M  # projected, rotated, normalised
    hidden = (4 if c.mlp == "gated" else 2) * F
    scores = {  # bytes that a layer keeps
        "blocks": 4 * c.heads * (T + min(T, kernels.QUERY_BLOCK)) / 2,
        "xla": (4 + size) * c.heads * T,  # the weights, and in the type of the values
        "cudnn": 4 * c.heads,  # the logarithm of each row's sum
    }[kernel]
    # Each block of queries keeps the keys and values that it sees.
    blocks = -(-T // kernels.QUERY_BLOCK)
    copies = size * M * (blocks + 1) / tensor if kernel == "blocks" and blocks > 1 else 0
    layer = size * (whole + (heads + hidden) / tensor) + scores / tensor + copies
    logits = 2 * 4 * vocab / tensor
    products = size * M + size * (4 * M + (2 if c.mlp == "gated" else 1) * F + M) / tensor
    several = c.layers * {"all": layer, "products": products, "input": size * M}[keeps]
    # While a gradient is computed: two squares, or what goes back to the copies and what that is summed from.
    passing = 8 * c.heads * T / tensor if kernel == "xla" else 2 * copies
    if keeps == "all":
        return several + logits + passing + 2 * size * M
    # the layer that is computed again; the logits have gone back by then
    return several + max(logits, layer + passing) + 2 * size * M


def _bound(config: RunConfig, vocab: int) -> float:
    """Bytes a token that scoring takes at most. Chooses the rows, and with them the rounding: change no
    constant here, or the losses of finished runs cannot be had again to the bit."""
    return 4 * max(_attending(config, True), _hidden(config), 1.5 * vocab)


def _scored(config: RunConfig, vocab: int) -> float:
    """Bytes a token of the largest temporaries in a forward pass: of attention, the MLP, or the logits.

    Each layer gives its own back. The MLP of the last one is computed in pieces as the logits ask for it, and
    takes no room of its own; where there is one layer, part of the copies go the same way.
    """
    several = config.model.layers > 1
    return 4 * max(_attending(config, several), _hidden(config) if several else 0, 1.25 * vocab)


def _attending(config: RunConfig, several: bool) -> float:
    """Numbers a token: what is projected and rotated, the scores of all blocks of queries, and for each block
    a copy of the keys and values it sees."""
    c, T = config.model, config.data.context
    blocks = -(-T // kernels.QUERY_BLOCK)
    wide = 6 + (blocks + 1 if blocks > 1 else 0) if several else 5 + 0.4 * blocks
    return wide * c.width + c.heads * (T + min(T, kernels.QUERY_BLOCK)) / 2


def _hidden(config: RunConfig) -> int:
    """Numbers a token in the MLP; gelu is computed in pieces."""
    c = config.model
    return 4 * c.width + (2 if c.mlp == "gated" else 5) * c.hidden
