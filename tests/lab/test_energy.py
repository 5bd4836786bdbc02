"""Energy counters: what they count, whose it is, and that nothing is guessed where there are none."""

import ctypes
from dataclasses import dataclass

import pytest

from lab.machine import energy


@dataclass(frozen=True)
class Device:
    device_kind: str = "cpu"
    local_hardware_id: int = 0
    process_index: int = 0


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose counters, clock of processes and CPU time are set by hand."""

    class Machine:
        powercap, stat, cpu = tmp_path / "powercap", tmp_path / "stat", 0.0

        def zone(self, place, name, most=1000):
            folder = self.powercap / place
            folder.mkdir(parents=True)
            (folder / "name").write_text(name + "\n")
            (folder / "max_energy_range_uj").write_text(f"{most}\n")
            self.count(place, 0)

        def count(self, place, microjoules):
            (self.powercap / place / "energy_uj").write_text(f"{microjoules}\n")

        def busy(self, seconds):
            ticks = round(seconds * 100)
            self.stat.write_text(f"cpu  {ticks} 0 0 99999 7 0 0 0 0 0\ncpu0 1 1\n")

        def meter(self, devices=(Device(),), **options):
            return energy.Meter(devices, self.powercap, self.stat, **options)

    found = Machine()
    found.busy(0)
    monkeypatch.setattr(energy.time, "process_time", lambda: found.cpu)
    monkeypatch.setattr(energy.os, "sysconf", lambda name: 100)
    return found


def test_a_process_is_given_its_part_of_the_machine(machine):
    machine.zone("intel-rapl:0", "package-0", most=10**9)
    machine.zone("intel-rapl:0:0", "core", most=10**9)  # a part of the package
    machine.zone("intel-rapl:0:1", "dram", most=10**9)
    machine.zone("intel-rapl:1", "psys", most=10**9)  # holds the package
    meter = machine.meter()
    for place, joules in (("0", 40), ("0:0", 30), ("0:1", 8), ("1", 60)):
        machine.count(f"intel-rapl:{place}", joules * 10**6)
    machine.cpu, _ = 3.0, machine.busy(4.0)
    assert meter.look() == energy.Used(3.0, pytest.approx(48 * 3 / 4), "rapl")
    assert meter.look() == energy.Used(0.0, 0.0, "rapl"), "nothing since"


def test_a_counter_that_started_again_goes_on(machine):
    machine.zone("intel-rapl:0", "package-0", most=10**7)
    machine.count("intel-rapl:0", 9 * 10**6)
    meter = machine.meter()
    machine.count("intel-rapl:0", 10**6)
    machine.cpu, _ = 1.0, machine.busy(1.0)
    assert meter.look().joules == pytest.approx(2.0)


def test_where_nothing_can_be_read_there_is_no_energy(machine):
    meter = machine.meter()
    machine.cpu = 2.0
    assert meter.look() == energy.Used(2.0, None, "none")
    machine.zone("intel-rapl:0", "package-0")
    (machine.powercap / "intel-rapl:0" / "energy_uj").unlink()
    assert machine.meter().look().joules is None, "only root may read it"


class Library:
    """What of NVML is asked for: cards by number, and their millijoules."""

    def __init__(self, *millijoules, fails=()):
        self.millijoules, self.fails, self.asked = list(millijoules), fails, []

    def nvmlInit_v2(self):
        return "init" in self.fails

    def nvmlDeviceGetHandleByIndex_v2(self, place, handle):
        self.asked.append(place.value)
        ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[0] = place.value
        return place.value >= len(self.millijoules)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, value):
        ctypes.cast(value, ctypes.POINTER(ctypes.c_ulonglong))[0] = self.millijoules[handle.value or 0]
        return "energy" in self.fails


def cards(library):
    return lambda devices: energy.Nvml.of(devices, lambda name: library)


def test_cards_count_for_who_holds_them(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    library = Library(10, 20, 30)
    meter = machine.meter((Device("card", 0), Device("card", 1)), nvml=cards(library))
    assert library.asked == [2, 1], "the cards that this process sees"
    library.millijoules = [999_999, 1020, 2030]
    assert meter.look() == energy.Used(0.0, pytest.approx(3.0), "nvml")
    machine.zone("intel-rapl:0", "package-0", most=10**9)
    meter = machine.meter((Device("card", 0),), nvml=cards(library))
    library.millijoules[2] += 1000
    machine.count("intel-rapl:0", 5 * 10**6)
    machine.cpu, _ = 1.0, machine.busy(1.0)
    assert meter.look() == energy.Used(1.0, pytest.approx(6.0), "nvml+rapl")


@pytest.mark.parametrize("fails", ["init", "energy"])
def test_a_card_without_its_counter_is_not_the_processor(machine, fails):
    machine.zone("intel-rapl:0", "package-0", most=10**9)
    meter = machine.meter((Device("card"),), nvml=cards(Library(5, fails=(fails,))))
    machine.count("intel-rapl:0", 5 * 10**6)
    machine.cpu, _ = 1.0, machine.busy(1.0)
    assert meter.look() == energy.Used(1.0, None, "none")


def test_of_several_processes_none_sees_the_whole(machine):
    machine.zone("intel-rapl:0", "package-0", most=10**9)
    meter = machine.meter((Device(), Device(process_index=1)))
    machine.cpu, _ = 1.0, machine.busy(1.0)
    assert meter.look().joules is None
