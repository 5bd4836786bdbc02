"""A store as the laboratory writes it, from a planted law: the truth behind the tests of figures and page."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

VOCAB, LAYERS, BATCH = 258, 4, 2048
E, A, ALPHA, B, BETA = 1.35, 50.0, 0.38, 300.0, 0.42
WIDTHS, BUDGETS, SEEDS = (16, 24, 32, 48, 64), (250_000, 500_000, 1_000_000, 2_000_000), (0, 1)
SOURCE = "python-docs"
PROVENANCE = {
    "git_commit": "0123abc",
    "versions": {"python": "3.11.7", "jax": "0.10.2", "flax": "0.12.8"},
    "data": {"source": SOURCE, "digest": "5f0c2d9a", "unique_tokens": 11_000_000},
    "host": {"cpu_count": 2, "platform": "Linux"},
}


def groups(width: int) -> dict[str, int]:
    counts = {
        "params_embedding": VOCAB * width,
        "params_head": VOCAB * width,
        "params_matrices": 12 * LAYERS * width**2,
        "params_vectors": (4 * LAYERS + 1) * width,
    }
    return {"params_total": sum(counts.values()), **counts}


def planted_loss(width: int, tokens: float) -> float:
    counts = groups(width)
    params = counts["params_total"] - counts["params_embedding"]
    return E + A / params**ALPHA + B / tokens**BETA


@dataclass
class Store:
    """Writes run folders one by one; `finish` writes the study that lists them."""

    path: Path
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    cells: list = field(default_factory=list)

    def run(self, run_id, grid, width, tokens, seed, held_out=False, trunk=None, end="ok", source=SOURCE):
        """One cell. end: ok, diverged, unfinished, failed, or waiting (no folder yet)."""
        counts = groups(width)
        flops = 6.0 * counts["params_total"] * tokens
        cell = {"run_id": run_id, "grid": grid, "held_out": held_out, "trunk": trunk, "seed": seed}
        cell |= {"width": width, "layers": LAYERS, "tokens": tokens, "source": source, "flops_6nd": flops}
        cell["params_total"] = counts["params_total"]
        self.cells.append(cell)
        if end == "waiting":
            return None
        self.spec(run_id, width, tokens, seed)
        loss = planted_loss(width, tokens) * math.exp(0.006 * self.rng.standard_normal())
        start = 0.8 * tokens if trunk else 0.0
        until = tokens if end in ("ok", "diverged") else 0.6 * tokens
        self.metrics(run_id, width, tokens, start, until, final=loss)
        folder = self.path / "runs" / run_id
        if end == "failed":
            said = {"schema": 1, "attempts": 3, "error": "no space left on device", "traceback": "..."}
            (folder / "failure.json").write_text(json.dumps(said))
        if end not in ("ok", "diverged"):
            return None
        seconds = flops / 2.5e10 + 0.4
        row = {**cell, **counts, "status": end, "study": "planted", "batch_tokens": BATCH}
        row |= {"loss_nats": loss if end == "ok" else None, "loss_se": 0.004, "unique_tokens": 11_000_000}
        row |= {"bits_per_byte": loss / math.log(2) if end == "ok" else None, "learning_rate": 0.008}
        row |= {"train_loss_nats": loss * 0.99 if end == "ok" else None, "flops_exact": 1.08 * flops}
        row |= {"flops_palm": 1.1 * flops, "flops_kaplan": 0.7 * flops, "flops_chinchilla": 1.2 * flops}
        row |= {"pack": "serial", "device": "cpu", "device_seconds": seconds, "compile_seconds": 1.4}
        row |= {"energy_joules": None, "energy_source": "none", "git_commit": "0123abc"}
        return row

    def spec(self, run_id, width, tokens, seed):
        folder = self.path / "runs" / run_id
        folder.mkdir(parents=True)
        config = {"tokens": tokens, "model": {"width": width, "layers": LAYERS}, "seed": seed}
        spec = {"schema": 1, "kind": "run", "run_id": run_id, "config": config, "provenance": PROVENANCE}
        spec["data_digest"] = "5f0c2d9a"
        (folder / "spec.json").write_text(json.dumps(spec))

    def metrics(self, run_id, width, tokens, start, until, final=None, points=60):
        lines = []
        for seen in np.linspace(start + (until - start) / points, until, points):
            high = 1.06 if seen < 0.9 * tokens or final is None else 1.06 - 0.5 * (seen / tokens - 0.9)
            noise = math.exp(0.012 * self.rng.standard_normal())
            step = int(seen // BATCH)
            lines.append(
                {"step": step, "tokens": int(seen), "loss_nats": planted_loss(width, seen) * high * noise}
            )
        if final is not None:
            lines.append(
                {"step": int(until // BATCH), "tokens": int(until), "kind": "val", "loss_nats": final}
            )
        text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 99, "tok'
        (self.path / "runs" / run_id / "metrics.jsonl").write_text(text)

    def commit(self, run_id, row, abilities=()):
        result = {"schema": 1, "row": row, "abilities": list(abilities)}
        (self.path / "runs" / run_id / "result.json").write_text(json.dumps(result))

    def finish(self, study="planted", text='name = "planted"\n'):
        folder = self.path / "studies"
        folder.mkdir(parents=True, exist_ok=True)
        listed = {"schema": 1, "study": study, "cells": self.cells}
        (folder / f"{study}.json").write_text(json.dumps(listed))
        if text:
            (folder / f"{study}.toml").write_text(text)
        return self.path


def scores(store: Store, row: dict, task: str, quality: float, floor: float, items: int = 200) -> list[dict]:
    """Three metrics of one task. quality: log-odds of a token, floor: chance level of a token."""
    token = floor + (1 - floor) / (1 + math.exp(-quality))
    exact = token**4 if task == "copy" else token
    correct = int(store.rng.binomial(items, exact))
    common = {"task": task, "params": row["params_total"], "tokens": row["tokens"], "flops": row["flops_6nd"]}
    common |= {"loss_nats": row["loss_nats"], "items": items, "cluster": None}
    right = int(store.rng.binomial(4 * items, token))
    gold = -math.log(token) * math.exp(0.02 * store.rng.standard_normal())
    chance = floor**4 if task == "copy" else floor
    return [
        {**common, "metric": "exact_match", "score": correct / items, "correct": correct, "chance": chance},
        {**common, "metric": "token_accuracy", "score": right / 4 / items, "correct": None, "chance": floor},
        {**common, "metric": "gold_nats", "score": gold, "correct": None, "chance": None},
    ]


def language(store: Store, widths=WIDTHS, budgets=BUDGETS, seeds=SEEDS, ends=None) -> None:
    """The grid of the law. ends: (width, tokens, seed) -> how that run ended."""
    ends = ends or {}
    for width in widths:
        for seed in seeds:
            trunk = f"a{width:03d}{seed:02d}trunk0"
            store.spec(trunk, width, max(budgets), seed)
            store.metrics(trunk, width, max(budgets), 0.0, 0.8 * max(budgets))
            for number, tokens in enumerate(budgets):
                run_id = f"b{width:03d}{seed:02d}{number:06d}"
                held = width >= 48 and tokens == max(BUDGETS)
                end = ends.get((width, tokens, seed), "ok")
                row = store.run(run_id, "language", width, tokens, seed, held, trunk, end)
                if row:
                    store.commit(run_id, row)


def abilities(store: Store, widths=(4, 6, 8, 12, 16, 24), seeds=(0, 1, 2), task_name=None) -> None:
    """Copying has its elbow at width 6; the coin stays at a quarter."""
    for width in widths:
        for seed in seeds:
            run_id = f"c{width:03d}{seed:02d}000000"
            row = store.run(run_id, "abilities", width, 400_000, seed, source="tasks")
            rise = 6.0 * max(0.0, math.log(width / 6)) - 1.0 + 0.2 * store.rng.normal()
            copy = scores(store, row, "copy", rise, 1 / 16)
            coin = scores(store, row, "coin", -7.0 + 0.3 * store.rng.normal(), 0.25)
            if task_name:
                coin = [{**score, "task": task_name} for score in coin]
            store.commit(run_id, row, copy + coin)


ENDS = {(64, 250_000, 1): "diverged", (32, 1_000_000, 1): "unfinished", (24, 500_000, 1): "failed"}


@pytest.fixture(scope="session")
def planted_store(made_once) -> Path:
    """40 runs of a law and 18 of two abilities; one diverged, one unfinished, one failed. Of all test
    processes, which find each other's fits beside it."""

    def make(folder: Path) -> None:
        store = Store(folder / "store")
        language(store, ends=ENDS)
        abilities(store)
        store.finish()

    return made_once("planted", make) / "store"


@pytest.fixture
def new_store(tmp_path) -> Store:
    """An empty store with its builders, for stores that lack something."""
    store = Store(tmp_path / "store")
    store.path.mkdir()
    store.language = lambda **options: language(store, **options)
    store.abilities = lambda **options: abilities(store, **options)
    return store


@pytest.fixture(scope="session")
def planted_study(planted_store, made_once):
    """All that a report finds in the planted store, with few draws; fitted once for all test processes."""
    from analysis.report.study import gather

    here = []
    made_once("planted-study", lambda _: here.append(gather(planted_store, draws=60)))
    return here[0] if here else gather(planted_store, draws=60)


@pytest.fixture(scope="session")
def report(planted_study, tmp_path_factory):
    """The page of the planted store, written once."""
    from analysis.report.build import render

    return render(planted_study, tmp_path_factory.mktemp("report") / "report.html")
