"""`lab doctor`: does this machine have what a study needs? What is missing is told with its mending."""

import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lab import file_system, files, python
from lab.machine import devices
from lab.ram import ram

_PACKAGE = "scaling-law-lab"
_PIP = f"{python.EXECUTABLE} -m pip install"  # into the environment that lab itself runs in
_PYTHON = (3, 11)
_LEAST_FREE = 2e9  # bytes; a study of small models keeps some 100 kB a run, its checkpoints more
_SKEW_SECONDS = 5.0
_SLOW_FSYNC = 0.1
_CUDA13_DRIVER = 580  # of NVIDIA's drivers the first for CUDA 13
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "lustre", "beegfs", "gpfs", "ceph", "afs")


@dataclass(frozen=True)
class Check:
    """One line. ``absent`` is something optional that is not there; only ``fail`` makes the exit code 1."""

    name: str
    status: Literal["ok", "warn", "fail", "absent"]
    text: str
    mend: str = ""


def doctor(argv: list[str]) -> int:
    def command(
        out: Path = Path("runs"), as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    ) -> int:
        """Check this machine: versions, devices, compilation cache, file system of the store, clock, engines.

        Args:
            out: where stores will be: its file system is tried with a few small files.
            as_json: print one JSON object.
        """
        found = []
        for check in checks(out):
            found.append(check)
            if not as_json:
                mend = f"\n{'':15}{check.mend}" if check.mend else ""
                print(f"{check.status:<6} {check.name:<8} {check.text}{mend}", flush=True)
        sound = all(check.status != "fail" for check in found)
        if as_json:
            print(json.dumps({"sound": sound, "checks": [asdict(check) for check in found]}))
        return 0 if sound else 1

    return tyro.cli(command, args=argv, prog="lab doctor")


def checks(out: Path) -> Iterator[Check]:
    """All of them, the cheap ones first."""
    yield _python()
    yield from _packages()
    yield from _disk(out)
    yield _caches()
    yield from _devices()
    yield from _engines()


def _extra(name: str) -> str:
    return f"make .venv/.dev (all extras, at the versions that are tested), or: {_PIP} -e '.[{name}]'"


def _python(found: tuple[int, ...] = tuple(sys.version_info)) -> Check:
    text = f"Python {'.'.join(map(str, found[:3]))} at {python.EXECUTABLE}"
    if found < _PYTHON:
        mend = "install Python 3.11 or newer, then: make setup PYTHON=python3.12"
        return Check("python", "fail", text, mend)
    return Check("python", "ok", text)


def _packages(installed: Callable[[str], str] = version) -> Iterator[Check]:
    """Installed versions against what the package asks for."""
    try:
        from packaging.requirements import Requirement

        wanted = [Requirement(line) for line in requires(_PACKAGE) or ()]
    except (ImportError, PackageNotFoundError):
        yield Check("packages", "fail", f"{_PACKAGE} is not installed", f"make setup, or: {_PIP} -e .")
        return
    wrong, right = [], []
    for need in wanted:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            have = installed(need.name)
        except PackageNotFoundError:
            wrong.append((need, "is missing"))
            continue
        if have in need.specifier:
            right.append(f"{need.name} {have}")
        else:
            wrong.append((need, f"is {have}"))
    for need, what in wrong:
        text = f"{need.name} {what}, should be {need.specifier or 'there'}"
        yield Check("packages", "fail", text, f"make setup, or: {_PIP} '{need.name}{need.specifier}'")
    if not wrong:
        shown = [text for text in right if text.split()[0] in ("jax", "flax", "optax", "numpy", "scipy")]
        yield Check("packages", "ok", f"{', '.join(shown)} and {len(right) - len(shown)} others as required")


def _disk(out: Path) -> Iterator[Check]:
    place = out.absolute()
    while not place.exists():
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
        text = f"{free / 1e9:.1f} GB free at {place}"
        mend = (
            f"free some space there, or keep stores elsewhere: lab doctor --out DIR (df -h {place} shows it)"
        )
        yield Check("disk", "ok", text) if free > _LEAST_FREE else Check("disk", "fail", text, mend)
        folder = Path(tempfile.mkdtemp(prefix=".doctor-", dir=place))
    except OSError as error:
        mend = f"chmod u+w {place}, or choose a folder that takes files: lab doctor --out DIR"
        yield Check("files", "fail", f"{place}: {error.strerror}", mend)
        return
    try:
        yield _semantics(folder, place)
        yield _clock(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _semantics(folder: Path, place: Path) -> Check:
    """What claims and commits rest on (:mod:`lab.file_system`), and appending."""
    kind = _file_system(place)
    mend = (
        "keep stores on a local or POSIX file system: --out DIR; parts can be brought together by lab merge"
    )
    target = folder / "target"
    try:
        offers = file_system.look(folder)
        if not (offers.exclusive and offers.rename):
            return Check("files", "fail", f"{kind}: no exclusive creation, or no renaming", mend)
        started = time.perf_counter()
        for content in ("2", "3"):
            files.append(target, content.encode())
        files.write_text(folder / "timed", "")
        seconds = time.perf_counter() - started
        if target.read_text() != "23":
            return Check("files", "fail", f"{kind}: what was appended is not there", mend)
    except OSError as error:
        return Check("files", "fail", f"{kind}: {error.strerror}", mend)
    if notes := offers.notes():
        return Check("files", "warn", f"{kind}: {'; '.join(notes)}", mend)
    text = f"{kind}: exclusive links, atomic replacing and fsync work ({seconds * 1e3:.1f} ms a commit)"
    if seconds > _SLOW_FSYNC:
        return Check("files", "warn", text, "commits are slow here; a local disk and lab merge are faster")
    if kind in _NETWORK:
        mend = "nfsstat -m shows its options; a short acregmax lets workers see each other sooner"
        return Check("files", "warn", f"{text}; other nodes see files after its attribute cache", mend)
    return Check("files", "ok", text)


def _file_system(place: Path) -> str:
    """Type of the file system that holds ``place``, from the longest mount point above it."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return platform.system()
    above = [(len(m), kind) for m, kind in mounts if place.is_relative_to(m.replace("\\040", " "))]
    return max(above, default=(0, "unknown"))[1]


def _clock(folder: Path) -> Check:
    probe = folder / "clock"
    before = time.time()
    probe.write_text("")
    skew = probe.stat().st_mtime - before
    text = f"file times differ from this machine's clock by {abs(skew):.1f} s"
    if abs(skew) > _SKEW_SECONDS:
        mend = (
            "timedatectl set-ntp true (claims bear it: they compare no two clocks; file dates will mislead)"
        )
        return Check("clock", "warn", text, mend)
    return Check("clock", "ok", text)


def _caches() -> Check:
    folder = devices.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".doctor-{uuid.uuid4().hex}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return Check(
            "cache", "fail", f"{folder}: {error.strerror}", "export XDG_CACHE_HOME=/a/folder/of/yours"
        )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Check("cache", "ok", f"{folder} takes files and holds {size / 1e6:.0f} MB; it may be deleted")


def _devices() -> Iterator[Check]:
    if "jax" not in sys.modules:
        devices.configure()
    try:
        import jax

        found = jax.devices()
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        yield Check(
            "devices", "fail", f"jax does not start: {reason}", "JAX_PLATFORMS=cpu lab doctor, or make setup"
        )
        return
    kinds = sorted({device.device_kind for device in found})
    cores = len(devices.available_cores())
    text = f"{len(found)} x {', '.join(kinds)} ({found[0].platform}), {cores} cores, {_memory()}"
    unused = _unused() if found[0].platform == "cpu" else None
    if unused and os.environ.get("JAX_PLATFORMS", "") != "cpu":
        what, extra = unused
        yield Check("devices", "warn", f"{text}; {what} not used", f"{_PIP} -e '.[{extra}]'")
    else:
        yield Check("devices", "ok", text)
    yield Check("flags", "ok", f"XLA_FLAGS {os.environ.get('XLA_FLAGS', '') or 'none'}")
    mend = f"rm -r {devices.cache_folder() / 'xla'}, then: lab doctor"
    try:
        if devices.cache_works():
            yield Check("compile", "ok", "a second process takes compiled programs from the cache")
        else:
            text = "this host rejects what it compiled before (jax#38445): every process compiles anew"
            yield Check("compile", "warn", text, mend)
    except RuntimeError as error:
        yield Check("compile", "fail", str(error), mend)


def _unused(root: Path = Path("/")) -> tuple[str, str] | None:
    """Accelerators that drivers show, and the extra by which jax uses them. A hint: what is used is what jax
    itself finds."""
    if chips := [*root.glob("dev/accel[0-9]*"), *root.glob("dev/vfio/[0-9]*")]:
        return f"{len(chips)} TPU chips are", "tpu"
    gpus = list(root.glob("dev/nvidia[0-9]*"))
    try:
        told = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        told = ""
    if not gpus and not told:
        return None
    driver = re.search(r"Kernel Module.*?\s(\d+)\.", told)
    newest = driver is not None and int(driver[1]) >= _CUDA13_DRIVER
    return f"{len(gpus) or 'some'} NVIDIA devices are", "cuda13" if newest else "cuda12"


def _memory() -> str:
    free, total = ram()
    if free is None:
        return "memory unknown"
    if free == total:  # all that is told there
        return f"{total / 1e9:.1f} GB memory"
    return f"{free / 1e9:.1f} of {total / 1e9:.1f} GB memory free"


def _engines() -> Iterator[Check]:
    yield Check(
        "local", "ok", f"{len(devices.available_cores())} workers, one a core, unless there are accelerators"
    )
    sbatch = shutil.which("sbatch")
    submitit = importlib.util.find_spec("submitit")
    if sbatch and submitit:
        yield Check("slurm", "ok", f"{sbatch}, submitit {version('submitit')}")
    elif sbatch:
        yield Check("slurm", "absent", "sbatch is here, submitit is missing", _extra("slurm"))
    else:
        text = "no sbatch on this machine" + ("" if submitit else ", no submitit")
        yield Check("slurm", "absent", text, f"on a Slurm login node: {_extra('slurm')}")
    if importlib.util.find_spec("ray"):
        yield Check("ray", "ok", f"ray {version('ray')}")
    else:
        yield Check("ray", "absent", "ray is not installed", _extra("ray"))
