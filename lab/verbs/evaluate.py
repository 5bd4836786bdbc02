"""`lab eval`: loss, abilities, tasks of one's own, and how training got there."""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from lab.errors import InputError
from lab.runs.folder import RunFolder
from lab.verbs.common import load_run, print_row, warn


@dataclass(frozen=True)
class Options:
    """Loss and ability scores of a trained model, computed anew."""

    folder: Positional[Path]
    """a run folder, such as runs/quickstart/runs/<run id>"""
    tasks: tuple[str, ...] = ()
    """what to score: names of tasks (addition-5, copy/3-shot), a .jsonl of prompts and answers, or a .py,
    which is run; nothing: the tasks the model was trained on"""
    shots: int = 0
    """solved examples before each question"""
    instruction: FlagCreatePairsOff[bool] = False
    """ask with the task's instruction instead of its tag"""
    thoughts: FlagCreatePairsOff[bool] = False
    """let the model write its working first: scratchpad of an addition, rationale of a .jsonl"""
    generate: FlagCreatePairsOff[bool] = False
    """also decode the answers: exact match of what is written, edit distance, parse rate"""
    limit: int = 1000
    """items of a task, at most"""
    by: tuple[str, ...] = ()
    """also scores by factors of the items, for example depth length for a needle's map, carries for a sum"""
    ngram: int = 0
    """also the loss of n-grams of this order, trained on as many tokens of the same split"""
    progress: FlagCreatePairsOff[bool] = False
    """also whether the measures logged in training moved before the exact match did"""
    items: Path | None = None
    """write every item's scores to this Parquet file"""
    json: FlagCreatePairsOff[bool] = False
    """one JSON object on stdout and nothing else"""


def evaluate(argv: list[str]) -> int:
    """The verb. Returns exit code 0; raises InputError for bad input."""
    options = tyro.cli(Options, args=argv, prog="lab eval", description=Options.__doc__)
    problems = [
        f"--{name}: should be at least {least}, is {getattr(options, name)}"
        for name, least in (("shots", 0), ("limit", 1), ("ngram", 0))
        if getattr(options, name) < least
    ]
    if problems:
        raise InputError(*problems)
    config, params, dataset = load_run(options.folder)

    from lab.evaluation import evaluate as evaluation
    from lab.evaluation import item_files, metrics

    scores = _scores(options, config, params, dataset)
    loss = evaluation.validate(params, config, dataset)
    found = {
        "loss_nats": loss.nats,
        "loss_se": loss.se,
        "bits_per_byte": loss.bits_per_byte,
        "windows": loss.windows,
    }
    if dataset.text_validation is not None:
        text = evaluation.validate(params, config, dataset, dataset.text_validation)
        found["text"] = asdict(text)
    found["abilities"] = [row for one in scores for row in (*metrics.rows(one), *metrics.more_rows(one))]
    found["abilities"] += _knowledge(scores, config, dataset)
    if options.by:
        found["by"] = [
            {"task": one.task, "cells": metrics.by_factor(one, options.by)} for one in _with(scores, options)
        ]
    if options.ngram:
        from lab.evaluation.ngram import baseline

        found["ngram"] = baseline(dataset, options.ngram, config.steps * config.batch_tokens)
    if options.progress:
        from lab.evaluation.precedence import leads

        found["progress"] = [asdict(lead) for lead in leads(_lines(options.folder))]
    if options.items:
        item_files.write(options.items, scores)
    found["remarks"] = [{"code": code, "text": text} for one in scores for code, text in one.remarks]
    if options.json:
        print(json.dumps(_plain(found), allow_nan=False))
    else:
        _print(found)
    return 0


def _scores(options: Options, config, params, dataset) -> list:
    """Scores of all tasks asked for."""
    from lab.abilities import find, problem_of
    from lab.abilities.sets import ability_set
    from lab.data import SymbolTokenizer
    from lab.evaluation import evaluate as evaluation
    from lab.evaluation import text_tasks, user_tasks
    from lab.evaluation.decode import decode

    files = [Path(name) for name in options.tasks if Path(name).suffix in (".jsonl", ".py")]
    names = [name for name in options.tasks if Path(name) not in files]
    names = names or ([] if files else list(dataset.ability_sets()))
    formed = [_form(name, options) for name in names]
    problems = [f"--tasks: {problem}" for name in formed if (problem := problem_of(name))]
    problems += [
        f"--thoughts: {name!r} has no working to write" for name in names if _no_thoughts(name, options)
    ]
    if problems:
        raise InputError(*problems)
    scores = []
    for name in formed:
        task = find(name)
        if task.row_length > dataset.context:
            warn(
                f"{name}: rows of {task.row_length} tokens are longer than the trained context, "
                f"{dataset.context}"
            )
        test = ability_set(task, options.limit, max(dataset.context, task.row_length), dataset.tokenizer)
        one = evaluation.measure(params, config, dataset, test)
        if (options.generate and not task.given) or test.scratch_length:
            one = decode(params, config, dataset, test, one)
        scores.append(one)
    shape = text_tasks.Shape(options.shots, options.instruction, options.thoughts)
    for task in (task for path in files for task in user_tasks.read(path)):
        cut = replace(task, docs=task.docs[: options.limit])
        if isinstance(dataset.tokenizer, SymbolTokenizer) and cut.until:
            cut = replace(cut, until=(), answer_prefix="=")
        scores.append(text_tasks.run(cut, params, config, dataset, shape))
    return scores


def _form(name: str, options: Options) -> str:
    forms = [name]
    if options.thoughts and "scratchpad" not in name:
        forms.append("scratchpad")
    if options.instruction:
        forms.append("instruction")
    if options.shots:
        forms.append(f"{options.shots}-shot")
    return "/".join(forms)


def _no_thoughts(name: str, options: Options) -> bool:
    return options.thoughts and name.split("/")[0].split("-")[0] != "addition"


def _knowledge(scores, config, dataset) -> list[dict]:
    """Bits of knowledge on biographies, and a parameter."""
    from lab.abilities.biographies import PEOPLE, knowledge_bits
    from lab.model import accounting

    rows = []
    for one in scores:
        base, _, number = one.task.split("/")[0].partition("-")
        if base == "biographies":
            nats = float(one.nats_N.sum() / one.tokens_N.sum())
            bits = float(knowledge_bits(int(number or PEOPLE), nats))
            params = accounting.count_params(config.model, dataset.vocab_size).total
            shared = {"task": one.task, "correct": None, "items": len(one), "chance": 0.0, "se": None}
            rows += [
                shared | {"metric": "knowledge_bits", "score": bits},
                shared | {"metric": "bits_per_param", "score": bits / params},
            ]
    return rows


def _with(scores, options: Options) -> list:
    chosen = [one for one in scores if all(name in one.factors for name in options.by)]
    if not chosen:
        known = sorted({name for one in scores for name in one.factors})
        raise InputError(
            f"--by: no task here has the factors {', '.join(options.by)}; known: {', '.join(known)}"
        )
    return chosen


def _lines(folder: Path) -> list[dict]:
    """Metrics of the run and, before it branched off, of its trunk."""
    own = RunFolder(folder)
    trunk = ((own.result() or {}).get("row") or {}).get("trunk")
    before = RunFolder(folder.parent / trunk).metrics() if trunk else []
    lines = own.metrics()
    first = min((line["step"] for line in lines), default=0)
    return [line for line in before if line["step"] < first] + lines


def _plain(value):
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(found: dict) -> None:
    print_row(found, found["abilities"])
    if "text" in found:
        print(f"{'text':<24} {'bits_per_byte':<20} {found['text']['bits_per_byte']:.4f}")
    if "ngram" in found:
        bits = found["ngram"]["bits_per_byte"]
        loss = f"loss_nats {found['ngram']['loss_nats']:.4f}" if bits is None else f"bits_per_byte {bits:.4f}"
        print(f"{found['ngram']['order']}-grams: {loss} from {found['ngram']['tokens']:,} tokens")
    for group in found.get("by", []):
        print(f"\n{group['task']}")
        for cell in group["cells"]:
            print(
                "  "
                + "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in cell.items())
            )
    for one in found["remarks"]:
        print(f"  {one['code']}: {one['text']}")
    for lead in found.get("progress", []):
        steps = f"{lead['measure_step']} / {lead['metric_step']}"
        print(f"{lead['task']:<24} {lead['measure']:<20} {lead['said']:<24} steps {steps}")
