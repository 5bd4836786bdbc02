"""Training logs of nanoGPT, nanochat, llm.c and modded-nanogpt as rows: what their scripts print."""

import math
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

from lab.errors import InputError
from sweeps.exchange.found import run_name

Log = Literal["nanogpt", "nanochat", "llmc", "modded"]
# Possessive: a line of 16,000 digits is read once. Steps are numbers that a program counts to.
_NUMBER = r"([-+]?(?>\d++(?:,\d++)*+(?:\.\d++)?+|\.\d++)(?:[eE][-+]?\d++)?+)"
_STEP = r"(\d{1,18})"
_LOSS = rf"({_NUMBER[1:-1]}|-?nan|-?inf)"


@dataclass(frozen=True)
class Given:
    """What the user says where a log does not."""

    params: float | None = None
    tokens_per_step: float | None = None
    models: bool = False  # the sizes of runs are said by their names


def guess(text: str) -> Log | None:
    """Which trainer wrote a log, by the lines that it prints; None for any other text."""
    if re.search(r"^step \d+: train loss", text, re.M):
        return "nanogpt"
    if re.search(r"^Step \d+ \| Validation bpb", text, re.M):
        return "nanochat"
    if re.search(rf"^step:{_STEP}/{_STEP} .*val_loss:", text, re.M):
        return "modded"
    if re.search(rf"^s:{_STEP} tel:|^val loss {_NUMBER}\s*$", text, re.M):
        return "llmc"
    return None


def read(path: Path, text: str, kind: Log, given: Given, every: bool = False) -> list[dict]:
    """A row for the last evaluation of a log that says `text`, or for each of them.

    Raises:
        InputError: where the log lacks what a row needs, naming the option that gives it.
    """
    readers = {"nanogpt": _nanogpt, "nanochat": _nanochat, "llmc": _llmc, "modded": _modded}
    found = re.findall(rf"number of parameters: {_NUMBER}|num_parameters\s*\|\s*{_NUMBER}", text)
    # what has more digits than any model has parameters is no count
    sizes = {size for pair in found for size in pair if 0 < len(size) < 20}
    if len(sizes) > 1 and not given.params:
        shown = " and ".join(sorted(sizes)[:3]) + (", ..." if len(sizes) > 3 else "")
        raise InputError(f"{path}: holds the logs of several runs ({shown} parameters); cut it, a file a run")
    rows = readers[kind](path, text, given)
    return rows if every else rows[-1:]


def completed(given: Given, text: str) -> Given:
    """What the user says, and where they say nothing what nanoGPT and its like print at their beginning."""
    size, per_step = (_last(text, f"{what}{_NUMBER}") for what in (r"number of parameters: ", _PER_STEP))
    scale = 1e6 if re.search(rf"number of parameters: {_NUMBER}M", text) else 1.0
    return replace(
        given,
        params=given.params or (size and size * scale),
        tokens_per_step=given.tokens_per_step or per_step,
    )


_PER_STEP = r"tokens per iteration will be: "


def went_back(rows: list[dict]) -> int:
    """How often the tokens of all evaluations fall: a run taken up again, or two runs in one file."""
    return sum(b["tokens"] < a["tokens"] for a, b in pairwise(rows))


def _nanogpt(path: Path, text: str, given: Given) -> list[dict]:
    """`number of parameters: 10.65M`, `tokens per iteration will be: 16,384`, `step 250: ... val loss 2`."""
    steps = re.findall(rf"^step {_STEP}: train loss {_LOSS}, val loss {_LOSS}", text, re.M)
    if not steps:
        raise InputError(f"{path}: no line `step N: train loss X, val loss Y`; is it a log of nanoGPT?")
    # printed in millions with two digits, without position embeddings
    counted = _last(text, rf"number of parameters: {_NUMBER}M")
    per_step = _last(text, rf"tokens per iteration will be: {_NUMBER}")
    params = given.params or (counted and counted * 1e6)
    per_step = given.tokens_per_step or per_step
    _check(path, given, params, per_step is not None, "tokens per iteration")
    return [
        {
            "name": run_name(path),
            "params": params,
            "tokens": int(step) * per_step,
            "loss": float(val),
            "train_loss_nats": float(train),
            "status": "ok" if math.isfinite(float(val)) else "diverged",
        }
        for step, train, val in steps
        if int(step) > 0
    ]


def _nanochat(path: Path, text: str, given: Given) -> list[dict]:
    """Losses are bits per byte, which compare across tokenizers; kept as ``loss`` and as ``bits_per_byte``.

    Params are the matrices and the head, which its own scaling laws count; the log prints them by group.
    """
    steps = re.findall(rf"^Step {_STEP} \| Validation bpb: {_LOSS}", text, re.M)
    if not steps:
        raise InputError(f"{path}: no line `Step N | Validation bpb: X`; is it a log of nanochat?")
    groups = {
        name: float(count.replace(",", ""))
        for name, count in re.findall(rf"^(\w++)[^\S\n]*+: {_NUMBER}[^\S\n]*+$", text, re.M)
    }
    matrices, head = groups.get("transformer_matrices"), groups.get("lm_head")
    params = matrices + head if matrices and head else _last(text, rf"[Nn]umber of parameters: {_NUMBER}")
    params = given.params or params
    per_step = given.tokens_per_step or _last(
        text, rf"^(?:Auto-computed optimal|Total) batch size:? {_NUMBER}"
    )
    total, iterations = _last(text, rf"Total number of training tokens: {_NUMBER}"), int(steps[-1][0])
    ended = _last(text, rf"^step \d++/{_STEP}\b")
    if per_step is None and total and ended:
        per_step = total / ended
    _check(path, given, params, bool(per_step or (total and iterations)), "batch size in tokens")
    per_step = per_step or total / iterations
    flops = _last(text, rf"Estimated FLOPs per token: {_NUMBER}")
    core = dict(re.findall(rf"^Step {_STEP} \| CORE metric: {_NUMBER}", text, re.M))
    return [
        {
            "name": run_name(path),
            "params": params,
            "tokens": int(step) * per_step,
            "loss": float(bpb),
            "bits_per_byte": float(bpb),
            "params_total": groups.get("total"),
            "flops_exact": flops and flops * int(step) * per_step,
            "core_metric": float(core[step]) if step in core else None,
            "status": "ok" if math.isfinite(float(bpb)) else "diverged",
        }
        for step, bpb in steps
        if int(step) > 0
    ]


def _llmc(path: Path, text: str, given: Given) -> list[dict]:
    """`main.log` (`s:250 tel:3.2`, test loss) or what the program prints (`val loss 3.2` between steps)."""
    found = [(int(step), float(loss)) for step, loss in re.findall(rf"^s:{_STEP} tel:{_LOSS}", text, re.M)]
    if not found:
        step = 0
        for line in text.splitlines():
            if at := re.match(rf"step\s+{_STEP}/", line):
                step = int(at[1])
            elif loss := re.match(rf"val loss {_LOSS}\s*$", line):
                found.append((step, float(loss[1])))
    if not found:
        raise InputError(f"{path}: no line `s:N tel:X` or `val loss X`; is it a log of llm.c?")
    params = given.params or _last(text, rf"num_parameters\s*\|\s*{_NUMBER}")
    per_step = given.tokens_per_step or _last(text, rf"total batch size\s*\|\s*{_NUMBER}")
    return _counted(path, found, params, per_step, given)


def _modded(path: Path, text: str, given: Given) -> list[dict]:
    """`step:250/1390 val_loss:4.58 train_time:...`; neither size nor batch is printed."""
    found = [
        (int(step), float(loss))
        for step, loss in re.findall(rf"^step:{_STEP}/\d+ (?:.*\s)?val_loss:{_LOSS}", text, re.M)
    ]
    if not found:
        raise InputError(f"{path}: no line `step:N/M val_loss:X`; is it a log of modded-nanogpt?")
    return _counted(path, found, given.params, given.tokens_per_step, given)


def _counted(path: Path, found: list[tuple[int, float]], params, per_step, given: Given) -> list[dict]:
    _check(path, given, params, per_step is not None, "tokens of a step")
    return [
        {
            "name": run_name(path),
            "params": params,
            "tokens": step * per_step,
            "loss": loss,
            "status": "ok" if math.isfinite(loss) else "diverged",
        }
        for step, loss in found
        if step > 0
    ]


def _check(path: Path, given: Given, params: float | None, has_tokens: bool, tokens: str) -> None:
    """InputError where neither the log nor the user says the size, or the `tokens` by that name."""
    problems = []
    if params is None and not given.models:
        problems.append("does not say the number of parameters; give --params, or --models NAME=SIZE")
    if not has_tokens:
        problems.append(f"does not say the {tokens}; give --tokens-per-step")
    if problems:
        raise InputError(*(f"{path}: {problem}" for problem in problems))


def _last(text: str, pattern: str) -> float | None:
    found = re.findall(pattern, text, re.M)
    return float(found[-1].replace(",", "")) if found else None
