"""`lab generate`: texts that a trained model goes on with."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from lab.config import Sampling
from lab.errors import InputError
from lab.files import read_text
from lab.strict import problems_of
from lab.verbs.common import load_run


def generate(argv: list[str]) -> int:
    def command(
        folder: Annotated[Path, tyro.conf.Positional],
        prompt: tuple[str, ...] = (),
        prompts: Path | None = None,
        tokens: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 0.95,
        seed: int = 0,
        measure: bool = False,
        as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    ) -> int:
        """Continue prompts with a trained model until it ends the document.

        Args:
            folder: a run folder.
            prompt: one or more texts; an empty one starts a new document, as does giving none.
            prompts: a file with one prompt a line, or - for standard input.
            tokens: at most this many new tokens each.
            temperature: 0 is greedy.
            top_k: draw from the k most probable tokens; 0: from all.
            top_p: draw from the smallest set that holds this much probability (1904.09751).
            seed: of the draws.
            measure: sample a second time, when all is compiled, and say what that took: time and energy of a
                prompt and of a token.
            as_json: print one JSON object.
        """
        sampling = Sampling(temperature, top_k, top_p)
        problems = [f"--{key.replace('_', '-')}: {text}" for key, text in problems_of(sampling)]
        if tokens < 1:
            problems.append(f"--tokens: should be at least 1, is {tokens}")
        if prompt and prompts:
            problems.append("--prompts: give prompts by --prompt or by --prompts, not both")
        if problems:
            raise InputError(*problems)
        given = list(prompt) or ([""] if prompts is None else lines(prompts))
        config, params, dataset = load_run(folder)

        from lab.evaluation.generate import generate as sample

        text = dataset.tokenizer
        starts = [[text.start, *text.encode(p).tolist()] for p in given]
        vocab, end = dataset.vocab_size, text.end
        again = partial(
            sample, params, starts, config.model, vocab, end, dataset.context, tokens, sampling, seed
        )
        new = again()
        spent = _measured(again) if measure else None
        texts = [text.decode(t) for t in new]
        if as_json:
            pairs = zip(given, texts, strict=True)
            found = {"samples": [{"prompt": p, "text": t} for p, t in pairs]}
            print(json.dumps(found if spent is None else {**found, "spent": spent}))
        else:
            print("\n\n".join(p + t for p, t in zip(given, texts, strict=True)))
        if spent is not None:
            print(_said(spent), file=sys.stderr)
        return 0

    return tyro.cli(command, args=argv, prog="lab generate")


def _measured(sample: Callable[[], list]) -> dict:
    """What one call takes; energy is None where no counter can be read (:mod:`lab.machine.energy`)."""
    import jax

    from lab.machine.energy import Meter

    meter, since = Meter(jax.local_devices()[:1]), time.monotonic()
    new = sample()
    seconds, used = time.monotonic() - since, meter.look()
    return {
        "prompts": len(new),
        "tokens": sum(map(len, new)),
        "device_seconds": seconds,
        "cpu_seconds": used.cpu_seconds,
        "energy_joules": used.joules,
        "energy_source": used.source,
        "device": jax.local_devices()[0].device_kind,
    }


def _said(spent: dict) -> str:
    def each(total: float, unit: str) -> str:
        of = [
            f"{total / spent[name]:.3g} {unit} a {name[:-1]}" for name in ("prompts", "tokens") if spent[name]
        ]
        return f"{total:.3g} {unit} ({', '.join(of)})"

    said = [each(spent["device_seconds"], "device-seconds"), each(spent["cpu_seconds"], "CPU seconds")]
    joules = spent["energy_joules"]
    energy = "energy not measured, no counter could be read" if joules is None else each(joules, "J")
    return f"sampling took {', '.join(said)}; {energy}"


def lines(path: Path) -> list[str]:
    """The lines of a file, or of standard input for -. Raises InputError if there are none."""
    text = sys.stdin.read() if str(path) == "-" else read_text(path)
    found = text.splitlines()
    if not found:
        raise InputError(f"{path}: has no line; an empty line starts a new document")
    return found
