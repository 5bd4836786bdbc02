"""The ``lab`` command: a list of verbs, each imported only when it is called."""

import atexit
import difflib
import gc
import json
import os
import sys
from contextlib import nullcontext
from importlib import import_module
from typing import TextIO

from lab import terminal

VERBS = {
    "Studies": {
        "init": ("sweeps.verbs.planning:init", "write a commented study file"),
        "plan": ("sweeps.verbs.planning:plan", "what a study trains, and what it costs, before it is paid"),
        "run": ("sweeps.verbs.training:run", "train a study; the same command goes on after an interruption"),
        "worker": ("sweeps.verbs.training:worker", "one worker on this machine's devices, for engines"),
        "status": ("sweeps.verbs.planning:status", "how far a study is, and what to do about failures"),
        "merge": ("sweeps.store.merging:merge", "copy stores together, by run id, verified"),
        "table": ("analysis.verbs.table:table", "the table of runs as CSV, Parquet or JSON"),
        "export": (
            "sweeps.exchange.models:export",
            "runs for TensorBoard, wandb or MLflow; a model for transformers",
        ),
        "import": ("sweeps.exchange.imports:import_", "tables and logs of other tools as one table"),
        "report": ("sweeps.verbs.report:report", "report.html and figures of a study; --watch while it runs"),
        "plot": ("analysis.verbs.report:plot", "single figures as SVG, PDF, PNG and CSV"),
    },
    "One model": {
        "train": ("lab.verbs.train:train", "train one model, on one device or many"),
        "eval": ("lab.verbs.evaluate:evaluate", "loss and abilities of a trained model"),
        "compress": ("sweeps.verbs.compression:compress", "what fewer bits and weights do to trained models"),
        "generate": ("lab.verbs.generate:generate", "text from a trained model"),
        "needle": ("lab.verbs.needle:needle", "what a trained model finds again, by depth and context"),
        "data": ("lab.verbs.data:data", "what a data source holds"),
    },
    "This machine": {
        "bench": ("lab.verbs.bench:bench", "speed beside this machine's products, and beside PyTorch"),
        "completion": ("lab.completion:completion", "completes verbs and options in bash, zsh or fish"),
        "doctor": ("lab.machine.doctor:doctor", "does it have what a study needs, and what mends it"),
    },
    "Analysis of a study folder or of any table": {
        "fit": ("analysis.verbs.fit:fit", "a scaling law with intervals and a certificate"),
        "isoflop": ("analysis.verbs.fit:isoflop", "minima of loss at equal compute"),
        "allocate": ("analysis.verbs.fit:allocate", "compute-optimal parameters and tokens of a budget"),
        "audit": ("analysis.verbs.audit:audit", "score laws on unseen scales, and find mistuned rungs"),
        "forecast": ("analysis.verbs.fit:forecast", "predict held-out runs and score it"),
        "next": ("sweeps.verbs.next_runs:next_", "the runs that narrow an interval most for what they cost"),
        "downstream": ("analysis.verbs.downstream:downstream", "a task's score by loss law and link"),
        "thresholds": ("analysis.verbs.thresholds:thresholds", "verdicts on emergent abilities"),
        "replicate": ("analysis.verbs.replicate:replicate", "published numbers, computed again"),
        "energy": ("analysis.verbs.energy:energy", "energy, carbon and money of training and serving"),
        "bias": ("analysis.verbs.bias:bias", "associations in embeddings, and error rates by group"),
        "laws": ("analysis.verbs.laws:laws", "the laws that --law knows: formula, domain, source"),
    },
}

EVERYWHERE = ("--quiet",)


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Exit codes: 0 ok, 1 some runs failed, 2 usage or bad input, 130 interrupted.

    With --json what is wrong is one JSON object on stdout too, `{"errors": [...]}`. --quiet leaves nothing on
    stderr but errors, of the processes that a verb starts too.
    """
    if argv is None:
        # Modules are loaded to stay: looking among them for what can go took 0.15 of a worker's first 2 s.
        gc.set_threshold(50_000, 20, 20)
        # Nor is there a last look at the end, which frees all: an eighth of `lab generate`.
        atexit.register(gc.freeze)
    argv = sys.argv[1:] if argv is None else list(argv)
    verbs = {name: entry for group in VERBS.values() for name, entry in group.items()}
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        from importlib.metadata import version

        print(version("scaling-law-lab"))
        return 0
    as_json = "--json" in argv
    if argv[0] not in verbs:
        close = difflib.get_close_matches(argv[0], verbs, n=1)
        hint = f"did you mean `lab {close[0]}`?" if close else "`lab --help` lists the verbs"
        return _wrong([f"no verb {argv[0]!r}; {hint}"], as_json)
    for_help = bool({"-h", "--help"}.intersection(argv))
    if not for_help or os.environ.get("NO_COLOR"):  # help is ours, in colours, and reads no file
        os.environ["PYTHON_TYRO_ANSI_CODES"] = "False"
    if not for_help:
        terminal.install()
    quiet = "--quiet" in argv
    argv = [argv[0], *(word for word in argv[1:] if word != "--quiet")]
    with terminal.silent() if quiet and not for_help else nullcontext(sys.stderr) as errors:
        return _run(argv[0], verbs[argv[0]][0], argv[1:], as_json and not for_help, errors)


def _run(verb: str, place: str, argv: list[str], as_json: bool, errors: TextIO) -> int:
    module, function = place.split(":")
    quiet = errors is not sys.stderr
    try:
        with terminal.heard(as_json or quiet) as told:
            return getattr(import_module(module), function)(_here(verb, argv)) or 0
    except SystemExit as end:
        if end.code != 2:
            raise
        # Of the command line itself: tyro has said it, on stderr alone.
        if quiet:
            print(f"error: {told.text()}", file=errors)
        if as_json:
            print(json.dumps({"errors": [told.text()]}))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing is left to say
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _wrong([f"{where}{error.strerror or error}"], as_json, errors)
    except ValueError as error:
        if not hasattr(error, "problems"):  # the InputError of either package has them; all else is a bug
            raise
        return _wrong(list(error.problems), as_json, errors)


def _wrong(problems: list[str], as_json: bool, errors: TextIO | None = None) -> int:
    for problem in problems:
        print(f"error: {problem}", file=errors or sys.stderr)
    if as_json:
        print(json.dumps({"errors": problems}))
    return 2


def _here(verb: str, argv: list[str]) -> list[str]:
    """The arguments; for verbs that read stores with a copy on this machine in place of each URL."""
    looks_again = verb in ("run", "train", "worker", "status") or (verb == "report" and "--watch" in argv)
    if looks_again or not any(word.startswith(("s3://", "gs://")) for word in argv):
        return argv
    return import_module("sweeps.store.copies").arguments(verb, argv)


def _help() -> str:
    lines = [
        "usage: lab VERB [...]     `lab VERB --help` says more",
        "--json prints one JSON object, errors too; --quiet no progress",
        "",
    ]
    for group, verbs in VERBS.items():
        lines.append(group)
        lines += [f"  {name:<11} {text}" for name, (_, text) in verbs.items()]
        lines.append("")
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    sys.exit(main())
