"""`python -m benchmarks.published_rivals`: the detectors side by side on published series.

Reads the folder of published tables, SCALING_LAB_ORACLES. A row says how many series of it each detector
calls right: a break where there is one, none elsewhere. "this one" is given a seed sd of 0.3 logits where
there is one run a size; without it it calls none of them (`undecided`), which the second table shows.
"""

import os
import sys
from pathlib import Path

import pandas

from analysis.thresholds import detect
from benchmarks.scorecard import rival_lines, rivals_of, score, verdict_lines

FOLDER = (
    Path(os.environ.get("SCALING_LAB_ORACLES", Path(__file__).parents[2] / "shared/oracles")) / "emergence"
)
COLUMNS = ["task", "metric", "params", "tokens", "correct", "items", "stderr", "score", "chance"]


def pythia(folder=FOLDER):
    """Arithmetic of Pythia (term frequencies): 7 sizes, 6 checkpoints, 5 numbers of shots."""
    frame = pandas.read_csv(folder / "pythia_term_frequency_cells.csv")
    names = {"params_total": "params", "k": "correct", "n": "items"}
    frame = frame.rename(columns=names | {"stderr_clustered": "stderr", "acc": "score"})
    return frame.assign(task=frame["op"] + "_" + frame["shots"].astype(str), metric="acc", chance=0.0)


def mmlu(folder=FOLDER):
    """57 subjects, 5 shots, 8 sizes of Pythia, two data sets as seeds."""
    frame = pandas.read_csv(folder / "pythia_v1_mmlu_subjects_final.csv")
    frame = frame[(frame["shots"] == 5) & (frame["metric"] == "acc")]
    frame = frame.rename(columns={"params_total": "params", "value": "score", "n_items": "items"})
    seed = frame["model"].str.contains("deduped").astype(int)
    return frame.assign(chance=0.25, seed=seed, correct=(frame["score"] * frame["items"]).round())


def zeros(folder=FOLDER):
    """LLaMA's arithmetic, exactly 0 by a tokenizer fault."""
    frame = pandas.read_csv(folder / "lm_eval_2023_zero_artifact.csv")
    frame = frame[(frame["metric"] == "acc") & frame["task"].str.startswith("arithmetic")]
    sizes = {"llama-7B": 6.74e9, "llama-13B": 13.0e9, "mpt-7b": 6.65e9}
    frame = frame.assign(params=frame["model"].map(sizes), score=frame["value"], chance=0.0, items=2000)
    return frame.assign(correct=(frame["score"] * 2000).round())


def rows(seed_sd=0.3, folder=FOLDER, subjects=None):
    """(score rows with that seed sd where there are no seeds). subjects: of MMLU, all by default."""
    last = pythia(folder)
    last = last[last["step"] == last["step"].max()]
    over_tokens = pythia(folder)
    over_tokens = over_tokens[over_tokens["model_new_name"] == "2.8b"]
    additions = [f"addition_{shots}" for shots in (2, 4, 8, 16)]
    cases = (
        ("Pythia addition, 2-16 shots", "emergent", True, last[last["task"].isin(additions)], "params", 0.0),
        (
            "Pythia addition, no shots",
            "floor_limited",
            False,
            last[last["task"] == "addition_0"],
            "params",
            0.0,
        ),
        (
            "Pythia multiplication, 16",
            "smooth",
            False,
            last[last["task"] == "multiplication_16"],
            "params",
            0.0,
        ),
        (
            "2.8B over its checkpoints",
            "smooth",
            False,
            over_tokens[over_tokens["task"] == "addition_16"],
            "tokens",
            0.0,
        ),
        ("Pythia, MMLU subjects", "flat", False, mmlu(folder), "params", 0.25),
        ("LLaMA's zeros", "invalid", False, zeros(folder), "params", 0.0),
    )
    for name, expected, broken, frame, axis, chance in cases:
        tasks = list(frame["task"].unique())
        if subjects is not None:
            tasks = tasks[:subjects]
        frame = frame[frame["task"].isin(tasks)]
        kept = [c for c in (*COLUMNS, "seed") if c in frame and (c != "params" or axis == "params")]
        # Checkpoints of one run do not differ as seeds do.
        given = None if axis == "tokens" else seed_sd
        found = detect(frame[kept], axis=axis, seed_sd=given, draws=199)
        verdicts = {one.task: one.verdict for one in found.series}
        tries = [(verdicts[task], rivals_of(frame[frame["task"] == task], axis, chance)) for task in tasks]
        yield score(name, expected, broken, tries)


def main():
    if not FOLDER.is_dir():
        print(f"no published tables at {FOLDER}; set SCALING_LAB_ORACLES", file=sys.stderr)
        return 2
    found = list(rows())
    print("Share of right calls on published series (one run a size: seed sd 0.3 logits given)")
    print("\n".join(rival_lines(found)))
    print("\nVerdicts, seed sd 0.3 given")
    print("\n".join(verdict_lines(found)))
    print("\nVerdicts, seed sd unknown")
    print("\n".join(verdict_lines(list(rows(None)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
