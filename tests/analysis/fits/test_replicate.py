"""`lab replicate`: published numbers from published tables; files by checksum; downloads that are checked."""

import hashlib
import http.server
import json
import shutil
import threading
from dataclasses import replace

import pytest

import analysis as sl
from analysis.replicate import sources
from analysis.replicate.checks import most, near, within
from analysis.replicate.data import File, Folder, Source, Variant, download
from analysis.verbs import replicate as verb


@pytest.mark.slow
def test_every_published_number(oracles, capsys):
    """81 and more numbers of six publications and two analytic results, all within their tolerance."""
    assert verb.replicate(["--data", str(oracles), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed["passed"]
    assert printed["skipped"] == []
    assert {study["name"] for study in printed["studies"]} == set(verb.STUDIES)
    porian = next(study for study in printed["studies"] if study["name"] == "porian")
    assert len(porian["checks"]) == 15


def test_figures_are_written(tmp_path, capsys):
    """And the line of Python that is printed with one draws it again."""
    assert verb.replicate(["kaplan", "--out", str(tmp_path), "--style", "slides"]) == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".pdf", ".png", ".csv"}
    assert "Kaplan" in (tmp_path / "replicate-kaplan.svg").read_text()
    kept = (tmp_path / "replicate-kaplan.svg").read_bytes()
    (tmp_path / "replicate-kaplan.svg").unlink()
    exec(capsys.readouterr().out.split("in Python: ")[1].strip(), {})
    assert (tmp_path / "replicate-kaplan.svg").read_bytes() == kept


def test_without_data_the_analytic_ones_run_and_the_rest_is_said(capsys):
    assert verb.replicate([]) == 0
    printed = capsys.readouterr().out
    assert "kaplan: pass" in printed
    assert "parabola: pass" in printed
    assert printed.count("skipped, no --data folder") == 6


def test_a_miss_is_exit_code_1(capsys, monkeypatch):
    from analysis.replicate import kaplan

    monkeypatch.setattr(kaplan, "OMEGA", 4749.0)
    assert verb.replicate(["kaplan"]) == 1
    assert "MISSED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chinchila"], "'chinchilla'"),
        (["chinchilla"], "svg_extracted_data.csv"),
        (["porian", "--data", "nowhere"], "no such folder"),
        (["--download"], "--data"),
    ],
)
def test_bad_requests(arguments, said):
    with pytest.raises(sl.InputError, match=said):
        verb.replicate(arguments)


def test_a_file_of_that_name_with_other_bytes_is_refused(tmp_path):
    (tmp_path / "df.csv").write_text("N,D,loss\n1,2,3\n")
    with pytest.raises(sl.InputError, match=r"df\.csv: not the published file: its SHA-256") as caught:
        verb.replicate(["kyo-takano", "--data", str(tmp_path)])
    assert len(caught.value.problems) == 1


def test_the_layout_of_the_folder_does_not_matter(oracles, tmp_path, capsys):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    shutil.copy(oracles / "kyo_takano" / "df.csv", deep)
    (tmp_path / "df.csv").write_text("another table of that name\n")
    assert verb.replicate(["kyo-takano", "--data", str(tmp_path)]) == 0
    assert "kyo-takano: pass" in capsys.readouterr().out


@pytest.fixture
def served(tmp_path):
    """A server of one file, the source that names it, and the server's address."""
    content = b"N,D,loss\n1,2,3\n"
    place = tmp_path / "site" / "owner" / "table" / "abc" / "in a folder"
    place.mkdir(parents=True)
    (place / "runs#1.csv").write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "site"))

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = File("runs#1.csv", hashlib.sha256(content).hexdigest(), "in a folder/runs#1.csv")
    yield (
        Source("mine", "owner/table", "abc", (Variant((file,), "a file"),)),
        (f"http://127.0.0.1:{server.server_port}"),
    )
    server.shutdown()
    server.server_close()


def test_downloads_are_checked_and_kept(served, tmp_path):
    source, address = served
    folder = tmp_path / "kept"
    lines = []
    download(source, folder, address, lines.append)
    download(source, folder, address, lines.append)
    assert len(lines) == 1, "the second time it is there already"
    paths = Folder(folder).find(source)[1]
    assert paths["runs#1.csv"].read_text().startswith("N,D,loss")


@pytest.mark.parametrize("what", ["checksum", "absent", "nobody"])
def test_a_bad_download_is_one_line_and_keeps_nothing(served, tmp_path, what):
    source, address = served
    file = source.variants[0].files[0]
    if what == "checksum":
        file = replace(file, sha256="0" * 64)
    elif what == "absent":
        file = replace(file, path="elsewhere.csv")
    else:
        address = "http://127.0.0.1:9"
    source = replace(source, variants=(Variant((file,), "a file"),))
    with pytest.raises(sl.InputError, match=r"wrong checksum|cannot be fetched") as caught:
        download(source, tmp_path / "kept", address)
    assert len(caught.value.problems) == 1
    assert list((tmp_path / "kept").rglob("*.csv*")) == []


def test_the_command_says_so_with_exit_code_2(served, tmp_path, capsys, monkeypatch):
    from lab.__main__ import main

    source, address = served
    wrong = replace(
        source, variants=(Variant((File("runs#1.csv", "0" * 64, "in a folder/runs#1.csv"),), ""),)
    )
    monkeypatch.setitem(sources.SOURCES, "kyo-takano", wrong)
    arguments = [
        "replicate",
        "kyo-takano",
        "--data",
        str(tmp_path / "new"),
        "--download",
        "--mirror",
        address,
    ]
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert "wrong checksum" in said[-1]
    assert said[-1].startswith("error: ")


def test_checks_can_fail():
    assert near("x", 1.0, 1.01, 0.02).passed
    assert not near("x", 1.0, 1.03, 0.02).passed
    assert not near("x", 1.0, float("nan"), 10).passed
    assert most("x", 2.0, 1.0).passed
    assert not most("x", 2.0, 2.1).passed
    assert within("x", 0.0, 1.0, 0.5).passed
    assert not within("x", 0.0, 1.0, 1.5).passed
