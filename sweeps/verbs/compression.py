"""`lab compress`: what fewer bits, fewer weights and lower rank do to trained models."""

import json
import sys
from pathlib import Path

import tyro

from analysis.text import dumps
from lab.compression.encoded import Method
from lab.errors import InputError
from sweeps.arguments import Json, StudyFile


def compress(argv: list[str]) -> int:
    def command(
        store: StudyFile,
        methods: tuple[str, ...] = (),
        windows: int = 512,
        grids: tuple[str, ...] = (),
        export: Path | None = None,
        csv: Path | None = None,
        as_json: Json = False,
    ) -> int:
        """Loss, abilities and bytes of the runs of a store, compressed without training.

        Give the same command again after an interruption: what was measured is kept in DIR/compressed.

        Args:
            store: a store, of which all finished runs are measured; with --export the folder of one run.
            methods: as in weights-4 activations-8 cache-4 prune-global-0.5 prune-layer-0.5 prune-2-4
                low-rank-0.5; by default weights of 8 to 2 bits and a few amounts of each other.
            windows: validation windows that the loss is of, at most; abilities are of all their items.
            grids: only the runs of these grids of its studies.
            export: write the run, by one method, to this folder; `lab generate` loads it.
            csv: write every penalty, a row each, to this file.
            as_json: print one JSON object.
        """
        if windows < 2:
            raise InputError(f"--windows: should be at least 2, is {windows}")
        chosen = _methods(methods)
        if export is not None:
            return _export(store, chosen, export, as_json)
        if not (store / "runs").is_dir():
            raise InputError(f"{store}: not a store folder: it has no runs/; a run alone takes --export")
        return _study(store, chosen, windows, grids, csv, as_json)

    return tyro.cli(command, args=argv, prog="lab compress")


def _methods(texts: tuple[str, ...]) -> list[Method]:
    found, problems = [], []
    for text in texts:
        try:
            found.append(Method.parse(text))
        except InputError as error:
            problems += [f"--methods: {problem}" for problem in error.problems]
    if problems:
        raise InputError(*problems)
    return found


def _study(root: Path, chosen: list[Method], windows: int, grids, csv: Path | None, as_json: bool) -> int:
    from lab.machine import devices

    devices.configure()  # before what imports jax
    from lab.compression.scores import METHODS
    from lab.verbs.common import load_data
    from sweeps import compression
    from sweeps.store.store import Store

    devices.enable_compilation_cache()
    methods = list(dict.fromkeys([Method(), *(chosen or METHODS)]))  # the whole model, beside all others
    store, done = Store(root), compression.Done()
    todo = compression.tasks(store, methods, windows, grids, done)

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    compression.measure(store, todo, windows, load_data, tell, done)
    tell(f"{done.measured} measurements made, {done.known} were there")
    for problem in done.left_out:
        tell(f"left out: {problem}")
    found = compression.judged(root)
    if csv is not None:
        found.write(csv)
    if as_json:
        print(dumps({**found.to_dict(), "left_out": done.left_out}))
    else:
        print(found)
    return 1 if done.left_out else 0


def _export(folder: Path, chosen: list[Method], out: Path, as_json: bool) -> int:
    if len(chosen) != 1 or chosen[0].kind in ("activations", "cache"):
        raise InputError("--export: name one method that changes what is stored, as in --methods weights-4")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not empty; name a new folder")
    from lab.verbs.common import load_run

    _, params, _ = load_run(folder)
    from lab import files
    from lab.compression import packed
    from lab.compression.encoded import encode
    from lab.runs.folder import SPEC, RunFolder

    method = chosen[0]
    content = packed.dumped(encode(params, method), method)
    plain = packed.size(encode(params, Method()), Method())
    files.write_bytes(out / packed.NAME, content)
    files.write_json(out / SPEC, RunFolder(folder).spec())
    said = {"out": str(out), "method": str(method), "bytes": len(content), "bytes_whole": plain}
    if as_json:
        print(json.dumps(said))
    else:
        print(
            f"{out / packed.NAME}: {len(content):,} bytes, {len(content) / plain:.1%} of {plain:,} as float32"
        )
    return 0
