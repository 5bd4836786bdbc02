"""One run as data: frozen configuration in, content-addressed id out."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from lab.data import DataConfig

# Raised whenever a change to the code alters the bits of a finished run. Part of every run id.
NUMERICS_VERSION = 2

RateLaw = Literal["step", "porian", "deepseek", "kaplan"]
BatchLaw = Literal["step", "porian", "deepseek"]
_WEIGHT_DECAY = 0.1


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the decoder: L layers, M = width, H heads of K = width / heads, F = hidden."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    mlp: Literal["gelu", "gated"] = "gelu"
    mlp_ratio: float = 4.0  # F / M; 8/3 gives a gated block the parameters of a plain one
    tied: bool = False  # the output head is the transposed input table
    qk_norm: bool = True  # RMS-normalise queries and keys (2302.05442)
    # how initialisation, rates and multipliers follow the size: lab/model/parametrization.py
    parametrization: Literal["standard", "mup", "completep"] = "standard"
    base_width: int = 64  # the size at which mup and completep are the standard parametrisation
    base_layers: int = 2
    base_head_width: int = 16

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        return round(self.width * self.mlp_ratio)

    def problems(self):
        for name in ("width", "layers", "heads", "base_width", "base_layers", "base_head_width"):
            if getattr(self, name) < 1:
                yield name, f"should be at least 1, is {getattr(self, name)}"
        if self.mlp_ratio <= 0:
            yield "mlp_ratio", f"should be positive, is {self.mlp_ratio}"
        if self.width > 0 and self.heads > 0:
            if self.width % self.heads:
                yield "heads", f"should divide width {self.width}, is {self.heads}"
            elif self.head_width % 2:
                yield "heads", f"rotary positions need an even head width, {self.width}/{self.heads} is odd"


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or Muon with decoupled decay, and a schedule. Warmup and cooldown are part of the horizon."""

    algorithm: Literal["adamw", "muon"] = "adamw"  # muon: of attention and MLP matrices, adamw for the rest
    learning_rate: float = 4e-3  # peak
    learning_rate_law: RateLaw | None = None  # published law that sets learning_rate: lab/training/recipes.py
    batch_law: BatchLaw | None = None  # published law that sets the batch
    schedule: Literal["wsd", "cosine", "linear"] = "wsd"
    warmup_tokens: int = 50_000
    cooldown: float = 0.2  # wsd: the last part of the tokens (2405.18392)
    cooldown_shape: Literal["sqrt", "linear"] = "sqrt"  # wsd: falling as 1 - sqrt, or straight
    final_fraction: float = 0.0  # learning rate at the end, as a part of the peak
    weight_decay: float | None = None  # multiplied by the learning rate; matrices only; 0.1 if not given
    decay_timescale: float | None = None  # sets weight_decay to 1 / (rate x timescale x steps)
    beta1: float = 0.9
    beta2: float = 0.98
    momentum: float = 0.95  # of muon
    eps: float = 1e-8
    clip: float = 1.0  # global gradient norm
    z_loss: float = 0.0  # weight of log(Z)^2 (2204.02311)

    def problems(self):
        if self.learning_rate <= 0:
            yield "learning_rate", f"should be positive, is {self.learning_rate}"
        if self.learning_rate_law is not None and self.learning_rate != OptimizerConfig.learning_rate:
            yield "learning_rate_law", "would replace learning_rate, which is given too; give one of them"
        if self.decay_timescale is not None:
            if self.weight_decay is not None:
                yield "decay_timescale", "would replace weight_decay, which is given too; give one of them"
            if self.decay_timescale <= 0:
                yield "decay_timescale", f"should be positive, is {self.decay_timescale}"
        for name in ("beta1", "beta2", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                yield name, f"should be at least 0 and below 1, is {getattr(self, name)}"
        for name in ("cooldown", "final_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                yield name, f"should lie between 0 and 1, is {getattr(self, name)}"
        for name in ("warmup_tokens", "weight_decay", "z_loss"):
            if (getattr(self, name) or 0) < 0:
                yield name, f"should not be negative, is {getattr(self, name)}"
        for name in ("eps", "clip"):
            if getattr(self, name) <= 0:
                yield name, f"should be positive, is {getattr(self, name)}"


@dataclass(frozen=True)
class RunConfig:
    """All that decides the result of one training run. Names, paths and devices are not part of it."""

    tokens: int
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    batch: int = 16  # sequences a step
    seed: int = 0  # initialisation; the data order is data.order_seed
    precision: Literal["float32", "bfloat16"] = "float32"  # of activations; masters are float32

    def problems(self):
        if self.batch < 1:
            yield "batch", f"should be at least 1, is {self.batch}"
        elif self.tokens < self.batch_tokens:
            yield "tokens", f"should be at least one batch of {self.batch_tokens} tokens, is {self.tokens}"

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
        for name in idle:
            del o[name]
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

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def problems(self):
        if self.temperature < 0:
            yield "temperature", f"should not be negative, is {self.temperature}"
        if self.top_k < 0:
            yield "top_k", f"should not be negative, is {self.top_k}"
        if not 0 < self.top_p <= 1:
            yield "top_p", f"should lie above 0 and not above 1, is {self.top_p}"


def digest(value) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
