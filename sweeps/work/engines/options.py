"""Options of `lab run` that choose where workers run; all that is wrong with them at once."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lab.errors import InputError
from sweeps.work.engines.launch import Launch

_OF_SLURM = ("partition", "minutes", "nodes", "memory_gb", "at_once", "signal_seconds", "sbatch", "jobs")
_OF = {
    "local": ("workers",),
    "ray": ("workers", "cpus", "gpus", "address"),
    "slurm": ("workers", "cpus", "gpus", "detach", *_OF_SLURM),
}
_LEAST = {"workers": 1, "cpus": 1, "gpus": 0, "minutes": 1, "nodes": 1, "at_once": 1, "signal_seconds": 1}


@dataclass(frozen=True)
class EngineOptions:
    engine: Literal["local", "slurm", "ray"] = "local"
    """where workers run: processes of this machine, a Slurm array, or tasks of a Ray cluster"""
    workers: int | None = None
    """local: one a core or accelerator by default; ray: what the cluster has room for; slurm: 1"""
    part: str | None = None
    """K/N: train this share only, for machines without a shared folder; `lab merge` joins the stores"""
    cpus: int | None = None
    """slurm, ray: cores of a worker (1)"""
    gpus: int | None = None
    """slurm, ray: accelerators of a worker (0)"""
    partition: str | None = None
    """slurm: the partition"""
    minutes: int | None = None
    """slurm: time limit of a worker (60); it is requeued and goes on"""
    nodes: int | None = None
    """slurm: nodes of one worker (1); every run is then spread over all of them"""
    memory_gb: float | None = None
    """slurm: memory of a worker"""
    at_once: int | None = None
    """slurm: most workers at one time (all)"""
    signal_seconds: int | None = None
    """slurm: how long before the time limit a worker saves (120)"""
    sbatch: tuple[str, ...] = ()
    """slurm: other sbatch parameters, as in account=me qos=low"""
    jobs: Path | None = None
    """slurm: folder of job files, yours alone, that all nodes see (slurm in the store)"""
    detach: bool = False
    """slurm: submit, and do not wait"""
    address: str | None = None
    """ray: of a running cluster, as auto or HOST:6379; without it one is started here"""

    def check(self) -> None:
        """
        Raises:
            InputError: for options of another engine, and for values out of range.
        """
        problems = []
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            flag = f"--{name.replace('_', '-')}"
            if name not in ("engine", "part") and value != field.default and name not in _OF[self.engine]:
                engines = " or ".join(engine for engine, names in _OF.items() if name in names)
                problems.append(f"{flag}: is for --engine {engines}, not for {self.engine}")
            if value is not None and value < _LEAST.get(name, value):
                problems.append(f"{flag}: should be at least {_LEAST[name]}, is {value}")
        if self.memory_gb is not None and not 0 < self.memory_gb < 1e6:
            problems.append(f"--memory-gb: should be above 0, is {self.memory_gb:g}")
        problems += [f"--sbatch: should be KEY=VALUE, is {word!r}" for word in self.sbatch if "=" not in word]
        minutes, signal = self.minutes or 60, self.signal_seconds
        if signal is not None and signal >= 60 * minutes:
            problems.append(f"--signal-seconds: should be less than the {minutes} minutes of --minutes")
        if problems:
            raise InputError(*problems)

    def run(self, launch: Launch, pack: str, watch, tell, cells: int | None = None) -> int:
        """Start the engine and follow it to its end. Returns 0, 1 when cells were given up, or 130.

        Args:
            pack: the study's mode of packing: a pack shares one worker's cores.
            watch: makes the :class:`sweeps.work.engines.watch.StoreWatch` for engines that need one.
            cells: how many are left to train: local workers are no more than that.
        """
        if self.engine != "local" and pack not in ("serial", "auto"):
            launch = replace(launch, cpu_devices=self.cpus or 1)
        if self.engine == "slurm":
            from sweeps.work.engines import slurm

            keys = ("at_once", "partition", "minutes", "nodes", "cpus", "gpus", "memory_gb", "signal_seconds")
            given = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
            parameters = tuple(tuple(word.split("=", 1)) for word in self.sbatch)
            options = slurm.SlurmOptions(
                workers=self.workers or 1, parameters=parameters, jobs=self.jobs, **given
            )
            return slurm.run(launch, options, watch(), tell, self.detach)
        if self.engine == "ray":
            from sweeps.work.engines import ray

            options = ray.RayOptions(self.address, self.workers, self.cpus or 1, self.gpus or 0)
            return ray.run(launch, options, watch(), tell)
        from sweeps.work.engines import local

        return local.run(launch, local.slots(pack, self.workers, cells), tell)


Engine = Annotated[EngineOptions, tyro.conf.arg(name=""), tyro.conf.OmitArgPrefixes]
