"""What was done to a text, in a line that loading prints."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from lab.data import files, shards, token_files
from lab.data.config import DataConfig
from lab.tokenizers import SubwordTokenizer

_SPLIT = re.compile(r"(?<![a-z])(val|valid|validation|dev|test)(?![a-z])")


def preparation(config: DataConfig, found: files.Found, made: shards.Shards, tokens: int, tokenizer) -> str:
    """What was done to the text, in numbers, with the keys that undo it."""
    f = made.facts
    endings = (*files.TEXT, *files.LINES, *files.TABLE)
    kinds = Counter(
        next((end for end in endings if p.name.lower().endswith(end)), p.suffix.lower()) for p in found.files
    )
    cut = "cut" in found.hows
    said = [
        f"{config.label}: {f['read']:,} documents of " + ", ".join(f"{n:,} {k}" for k, n in kinds.items())
    ]
    if cut:
        said[0] = f"{config.label}: one document, as it is; its end is held out"
    elif set(found.hows) <= {"file", "blank_lines"}:
        whole = "blank_lines" not in found.hows
        where = "whole files" if whole else 'split at blank lines (data.split = "file" keeps a file whole)'
        said.append(f"{where}, {f['around']:,} characters of white space around them dropped")
    if f["empty"]:
        said.append(f"{f['empty']:,} empty ones dropped")
    if config.dedupe:
        said.append(f"{f['duplicates']:,} duplicates dropped (data.dedupe = false keeps them)")
    if not cut:
        said.append("in the order of their hashes")
    if found.left_out:
        said.append(f"left out, as they describe the data: {some(found.left_out)}")
    if others := _of_other_splits(config, found):
        said.append(
            f"of other splits by their names, and read with the rest: {some(others)} (data.include chooses)"
        )
    if found.passed_over:
        said.append(f"not read: {some(found.passed_over)} ({_way_to_read(found, list(kinds))})")
    share, asked = f["validation_bytes"] / f["bytes"], config.val_fraction
    far = not cut and not asked / 2 <= share <= 2 * asked
    why = f", where data.val_fraction asks for {100 * asked:.3g} %: documents stay whole" if far else ""
    why += ' (data.split = "blank_lines" cuts files)' if far and set(found.hows) == {"file"} else ""
    held, others = f["validation_documents"], f["documents"] - f["validation_documents"]
    if held == 1 and others > 0 and not cut:
        why += ", one alone, whose loss may not be that of the others"
    said.append(
        f"{held:,} {'document' if held == 1 else 'documents'} "
        f"({100 * share:.2g} % of {f['bytes']:,} bytes) held out{why}; "
        f"{tokens:,} tokens to train on, "
        f"{(f['bytes'] - f['validation_bytes']) / tokens:.3g} bytes each with the marks <start> and <end>"
    )
    if isinstance(tokenizer, SubwordTokenizer):
        said.append(f"vocabulary of {tokenizer.vocab_size:,} with both ({tokenizer.where})")
    return "; ".join(said)


def of_ids(found: token_files.Found) -> str:
    """Which files of ids are trained on and held out, and what lies beside them."""
    names = [some(tuple(s.path.name for s in part)) for part in (found.train, found.held)]
    said = [f"{names[0]} to train on"]
    said.append(f"{names[1]} held out" if found.held else "its end held out")
    said += [f"left out: {some(found.left_out)}"] if found.left_out else []
    said += [f"not read: {some(found.passed_over)}"] if found.passed_over else []
    return "; ".join(said)


def _of_other_splits(config: DataConfig, found: files.Found) -> tuple[str, ...]:
    """Files of data that are validation or test by their names or folders, where others are not."""
    names = []
    for place in map(Path, config.places):
        below = [file for file in found.files if file.is_relative_to(place)]
        names += [str(file.relative_to(place)) if file != place else file.name for file in below]
    data = [name for name in names if name.lower().endswith((*files.TEXT, *files.LINES, *files.TABLE))]
    others = tuple(name for name in data if _SPLIT.search(name.lower()))
    return others if len(others) < len(data) else ()


def _way_to_read(found: files.Found, kinds: list[str]) -> str:
    code = [entry.split()[1] for entry in found.passed_over if entry.split()[1].endswith(files.CODE)]
    if not code:
        return 'data.include = ["*.ending"] chooses'
    patterns = ", ".join(f'"*{ending}"' for ending in [*kinds, *code[:3]])
    return f"data.include = [{patterns}] reads them too"


def some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
