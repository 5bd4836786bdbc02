"""Energy counters of this machine: NVML of NVIDIA cards, RAPL of processors. What has none is not guessed.

Both count all the time, so that two looks are enough and nothing is sampled between them. A card counts for
who holds it, idle draw included. RAPL counts a whole machine, whoever works there; a process gets the part
that its CPU seconds are of all CPU seconds of the machine meanwhile, so that processes side by side add up to
it. Virtual machines have no RAPL, and current kernels let only root read it.
"""

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

POWERCAP, STAT = Path("/sys/class/powercap"), Path("/proc/stat")
_BUSY = (0, 1, 2, 5, 6, 7)  # columns of /proc/stat: user, nice, system, irq, softirq, steal; not idle, iowait


@dataclass(frozen=True)
class Used:
    """Between two looks: ``joules`` is None where no counter was read; ``source``: nvml, rapl or both."""

    cpu_seconds: float
    joules: float | None = None
    source: str = "none"


class Meter:
    """What this process and its devices use, from one look to the next.

    Args:
        devices: of jax; of several processes together nothing is read, for each would see a part.
        powercap, stat, nvml: where counters are, for tests.
    """

    def __init__(
        self,
        devices: Sequence,
        powercap: Path = POWERCAP,
        stat: Path = STAT,
        nvml: Callable[[Sequence], "Nvml | None"] | None = None,
    ):
        cards = [device for device in devices if device.device_kind != "cpu"]
        alone = len({getattr(device, "process_index", 0) for device in devices}) == 1
        self._cards = (nvml or Nvml.of)(cards) if cards and alone else None
        self._machine = Rapl.of(powercap, stat) if alone else None
        self._needs_cards = bool(cards)
        self.look()

    def look(self) -> Used:
        """What was used since the look before."""
        now = time.process_time()
        cpu = now - getattr(self, "_cpu", now)
        self._cpu = now
        found = {}
        if self._cards is not None:
            found["nvml"] = self._cards.look()
        if self._machine is not None:
            found["rapl"] = self._machine.look(cpu)
        known = {name: joules for name, joules in found.items() if joules is not None}
        if not known or (self._needs_cards and "nvml" not in known):
            return Used(cpu)  # of a card's run the processor alone is not its energy
        return Used(cpu, sum(known.values()), "+".join(known))


class Rapl:
    """Packages and memory of this machine; ``psys`` and cores are parts or sums of these."""

    def __init__(self, zones: dict[Path, int], stat: Path):
        self._zones, self._stat = zones, stat
        self._last: tuple[dict[Path, int], float] | None = None

    @staticmethod
    def of(powercap: Path, stat: Path) -> "Rapl | None":
        """None where there are no counters, or none that may be read."""
        zones = {}
        for zone in sorted(powercap.glob("intel-rapl:*")):  # AMD's have this name too
            name = _text(zone / "name")
            if name is not None and name.startswith(("package", "dram")):
                zones[zone / "energy_uj"] = _number(zone / "max_energy_range_uj") or 0
        readable = bool(zones) and all(_number(path) is not None for path in zones)
        return Rapl(zones, stat) if readable and _busy_seconds(stat) is not None else None

    def look(self, cpu_seconds: float) -> float | None:
        """Joules since the look before, this process's part. None at the first, and where one is not read."""
        counts, busy = {path: _number(path) for path in self._zones}, _busy_seconds(self._stat)
        before, self._last = self._last, None
        if busy is None or None in counts.values():
            return None
        self._last = counts, busy
        if before is None:
            return None
        used = 0.0
        for path, most in self._zones.items():
            step = counts[path] - before[0][path]
            used += step if step >= 0 else step + most  # the counter starts again at its largest value
        whole = max(busy - before[1], cpu_seconds)  # its seconds are whole hundredths
        return used / 1e6 * (cpu_seconds / whole if whole > 0 else 0.0)


class Nvml:
    """Total energy of NVIDIA cards since their driver was loaded (Volta and newer), by their own library."""

    def __init__(self, library, handles: Sequence):
        self._library, self._handles = library, handles
        self._last: float | None = None

    @staticmethod
    def of(devices: Sequence, load: Callable = ctypes.CDLL) -> "Nvml | None":
        """Of these devices of jax; None where the library or a card's counter is not there."""
        places = [getattr(device, "local_hardware_id", None) for device in devices]
        try:
            library = load("libnvidia-ml.so.1")
            if None in places or library.nvmlInit_v2():
                return None
            handles = [_handle(library, place) for place in places]
        except (OSError, AttributeError, ValueError):
            return None
        found = Nvml(library, handles)
        return None if None in handles or found._total() is None else found

    def look(self) -> float | None:
        """Joules since the look before; None at the first."""
        total, before = self._total(), self._last
        self._last = total
        return None if total is None or before is None else total - before

    def _total(self) -> float | None:
        total = 0.0
        for handle in self._handles:
            millijoules = ctypes.c_ulonglong()
            if self._library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)):
                return None
            total += millijoules.value / 1000
        return total


def _handle(library, place: int):
    """The card that this process sees at a place: NVML counts all of the machine."""
    handle = ctypes.c_void_p()
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = visible[place] if place < len(visible) else str(place)
    if name.isdigit():
        failed = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(handle))
    else:
        failed = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle))
    return None if failed else handle


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isdigit() else None


def _busy_seconds(stat: Path) -> float | None:
    """CPU seconds that all processes of the machine have used."""
    fields = (_text(stat) or "").split("\n", 1)[0].split()
    if len(fields) < 9 or fields[0] != "cpu" or not all(field.isdigit() for field in fields[1:]):
        return None
    return sum(int(fields[1 + column]) for column in _BUSY) / os.sysconf("SC_CLK_TCK")
