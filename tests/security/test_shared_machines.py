"""Machines and clusters that others use too: caches, job files, ports, includes."""

import os
import stat

import pytest

from lab.data import cache
from lab.errors import InputError
from lab.machine import distributed
from lab.private import cache_folder, changed_by_others, make_private
from sweeps.study import overrides
from sweeps.work.engines import ray, slurm
from sweeps.work.engines.launch import Launch


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_caches_are_for_one_user(tmp_path, monkeypatch):
    """Before: compiled programs, which are executed, lay in a folder that the umask decided on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "scaling-law-lab").mkdir(mode=0o777)
    (tmp_path / "scaling-law-lab").chmod(0o777)
    assert mode(cache_folder()) == 0o700
    cache_folder().rmdir()
    previous = os.umask(0)
    try:
        assert mode(cache_folder()) == 0o700
    finally:
        os.umask(previous)


def test_a_cache_of_another_user_or_a_link_is_refused(tmp_path, monkeypatch):
    """Before: both were used."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cache_folder()
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(InputError, match="belongs to another user"):
        cache_folder()
    monkeypatch.undo()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link"):
        make_private(folder)


def test_a_home_that_takes_no_cache_costs_nothing_else(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert str(cache_folder()) == "/proc/none/scaling-law-lab"
    assert cache._read(cache_folder() / "x") is None


def test_job_files_lie_where_only_the_submitter_writes(tmp_path, monkeypatch):
    """Before: pickles that Slurm's tasks load lay in the store, which a group may write."""
    pytest.importorskip("submitit", reason="submitit is not installed: the extra `slurm`")
    for program in ("srun", "sbatch"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    store = tmp_path / "store"
    store.mkdir()
    launch = Launch(tmp_path / "small.toml", store, "id")
    slurm._executor(launch, slurm.SlurmOptions(), 1)
    assert mode(store / "slurm" / "small") == 0o700
    store.chmod(0o775)
    with pytest.raises(InputError, match=rf"--jobs: others can change {store}"):
        slurm._executor(launch, slurm.SlurmOptions(), 1)
    own = slurm.SlurmOptions(jobs=tmp_path / "own")
    slurm._executor(launch, own, 1)
    assert mode(tmp_path / "own" / "small") == 0o700


def test_sticky_folders_are_no_way_in(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a").chmod(0o1777)
    assert changed_by_others(tmp_path / "a" / "b") is None
    (tmp_path / "a").chmod(0o777)
    assert changed_by_others(tmp_path / "a" / "b") == tmp_path / "a"


@pytest.fixture
def no_token(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "x")  # so that it is undone
        monkeypatch.delenv(name)


@pytest.mark.parametrize("address", ["10.0.0.7:6379", "head:6379", "ray://head:10001", "auto", "[::2]:6379"])
def test_a_ray_head_without_a_token_is_refused(address, no_token, tmp_path, monkeypatch):
    """Before: `lab run --engine ray` ran on a cluster on which anybody who reaches its port runs code."""
    with pytest.raises(InputError, match="there is no token"):
        ray._authenticate(address, tmp_path)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # said in words, it holds
    ray._authenticate(address, tmp_path)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_ray_started_here_has_a_token_of_its_own(no_token, tmp_path):
    ray._authenticate(None, tmp_path)
    token = tmp_path / ".ray" / "auth_token"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert mode(token) == 0o600
    assert len(token.read_text()) == 64
    before = token.read_text()
    del os.environ["RAY_AUTH_MODE"]
    ray._authenticate("head:6379", tmp_path)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert token.read_text() == before


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "localhost:6379", "ray://[::1]:10001"])
def test_ray_on_the_loopback_needs_none(address, no_token, tmp_path):
    ray._authenticate(address, tmp_path)
    assert "RAY_AUTH_MODE" not in os.environ


def test_the_coordinator_listens_where_it_is_asked(monkeypatch):
    """Before: process 0 listened on all addresses of its machine."""
    import jax

    told = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: told.update(k))
    distributed.start(distributed.Cluster("10.1.2.3:1234", 2, 0))
    assert told["coordinator_bind_address"] == "10.1.2.3:1234"


@pytest.mark.parametrize("kind", ["above", "whole", "link"])
def test_include_stays_below_the_study(tmp_path, kind):
    """Before: a study included any file of the user, whose text then stood in errors or in the store."""
    secret, folder = tmp_path / "secret.toml", tmp_path / "study"
    folder.mkdir()
    secret.write_text("token = 'abc'\n")
    (folder / "link.toml").symlink_to(secret)
    name = {"above": "../secret.toml", "whole": str(secret), "link": "link.toml"}[kind]
    study = folder / "study.toml"
    study.write_text(f'include = ["{name}"]\nname = "a"\n')
    with pytest.raises(InputError, match=rf"--allow-include {tmp_path} allows it") as refused:
        overrides.read(study)
    assert "abc" not in str(refused.value)
    assert overrides.read(study, [tmp_path]) == {"token": "abc", "name": "a"}
    assert overrides.read(study, [secret])["token"] == "abc"


def test_what_lies_below_may_be_included(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "a.toml").write_text('include = ["../b.toml"]\nbatch = 8\n')
    (tmp_path / "b.toml").write_text("x = 1\n")
    (tmp_path / "study.toml").write_text('include = ["base/a.toml"]\n')
    assert overrides.read(tmp_path / "study.toml") == {"x": 1, "batch": 8}
