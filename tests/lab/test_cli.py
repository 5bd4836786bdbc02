import subprocess
import sys

import pytest

from lab.__main__ import VERBS, main


def lab(*args):
    return subprocess.run([sys.executable, "-m", "lab", *args], capture_output=True, text=True, timeout=120)


def test_every_verb_explains_itself():
    for verb in (name for group in VERBS.values() for name in group):
        done = lab(verb, "--help")
        assert done.returncode == 0, done.stderr
        assert f"lab {verb}" in done.stdout


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
