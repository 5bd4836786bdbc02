"""The settings that make a study repeatable, out of the specs of its runs and its study files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import files
from analysis.tables import contents
from analysis.tables.table import Runs

_SPECS = 400
_SHOWN = 6
_TEXT = 60_000


@dataclass(frozen=True)
class Provenance:
    """studies: file name -> its text. common: setting -> its one value; varied: setting -> its values, and
    how many more. specs: how many run folders were read."""

    studies: Mapping[str, str]
    common: Mapping[str, str]
    varied: Mapping[str, str]
    specs: int


def provenance(runs: Runs, path: Path) -> Provenance:
    """Settings of the runs of a store; empty for a foreign table. Unreadable files are passed over."""
    if not runs.store:
        return Provenance({}, {}, {}, 0)
    studies = {}
    for file in sorted((path / "studies").glob("*.toml")):
        try:
            with files.opened(file, path) as opened:
                studies[file.name] = opened.read(_TEXT).decode(errors="replace")
        except (OSError, files.Refused):
            continue
    names = [str(name) for name in runs.columns.get("run_id", [])]
    values: dict[str, dict[str, None]] = {}
    seen: dict[str, int] = {}
    specs = 0
    for name in names[:: -(-len(names) // _SPECS) or 1]:
        try:
            spec = files.read_json(path / "runs" / name / "spec.json", path)
        except (OSError, files.Refused):
            continue
        if contents.fault_of_spec(spec, name):
            continue
        specs += 1
        digest = {"data_digest": spec.get("data_digest")}
        for part, prefix in ((digest, ""), (spec.get("provenance"), ""), (spec.get("config"), "run")):
            for setting, value in _flat(part, prefix):
                values.setdefault(setting, {})[value] = None
                seen[setting] = seen.get(setting, 0) + 1
    common = {key: next(iter(found)) for key, found in values.items() if len(found) == 1}
    common = {
        key: value if seen[key] == specs else f"{value} (where stated)" for key, value in common.items()
    }
    varied = {key: _several(list(found)) for key, found in values.items() if len(found) > 1}
    return Provenance(studies, common, varied, specs)


def _several(found: list[str]) -> str:
    try:
        found.sort(key=float)
    except ValueError:
        found.sort()
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def _flat(value: Any, prefix: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and depth < 5:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}".lstrip("."), depth + 1)
    elif value is not None and prefix:
        text = value if isinstance(value, str) else json.dumps(value)
        yield prefix, text[:200]
