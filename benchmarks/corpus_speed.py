"""Seconds, processor seconds and memory from a text to its first batch: ours, cold and warm, and `datasets`.

    python -m benchmarks.corpus_speed --megabytes 100 [--datasets PYTHON]

The text is made: JSONL of words under a Zipf law, with a tokenizer of 4,096 learned from its beginning.
PYTHON is an interpreter that has `datasets` and `tokenizers`: it reads the same file (`load_dataset`), maps
the same tokenizer over it in batches, by as many processes, and takes a row. Each measurement is a process
of its own; memory is the most of any one process, processor seconds are of all of them.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lab import python

OURS = """
import sys
from pathlib import Path
from lab.data import DataConfig, load
data = load(DataConfig(sys.argv[1], context=128, tokenizer=sys.argv[2]), Path(sys.argv[3]))
data.batches(1000, 4, 16)
print(data.facts["train_tokens"] + data.facts["validation_documents"])
"""
THEIRS = """
import os, sys
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
from datasets import load_dataset
from tokenizers import Tokenizer
made = None if sys.argv[2] == "bytes" else Tokenizer.from_file(sys.argv[2])
def tokens(rows):
    if made is None:
        return {"ids": [list(text.encode()) for text in rows["text"]]}
    return {"ids": [one.ids for one in made.encode_batch_fast(rows["text"], add_special_tokens=False)]}
data = load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[3])
data = data.map(tokens, batched=True, remove_columns=["text"], num_proc=int(sys.argv[4]))
print(len(data[7]["ids"]))
"""


WATCH = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def make_text(path: Path, size: int) -> None:
    """So many bytes of JSONL, a kilobyte a document."""
    draws = np.random.default_rng(0)
    lengths = draws.integers(1, 9, 20_000)
    words = np.array(["".join(map(chr, draws.integers(97, 123, n))) for n in lengths], object)
    law = 1 / np.arange(1, len(words) + 1)
    law /= law.sum()
    with path.open("w") as out:
        while out.tell() < size:
            for row in words[draws.choice(len(words), (2000, 170), p=law)]:
                out.write(json.dumps({"text": " ".join(row)}) + "\n")


def measured(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    watched = [sys.executable, "-c", WATCH, *command]
    done = subprocess.run(watched, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak"))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--datasets", help="an interpreter that has datasets and tokenizers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text.jsonl"
        make_text(text, options.megabytes * 10**6)
        from lab.tokenizers import train_bpe

        with text.open() as lines:
            some = (json.loads(line)["text"] for line, _ in zip(lines, range(5000), strict=False))
            (folder / "tokenizer.json").write_text(train_bpe(some, 4096).json)
        workers = str(os.cpu_count())
        for tokenizer in ("bytes", str(folder / "tokenizer.json")):
            short = "bytes" if tokenizer == "bytes" else "bpe 4096"
            cache = folder / short
            for state in ("cold", "warm"):
                command = python.command("-c", OURS, text, tokenizer, cache)
                found = measured(command, python.environment())
                rows.append({"what": "lab", "tokenizer": short, "state": state, **found})
            if options.datasets:
                for state in ("cold", "warm"):
                    command = [options.datasets, "-c", THEIRS, str(text), tokenizer, f"{cache}-hf", workers]
                    found = measured(command, dict(os.environ))
                    rows.append({"what": "datasets", "tokenizer": short, "state": state, **found})
    if options.json:
        print(json.dumps({"megabytes": options.megabytes, "rows": rows}))
        return
    for row in rows:
        print(
            f"{row['what']:9} {row['tokenizer']:9} {row['state']:5} {row['seconds']:8.2f} s  "
            f"{row['cpu_seconds']:8.2f} s of processor  {row['peak_mb']:7.0f} MB"
        )


if __name__ == "__main__":
    main()
