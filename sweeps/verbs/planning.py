"""Verbs that train nothing: init, plan, status."""

import json
import os
import re
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Literal

import tyro

from lab.errors import InputError
from lab.files import create
from lab.objects import url_of
from lab.terminal import unescaped
from sweeps.arguments import Json, Places, Sets, StudyFile
from sweeps.study.schema import Design
from sweeps.verbs.training import plan_of

_EXAMPLES = {"grid": "example"}  # file of a design, where it is not of the same name


def init(argv: list[str]) -> int:
    def command(
        path: StudyFile = Path("study.toml"),
        design: Design | Literal["quickstart"] = "grid",
        source: str = "",
        tokenizer: str = "",
        text_field: str = "text",
        include: tuple[str, ...] = (),
        split: Literal["", "blank_lines", "file"] = "",
        mark: int | None = None,
    ) -> int:
        """Write a commented study file to start from.

        Args:
            path: where to write it; a file that is there is not replaced.
            design: a law of sizes and tokens (grid, trunk_branch), minima at equal compute (isoflop),
                multiples of the compute-optimal tokens (ladder), effects of hyperparameters (factorial);
                the study of the quick start, to run it anywhere (quickstart).
            source: a text of your own that it trains on, a file or folder; it is read, and what was done to
                it is said.
            tokenizer: of that text: bytes (the default), bpe:4096 or another size, or a tokenizer.json.
            text_field: key of .jsonl, column of .parquet.
            include: names of the files of a folder that are read, as '*.py'.
            split: where documents of .txt, .md and .rst end.
            mark: of .bin and .npy, the id between two documents.
        """
        text = example(design)
        if source:
            given = {"tokenizer": tokenizer, "include": include, "split": split, "mark": mark}
            given |= {"text_field": text_field if text_field != "text" else ""}
            given = {key: value for key, value in given.items() if value not in ("", (), None)}
            text = _with_source(text, path, source, given)
        try:
            create(path, text.encode())
        except FileExistsError:
            raise InputError(f"{path}: is there already; name another file") from None
        print(f"{path} written. What it costs: lab plan {path}; to train it: lab run {path} --out runs/mine")
        return 0

    return tyro.cli(command, args=argv, prog="lab init")


def _with_source(text: str, path: Path, source: str, given: dict) -> str:
    """The study of a design with another text. Raises InputError where that cannot be read."""
    from lab.data import DataConfig
    from lab.verbs.common import load_data
    from sweeps.study.overrides import to_toml

    dataset = load_data(DataConfig(source, **given))
    if dataset.unique_tokens is None:
        raise InputError(f"--source: {source}: is made up, no text; say so in [data] of the study")

    def seen(name: str) -> str:
        place = Path(name)
        if not place.exists() or place.is_absolute():
            return name
        return Path(os.path.relpath(place, path.absolute().parent)).as_posix()

    keys = {"source": seen(source), **given}
    if tokenizer := given.get("tokenizer"):
        keys["tokenizer"] = seen(tokenizer)
    head = f"# {dataset.unique_tokens:,} tokens to train on; more: lab data inspect {source}"
    lines = to_toml(keys).rstrip("\n")
    if tokenizer not in (None, "bytes"):
        text = text.replace("tokens a sequence; a token is a byte", "tokens a sequence")
    return re.sub(r'(?m)^source = "python-docs"$', lambda _: f"{head}\n{lines}", text, count=1)


def example(design: str) -> str:
    """The commented study file of a design."""
    return (files("sweeps") / "studies" / f"{_EXAMPLES.get(design, design)}.toml").read_text()


def plan(argv: list[str]) -> int:
    def command(
        study: StudyFile,
        out: Path | None = None,
        sets: Sets = (),
        allow_include: Places = (),
        probe: Literal["auto", "always", "never"] = "auto",
        prior: Path | None = None,
        workers: int | None = None,
        flops: float | None = None,
        hours: float | None = None,
        kwh: float | None = None,
        money: float | None = None,
        price: float | None = None,
        csv: bool = False,
        as_json: Json = False,
    ) -> int:
        """What a study trains, costs and will tell, before anything is paid.

        Args:
            study: the study file.
            out: the store it will run in, to see what is done there already.
            sets: change a key of the study: model.width=64, grids.language.seeds=[0,1,2]; may be repeated.
            allow_include: a folder or file outside the study's folder that it may include; may be repeated.
            probe: time a few steps of shapes that never ran here: auto does so when it takes less than a
                hundredth of the study and less than 20 s.
            prior: a store with runs like those planned: its law and scatter say what intervals to expect.
            workers: processes to divide the hours by; as many as `lab run` would start here by default.
            flops: a budget: how many of the runs does it pay for, the cheapest first?
            hours: a budget in device-hours.
            kwh: a budget of energy, at the highest watts of a device (run.watts of the study).
            money: a budget of money, with --price.
            price: of a device-hour.
            csv: print all cells as CSV.
            as_json: print one JSON object with all cells.
        """
        from sweeps.plan import budgets
        from sweeps.plan import step_timing as probing
        from sweeps.verbs import plan_output

        if workers is not None and workers < 1:
            raise InputError(f"--workers: should be at least 1, is {workers}")
        limit = budgets.budget(flops, hours, kwh, money, price)
        made = plan_of(study, sets, allow_include)
        todo = [] if probe == "never" else probing.unmeasured(made)
        if todo and (probe == "always" or probing.is_cheap(made, todo)):
            _tell(f"timing {len(todo)} programs on this machine")
            probing.probe(todo, _tell)
            if again := probing.contradicted(made, todo):
                _tell(
                    f"{len(again)} of them disagree with their neighbours by more than 3 times: timed again"
                )
                probing.probe(again, _tell)
        priced = plan_output.Priced(made, out, workers or _workers(made), prior, limit)
        text = plan_output.as_json if as_json else plan_output.as_csv if csv else plan_output.as_text
        print(text(priced).rstrip("\n"))
        return 0

    return tyro.cli(command, args=argv, prog="lab plan")


def _workers(made) -> int:
    from sweeps.work.engines import local

    return len(local.slots(made.study.run.pack, None))


def status(argv: list[str]) -> int:
    def command(out: StudyFile, watch: bool = False, every: float = 5.0, as_json: Json = False) -> int:
        """How far the studies of a store are, what runs now, and what to do about failures.

        Args:
            out: the store.
            watch: look again until nothing is left or Ctrl-C.
            every: seconds between two looks.
            as_json: print one JSON object, with --watch one a look.
        """
        from sweeps.store import copies
        from sweeps.verbs import status

        if not 0.1 <= every <= 86400:
            raise InputError(f"--every: should be between 0.1 and 86400 seconds, is {every}")
        look = status.Look(copies.here(out))
        while True:
            found = look.collect() | {"out": url_of(out) or str(out)}
            if as_json:
                print(json.dumps(found), flush=True)
            else:
                if watch and sys.stdout.isatty():
                    print("\x1b[2J\x1b[H", end="", file=unescaped(sys.stdout))
                print(status.as_text(found), flush=True)
            if not watch or not status.is_active(found):
                return 0
            time.sleep(every)
            copies.here(out)

    return tyro.cli(command, args=argv, prog="lab status")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
