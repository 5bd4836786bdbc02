"""One run as data: frozen configuration in, content-addressed id out."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from lab.data import DataConfig
from lab.strict import Within

# Raised whenever a change to the code alters the bits of a finished run. Part of every run id.
NUMERICS_VERSION = 2

RateLaw = Literal["step", "porian", "deepseek", "kaplan"]
BatchLaw = Literal["step", "porian", "deepseek"]
_WEIGHT_DECAY = 0.1

# Ranges: beyond them lies nothing that was ever trained, or a number that float32 or jax cannot hold.
Width = Annotated[int, Within(1, 65_536)]
Layers = Annotated[int, Within(1, 1024)]
Heads = Annotated[int, Within(1, 32_768)]
Rate = Annotated[float, Within(1e-10, 1e3)]
Fraction = Annotated[float, Within(0.0, 1.0)]
Mean = Annotated[float, Within(0.0, 0.99999)]  # of a running mean; nearer to 1, 1 - beta is lost in float32
Tokens = Annotated[int, Within(1, 10**16)]
Batch = Annotated[int, Within(1, 2**20)]
Seed = Annotated[int, Within(0, 2**32 - 1)]  # jax takes it modulo 2^32: two seeds would be one
MOST_STEPS = 2**31 - 1  # the optimiser counts them in int32
_MOST_HIDDEN = 2**20


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the decoder: L layers, M = width, H heads of K = width / heads, F = hidden."""

    width: Width = 64  # M, of the residual stream
    layers: Layers = 2  # L, blocks of attention and MLP
    heads: Heads = 4  # H, which divide the width
    mlp: Literal["gelu", "gated"] = "gelu"  # gated: with SiLU gates, three matrices for two
    # F / M; 8/3 gives a gated block the parameters of a plain one
    mlp_ratio: Annotated[float, Within(0.01, 100.0)] = 4.0
    tied: bool = False  # the output head is the transposed input table
    qk_norm: bool = True  # RMS-normalise queries and keys (2302.05442)
    # attention stays within the document, whose positions then count from its start; what is learned of text
    # that was packed, and costs: docs/data.md
    document_mask: bool = False
    # how initialisation, rates and multipliers follow the size: lab/model/parametrization.py
    parametrization: Literal["standard", "mup", "completep"] = "standard"
    base_width: Width = 64  # the size at which mup and completep are the standard parametrisation
    base_layers: Layers = 2  # its layers
    base_head_width: Width = 16  # its width of a head

    @property
    def label(self) -> str:
        """The shape in a word: 48x2h3 is width 48, two layers, three heads."""
        return f"{self.width}x{self.layers}h{self.heads}"

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        return round(self.width * self.mlp_ratio)

    def problems(self):
        if self.width % self.heads:
            yield "heads", f"should divide width {self.width}, is {self.heads}"
        elif self.head_width % 2:
            yield "heads", f"rotary positions need an even head width, {self.width}/{self.heads} is odd"
        if not 1 <= self.hidden <= _MOST_HIDDEN:
            yield (
                "mlp_ratio",
                f"{self.mlp_ratio} x width {self.width} gives {self.hidden} hidden units; "
                f"should give 1 to {_MOST_HIDDEN}",
            )


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or Muon with decoupled decay, and a schedule. Warmup and cooldown are part of the horizon."""

    algorithm: Literal["adamw", "muon"] = "adamw"  # muon: of attention and MLP matrices, adamw for the rest
    learning_rate: Rate = 4e-3  # peak
    learning_rate_law: RateLaw | None = None  # published law that sets learning_rate: lab/training/recipes.py
    batch_law: BatchLaw | None = None  # published law that sets the batch
    # after the warmup: wsd stays at the peak and cools down at the end; the others fall all the way
    schedule: Literal["wsd", "cosine", "linear"] = "wsd"
    warmup_tokens: Annotated[int, Within(0, 10**16)] = 50_000  # over which the rate rises to its peak
    cooldown: Fraction = 0.2  # wsd: the last part of the tokens (2405.18392)
    cooldown_shape: Literal["sqrt", "linear"] = "sqrt"  # wsd: falling as 1 - sqrt, or straight
    final_fraction: Fraction = 0.0  # learning rate at the end, as a part of the peak
    # multiplied by the learning rate; of what `decayed` names, never of norm scales; 0.1 if not given
    weight_decay: Annotated[float, Within(0.0, 1e3)] | None = None
    # all: every matrix, input table and head too, as in nanoGPT; no_embedding: all but the input
    # table (OLMo 2, 2501.00656); hidden: attention and MLP matrices alone (early nanochat)
    decayed: Literal["all", "no_embedding", "hidden"] = "all"
    # sets weight_decay to 1 / (rate x timescale x steps)
    decay_timescale: Annotated[float, Within(1e-6, 1e6)] | None = None
    beta1: Mean = 0.9  # of the mean of gradients
    beta2: Mean = 0.98  # of the mean of their squares
    momentum: Mean = 0.95  # of muon
    eps: Annotated[float, Within(1e-20, 1.0)] = 1e-8  # beside the root of that mean
    clip: Annotated[float, Within(1e-6, 1e30)] = 1.0  # global gradient norm
    z_loss: Annotated[float, Within(0.0, 100.0)] = 0.0  # weight of log(Z)^2 (2204.02311)

    def problems(self):
        if self.learning_rate_law is not None and self.learning_rate != OptimizerConfig.learning_rate:
            yield "learning_rate_law", "would replace learning_rate, which is given too; give one of them"
        if self.decay_timescale is not None and self.weight_decay is not None:
            yield "decay_timescale", "would replace weight_decay, which is given too; give one of them"


@dataclass(frozen=True)
class RunConfig:
    """All that decides the result of one training run. Names, paths and devices are not part of it."""

    tokens: Tokens
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    batch: Batch = 16  # sequences a step
    seed: Seed = 0  # initialisation; the data order is data.order_seed
    precision: Literal["float32", "bfloat16"] = "float32"  # of activations; masters are float32

    def problems(self):
        if self.tokens < self.batch_tokens:
            yield "tokens", f"should be at least one batch of {self.batch_tokens} tokens, is {self.tokens}"
        elif self.steps > MOST_STEPS:
            most = MOST_STEPS * self.batch_tokens
            yield (
                "tokens",
                f"should be at most {most}, which is {MOST_STEPS} steps of {self.batch_tokens} tokens, "
                f"is {self.tokens}",
            )

    @property
    def batch_tokens(self) -> int:
        return self.batch * self.data.context

    @property
    def steps(self) -> int:
        """Whole batches in the budget, rounded to the nearest."""
        return max(1, round(self.tokens / self.batch_tokens))

    @property
    def warmup_steps(self) -> int:
        return min(self._whole_warmup, self.steps)

    @property
    def _whole_warmup(self) -> int:
        return round(self.optimizer.warmup_tokens / self.batch_tokens)

    @property
    def can_branch(self) -> bool:
        """Whether the run is, up to its cooldown, what the trunk of longer budgets is.

        A budget shorter than the warmup warms up faster than they do.
        """
        is_on_path = self._whole_warmup <= self.steps
        return self.optimizer.schedule == "wsd" and is_on_path and self.hold_steps > 0

    @property
    def hold_steps(self) -> int:
        """The step at which the cooldown starts: where a branch leaves its trunk."""
        if self.optimizer.schedule != "wsd":
            return self.warmup_steps
        return max(self.steps - round(self.optimizer.cooldown * self.steps), self.warmup_steps)

    @property
    def weight_decay(self) -> float:
        """The decay lambda, which is multiplied by the learning rate.

        From ``decay_timescale`` tau, in parts of the horizon: lambda = B / (eta tau D) = 1 / (eta tau steps)
        with the peak rate eta (2405.13698, 2505.13738).
        """
        o = self.optimizer
        if o.decay_timescale is not None:
            return 1 / (o.learning_rate * o.decay_timescale * self.steps)
        return _WEIGHT_DECAY if o.weight_decay is None else o.weight_decay

    def describe(self, data_digest: str) -> dict:
        """All that changes the result and nothing else, as plain JSON values.

        Raises:
            ValueError: while a law stands where a number should: the id must not depend on its formula.
        """
        if self.optimizer.learning_rate_law or self.optimizer.batch_law:
            raise ValueError("laws have to be resolved before a run has an id")
        described = {"numerics": NUMERICS_VERSION, **asdict(self), "steps": self.steps}
        del described["tokens"]  # two budgets that round to the same steps are the same run
        described["data"] = {"digest": data_digest, "context": self.data.context}
        o, m = described["optimizer"], described["model"]
        o["weight_decay"] = self.weight_decay
        idle = ["learning_rate_law", "batch_law", "decay_timescale"]
        if o["algorithm"] != "muon":
            idle.append("momentum")
        if o["schedule"] != "wsd":
            idle += ["cooldown", "cooldown_shape"]
        if o["decayed"] == "all":  # what every run did before there was a choice: their ids stay
            idle.append("decayed")
        for name in idle:
            del o[name]
        if not m["document_mask"]:  # as what every run did before there was a choice
            del m["document_mask"]
        if m["parametrization"] == "standard":
            del m["base_width"], m["base_head_width"]
        if m["parametrization"] != "completep":
            del m["base_layers"]
        return described

    def run_id(self, data_digest: str) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON of :meth:`describe`."""
        return digest(self.describe(data_digest))

    def trunk_id(self, data_digest: str) -> str:
        """Id of what all budgets of a warmup-stable-decay run share: everything but the end."""
        described = self.describe(data_digest)
        del described["steps"]
        for name in ("cooldown", "cooldown_shape", "final_fraction"):
            described["optimizer"].pop(name, None)
        return digest({"trunk": described})


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Temperature 0 is greedy; top_k 0 and top_p 1 leave all tokens in."""

    temperature: Annotated[float, Within(0.0, 1e6)] = 0.0
    top_k: Annotated[int, Within(0, 2**31 - 1)] = 0
    top_p: Annotated[float, Within(1e-6, 1.0)] = 1.0


def digest(value) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
