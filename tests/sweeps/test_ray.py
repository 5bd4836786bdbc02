"""The Ray engine on a cluster of two nodes of this machine, one of which goes away."""

import json
import secrets
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from sweeps.store import digest

# Not imported here: Ray reads how it authenticates when it is.
pytestmark = pytest.mark.skipif(not find_spec("ray"), reason="ray is not installed: the extra `ray`")


TOKEN = secrets.token_hex(32)  # Ray reads it once a process


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.mark.weekly  # a node that is killed is tested before every commit in test_slurm.py
def test_a_node_that_goes_away_costs_nothing_but_time_and_the_bits_are_the_same(
    whole, one_size, cluster, tmp_path
):
    store = tmp_path / "store"
    node = cluster.add_node(num_cpus=1)
    options = ["--engine", "ray", "--address", cluster.address, "--workers", "2"]
    command = [sys.executable, "-m", "lab", "run", one_size, "--out", store, *options]
    running = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while len(list(store.glob("runs/*/claim"))) < 2 and running.poll() is None:
        time.sleep(0.05)
    assert running.poll() is None, running.stderr.read()
    cluster.remove_node(node, allow_graceful=False)
    out, err = running.communicate(timeout=150)
    assert running.returncode == 0, err
    assert out == f"4 of 4 runs done in {store}\n", "results alone on stdout"
    assert "2 workers on Ray, 2 nodes" in err
    local, found = digest.runs(whole / "store"), digest.runs(store)
    print(f"1 node removed, {len(found)} runs")
    assert len(found) == 4
    assert found == {run_id: local[run_id] for run_id in found}
    assert not list(store.glob("runs/*/claim"))


@pytest.mark.weekly  # rounds are jobs of an engine before every commit in test_slurm.py
def test_rounds_of_an_adaptive_run_are_tasks(study_of_one_place, cluster, tmp_path):
    store = tmp_path / "store"
    options = ["--adaptive", "--budget", "5min", "--engine", "ray", "--address", cluster.address]
    command = [sys.executable, "-m", "lab", "run", study_of_one_place, "--out", store, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(path.read_text())["study"] for path in sorted(store.glob("choices/*.json"))]
    trained = [one["name"] for one in rounds if one]
    assert len(trained) == 3
    assert done.stderr.count("workers on Ray") == len(trained)
    assert len(list(store.glob("runs/*/result.json"))) == 3
    assert not list(store.glob("runs/*/claim"))


def test_a_cluster_that_does_not_answer_is_one_line(study_file, apart, tmp_path):
    words = ["--engine", "ray", "--address", "127.0.0.1:1"]
    done = apart("run", study_file, "--out", tmp_path / "store", *words)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "no Ray cluster answers at 127.0.0.1:1" in errors[0]
