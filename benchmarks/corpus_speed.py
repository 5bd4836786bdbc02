"""Seconds, processor seconds and memory from a text to its first batch: ours, cold and warm, and `datasets`.

    python -m benchmarks.corpus_speed --megabytes 100 [--datasets PYTHON]
    python -m benchmarks.corpus_speed --megabytes 10000 --only bytes --kill

The text is made: JSONL of words under a Zipf law, with a tokenizer of 4,096 learned from its beginning.
PYTHON is an interpreter that has `datasets` and `tokenizers`: it reads the same file (`load_dataset`), maps
the same tokenizer over it in batches, by as many processes, and takes a row. Each measurement is a process
of its own. Of memory: the most of any one process, and the most of all of them together, where what they
share counts once (the sum of their PSS, sampled). Processor seconds are of all. `--kill` also builds a second
time, ends that with SIGKILL when half of the jobs are done, goes on, and compares the digests.
All of it lies in a temporary folder (TMPDIR): four times the text for a moment.
"""

import argparse
import json
import os
import shutil
import signal
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
print("digest", data.digest)
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
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("peak", used.ru_maxrss, used.ru_utime + used.ru_stime)
sys.exit(done.returncode)
"""
SAMPLED = 0.25  # seconds between two looks at the memory of all processes


def make_text(path: Path, size: int) -> None:
    """So many bytes of JSONL, a kilobyte a document, of ten out of 50,000 sentences."""
    draws = np.random.default_rng(0)
    lengths = draws.integers(1, 9, 20_000)
    words = np.array(["".join(map(chr, draws.integers(97, 123, n))) for n in lengths], object)
    law = 1 / np.arange(1, len(words) + 1)
    law /= law.sum()
    sentences = [" ".join(row) for row in words[draws.choice(len(words), (50_000, 17), p=law)]]
    with path.open("w") as out:
        while out.tell() < size:
            for row in draws.integers(0, len(sentences), (2000, 10)).tolist():
                out.write('{"text": "' + " ".join([sentences[i] for i in row]) + '"}\n')


def measured(command: list[str], environment: dict[str, str]) -> dict[str, float | str]:
    start, together = time.perf_counter(), 0
    watch = subprocess.Popen(
        [sys.executable, "-c", WATCH, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while True:
        try:
            out, err = watch.communicate(timeout=SAMPLED)
            break
        except subprocess.TimeoutExpired:
            together = max(together, sum(map(memory, descendants(watch.pid))))
    if watch.returncode:
        raise SystemExit(err[-2000:])
    said = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": float(said["peak"][1]),
        "peak_mb": int(said["peak"][0]) / 1024,
        "together_mb": together / 1024,
        "digest": said["digest"][0] if "digest" in said else "",
    }


def descendants(pid: int) -> list[int]:
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it ended
        return []
    found = [int(child) for line in lists for child in line.split()]
    return found + [deeper for child in found for deeper in descendants(child)]


def memory(pid: int) -> int:
    """Proportional set size of a process in kB: what several share counts once in their sum."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def killed(command: list[str], cache: Path, digest: str) -> str:
    """Build, end it with SIGKILL when half of its jobs are done, and build again: has it the digest?"""
    build = subprocess.Popen(
        command, env=python.environment(), stdout=subprocess.DEVNULL, start_new_session=True
    )
    done, jobs = [], 1
    while build.poll() is None and (not done or len(done) < jobs / 2):
        time.sleep(0.05)
        done = list(cache.rglob("parts/[0-9]*.json"))
        jobs = max(
            (len(json.loads(p.read_text())["jobs"]) for p in cache.rglob("parts/plan.json")), default=1
        )
    os.killpg(build.pid, signal.SIGKILL)
    build.wait()
    if build.returncode != -signal.SIGKILL:
        raise SystemExit("the build ended before it was killed: take a larger text")
    if (again := measured(command, python.environment()))["digest"] != digest:
        raise SystemExit(f"killed and gone on with it has the digest {again['digest']}, should be {digest}")
    seconds = again["cpu_seconds"]
    return f"killed after {len(done)} of {jobs} jobs: same digest, {seconds:.2f} s of processor for the rest"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--datasets", help="an interpreter that has datasets and tokenizers")
    parser.add_argument("--only", choices=("bytes", "bpe"), help="one of the two tokenizers")
    parser.add_argument("--kill", action="store_true", help="also a build that is killed and gone on with")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text.jsonl"
        if (free := shutil.disk_usage(folder).free) < 4.5e6 * options.megabytes:
            raise SystemExit(
                f"{folder}: {free / 1e6:,.0f} MB are free, {4.5 * options.megabytes:,.0f} needed"
            )
        make_text(text, options.megabytes * 10**6)
        from lab.tokenizers import train_bpe

        with text.open() as lines:
            some = (json.loads(line)["text"] for line, _ in zip(lines, range(5000), strict=False))
            (folder / "tokenizer.json").write_text(train_bpe(some, 4096).json)
        workers = str(os.cpu_count())
        for tokenizer in ("bytes", str(folder / "tokenizer.json")):
            short = "bytes" if tokenizer == "bytes" else "bpe 4096"
            if options.only and not short.startswith(options.only):
                continue
            cache = folder / short
            for state in ("cold", "warm"):
                command = python.command("-c", OURS, text, tokenizer, cache)
                found = measured(command, python.environment())
                rows.append({"what": "lab", "tokenizer": short, "state": state, **found})
                show(rows[-1], options.json)
            if options.datasets:
                for state in ("cold", "warm"):
                    command = [options.datasets, "-c", THEIRS, str(text), tokenizer, f"{cache}-hf", workers]
                    found = measured(command, dict(os.environ))
                    rows.append({"what": "datasets", "tokenizer": short, "state": state, **found})
                    show(rows[-1], options.json)
            if options.kill:
                shutil.rmtree(cache)
                digest = next(row["digest"] for row in rows if row["tokenizer"] == short)
                said = killed(python.command("-c", OURS, text, tokenizer, cache), cache, digest)
                print(f"lab       {short:9} {said}", file=sys.stderr if options.json else None, flush=True)
            shutil.rmtree(cache, ignore_errors=True)
    if options.json:
        print(json.dumps({"megabytes": options.megabytes, "rows": rows}))


def show(row: dict, as_json: bool) -> None:
    if not as_json:
        print(
            f"{row['what']:9} {row['tokenizer']:9} {row['state']:5} {row['seconds']:8.2f} s  "
            f"{row['cpu_seconds']:8.2f} s of processor  {row['peak_mb']:7.0f} MB, "
            f"{row['together_mb']:.0f} MB together",
            flush=True,
        )


if __name__ == "__main__":
    main()
