"""A picture of a text: how long its documents are, and how often its tokens occur."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np

from lab.data.dataset import Dataset
from lab.errors import InputError
from lab.files import write_bytes

KINDS = (".svg", ".png", ".pdf")
_READ = 1 << 24  # tokens that are counted: the first, which are a sample of the whole


def draw(dataset: Dataset, path: Path) -> None:
    """Write the picture. Raises InputError for another ending, and for what is no text in shards."""
    if path.suffix.lower() not in KINDS:
        raise InputError(f"--picture {path}: should end in {', '.join(KINDS)}")
    tokens = getattr(dataset.rows, "tokens", None)
    if tokens is None:
        raise InputError(f"--picture: {dataset.config.label} is no text of documents")
    from matplotlib.figure import Figure

    tokens = np.asarray(tokens[:_READ])
    ends = np.flatnonzero(tokens == dataset.tokenizer.end)
    lengths = np.diff(ends, prepend=-1) - 2
    counts = np.sort(np.bincount(tokens, minlength=dataset.vocab_size))[::-1]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if len(lengths):
        bins = np.geomspace(1, max(lengths.max(), 2) + 1, 40)
        left.hist(np.maximum(lengths, 1), bins, color="#4477aa")
    left.axvline(dataset.context, color="#cc3311", linewidth=1, label=f"context {dataset.context}")
    left.set(xscale="log", xlabel="tokens of a document", ylabel="documents")
    left.legend(frameon=False)
    seen = counts[counts > 0]
    right.loglog(np.arange(1, len(seen) + 1), seen / seen.sum(), color="#4477aa")
    right.set(xlabel=f"rank of a token ({len(seen):,} of {len(counts):,} occur)", ylabel="share")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    out = BytesIO()
    figure.savefig(out, format=path.suffix.lower()[1:], dpi=150, metadata=_STAMP.get(path.suffix.lower()))
    write_bytes(path, out.getvalue())


_STAMP = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}  # equal data give equal bytes
