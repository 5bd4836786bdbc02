"""Each thing that can be missing on a machine is told, with the command that mends it."""

import json
import os
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, metadata, version

import pytest

from lab.machine import devices, doctor


def one(found, name):
    (check,) = [c for c in found if c.name == name]
    return check


def test_this_machine_is_sound_and_json_is_one_object(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(devices, "cache_works", lambda: True)
    assert doctor.doctor(["--out", str(tmp_path / "runs"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sound"]
    names = [check["name"] for check in found["checks"]]
    expected = "python packages disk files clock cache devices flags compile local slurm ray"
    assert names == expected.split()
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_every_failure_and_warning_says_what_mends_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(devices, "cache_works", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(os, "link", shutil.copy)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    monkeypatch.setattr(doctor, "_LEAST_FREE", 1e18)
    found = {check.name: check for check in doctor.checks(tmp_path)}
    said = {name: check.status for name, check in found.items() if check.status != "ok"}
    assert said == {
        "disk": "fail",
        "files": "warn",
        "clock": "warn",
        "compile": "warn",
        "slurm": "absent",
        "ray": "absent",
    }
    assert all(found[name].mend for name in said)
    assert "no hard links" in found["files"].text
    assert doctor.doctor(["--out", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    for name in ("slurm", "ray"):
        (line,) = [line for line in lines if f"'.[{name}]'" in line]
        assert "make .venv/.dev" in line
        assert f"{sys.executable} -m pip install -e" in line, "into this environment, not any other"


def test_versions_are_held_to_what_the_package_asks_for():
    def installed(name):
        if name == "tyro":
            raise PackageNotFoundError
        return "0.4.0" if name == "jax" else version(name)

    found = list(doctor._packages(installed))
    assert [c.status for c in found] == ["fail", "fail"]
    assert found[0].text == "jax is 0.4.0, should be <0.11,>=0.10.2"
    assert found[0].mend == f"make setup, or: {sys.executable} -m pip install 'jax<0.11,>=0.10.2'"
    assert found[1].text.startswith("tyro is missing")
    assert doctor._python((3, 9, 1)).status == "fail"


@pytest.mark.parametrize(
    ("broken", "status", "text"),
    [
        ("link", "warn", "no hard links here: results are committed by renaming"),
        ("fsync", "warn", "no fsync here"),
        ("rename", "fail", "no exclusive creation, or no renaming"),
    ],
)
def test_what_a_file_system_lacks_is_said(tmp_path, monkeypatch, broken, status, text):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, broken, refuse)
    check = one(doctor._disk(tmp_path), "files")
    assert check.status == status
    assert text in check.text
    assert "lab merge" in check.mend
    assert not list(tmp_path.iterdir())


def test_a_place_that_takes_no_files_is_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    check = one(doctor._disk(tmp_path / "file" / "runs"), "files")
    assert check.status == "fail"
    assert "Not a directory" in check.text


@pytest.mark.parametrize(
    ("nodes", "driver", "extra"),
    [
        (["nvidia3"], "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun", "cuda13"),
        (["nvidia0", "nvidia1"], "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.1", "cuda12"),
        ([], "NVRM version: NVIDIA UNIX x86_64 Kernel Module  575.1", "cuda12"),
        (["accel0", "accel1"], "", "tpu"),
        (["vfio/0"], "", "tpu"),
        (["null"], "", None),
    ],
)
def test_the_extra_for_what_drivers_show_is_named(tmp_path, nodes, driver, extra):
    for node in nodes:
        (tmp_path / "dev" / node).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev" / node).touch()
    if driver:
        (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
        (tmp_path / "proc/driver/nvidia/version").write_text(driver)
    found = doctor._unused(tmp_path)
    assert (found and found[1]) == extra

    if extra:
        assert extra in metadata("scaling-law-lab").get_all("Provides-Extra")
