"""The reference of the site, out of the code: verbs, study keys, columns, laws, codes, Python names."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import analysis
import sweeps
from analysis.laws.named import LAWS
from lab.__main__ import VERBS
from lab.config import ModelConfig, OptimizerConfig
from lab.data.config import DataConfig
from lab.runs import contents
from sweeps.study.ladders import Shape
from sweeps.study.prior import Prior
from sweeps.study.schema import Grid, RunOptions, Seeds, Size, Study, Valley

ROOT = Path(__file__).parents[1]
# The tables of a study file, by the dataclass that reads each.
TABLES = {
    "": Study,
    "grids": Grid,
    "grids.sizes": Size,
    "grids.shape": Shape,
    "grids.valley": Valley,
    "grids.more_seeds": Seeds,
    "data": DataConfig,
    "model": ModelConfig,
    "optimizer": OptimizerConfig,
    "run": RunOptions,
    "prior": Prior,
}
_HEAD = re.compile(r"(╭─| )(positional arguments|options) *|╭─ .* ─+╮")
_ARGUMENT = re.compile(r"--|\[|\{|[A-Z]{2}")
_WRITTEN = "This page is written from the code when the site is built."


def pages() -> dict[str, str]:
    """Markdown of each page of the reference, by its name."""
    return {
        "verbs.md": verbs(),
        "study_keys.md": study_keys(),
        "columns.md": columns(),
        "laws.md": laws(),
        "codes.md": codes(),
        "python.md": python(),
    }


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in row)} |" for row in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# Verbs


def verbs() -> str:
    """Every verb with its options, from its own help."""
    parts = ["# Verbs\n", f"{_WRITTEN} `lab VERB --help` says the same.\n"]
    parts.append("`--quiet` is taken by every verb: nothing on stderr but errors.\n")
    for group, entries in VERBS.items():
        parts.append(f"## {group}\n")
        parts.append(
            table(("verb", "what it does"), [(f"[`lab {v}`](#lab-{v})", t) for v, (_, t) in entries.items()])
        )
    for entries in VERBS.values():
        parts += [_verb(name, place) for name, (place, _) in entries.items()]
    return "\n".join(parts)


def _verb(name: str, place: str) -> str:
    said, options = help_of(place)
    rows = [(f"`{signature}`", meaning, default) for signature, meaning, default in options]
    shown = table(("argument", "meaning", "default"), rows) if rows else ""
    return f"### lab {name}\n\n{said}\n\n{shown}"


def help_of(place: str) -> tuple[str, list[tuple[str, str, str]]]:
    """What a verb's help says, and its arguments as (words, meaning, default)."""
    module, function = place.split(":")
    out = io.StringIO()
    before = {name: os.environ.get(name) for name in ("COLUMNS", "PYTHON_TYRO_ANSI_CODES")}
    os.environ |= {"COLUMNS": "100", "PYTHON_TYRO_ANSI_CODES": "False"}
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            getattr(import_module(module), function)(["--help"])
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).replace("│", " ").splitlines()
    begin = next((i for i, line in enumerate(lines) if _HEAD.match(line)), None)
    if begin is None:  # a help of our own
        return f"```text\n{chr(10).join(lines).strip()}\n```", []
    usage, _, said = "\n".join(lines[:begin]).partition("\n\n")
    return f"`{' '.join(usage.split()).removeprefix('usage: ')}`\n\n{said.strip()}", list(
        _options(lines[begin:])
    )


def _options(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """Entries are indented by two spaces, what goes on with them by more, heads and rules by one or none."""
    entries: list[list[str]] = []
    for line in lines:
        if re.match(r"  \S", line):
            signature, _, meaning = line.strip().partition("  ")
            entries.append([signature, meaning.strip()])
        elif entries and re.match(r"   +\S", line):
            entries[-1][1] += f" {line.strip()}"
    for signature, meaning in entries:
        if signature.startswith("-h") or not _ARGUMENT.match(signature):  # words about a group of options
            continue
        signature = signature.replace("{None}|", "")
        text, _, tail = meaning.rpartition(" (") if meaning.endswith(")") else (meaning, "", "")
        end = tail.removesuffix(")")
        if end.startswith("default: "):
            default = end.removeprefix("default: ")
            yield signature, text, "" if default in ("None", "", "''") else f"`{default}`"
        elif end in ("required", "repeatable"):
            yield signature, text, end
        else:
            yield signature, meaning, ""


# Study keys


def study_keys() -> str:
    """Every key of a study file, from the dataclasses that read it and the comments beside their fields."""
    parts = [
        "# Study keys\n",
        f"{_WRITTEN} A study file is strict: an unknown key, a wrong type and a number out of its range are "
        "refused, with the nearest key that there is. [Studies](../studies.md) has whole examples.\n",
        "`include` names files that lie beneath this one. Keys of `[data]`, `[model]`, `[optimizer]`, "
        "`batch` and `precision` may stand in a grid too, and any of them may be a factor of it.\n",
    ]
    for name, cls in TABLES.items():
        title = "At the top" if not name else f"`[[{name}]]`" if name == "grids" else f"`{name}`"
        said = inspect.cleandoc(cls.__doc__ or "").replace("``", "`")
        known = "" if said.startswith(f"{cls.__name__}(") else f"{said}\n"
        parts += [f"## {title}\n", known, table(("key", "takes", "default", "what it is"), list(_keys(cls)))]
    return "\n".join(parts)


def _keys(cls: type) -> Iterator[tuple[str, str, str, str]]:
    said, hints = comments(cls), get_type_hints(cls, include_extras=True)
    for one in fields(cls):
        yield f"`{one.name}`", _kind(hints[one.name]), _default(one), said.get(one.name, "")


def _default(one: Field) -> str:
    if one.default is MISSING and one.default_factory is MISSING:
        return "needed"
    value = one.default_factory() if one.default_factory is not MISSING else one.default
    if value in (None, (), {}, "") or is_dataclass(value):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(hint: Any) -> str:
    args = getattr(hint, "__args__", ())
    if extra := getattr(hint, "__metadata__", ()):
        inner = _kind(hint.__origin__)
        limits = [f"{_short(w.least)} to {_short(w.most)}" for w in extra if hasattr(w, "least")]
        return " ".join([inner, *limits])
    origin = getattr(hint, "__origin__", None)
    if str(origin) == "typing.Literal":
        return ", ".join(f"`{value}`" if value else '`""`' for value in args)
    if origin is tuple:
        return f"list of {_kind(args[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "table"
    if args:  # a union
        return " or ".join(dict.fromkeys(_kind(arg) for arg in args if arg is not type(None)))
    if is_dataclass(hint):
        return "table"
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(hint, "value")


def _short(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) and number < 10**7 else f"{number:g}"


def comments(cls: type) -> dict[str, str]:
    """What stands beside each field of a dataclass, or in the lines above it."""
    source = inspect.getsource(cls)
    found: dict[str, str] = {}
    above: list[str] = []
    (tree,) = ast.parse(inspect.cleandoc(source) if source.startswith(" ") else source).body
    assert isinstance(tree, ast.ClassDef)
    spans = {
        n.end_lineno: n.target.id
        for n in tree.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    starts = {n.lineno for n in tree.body if isinstance(n, ast.AnnAssign)}
    first = min(starts, default=1)
    at: dict[int, tuple[str, bool]] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            at[token.start[0]] = (token.string.lstrip("# "), alone)
    for number in range(1, len(source.splitlines()) + 1):
        if number in at and at[number][1] and number >= first - 8:
            above.append(at[number][0])
        elif number in spans:
            beside = [at[number][0]] if number in at else []
            found[spans[number]] = " ".join([*above, *beside])
            above = []
        elif number not in at and number not in starts:
            above = []
    return found


# Columns, laws, codes


def columns() -> str:
    """Every column that a store's row may have."""
    parts = ["# Table columns\n", f"{_WRITTEN} What `lab table` writes, a row a run.\n"]
    for kind, title, text in (
        (
            "result",
            "Results",
            "The same run has them equal on any machine of one kind; the last bits differ between kinds.",
        ),
        (
            "circumstance",
            "Circumstances",
            "Where, when and how it was computed; they may differ between equal runs.",
        ),
    ):
        rows = [
            (f"`{name}`", _of_column(name), meaning)
            for name, meaning in contents.MEANINGS.items()
            if contents.kind_of(name) == kind
        ]
        parts += [f"## {title}\n", f"{text}\n", table(("column", "holds", "what it is"), rows)]
    parts.append(
        "A mixture has a column for each of its sources too: `mix_NAME`, its share of the rows, and "
        "`loss_nats_NAME` and `bits_per_byte_NAME`, the losses on it. What a table of somebody else may call "
        "these, and what is guessed, is in [tables](../tables.md).\n"
    )
    return "\n".join(parts)


def _of_column(name: str) -> str:
    if name in contents.TEXT:
        return "text"
    return "true or false" if name in contents.FLAGS else "number"


def laws() -> str:
    """Every law that `--law` knows."""
    parts = [
        "# Laws\n",
        f"{_WRITTEN} `lab laws` prints them; [fitting](../fitting.md) says how they are fitted.\n",
    ]
    for law in LAWS.values():
        formula = f"```text\n{law.formula}\n```"
        parts.append(f"## {law.name}\n\n{formula}\n\nDomain: {law.domain}.\n\nSource: {law.source}.\n")
    return "\n".join(parts)


def codes() -> str:
    """Every remark that has a code, with its sentence; what a value fills stands as `…`."""
    parts = [
        "# Codes of remarks\n",
        f"{_WRITTEN} Results say beside their numbers what speaks against them: one sentence with a code, "
        "in the text and as `warnings`, `notes` or `remarks` of the JSON. Codes stay; words may improve.\n",
    ]
    rows = [(f"`{code}`", "<br>".join(dict.fromkeys(said))) for code, said in sorted(remarks().items())]
    return "\n".join([*parts, table(("code", "what is said"), rows)])


@cache
def remarks() -> dict[str, list[str]]:
    """Code -> sentences, of every `Note` and `Remark` in the code whose code is written there."""
    found: dict[str, list[str]] = {}
    for path in sorted([*(ROOT / "analysis").rglob("*.py"), *(ROOT / "sweeps").rglob("*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for scope in scopes:
            inside = list(ast.walk(scope))
            calls = [node for node in inside if isinstance(node, ast.Call)]
            calls = [call for call in calls if getattr(call.func, "id", "") in ("Note", "Remark")]
            assigned = [
                (node.lineno, target.id, node.value)
                for node in inside
                if calls and isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            ]
            assigned.sort(key=lambda one: one[0])
            for call in calls:
                code, *rest = [*call.args, *(word.value for word in call.keywords)]
                named = {name: value for line, name, value in assigned if line <= call.lineno}
                if isinstance(code, ast.Constant) and rest:
                    text = _sentence(rest[0], named)
                    found.setdefault(code.value, [])
                    if text and text not in found[code.value]:
                        found[code.value].append(text)
    return found


def _sentence(node: ast.expr, named: Mapping[str, ast.expr], deep: int = 0) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values]
        return "".join(parts)
    if isinstance(node, ast.Name) and node.id in named and deep < 3:
        return _sentence(named[node.id], named, deep + 1)
    if isinstance(node, ast.BinOp):
        return _sentence(node.left, named, deep) + _sentence(node.right, named, deep)
    if isinstance(node, ast.IfExp):
        return _sentence(node.body, named, deep)
    return "…"


# Python


def python() -> str:
    """The public names of both packages, with what their docstrings say."""
    parts = [
        "# Python names\n",
        f"{_WRITTEN} [From Python](../api.md) shows how they go together; all are typed.\n",
    ]
    for package in (sweeps, analysis):
        parts.append(f"## import {package.__name__}\n")
        for name in dir(package):
            value = getattr(package, name)
            parts.append(f"### {package.__name__}.{name}\n\n{_python(name, value)}\n")
    return "\n".join(parts)


def _python(name: str, value: Any) -> str:
    if not callable(value):
        return "Each by its name: [laws](laws.md)." if value is LAWS else f"`{type(value).__name__}`"
    said = inspect.cleandoc(value.__doc__ or "")
    if said.startswith(f"{name}("):  # what dataclass writes itself
        said = ""
    said = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", said).replace("``", "`")
    text = "\n\n".join(_paragraph(part) for part in said.split("\n\n"))
    try:
        signature = f"{name}{inspect.signature(value)}"
    except ValueError:
        return text
    return f"```python\n{_folded(signature)}\n```\n\n{text}"


def _paragraph(text: str) -> str:
    """`Args:`, `Returns:` and `Raises:` as lists."""
    head, _, rest = text.partition("\n")
    if head not in ("Args:", "Returns:", "Raises:", "Attributes:"):
        return text
    items: list[str] = []
    for line in inspect.cleandoc(rest).splitlines():
        if line.startswith(" ") and items:
            items[-1] += f" {line.strip()}"
        else:
            items.append(line)
    if head == "Returns:":
        return f"Returns: {' '.join(items)}"
    pairs = [item.partition(": ") for item in items]
    return f"{head[:-1]}:\n\n" + "\n".join(f"- `{name}`: {what}" for name, _, what in pairs)


def _folded(signature: str) -> str:
    signature = re.sub(r"Annotated\[([^,]+), Within\([^)]*\)\]", r"\1", signature.replace("<factory>", "..."))
    signature = re.sub(r"(\w+\.)+(\w+)", r"\2", signature)
    signature = re.sub(r"=<[^>]*>", "=...", signature).replace("'", "")
    signature = signature.removesuffix(" -> None")
    if len(signature) <= 88:
        return signature
    head, _, rest = signature.partition("(")
    depth, parts, part = 0, [], ""
    body, _, tail = rest.rpartition(") ->") if ") ->" in rest else (rest[:-1], "", "")
    for c in body:
        depth += c in "([{"
        depth -= c in ")]}"
        if c == "," and not depth:
            parts.append(part.strip())
            part = ""
        else:
            part += c
    parts.append(part.strip())
    end = f") ->{tail}" if tail else ")"
    return f"{head}(\n" + "".join(f"    {one},\n" for one in parts) + end
