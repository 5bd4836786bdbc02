"""`lab report --watch`: what it shows of a store that grows, to whom, and how rarely it computes."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest

from analysis.errors import InputError
from analysis.report import watch
from analysis.report.serve import Server, _report_where_due
from analysis.report.watch import Counts, Live, digest, is_due
from lab import python
from lab.__main__ import main
from sweeps.verbs.status import Look, _costs

WIDTHS, BUDGETS = (16, 24, 32), (250_000, 500_000, 1_000_000)


@pytest.fixture
def growing(new_store):
    """A store of nine cells, of which none has begun; `end(n)` ends the next n of them."""
    new_store.rows = {}
    for width in WIDTHS:
        for number, tokens in enumerate(BUDGETS):
            run_id = f"b{width:03d}00{number:06d}"
            new_store.rows[run_id] = new_store.run(run_id, "language", width, tokens, 0)
    new_store.finish()

    def end(many: int) -> None:
        for run_id in list(new_store.rows)[:many]:
            new_store.commit(run_id, new_store.rows.pop(run_id))

    new_store.end = end
    return new_store


@pytest.fixture
def served(growing):
    """(live, get): a server on the growing store; get(path, **headers) -> (code, headers, text)."""
    live = Live(growing.path, Look(growing.path).collect, every=0.0)
    server = Server(live, growing.path / "report.html", "growing")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()

    def get(name="", method="GET", **headers):
        return asked(server.url + name, method, **headers)

    yield live, get
    server.shutdown()
    server.server_close()
    thread.join()


def asked(url, method="GET", **headers):
    parts = urlsplit(url)
    line = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    line.putrequest(method, parts.path, skip_host="Host" in headers)
    for name, value in headers.items():
        line.putheader(name.replace("_", "-"), value)
    line.endheaders()
    answer = line.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def test_a_store_that_grows_is_shown_as_it_grows(growing, served):
    live, get = served
    code, _, page = get()
    assert code == 200
    assert "0 of 9 runs done, 9 unfinished" in page or "0 of 9 runs done, 9 waiting" in page
    assert "once 8 runs have finished" in page
    assert re.search(r'<figure id="live-curves-0">.*<svg', page, re.S), "the way of runs without an end"
    first = get("state")
    assert get("state", If_None_Match=first[1]["ETag"])[0] == 304
    drawn = live.drawn
    live._rested = 0.0
    growing.end(4)
    code, _, state = get("state", If_None_Match=first[1]["ETag"])
    assert code == 200
    assert "4 of 9 runs done" in state
    assert 'max="9" value="4"' in state
    assert live.drawn == drawn + 1


def test_nothing_is_drawn_anew_while_the_store_is_as_it_was(growing, served, monkeypatch):
    live, get = served
    monkeypatch.setattr(watch, "_REST", 0)
    growing.end(2)
    get()
    asks = live.drawn
    for _ in range(5):
        get("state")
    assert live.drawn == asks
    (growing.path / "runs" / "b01600000000" / "claim").write_text("{}")  # a heartbeat is no news
    get("state")
    assert live.drawn == asks
    with open(growing.path / "runs" / "b01600000000" / "metrics.jsonl", "a") as log:
        log.write("\n")
    get("state")
    assert live.drawn == asks + 1


def test_failures_are_told_with_the_command_that_goes_on(growing, served):
    run_id = "b02400000001"
    said = {"schema": 1, "attempts": 3, "error": "no space left <b>on</b> device", "traceback": "..."}
    (growing.path / "runs" / run_id / "failure.json").write_text(json.dumps(said))
    page = served[1]()[2]
    assert f"failed {run_id}: no space left &lt;b&gt;on&lt;/b&gt; device" in page
    assert "--retry-failed</code>" in page


def test_only_this_machine_and_only_by_its_name_and_the_whole_address(growing, served):
    get = served[1]
    code, headers, _ = get()
    assert code == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    for name in ("evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:80", ""):
        assert get(Host=name)[0] == 421, name
    for path in ("../", "state/../../store.json", "figures/../report.html", "figures/..%2Fx.svg", "nothing"):
        assert get(path)[0] == 404, path
    assert get("", method="POST")[0] == 501
    assert get("report.html")[0] == 404
    (growing.path / "report.html").write_text("<p>whole</p>")
    assert get("report.html")[2] == "<p>whole</p>"
    assert get("report.html", method="HEAD")[2] == ""


def test_the_address_has_a_secret(growing):
    server = Server(Live(growing.path, Look(growing.path).collect), growing.path / "report.html", "growing")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        assert server.socket.getsockname()[0] == "127.0.0.1"
        for path in ("", "state", "report.html", f"{server.secret[:-1]}/", "%FF/"):
            assert asked(f"http://127.0.0.1:{server.server_port}/{path}")[0] == 404, path
        with pytest.raises(InputError, match=r"--port: .*cannot listen there"):
            Server(server.live, server.page, "again", server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("now", "before", "due"),
    [
        (Counts(7, 7, 20, True), None, False),
        (Counts(8, 8, 20, True), None, True),
        (Counts(9, 9, 20, True), Counts(8, 8, 20, True), False),
        (Counts(10, 10, 20, True), Counts(8, 8, 20, True), True),
        (Counts(19, 20, 20, False), Counts(18, 18, 20, True), True),
        (Counts(19, 20, 20, False), Counts(19, 20, 20, False), False),
        (Counts(2, 2, 2, False), None, True),
    ],
)
def test_a_report_is_written_when_it_says_something_new(now, before, due):
    assert is_due(now, before) is due


def test_a_growing_store_is_reported_few_times(growing, tmp_path, monkeypatch):
    """Nine runs end one by one: reports of eight, and of all."""
    # What a finished study kept of its promise takes fits, and is no matter of when reports are due.
    monkeypatch.setattr(Look, "_promise", lambda *_: None)
    log = tmp_path / "log"
    command = [sys.executable, "-c", f"open({str(log)!r}, 'a').write('x')"]
    live = Live(growing.path, Look(growing.path).collect, every=0.0)
    told = []
    for ended in range(9):
        growing.end(1)
        _report_where_due(live, command, dict(os.environ), told.append, threading.Event())
        _report_where_due(live, command, dict(os.environ), told.append, threading.Event())
        assert len(log.read_text()) if ended >= 7 else not log.exists()
    assert told == ["report of 8 of 9 runs written", "report of 9 of 9 runs written"]
    assert log.read_text() == "xx"
    live.reported = None
    _report_where_due(
        live,
        [sys.executable, "-c", "raise SystemExit('error: disk is full')"],
        {},
        told.append,
        threading.Event(),
    )
    assert told[-1] == "error: disk is full"
    assert "could not be written: error: disk is full" in live.fragment()


def test_the_digest_reads_no_file(growing, monkeypatch):
    before = digest(growing.path)
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr("os.open", None)
    assert digest(growing.path) == before


HOOK = """
import os, sys

NAMES = ("socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname")

def listen(event, arguments):
    if event in ("socket.bind", "socket.connect", *NAMES):
        what = arguments[0] if event in NAMES else arguments[1]
        with open(os.environ["SEEN"], "a") as file:
            file.write(f"{event} {what!r}\\n")

sys.addaudithook(listen)
"""


def test_the_verb_listens_on_loopback_alone_writes_the_report_and_ends_by_ctrl_c(new_store, tmp_path):
    new_store.language(widths=(16,), budgets=(250_000,), seeds=(0,))
    store = new_store.finish()
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    seen = tmp_path / "seen"
    environment = python.environment({**os.environ, "PYTHONPATH": str(hook), "SEEN": str(seen)})
    command = python.command("-m", "lab", "report", store, "--watch", "--json", "--every", "0.2")
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = json.loads(process.stdout.readline())["url"]
        assert "1 of 1 runs done, all over" in asked(url)[2]
        assert "report of 1 of 1 runs written" in process.stderr.readline()
        assert "<h1>planted</h1>" in asked(url + "report.html")[2]
        assert 'data-version="1-1-1"' in asked(url + "state")[2]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert (out, err) == ("", "")
    lines = seen.read_text().splitlines()
    assert any(line.startswith("socket.bind") for line in lines)
    assert [line for line in lines if "127.0.0.1" not in line] == []
    assert (store / "report.html").exists()


def test_what_cannot_be_watched_says_what_can(tmp_path, capsys):
    table = tmp_path / "runs.csv"
    table.write_text("params,tokens,loss\n1e6,1e8,3\n")
    assert main(["report", str(table), "--watch"]) == 2
    assert "is a table; --watch takes the folder" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--watch"]) == 2
    assert "`lab run STUDY.toml --out" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--watch", "--port", "70000"]) == 2
    assert "--port: should be from 0 to 65535" in capsys.readouterr().err


def test_what_trains_is_counted_and_named_as_people_tell_runs_apart():
    """A trunk is none of the study's runs, and three runs may diverge with one."""
    at_work = {"run_id": "t1", "name": "language 40x2h2 seed 0 trunk", "phase": "compiling", "tokens": 0}
    at_work |= {"loss_nats": None, "val_loss_nats": None, "tokens_per_s": None}
    lost = [{"run_id": f"d{n}", "reason": "not finite at step 46"} for n in range(3)]
    study = {"study": "s", "cells": 15, "states": {"waiting": 12, "diverged": 3}, "running": [at_work]}
    study |= {
        "workers": 1,
        "eta_seconds": 31.0,
        "actual_device_seconds": None,
        "next": "lab run",
        "failures": [],
    }
    study |= {"diverged": lost, "damaged": []}
    state = {"studies": [study], "torn": []}
    said = watch.progress(state)
    assert "0 of 15 runs done, 1 in training, 12 waiting, 3 diverged" in said
    assert "about 31 s left of training, before any compilation" in said
    assert watch.progress({"studies": [study | {"actual_device_seconds": 9.0}]}).count("31 s left</p>") == 1
    table = watch.running(state)
    assert "<td>language 40x2h2 seed 0 trunk</td>" in table
    assert table.count('<td class="n">') == 3, "numbers that are not there yet stand where they will be"
    assert "3 diverged: not finite at step 46" in watch.troubles(state)
    assert "d1" not in watch.troubles(state)


def test_the_time_left_has_as_much_compilation_as_there_was(growing):
    look = Look(growing.path)
    growing.end(3)
    (study,) = look.collect()["studies"]
    assert study["compile_seconds"] > 0
    cells = [{"run_id": r, "predicted_seconds": 10.0, "trained_tokens": 1} for r in ("a", "b")]
    row = {"status": "ok", "device_seconds": 20.0, "compile_seconds": 30.0}
    found = _costs(cells, {"a": "done", "b": "waiting"}, {"a": row}, [{"tokens_per_s": None}])
    assert found["device_seconds_left"] == 20.0
    assert found["eta_seconds"] == 50.0


def test_a_wrong_price_of_one_shape_does_not_change_the_time_left_of_another():
    def cell(name, width, predicted, tokens):
        return {"run_id": name, "width": width, "predicted_seconds": predicted, "trained_tokens": tokens}

    # Width 32 was priced a hundred times too high, and so is its last run; one of 64 took what was said.
    cells = [cell("a", 32, 1000.0, 100), cell("b", 32, 2000.0, 200), cell("c", 64, 30.0, 100)]
    cells.append(cell("d", 64, 60.0, 200))
    rows = {name: {"device_seconds": seconds} for name, seconds in (("a", 10.0), ("c", 30.0))}
    states = {"a": "done", "b": "waiting", "c": "done", "d": "running"}
    found = _costs(cells, states, rows, [{"tokens_per_s": None}])
    assert found["device_seconds_left"] == pytest.approx(20.0 + 60.0)
    # before any of 64 is done there is only what was predicted, and how wrong that was
    found = _costs(cells, {**states, "c": "waiting"}, {"a": rows["a"]}, [])
    assert found["device_seconds_left"] == pytest.approx(20.0 + 0.01 * 90.0)
