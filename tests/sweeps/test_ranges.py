"""Every number of a study and a run has a range: beyond it one line, at its ends a plan that ends."""

import contextlib
import copy
import io
import signal
import typing
from dataclasses import fields, is_dataclass

import pytest

from lab.__main__ import main
from lab.config import ModelConfig, OptimizerConfig, RunConfig, Sampling
from lab.data import DataConfig
from lab.errors import InputError
from lab.strict import Within
from sweeps.plan import promised_intervals
from sweeps.study import ladders, loader, overrides, schema
from sweeps.study.prior import Prior

STUDY = {
    "name": "s",
    "batch": 2,
    "data": {"source": "synthetic", "context": 6, "val_windows": 4},
    "model": {"width": 8, "layers": 1, "heads": 1},
    "optimizer": {"warmup_tokens": 12},
    "grids": [{"name": "g", "sizes": [{"width": 8}, {"width": 16}], "tokens": [120, 240, 480]}],
}
GRID = STUDY["grids"][0]
WITH = {  # what a field needs beside it
    "bare": {"sizes": []},  # the size of [model] alone
    "valley": {"design": "isoflop", "flops": [1e8], "valley": {"sizes": 3}, "sizes": [], "tokens": []},
    "shape": {"params": [2_000], "sizes": []},
    "multiples": {"design": "ladder", "multiples": [1.0], "tokens": []},
    "rate": {
        "shape": {"rate": {"width": 8, "learning_rate": 0.01, "power": -0.5}},
        "params": [2_000],
        "sizes": [],
    },
    "range": {"tokens": {"start": 120, "count": 2, "times": 2}},
    "range to": {"tokens": {"start": 120, "count": 2, "stop": 500}},
}
# class, where it stands in a study, and what stands beside it
TABLES = [
    (schema.Study, (), None),
    (schema.RunOptions, ("run",), None),
    (Prior, ("prior",), None),
    (ModelConfig, ("model",), "bare"),
    (OptimizerConfig, ("optimizer",), None),
    (DataConfig, ("data",), None),
    (schema.Grid, ("grids", 0), None),
    (schema.Size, ("grids", 0, "sizes", 1), None),
    (schema.Valley, ("grids", 0, "valley"), "valley"),
    (ladders.Shape, ("grids", 0, "shape"), "shape"),
    (ladders.Rate, ("grids", 0, "shape", "rate"), "rate"),
    (overrides.Range, ("grids", 0, "tokens"), "range"),
]
BUDGETS = {
    "params": "shape",
    "multiples": "multiples",
    "optimal_tokens_per_param": "multiples",
    "stop": "range to",
}
EXTREMES = (-5, -1, 2**32, 2**62, 10**12, -1e300, 1e-300, 1e-60, 1e39, 1e300, 10**400)
SECONDS = 20.0  # of CPU; a plan of this size takes less than one


def numbers(hint) -> typing.Iterator[tuple[type, Within | None]]:
    """Every number in a type, with its range."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Annotated:
        ranges = [a for a in args[1:] if isinstance(a, Within)]
        yield from ((kind, ranges[0] if ranges else within) for kind, within in numbers(args[0]))
    elif hint in (int, float):
        yield hint, None
    elif typing.get_origin(hint) is not typing.Literal:
        for arg in args:
            yield from numbers(arg)


def ranged():
    """Class, its table's path, what stands beside, field, kind, range, whether in a list: of every number."""
    for cls, at, beside in TABLES:
        hints = typing.get_type_hints(cls, include_extras=True)
        for field in fields(cls):
            if is_dataclass(field.type) or field.name in ("tasks", "rates"):
                continue
            for kind, within in numbers(hints[field.name]):
                listed = typing.get_origin(hints[field.name]) is tuple
                yield cls, at, BUDGETS.get(field.name, beside), field.name, kind, within, listed


def with_value(at, beside, name, value, listed) -> dict:
    data = copy.deepcopy(STUDY)
    if beside:
        data["grids"][0].update(copy.deepcopy(WITH[beside]))
        if name == "stop":
            data["grids"][0]["tokens"].pop("times", None)
    if name in ("tokens_per_param", "flops", "epochs"):
        data["grids"][0].update(tokens=[])
        data["data"]["max_tokens"] = 60  # epochs are of what has an end
    table = data
    for step in at:
        table = table[step] if isinstance(step, int) else table.setdefault(step, {})
    if name == "watts":
        value = [value, value]
    elif listed:
        value = [value, value * 2] if name == "tokens" else [value]
    table[name] = value
    return data


@contextlib.contextmanager
def limited(seconds: float):
    """Fails what takes longer, in seconds of CPU."""

    def late(*_):
        raise AssertionError(f"took more than {seconds} s of CPU")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def refusal(data) -> list[str]:
    """The lines of `lab plan`; no line where it makes a plan."""
    path = refusal.folder / "s.toml"
    path.write_text(overrides.to_toml(data))
    out, err = io.StringIO(), io.StringIO()
    with limited(SECONDS), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["plan", str(path), "--probe", "never"])
    lines = err.getvalue().splitlines()
    assert (code, bool(lines)) in ((0, False), (2, True)), (code, lines)
    assert all(line.startswith(f"error: {path}: ") and len(line) < 400 for line in lines), lines
    return lines


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    refusal.folder = tmp_path
    of_many = promised_intervals.promised  # which simulates studies: four are as good as many here
    monkeypatch.setattr(promised_intervals, "promised", lambda *given: of_many(*given[:2], 4, 0))


def test_every_number_has_a_range():
    bare = [(cls.__name__, name) for cls, _, _, name, _, within, _ in ranged() if within is None]
    for cls in (RunConfig, Sampling, schema.Seeds):
        for name, hint in typing.get_type_hints(cls, include_extras=True).items():
            bare += [(cls.__name__, name) for _, within in numbers(hint) if within is None]
    assert not bare
    assert len(list(ranged())) > 60


@pytest.mark.parametrize("cls", [table[0] for table in TABLES], ids=lambda cls: cls.__name__)
def test_what_lies_beyond_a_range_is_one_line_that_names_the_key(cls):
    for of, at, beside, name, kind, within, listed in ranged():
        if of is not cls:
            continue
        for value in EXTREMES:
            if within.least <= value <= within.most or (kind is int and value != int(value)):
                continue
            data = with_value(at, beside, name, value, listed)
            with pytest.raises(InputError) as refused:
                loader.parse(data, "s.toml")
            said = "\n".join(refused.value.problems)
            assert name in said, (name, value, said)
            assert len(said) < 500, (name, value)


@pytest.mark.parametrize("case", list(ranged()), ids=lambda case: f"{case[0].__name__}.{case[3]}")
def test_the_ends_of_a_range_give_a_plan_or_a_line(case):
    _, at, beside, name, kind, within, listed = case
    for value in (within.least, within.most):
        refusal(with_value(at, beside, name, kind(value), listed))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "-rf"}, "name: should begin with a letter or digit, is '-rf'"),
        ({"data": {"source": "", "context": 8}}, "source: should name a file, a folder or a built-in source"),
        ({"grids": [GRID | {"held_out_where": [{}]}]}, "held_out_where: should select cells"),
        ({"data": {"source": ["", "-"], "context": 8}}, "source: should name a file, a folder"),
    ],
)
def test_texts_that_mean_something_else_are_refused(changes, said):
    """Before: an empty source was the study's whole folder, and the name an option of any command."""
    assert any(said in line for line in refusal(STUDY | changes))
