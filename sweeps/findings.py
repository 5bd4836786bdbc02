"""`python -m sweeps.findings DIR`: what an ability study planted, beside what the detector called it.

Five tables, as Markdown on stdout and as CSV with `--csv FOLDER`:

- controls: tasks whose verdict is known beforehand (`Task.expected`), and whether it was given;
- thresholds: every exact match, its verdict and its thresholds;
- seeds: for tasks with five seeds or more, how many of them succeed at each size;
- forms: how far a form of a task (with its working, say) moves the threshold of the other forms;
- leads: in how many runs each progress measure moved before the exact match.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from pathlib import Path

SUCCESS = 0.5  # exact match from which on a seed counts as having the ability
_LEAST_SEEDS = 5


def controls(series) -> list[dict]:
    """One row for each task and metric with a known verdict. `series`: those of `analysis.thresholds`."""
    from lab.abilities import find

    rows = []
    for one in series:
        expected = find(one.task.partition("@")[0]).expected.get(one.metric)
        if expected:
            row = {"task": one.task, "metric": one.metric, "planted": " or ".join(expected)}
            rows.append(row | {"called": one.verdict, "right": one.verdict in expected} | _evidence(one))
    return rows


def thresholds(series) -> list[dict]:
    """One row for each exact match: verdict, the metrics of its task that break, evidence, elbow and half."""
    broken: dict[str, list[str]] = {}
    for one in series:
        if one.verdict == "emergent":
            broken.setdefault(one.task, []).append(one.metric)
    rows = []
    for one in series:
        if one.metric == "exact_match":
            places = {
                f"{name} ({one.axis})": _place(getattr(one.thresholds, name)) for name in ("elbow", "half")
            }
            breaks = ", ".join(broken.get(one.task, ["–"]))
            rows.append(
                {"task": one.task, "verdict": one.verdict, "breaks in": breaks} | _evidence(one) | places
            )
    return rows


def seeds(series) -> list[dict]:
    """Successful seeds at each size, of exact matches with at least five seeds somewhere."""
    rows = []
    for one in series:
        if one.metric != "exact_match" or one.seeds < _LEAST_SEEDS:
            continue
        for size in one.sizes:
            scores = sorted(one.score[one.x == size].tolist())
            won = sum(score >= SUCCESS for score in scores)
            row = {"task": one.task, one.axis: round(float(size)), "succeed": won, "of": len(scores)}
            rows.append(row | {"scores": " ".join(f"{score:.2f}" for score in scores)})
    return rows


def forms(series) -> list[dict]:
    """Ratio of the half-way points of two forms of one task, with an interval from both of theirs.

    The intervals are those of independent runs, so their half-widths in logarithms add in squares. `moved`
    is said where the interval of the ratio does not hold 1.
    """
    halves = {
        one.task: one.thresholds.half
        for one in series
        if one.metric == "exact_match" and one.thresholds.half.value is not None
    }
    rows = []
    for first in halves:
        for second in halves:
            if first < second and first.partition("/")[0] == second.partition("/")[0]:
                rows.append({"forms": f"{second} : {first}"} | _ratio(halves[second], halves[first]))
    return rows


def leads(store: Path) -> list[dict]:
    """For each task and measure: runs in which it moved before, with and after the exact match."""
    from lab.evaluation.precedence import leads as of_run
    from lab.runs.folder import RunFolder

    counts: dict[tuple[str, str], Counter] = {}
    factors: dict[tuple[str, str], list[float]] = {}
    for path in sorted(store.glob("runs/*/metrics.jsonl")):
        for lead in of_run(RunFolder(path.parent, store).metrics()):
            key = (lead.task, lead.measure)
            counts.setdefault(key, Counter())[lead.said] += 1
            if lead.factor:
                factors.setdefault(key, []).append(lead.factor)
    rows = []
    for (task, measure), count in sorted(counts.items()):
        moved = count["before"] + count["with"] + count["after"]
        if moved:
            logs = sorted(math.log(f) for f in factors[task, measure])
            row = {"task": task, "measure": measure, "runs": moved}
            row |= {said: count[said] for said in ("before", "with", "after")}
            rows.append(row | {"median factor": f"{math.exp(logs[len(logs) // 2]):.2g}"})
    return rows


def _evidence(one) -> dict:
    numbers = {"p": one.p_value, "q": one.q_value, "seed sd": one.seed_sd.value}
    return {name: "" if value is None else f"{value:.2g}" for name, value in numbers.items()}


def _place(threshold) -> str:
    if threshold.value is None:
        return ""
    if threshold.interval is None:
        return f"{threshold.value:.3g}"
    low, high = threshold.interval
    return f"{threshold.value:.3g} ({low:.3g} to {high:.3g})"


def _ratio(above, below) -> dict:
    ratio = above.value / below.value
    if above.interval is None or below.interval is None:
        return {"ratio of half-way points": f"{ratio:.2f}", "low": "", "high": "", "moved": ""}
    low = math.hypot(math.log(above.value / above.interval[0]), math.log(below.interval[1] / below.value))
    high = math.hypot(math.log(above.interval[1] / above.value), math.log(below.value / below.interval[0]))
    low, high = ratio * math.exp(-low), ratio * math.exp(high)
    moved = "yes" if low > 1 or high < 1 else "cannot tell"
    return {
        "ratio of half-way points": f"{ratio:.2f}",
        "low": f"{low:.2f}",
        "high": f"{high:.2f}",
        "moved": moved,
    }


def markdown(rows: list[dict]) -> str:
    """A table of equal keys as Markdown; a sentence where there is nothing."""
    if not rows:
        return "Nothing to show."
    names = list(rows[0])
    said = {True: "yes", False: "**no**"}
    body = [[said.get(v, str(v)) if isinstance(v, bool) else str(v) for v in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, ["---"] * len(names), *body))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.findings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store", type=Path, help="the store of a study of abilities")
    parser.add_argument(
        "--axis", default="params", choices=("params", "flops"), help="what a threshold is in"
    )
    parser.add_argument("--draws", type=int, default=500, help="tables simulated under each smooth curve")
    parser.add_argument("--csv", type=Path, help="folder to write the tables to")
    options = parser.parse_args(argv)
    from analysis import read
    from analysis.errors import InputError
    from analysis.thresholds import detect

    try:
        found = detect(read(options.store).abilities, options.axis, draws=options.draws)
    except InputError as error:
        print("\n".join(f"{options.store}: {problem}" for problem in error.problems), file=sys.stderr)
        return 2
    made = {
        "controls": controls(found.series),
        "thresholds": thresholds(found.series),
        "seeds": seeds(found.series),
        "forms": forms(found.series),
        "leads": leads(options.store),
    }
    for name, rows in made.items():
        print(f"## {name}\n\n{markdown(rows)}\n")
        if options.csv and rows:
            import pandas

            from analysis.text import no_formula
            from lab.files import write_text

            plain = pandas.DataFrame([{k: no_formula(v) for k, v in row.items()} for row in rows])
            write_text(options.csv / f"{name}.csv", plain.to_csv(index=False), options.csv)
    return 0 if all(row["right"] for row in made["controls"]) else 1


if __name__ == "__main__":
    sys.exit(main())
