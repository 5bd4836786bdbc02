"""A study without the command line: built from dataclasses, priced, trained, tabulated, fitted.

    python python_api.py STORE

Interrupted anywhere, the same command goes on. The study is a toy of a minute; `sweeps.load("study.toml")`
gives one from a file instead.
"""

import sys
from pathlib import Path

import analysis as sl
import sweeps


def study() -> sweeps.Study:
    """Three sizes by three budgets of tokens, on a made-up source whose best possible loss is known."""
    return sweeps.Study(
        name="from-python",
        data={"source": "synthetic", "context": 32, "val_windows": 64},
        model={"layers": 1, "heads": 1},
        optimizer={"warmup_tokens": 2_000},
        batch=8,
        grids=(
            sweeps.Grid(
                name="language",
                sizes=tuple(sweeps.Size(width=width, learning_rate=0.02) for width in (8, 16, 32)),
                tokens=(10_000, 20_000, 40_000),
            ),
        ),
    )


def main(store: Path) -> int:
    made = study()

    priced = sweeps.price(made, store)  # before anything is trained
    totals = priced.totals()
    print(f"{totals['cells']} runs, {totals['flops']:.2g} FLOPs, {totals['device_seconds_left']:.0f} s left")
    print(*priced.warnings, sep="\n")

    done = sweeps.run(made, store, sweeps.EngineOptions(workers=1))
    print(done)
    if done.failed or done.interrupted:
        return done.exit_code

    runs = sweeps.table(store)
    shown = runs.frame.sort_values(["params_total", "tokens"])
    print(shown[["params_total", "tokens", "loss_nats", "loss_se"]].to_string(index=False))

    law = sl.fit(runs, law="chinchilla-tied", bootstrap=200)
    for name, value in law.params.items():
        low, high = law.intervals[name]
        print(f"{name} {value:.3g}  95% [{low:.3g}, {high:.3g}]")
    print(*law.warnings, sep="\n")  # a toy has many: they say what would make the law trustworthy
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python_api.py STORE")
    sys.exit(main(Path(sys.argv[1])))
