"""The folder of one run: written by one process, readable by any tool.

``spec.json`` once; ``metrics.jsonl`` appended and flushed; ``checkpoints/`` while training; ``final/`` the
trained parameters; ``result.json`` by temporary file, fsync and rename: the commit point. Whatever was
committed survives a kill at any moment; a torn last line of the metrics is dropped at the next start.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path


def write_json(path: Path, value) -> None:
    """Atomically: readers see the old file or the new one, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w") as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_json(path: Path):
    """The value, or None where there is no such file."""
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def completed_steps(checkpoints: Path) -> list[int]:
    """Steps of the completed checkpoints in a folder, rising; interrupted saves have other names."""
    try:
        return sorted(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit())
    except FileNotFoundError:
        return []


class RunFolder:
    def __init__(self, path: Path):
        self.path = Path(path)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final(self) -> Path:
        return self.path / "final"

    def write_spec(self, spec: dict) -> None:
        """Once: a spec that is there stays as it is."""
        if not (self.path / "spec.json").exists():
            write_json(self.path / "spec.json", spec)

    def spec(self) -> dict | None:
        return read_json(self.path / "spec.json")

    def result(self) -> dict | None:
        return read_json(self.path / "result.json")

    def commit(self, result: dict) -> None:
        write_json(self.path / "result.json", result)

    def metrics(self) -> list[dict]:
        """All whole lines; what a kill tore off is not there."""
        try:
            text = (self.path / "metrics.jsonl").read_text()
        except FileNotFoundError:
            return []
        lines = []
        for line in text.splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return lines

    def cut_metrics(self, step: int) -> None:
        """Drop lines beyond ``step``, before training goes on from there."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        temporary = self.path / f".metrics.{os.getpid()}.tmp"
        self.path.mkdir(parents=True, exist_ok=True)
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(temporary, self.path / "metrics.jsonl")

    def append_metrics(self, lines: Iterable[dict]) -> None:
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
