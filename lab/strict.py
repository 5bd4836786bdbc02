"""From plain data (TOML, JSON) to frozen dataclasses, strictly: every error of a file at once.

An unknown key, a wrong type or a missing value becomes one line with the file, the dotted key and, for a
misspelling, the nearest valid key. The classes themselves say what is right: field types, ``Literal``
choices, numbers :class:`Within` a range, and an optional method ``problems()`` that yields ``(key, text)``
for what types cannot express; it is asked only where every field for itself is right.
"""

import difflib
import sys
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache

from lab.errors import InputError

_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_LONGEST = 60  # characters of a wrong value that an error shows
MOST_NAME = 100  # bytes: names become names of files, of at most 255 bytes with what is put to them


@dataclass(frozen=True)
class Within:
    """The range of a number, both ends included: ``width: Annotated[int, Within(1, 65_536)]``.

    Beyond it a run cannot be, or no machine could hold it. What is merely odd is a doubt of the plan.
    """

    least: float
    most: float

    def problem(self, value: float) -> str:
        """What is wrong with a number, which names the nearest one that is not; empty if nothing is."""
        if value < self.least:
            return f"should be at least {self.least}, is {said(value)}"
        if not value <= self.most:
            return f"should be at most {self.most}, is {said(value)}"
        return ""


def said(value) -> str:
    """A value as errors show it: whole, or its beginning where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes out
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


def build(cls, data: Mapping, where: str, key: str = ""):
    """An instance of the dataclass ``cls`` from ``data``.

    Args:
        where: the file, as errors name it.
        key: the dotted key of the table in that file, empty for the whole of it.

    Raises:
        InputError: with every problem found, one line each.
    """
    problems: list[str] = []
    value = _dataclass(cls, data, where, key, problems)
    if problems:
        raise InputError(*problems)
    return value


# What other tools call our keys, and keys that are looked for in another table than theirs.
_MEANT = {
    "optimizer.learning_rate": "lr learning_rate max_lr peak_lr base_lr",
    "optimizer.weight_decay": "wd weight_decay",
    "optimizer.warmup_tokens": "warmup warmup_steps warmup_iters warmup_tokens",
    "optimizer.final_fraction": "min_lr final_lr",
    "optimizer.schedule": "lr_schedule scheduler schedule decay",
    "optimizer.clip": "grad_clip gradient_clipping max_grad_norm clip",
    "model.width": "d_model n_embd hidden_size embed_dim dim width",
    "model.layers": "n_layer n_layers num_layers num_hidden_layers depth layers",
    "model.heads": "n_head n_heads num_heads num_attention_heads heads",
    "model.mlp_ratio": "d_ff ffn_dim intermediate_size mlp_ratio",
    "model.tied": "tie_embeddings tie_word_embeddings tied",
    "data.context": "block_size seq_len seq_length sequence_length context_length max_seq_len context",
    "data.source": "dataset dataset_path data_path path file files source",
    "data.tokenizer": "vocab vocab_size tokenizer",
    "data.text_field": "field key column text_key text_column text_field",
    "data.rates": "weights mixture mix proportions rates",
    "data.max_tokens": "unique_tokens max_tokens",
    "data.val_fraction": "val_split validation_fraction val_fraction",
    "batch": "batch_size global_batch_size batch",
    "precision": "dtype precision",
    "grids.tokens": "steps max_steps iters max_iters train_steps budget",
    "grids.epochs": "num_epochs n_epochs epoch epochs",
    "grids.seeds": "seed",
}
_HOME = {name: key for key, names in _MEANT.items() for name in names.split()}


def nearest_key(name: str, valid) -> str:
    """The end of an error line about a key: the one that is meant, also of another table, else `nearest`."""
    home = _HOME.get(str(name).rpartition(".")[2].lower())
    here = [key for key in (home, home.rpartition(".")[2]) if key in valid] if home else []
    return f"did you mean {here[0] if here else home}?" if home and name != home else nearest(name, valid)


def nearest(name: str, valid) -> str:
    """The end of an error line: the nearest valid name, or all of them."""
    valid = sorted(map(str, valid))
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"valid: {', '.join(valid)}"


def problems_of(value) -> list[tuple[str, str]]:
    """``(key, text)`` for what is wrong with a dataclass that was built by hand: types, ranges, the rest."""
    return list(beyond(value)) or list(getattr(value, "problems", tuple)())


def beyond(value, names: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """``(key, text)`` for each field (or of ``names``) that is of a wrong type or out of its range."""
    for name, hint in _hints(type(value)).items():
        if names and name not in names:
            continue
        field = getattr(value, name)
        if is_dataclass(field):
            yield from ((f"{name}.{key}", text) for key, text in beyond(field))
            continue
        problems: list[str] = []
        _value(hint, field, "", name, problems)
        for problem in problems:
            found, _, text = problem.removeprefix(": ").partition(": ")
            yield found, text


def name_problem(name: str) -> str:
    """What is wrong with a name that files are called by; empty if nothing is."""
    if not name.replace("-", "").replace("_", "").isalnum():
        return f"should be letters, digits, - and _, is {said(name)}"
    if name.startswith("-"):  # on a command line it would be an option
        return f"should begin with a letter or digit, is {said(name)}"
    if len(name.encode()) > MOST_NAME:
        return f"should be at most {MOST_NAME} bytes long, is {len(name.encode()):,}: {said(name)}"
    return ""


@cache
def _hints(cls) -> dict:
    return typing.get_type_hints(cls, include_extras=True)


def _dataclass(cls, data, where, key, problems):
    if not isinstance(data, Mapping):
        problems.append(f"{where}: {key or 'the file'}: should be a table, is {said(data)}")
        return None
    hints = _hints(cls)
    known = {f.name: f for f in fields(cls)}
    before = len(problems)
    for name in data:
        if name not in known:
            problems.append(f"{where}: {_join(key, name)}: no such key; {nearest_key(name, known)}")
    values = {}
    for name, field in known.items():
        if name in data:
            values[name] = _value(hints[name], data[name], where, _join(key, name), problems)
        elif field.default is MISSING and field.default_factory is MISSING:
            problems.append(f"{where}: {_join(key, name)}: is missing")
    if len(problems) > before:
        return None
    try:
        value = cls(**values)
    except InputError as error:  # a class that checks itself names its own keys
        problems.extend(f"{where}: {_join(key, line)}" for line in error.problems)
        return None
    for name, text in getattr(value, "problems", tuple)():
        problems.append(f"{where}: {_join(key, name)}: {text}")
    return value


def _value(hint, raw, where, key, problems):
    origin, args = typing.get_origin(hint), typing.get_args(hint)

    def wrong(right):
        problems.append(f"{where}: {key}: should be {right}, is {said(raw)}")

    if origin is typing.Annotated:
        before = len(problems)
        value = _value(args[0], raw, where, key, problems)
        ranges = [a for a in args[1:] if isinstance(a, Within)] if len(problems) == before else []
        problems.extend(f"{where}: {key}: {text}" for r in ranges if (text := r.problem(value)))
        return value if len(problems) == before else None
    if origin in (typing.Union, types.UnionType):
        options = [a for a in args if a is not type(None)]
        if raw is None:
            return None
        for option in options[:-1]:
            trial: list[str] = []
            value = _value(option, raw, where, key, trial)
            if not trial:
                return value
        return _value(options[-1], raw, where, key, problems)
    if origin is typing.Literal:
        if raw in args and not isinstance(raw, bool):
            return raw
        wrong(f"one of {', '.join(map(str, args))}")
    elif is_dataclass(hint):
        return _dataclass(hint, raw, where, key, problems)
    elif origin is tuple:
        if isinstance(raw, list | tuple):
            return tuple(_value(args[0], item, where, f"{key}[{i}]", problems) for i, item in enumerate(raw))
        wrong("a list")
    elif origin is not None and issubclass(origin, Mapping):
        if isinstance(raw, Mapping):
            return {k: _value(args[1], v, where, _join(key, k), problems) for k, v in raw.items()}
        wrong("a table")
    elif hint is float and isinstance(raw, int | float) and not isinstance(raw, bool):
        if not abs(raw) <= sys.float_info.max:  # nan and inf, and whole numbers beyond them
            return wrong("a finite number")
        return float(raw)
    elif hint is int and not isinstance(raw, bool) and isinstance(raw, int | float) and raw == _whole(raw):
        return int(raw)  # 2e6 is a natural way to write a token budget
    elif hint is not float and hint is not int and isinstance(hint, type) and isinstance(raw, hint):
        return raw
    else:
        wrong(_NAMES.get(hint, str(hint)))
    return None


def _whole(raw):
    return int(raw) if abs(raw) < 2**63 else float("nan")


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else str(name)
