"""The folder of one run: written by one process, readable by any tool.

``spec.json`` once; ``metrics.jsonl`` appended and flushed; ``checkpoints/`` while training; ``final/`` the
trained parameters; ``result.json`` by staged file, fsync and exclusive link: the commit point. Whatever was
committed survives a kill at any moment; a torn last line of the metrics is dropped at the next start.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.files import read_json, write_json


def _write_durably(path: Path, value) -> None:
    try:
        with open(path, "w") as file:
            json.dump(value, file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)  # on a full disk, the half-written file is what must go first
        raise


def _sync_folder(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def completed_steps(checkpoints: Path) -> list[int]:
    """Steps of the completed checkpoints in a folder, rising; interrupted saves have other names."""
    try:
        return sorted(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit())
    except FileNotFoundError:
        return []


class RunFolder:
    writes = True  # False for the processes of a run that only read it (lab/machine/distributed.py)

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

    def commit(self, result: dict, check: Callable[[], None] = lambda: None) -> None:
        """Once: the first commit stands, a later one changes nothing.

        Args:
            check: raises where the run belongs to another process by now. It is asked after the result was
                staged and before it is linked; who takes a run over calls :meth:`withdraw`, then looks for a
                result. So either the old owner's commit comes before that look, or it fails.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        staged = self.path / f".result.{uuid.uuid4().hex}.staged"
        _write_durably(staged, result)
        try:
            check()
            with contextlib.suppress(FileExistsError):
                os.link(staged, self.path / "result.json")
        finally:
            staged.unlink(missing_ok=True)
        _sync_folder(self.path)

    def withdraw(self) -> None:
        """Remove what other processes staged and did not commit."""
        for staged in self.path.glob(".result.*.staged"):
            staged.unlink(missing_ok=True)

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
