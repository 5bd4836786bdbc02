"""What is to be trained, and where it is kept. Imports nothing heavy: planning and status need no jax."""

from dataclasses import asdict, dataclass

from lab.config import RunConfig
from lab.data import Dataset
from lab.runs.folder import RunFolder

SCHEMA = 1  # of spec.json and result.json


@dataclass(frozen=True)
class Job:
    """A run, or the trunk of several, and where it is kept."""

    config: RunConfig
    run_id: str
    folder: RunFolder
    trunk: RunFolder | None = None  # a branch starts from its trunk's checkpoint at hold_steps
    branch_steps: tuple[int, ...] = ()  # a trunk: where its branches leave; empty for a run with a result

    @property
    def is_trunk(self) -> bool:
        return bool(self.branch_steps)

    @property
    def start(self) -> int:
        """The first step that the job trains itself."""
        return self.config.hold_steps if self.trunk is not None else 0

    @property
    def end(self) -> int:
        return max(self.branch_steps) if self.is_trunk else self.config.steps

    def outcome(self) -> str:
        """How a finished run came out, in a word: its loss, else its status."""
        if self.is_trunk:
            return "trunk"
        row = (self.folder.result() or {}).get("row", {})
        loss = None if row.get("status") == "diverged" else row.get("loss_nats")
        return str(row.get("status")) if loss is None else f"{loss:.4f}"

    def spec(self, dataset: Dataset, provenance: dict) -> dict:
        return {
            "schema": SCHEMA,
            "kind": "trunk" if self.is_trunk else "run",
            "run_id": self.run_id,
            "config": asdict(self.config),
            "data_digest": dataset.digest,
            "provenance": provenance,
        }
