import json
import shutil
import subprocess
import sys

import pytest

from lab import completion, terminal
from lab.__main__ import VERBS, main


def lab(*args):
    return subprocess.run([sys.executable, "-m", "lab", *args], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("verb", [name for group in VERBS.values() for name in group])
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code in (0, None)
    assert f"lab {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("call", [["--help"], ["fit", "--help"], ["plan", "--help"], ["status", "--help"]])
def test_help_imports_nothing_heavy(call):
    code = (
        "import sys, lab.__main__\n"
        f"try: lab.__main__.main({call})\n"
        "except SystemExit: pass\n"
        "print(sorted({'jax', 'pandas', 'scipy', 'matplotlib', 'orbax'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_a_prediction_is_printed_where_jax_was_not_yet_set_up():
    call = (
        "train --predict v5e --mesh fsdp=4 --tokens 1000000 --model.width 64 --data.source synthetic --json"
    )
    done = subprocess.run([sys.executable, "-m", "lab", *call.split()], capture_output=True, timeout=120)
    assert json.loads(done.stdout)["devices"] == 4, done.stdout


def test_an_unknown_verb_is_bad_usage(capsys):
    assert main(["thresholdz"]) == 2
    assert "did you mean `lab thresholds`?" in capsys.readouterr().err


def test_errors_are_lines_and_exit_code_2(tmp_path, capsys):
    study = tmp_path / "study.toml"
    study.write_text('name = "x"\nbatchs = 3\n[[grids]]\nname = "a"\nsizes = [{width = 7}]\ntokens = [1]\n')
    assert main(["plan", str(study)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"error: {study}: batchs: no such key; did you mean batch?"]
    assert main(["plan", str(tmp_path / "none.toml")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["status", str(tmp_path)]) == 2
    assert "no study here" in capsys.readouterr().err


def test_the_package_arrows_go_one_way():
    code = (
        "import sys, analysis.verbs.fit, analysis.fits.fitting, analysis.tables.table\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('jax', 'lab', 'sweeps')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_train_says_how_often_it_sees_its_data():
    from lab.verbs.train import _repeats

    assert _repeats(2_100_000, 100_000).startswith("21 epochs: 2,100,000 tokens of 100,000 unique ones")
    assert _repeats(100_000, 100_000) == _repeats(10**9, None) == ""


def test_errors_are_json_where_results_are(tmp_path, capsys):
    assert main(["fit", str(tmp_path / "none.csv"), "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) == {"errors": [f"{tmp_path / 'none.csv'}: no such file or folder"]}
    assert err == f"error: {tmp_path / 'none.csv'}: no such file or folder\n"
    assert main(["thresholdz", "--json"]) == 2
    assert "did you mean" in json.loads(capsys.readouterr().out)["errors"][0]
    assert main(["fit", "--json"]) == 2  # what the command line itself lacks
    assert "lab fit --help" in json.loads(capsys.readouterr().out)["errors"][0]


def test_quiet_leaves_errors_and_nothing_else_on_stderr(tmp_path, monkeypatch, capfd, here):
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # no second process for so little
    table = tmp_path / "t.csv"
    table.write_text("N,D,loss\n1e6,1e8,4.1\n3e6,1e8,3.8\n1e7,1e8,3.6\n")  # too few for a law: a short report
    quiet = here("report", table, "--quiet")  # first, as what is said once would be said here
    assert quiet.stderr == capfd.readouterr().err == ""
    loud = here("report", table)
    assert "drawing" in loud.stderr
    assert quiet.stdout == loud.stdout
    capfd.readouterr()
    assert here("report", "--quiet").returncode == 2
    usage = capfd.readouterr().err
    assert usage.startswith("error: ")
    assert "lab report --help" in usage
    assert here("report", tmp_path / "none.csv", "--quiet").returncode == 2
    assert capfd.readouterr().err == f"error: {tmp_path / 'none.csv'}: no such file or folder\n"


def test_quiet_holds_for_processes_that_are_started(capfd):
    with terminal.silent() as errors:
        subprocess.run([sys.executable, "-c", "import sys; print('noise', file=sys.stderr)"])
        print("said", file=errors)
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "said\nafter\n"


def test_no_colour_holds_for_help(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in lab("fit", "--help").stdout


@pytest.fixture(scope="module")
def completed():
    """Word -> what it does and what its options are, as the scripts have them."""
    verbs = {name: entry for group in VERBS.values() for name, entry in group.items()}
    found = {name: completion.options(verbs[name][0]) for name in ("fit", "report")}
    return {name: verbs[name][1] for name in found}, found


def test_completion_knows_the_options_of_a_verb(completed):
    assert {"--law", "--bootstrap", "--json"} <= set(completed[1]["fit"])
    assert {"--formats", "--out"} <= set(completed[1]["report"])
    assert main(["completion", "tcsh"]) == 2


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_scripts_are_read_by_their_shell(shell, completed, tmp_path):
    script = tmp_path / "script"
    script.write_text(completion.script(shell, *completed))
    assert "--formats" in script.read_text() or "-l formats" in script.read_text()
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    if shell == "bash":
        ask = f". {script}; COMP_WORDS=(lab report --form); COMP_CWORD=2; _lab; echo ${{COMPREPLY[@]}}"
        assert subprocess.run(["bash", "-c", ask], capture_output=True, text=True).stdout == "--formats\n"
