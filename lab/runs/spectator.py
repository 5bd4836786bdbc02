"""A run folder as one of several processes may use it: process 0 writes, the others look on."""

from lab.machine import distributed
from lab.runs.folder import RunFolder


class Spectator(RunFolder):
    """A run folder that another process writes."""

    writes = False

    def write_spec(self, spec: dict) -> None:
        pass

    def commit(self, result: dict, check=None) -> None:
        pass

    def cut_metrics(self, step: int) -> None:
        pass

    def append_metrics(self, lines) -> None:
        pass

    def append_costs(self, line, after="") -> None:
        pass


def folder_of_process(path, root=None) -> RunFolder:
    """The run folder as this process may use it; arguments as of RunFolder."""
    return RunFolder(path, root) if distributed.is_primary() else Spectator(path, root)
