"""What was done to a text, in a line that loading prints."""

from __future__ import annotations

from collections import Counter

from lab.data import files, shards
from lab.data.config import DataConfig
from lab.tokenizers import SubwordTokenizer


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
    if config.dedupe:
        said.append(f"{f['duplicates']:,} duplicates dropped (data.dedupe = false keeps them)")
    if not cut:
        said.append("in the order of their hashes")
    if found.left_out:
        said.append(f"left out, as they describe the data: {some(found.left_out)}")
    if found.passed_over:
        said.append(f'not read: {some(found.passed_over)} (data.include = ["*.ending"] chooses)')
    share = 100 * f["validation_bytes"] / f["bytes"]
    said.append(
        f"{f['validation_documents']:,} documents ({share:.2g} % of {f['bytes']:,} bytes) held out; "
        f"{tokens:,} tokens to train on, "
        f"{(f['bytes'] - f['validation_bytes']) / tokens:.3g} bytes each with the marks <start> and <end>"
    )
    if isinstance(tokenizer, SubwordTokenizer):
        said.append(f"vocabulary of {tokenizer.vocab_size:,} with both ({tokenizer.where})")
    return "; ".join(said)


def some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
