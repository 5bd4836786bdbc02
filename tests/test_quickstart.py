"""The quick start itself, with the packaged study's budgets cut down: run, fit, thresholds, report."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from unittest import mock

import pytest

from analysis.report import build, study
from sweeps.study.overrides import to_toml

FEW = 99  # tables simulated a series, of 500
DRAWS = 100  # of a bootstrap, of 1000


@pytest.fixture(scope="session")
def store(made_once):
    return made_once("quickstart", train) / "store"


def shortened() -> dict:
    """The packaged study with few tokens, fewer sizes and smaller evaluations: all its parts."""
    study = tomllib.loads((files("sweeps") / "studies" / "quickstart.toml").read_text())
    language, abilities = study["grids"]
    study["optimizer"]["warmup_tokens"] = 2_000
    language |= {"tokens": [3_000, 6_000, 12_000, 24_000], "held_out": 3, "sizes": language["sizes"][:3]}
    language["data"]["val_windows"] = 64
    abilities |= {"tokens": [15_000], "seeds": [0, 1]}
    abilities["optimizer"]["warmup_tokens"] = 8_000
    abilities["data"]["eval_items"] = 50
    shallow, deep = ([one for one in abilities["sizes"] if ("layers" in one) is own] for own in (True, False))
    abilities["sizes"] = [shallow[0], shallow[-1], *deep[-2:]]
    return study


def train(folder):
    (folder / "quickstart.toml").write_text(to_toml(shortened()))
    # One worker: a second would import and compile everything again.
    command = [sys.executable, "-m", "lab", "run", folder / "quickstart.toml", "--out", folder / "store"]
    command += ["--workers", "1"]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
    assert said.returncode == 0, said.stderr
    done = re.match(r"(\d+) of (\d+) runs done", said.stdout)
    assert done
    assert done[1] == done[2]


@pytest.fixture(scope="session")
def told(store, made_once, here):
    """verb -> what it printed, in the order of the quick start: what one computed is kept for the next."""

    def tell(folder):
        few = {"params": FEW, "loss_nats": FEW}
        one_core = mock.patch(
            "os.cpu_count", return_value=1
        )  # a second process would import everything again

        def gather(source, _draws, **more):
            with mock.patch.object(study, "THRESHOLD_DRAWS", few):
                return study.gather(source, DRAWS, **more)

        verbs = [("fit", "--bootstrap", DRAWS), ("forecast", "--bootstrap", DRAWS)]
        verbs += [("thresholds", "--draws", FEW), ("report",)]
        with one_core, mock.patch.object(build, "gather", gather):
            for verb, *more in verbs:
                done = here(verb, store, *more, "--json")
                assert done.returncode == 0, done.stderr
                (folder / verb).write_text(done.stdout)

    folder = made_once("quickstart_verbs", tell)
    return {path.name: json.loads(path.read_text()) for path in folder.iterdir() if path.stat().st_size}


@pytest.mark.slow
def test_the_law_of_real_runs(told):
    fitted, forecast = told["fit"], told["forecast"]
    assert fitted["law"] == fitted["leading"]["law"]
    assert fitted["certificate"]["converged"]
    assert fitted["points"] == 3 * 4 - 3
    held = [row for row in fitted["excluded"] if "held out" in row["reason"]]
    assert len(held) == 3
    assert forecast["score"]["cells"] == 3
    assert forecast["leading"]["law"] == fitted["law"]
    assert forecast["fit"]["params"] == fitted["params"]
    # a few thousand tokens make no law; but a forecast off by a third would be no forecast at all
    assert forecast["score"]["mean_abs_error_percent"] < 33


@pytest.mark.slow
def test_verdicts_on_the_ability_and_its_control(told):
    verdicts = {(s["task"], s["metric"]): s["verdict"] for s in told["thresholds"]["series"]}
    assert {task for task, _ in verdicts} == {"induction-8", "facts", "coin"}
    # at this budget nothing is learned: neither may be called emergent
    assert verdicts["coin", "exact_match"] != "emergent"
    assert verdicts["induction-8", "exact_match"] != "emergent"


@pytest.mark.slow
def test_the_report_of_it(store, told):
    html = (store / "report.html").read_text()
    assert "induction-8" in html
    assert "Held-out error" in html
    assert len(html) < 2_000_000
    figures = {path.suffix for path in (store / "figures").iterdir()}
    assert {".svg", ".csv"} <= figures
    assert told["report"]["figures"]
