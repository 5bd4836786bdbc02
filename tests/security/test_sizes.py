"""Small files that take long or grow: each is read, or refused by one line, within a stated time and memory.

Times and bytes are limits of the operating system on the process (CPU seconds, address space), not a clock's.
"""

import gzip
import json
import random
import resource
import subprocess

import pytest

from analysis.errors import InputError
from analysis.tables.files import columns_of
from analysis.tables.limits import ReadLimits
from analysis.tables.units import number, numbers, unit_of
from lab import python
from sweeps.exchange import training_logs

SECONDS = 20  # of CPU for all files of a call; the imports alone take two of them
BYTES = 3 << 30  # of address space; numpy and pyarrow map one and a half
READ = """
import sys
from analysis.errors import InputError
from analysis.tables.files import columns_of
from analysis.tables.table import read
from pathlib import Path
import numpy, pyarrow.parquet
for name in sys.argv[1:]:
    try:
        print(len(read(name, {}).frame), "rows")
    except InputError as error:
        print("refused:", str(error)[:200].replace("\\n", " "))
"""


def in_bounds(*paths) -> list[str]:
    """What reading each of the files says, in a process that is killed beyond the limits."""

    def limited():
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))

    environment = {**python.environment(), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = python.command("-c", READ, *paths)
    done = subprocess.run(command, env=environment, preexec_fn=limited, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-500:]} {done.stderr[-2000:]}"
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths), done.stdout
    return lines


HEAD = "params,tokens,loss\n1e6,1e8,3.1\n2e6,2e8,2.9\n"
CELLS = {
    "digits": "1" * 100_000 + "x",
    "under": "1" + "_" * 100_000 + "x",
    "thousands": "1" + ",111" * 30_000 + "x",
    "spaces": "1" + " " * 100_000 + "x",
    "times": "1 x 10 ^ " + "9" * 5_000,
    "power": "10^400",
    "minus": "10^-400",
    "exponent": "1e" + "9" * 1_000,
    "wide": "w" * 120_000,
}
NAMES = {
    "blank": "a" + " " * 8_000 + "b",
    "underscores": "params" + "_" * 8_000 + "(m",
    "brackets": "x" + "(,[" * 3_000 + " in m",
    "humps": "aB" * 4_000,
    "flops": "pf" * 4_000 + "days",
}


def test_pathological_cells_and_names_are_read_in_bounds(tmp_path):
    """Before: cubic and quadratic patterns (1.1 kB: 5 s; 8,000 spaces in a head did not end), and one cell of
    120 kB made every row of its column as wide (2,000 rows: 0.9 GB, 60,000 rows: 27 GB)."""
    paths = []
    for name, cell in CELLS.items():
        paths.append(tmp_path / f"cell_{name}.csv")
        paths[-1].write_text(
            "name,note," + HEAD.replace("\n", "\nr,n,", 2) + f'last,"{cell}",4e6,"{cell}",2.8\n'
        )
    for name, text in NAMES.items():
        paths.append(tmp_path / f"name_{name}.csv")
        paths[-1].write_text(
            HEAD.replace("\n", f',"{text}"\n', 1).replace("3.1", "3.1,1").replace("2.9", "2.9,1")
        )
    paths.append(tmp_path / "tall.csv")
    paths[-1].write_text("params,note\n" + "1,a\n" * 60_000 + f"2,{'w' * 120_000}\n")
    for path, line in zip(paths, in_bounds(*paths), strict=True):
        assert line.endswith("rows"), f"{path.name}: {line}"


PAGES = {
    "tags.html": "<table><tr><td>" + "<a " * 200_000,
    "tables.html": "<table>" * 100_000,
    "raised.html": "<table><tr><td>" + "2<sup>" * 50_000,
    "spans.html": "<table>" + "<tr><td colspan=100 rowspan=100>" * 20_000,
    "comments.html": "<!--" * 200_000,
    "rules.md": "|" * 200_000 + "\n" + "|-" * 200_000 + "\n",
    "large.md": "x" * 5_000_000,
}


def test_pathological_pages_are_read_in_bounds(tmp_path):
    """Before: unclosed tags took the standard library's parser the square of their number."""
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    for name, line in zip(PAGES, in_bounds(*(tmp_path / name for name in PAGES)), strict=True):
        assert line.startswith("refused"), f"{name}: {line}"


def bombs(folder):
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    # members in a row are one file: 300 MB of a megabyte that is packed once
    packed = [gzip.compress(text, compresslevel=1) for text in (HEAD.encode(), b"1,1,1\n" * 170_000)]
    (folder / "zeros.csv.gz").write_bytes(packed[0] + 300 * packed[1])
    (folder / "rows.csv").write_bytes(b"a,b\n" + b"1,\n" * 1_100_000)
    (folder / "short.csv").write_bytes(b",".join(b"c%d" % i for i in range(9_000)) + b"\n" + b"1\n" * 50_000)
    (folder / "columns.csv").write_bytes(b",".join(b"c%d" % i for i in range(100_000)) + b"\n" + b"1\n")
    # few keys a row, of many: 20,000 rows of 5,000 columns
    (folder / "sparse.jsonl").write_text("\n".join(f'{{"k{i % 5_000}": 1}}' for i in range(20_000)))
    (folder / "deep.json").write_text('[{"a": ' + "[" * 500 + "]" * 500 + "}]")
    (folder / "deeper.json").write_text('[{"a": ' + "[" * 200_000 + "]" * 200_000 + "}]")
    (folder / "nested.json").write_text('[{"a": ' + '{"a": ' * 700 + "1" + "}" * 700 + "}]")
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["w" * 1_000_000]))
    parquet.write_table(pa.table({"text": long}), folder / "repeated.parquet", compression="zstd")
    zeros = pa.table({"n": pa.array(np.zeros(5_000_000, np.int8))})
    parquet.write_table(zeros, folder / "long.parquet", compression="zstd")
    one = pa.ListArray.from_arrays([0, 17_500_000], pa.array(np.zeros(17_500_000, np.int8)))
    lists = pa.table({"l": one})
    plain = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    parquet.write_table(lists, folder / "lists.parquet", **plain)
    blob = pa.table({"b": pa.array(["w" * 70_000_000])})
    parquet.write_table(blob, folder / "blob.parquet", **plain)


def test_files_that_grow_are_refused_by_a_line_that_names_the_option(tmp_path):
    """Before: Parquet of 2.7 MB took 6.8 GB, gzip without end, rows times keys; RecursionError."""
    bombs(tmp_path)
    paths = sorted(tmp_path.iterdir())
    for path, line in zip(paths, in_bounds(*paths), strict=True):
        assert line.startswith(f"refused: {path}: "), f"{path.name}: {line}"
        named = {"columns": "may have 10,000", "deep": "in more than 32 others", "nested": "32 others"}
        stem = path.name.split(".")[0].replace("deeper", "deep")
        assert named.get(stem, "--max-") in line, line
        assert path.stat().st_size < 4e6, f"{path.name} is to be small"


def test_limits_can_be_raised(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("params,loss\n" + "1,2\n" * 30)
    with pytest.raises(InputError, match=r"more than 20 rows; --max-rows reads more"):
        columns_of(path, ReadLimits(max_rows=20))
    with pytest.raises(InputError, match=r"--max-bytes reads more"):
        columns_of(path, ReadLimits(max_bytes=100))
    assert len(columns_of(path, ReadLimits(max_bytes=1000, max_rows=30))["loss"]) == 30


@pytest.mark.parametrize(
    "verb", ["fit", "audit", "table", "isoflop", "thresholds", "report", "downstream", "import"]
)
def test_every_verb_of_tables_has_the_option(tmp_path, verb, capsys):
    from lab.__main__ import main

    path = tmp_path / "rows.csv"
    path.write_text("params,tokens,loss,score,task,metric\n" + "1e6,1e8,2,0.5,a,b\n" * 30)
    more = {"downstream": ["--score", "score"], "import": ["--out", str(tmp_path / "out.csv")]}
    more["report"] = ["--out", str(tmp_path / "out.html")]
    assert main([verb, str(path), "--max-rows", "20", *more.get(verb, [])]) == 2
    assert capsys.readouterr().err == f"error: {path}: more than 20 rows; --max-rows reads more\n"


def test_random_strings_of_number_like_pieces(tmp_path):
    """A fuzz of the readers of numbers and of units, under the limits of its process."""
    pieces = [
        "1",
        "_",
        ",",
        ".",
        " ",
        "e",
        "+",
        "x",
        "10",
        "^",
        "**",
        "M",
        "tokens",
        "(",
        "[",
        "in",
        "111",
        "~",
        "\t",
    ]
    random.seed(0)
    lines = ["params,loss,text"]
    for _ in range(300):
        some = random.choices(pieces, k=random.choice([1, 2, 3]))
        cell = "".join(some) * random.choice([1, 3, 50, 2_000])
        lines.append(f'1,2,"{cell}"')
        assert unit_of(cell[:8_000])[1] > 0
    path = tmp_path / "fuzz.csv"
    path.write_text("\n".join(lines))
    assert in_bounds(path) == ["300 rows"]


def test_numbers_beyond_floats_are_infinite_and_padding_is_not_counted():
    """Before: OverflowError for `10^400`, for a whole number of 401 digits in JSON and for `1x10^999`."""
    assert number("10^400") == number("1x10^999") == number(10**400) == float("inf")
    assert number("10^-400") == 0
    assert number(-(10**400)) == float("-inf")
    assert number(" " * 5_000 + "70M" + " " * 5_000) == 70e6
    assert numbers([10**400, 1]).tolist() == [float("inf"), 1]


def test_a_whole_number_of_401_digits_in_json(tmp_path):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps([{"params": 10**400, "loss": 2}, {"params": 1, "loss": 2}]))
    assert columns_of(path)["params"].tolist() == [float("inf"), 1]


def test_logs_are_read_in_one_pass(tmp_path):
    """Before: 16,000 digits were read in quadratic time; a step of 5,000 ended in a traceback."""
    digits = "1" * 200_000
    text = f"step 1: train loss {digits} {digits}, val\nnumber of parameters: {digits}\n"
    text += f"step {digits}: train loss 1, val loss 2\na: {digits} b\n" + "a" + " " * 200_000 + "\n"
    text += "step 5: train loss 4.25, val loss 4\nnumber of parameters: 10.65M\n"
    text += "tokens per iteration will be: 16,384\n"
    rows = training_logs.read(tmp_path / "log.txt", text, "nanogpt", training_logs.Given())
    assert rows == [
        {
            "name": tmp_path.name,
            "params": 10.65e6,
            "tokens": 5 * 16384,
            "loss": 4.0,
            "train_loss_nats": 4.25,
            "status": "ok",
        }
    ]


def test_the_limits_hold():
    """The bounds of this file bite: a process beyond them ends."""
    with pytest.raises(AssertionError, match="MemoryError"):
        _over("x = bytearray(1 << 32)")


def _over(code: str) -> None:
    done = subprocess.run(
        python.command("-c", code),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_study_of_too_many_runs_is_refused_in_bounds(tmp_path):
    """Before: ranges of 10,000 each, 10^12 runs together, were listed until memory ended."""
    study = tmp_path / "wide.toml"
    ranges = "{ start = 1_000, stop = 1_000_000_000, count = 10_000 }"
    study.write_text(
        f'name = "wide"\n[[grids]]\nname = "one"\ntokens = {ranges}\nseeds = [0, 1, 2]\n'
        f'data = {{ source = "synthetic" }}\n[[grids.sizes]]\nwidth = 8\n'
        + "".join(f"[[grids.sizes]]\nwidth = 8\nlayers = {n}\n" for n in range(1, 40))
    )
    code = f"from sweeps.study import loader; loader.load({str(study)!r})"
    limited = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (60, 60)); "
    done = subprocess.run(python.command("-c", limited + code), capture_output=True, text=True)
    assert "grids[0]: has more than 100,000 runs with its seeds" in done.stderr, done.stderr[-600:]
