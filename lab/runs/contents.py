"""What the files of a store should hold, so that every reader of one gives the same answer.

Each ``fault_of_*`` says in a few words what is wrong with a value out of a file, nothing where it is whole.
``lab/runs/contents.py`` and ``analysis/tables/contents.py`` are one text, as the two ``files.py`` are.
"""

import json
import re
from typing import Any

# The columns of a row, each with what it holds; the documentation has it from here. Results: the same run has
# them equal on any machine of one kind. Circumstances: where, when and how it was computed; two machines that
# agree on the results have trained the same run.
_RESULTS = """
run_id: name of the run's folder, a hash of all that changes its result
status: ok, or diverged
seed: of the parameters at the start
source: the text or task mixture it was trained on
tokenizer: bytes, symbols, or the file of the vocabulary
document_mask: whether attention stops at the borders of documents
width: of the residual stream
layers: blocks of attention and MLP
heads: of attention, in each layer
head_width: width of one head
mlp: gelu or gated
mlp_ratio: hidden width of the MLP over the width
tied: whether input table and output head are one
qk_norm: whether queries and keys are normed
context: tokens a sequence
parametrization: standard, mup or completep
algorithm: of the optimiser
params_total: all parameters
params_embedding: of the input table; 0 where it is tied to the head
params_head: of the output head
params_matrices: of attention and MLP
params_vectors: scales of the norms
tokens: trained on
unique_tokens: different ones in the training split; more tokens than that are epochs
batch_tokens: tokens a step
entropy_rate_nats: of a source whose best possible loss is known
learning_rate: the peak of the schedule
weight_decay: the decay that is multiplied by the learning rate
flops_6nd: 6 params_total tokens (2001.08361, 2203.15556)
flops_exact: matrix products, attention over the positions seen
flops_chinchilla: by 2203.15556, appendix F
flops_palm: by 2204.02311, appendix B
flops_kaplan: by 2001.08361, table 1
loss_nats: validation loss, nats a token
loss_se: its standard error over validation windows
bits_per_byte: the same loss as bits a byte of text, comparable between tokenizers
train_loss_nats: training loss in the last record of the log
diverged_step: the step at which a run was given up
reason: why
"""
_CIRCUMSTANCES = """
trunk: the run whose checkpoint this one branched from
pack: how it shared its devices: serial, pmap, vmap, mesh
device: kind of device
device_seconds: over all attempts
compile_seconds: over all attempts
cpu_seconds: of the process, over all attempts
cache_hits: programs found compiled
cache_misses: programs compiled anew
attempts: how often it was begun
energy_joules: as counters measured it; empty without counters
energy_source: the counters, or none
energy_coverage: part of the time in which they were read
git_commit: of the code
"""


def _meanings(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.strip().splitlines())


MEANINGS = _meanings(_RESULTS) | _meanings(_CIRCUMSTANCES)
_TEXT = """
run_id status source tokenizer mlp parametrization algorithm reason trunk pack device energy_source git_commit
"""
RESULTS, CIRCUMSTANCES = frozenset(_meanings(_RESULTS)), frozenset(_meanings(_CIRCUMSTANCES))
TEXT = frozenset(_TEXT.split())
_FAMILIES = ("mix_", "loss_nats_", "bits_per_byte_")  # results too: of a mixture, a column for each source
FLAGS = frozenset(("tied", "qk_norm", "document_mask"))
_NUMBERS = (RESULTS | CIRCUMSTANCES) - TEXT - FLAGS
_LOG_TEXT = frozenset(("kind", "task", "measure", "energy_source"))
_LOG_COLUMNS = "tokens loss_nats grad_norm value device_seconds compile_seconds cpu_seconds energy_joules"
_LOG_NUMBERS = frozenset(_LOG_COLUMNS.split())
_SCORE = "score se items correct chance params tokens flops loss_nats seed"
_SCORE_NUMBERS = tuple(_SCORE.split())
_NEEDED = {"progress": ("task", "measure", "value")}
_decode = json.JSONDecoder().raw_decode
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def kind_of(column: str) -> str | None:
    """``result`` or ``circumstance``; None for a column that is in neither list."""
    if column in RESULTS or column.startswith(_FAMILIES):
        return "result"
    return "circumstance" if column in CIRCUMSTANCES else None


def is_name(value: Any) -> bool:
    """Whether an id out of a file can be the name of a folder, and of none but that one."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def fault_of_result(value: Any, run_id: str | None = None) -> str:
    """Of ``result.json``. run_id: the folder's name, where that is the run's id."""
    row = value.get("row") if isinstance(value, dict) else None
    if not isinstance(row, dict):
        return "is no result: it has no row"
    if run_id is not None and row.get("run_id", run_id) != run_id:
        return f"is the result of run {str(row['run_id'])[:40]!r}"
    for name, found in row.items():
        if found is None:
            continue
        number = name in _NUMBERS or name.startswith(_FAMILIES)
        number = number or (isinstance(found, int | float) and not isinstance(found, bool))
        right = _is_number(found) if number else True
        right = right and (name not in TEXT or isinstance(found, str))
        if not right or (name in FLAGS and not isinstance(found, bool)):
            return f"{name} is {json.dumps(found)[:40]}"
    if row.get("trunk") is not None and not is_name(row["trunk"]):
        return f"trunk is {row['trunk'][:40]!r}, which names no folder"
    if row.get("status", "ok") == "ok" and row.get("loss_nats") is None:
        return "has no loss"
    scores = value.get("abilities")
    if scores is not None and not (isinstance(scores, list) and all(map(_is_score, scores))):
        return "its abilities are no list of scores"
    return ""


def fault_of_spec(value: Any, run_id: str | None = None) -> str:
    """Of ``spec.json``."""
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        return "is no specification: it has no config"
    if not isinstance(value.get("data_digest"), str) or value.get("kind") not in ("run", "trunk"):
        return "is no specification: it lacks the kind or the data's digest"
    if not isinstance(value.get("run_id"), str) or (run_id is not None and value["run_id"] != run_id):
        return f"is the specification of run {str(value.get('run_id'))[:40]!r}"
    if not isinstance(value.get("provenance", {}), dict):
        return "its provenance is no object"
    return ""


def fault_of_failure(value: Any, run_id: str | None = None) -> str:
    """Of ``failure.json``."""
    right = isinstance(value, dict) and isinstance(value.get("error"), str)
    return "" if right else "is no record of a failure: it has no error"


def fault_of_diverged(value: Any, run_id: str | None = None) -> str:
    """Of ``diverged.json``, by which a trunk says where it ended."""
    right = isinstance(value, dict) and _is_step(value.get("step")) and isinstance(value.get("reason"), str)
    return "" if right else "is no record of a divergence: it lacks the step or the reason"


def fault_of_study(value: Any) -> str:
    """Of ``studies/NAME.json``."""
    cells = value.get("cells") if isinstance(value, dict) else None
    if not isinstance(cells, list) or not isinstance(value.get("study"), str):
        return "is no list of a study's cells"
    for cell in cells:
        if not isinstance(cell, dict) or not is_name(cell.get("run_id")):
            return "a cell has no id that can name a folder"
        trunk = cell.get("trunk")
        if (trunk is not None and not is_name(trunk)) or not isinstance(cell.get("grid", ""), str):
            return f"the cell {cell['run_id']} has a trunk or grid of another kind"
        if any(not isinstance(value, str | int | float | None) for value in cell.values()):
            return f"the cell {cell['run_id']} holds more than plain values"
        seconds, tokens = cell.get("predicted_seconds"), cell.get("trained_tokens")
        if not all(value is None or _is_number(value) for value in (seconds, tokens)):
            return f"the cell {cell['run_id']} has a prediction that is no number"
    return ""


def log_lines(content: bytes) -> tuple[list[dict], int]:
    """The whole lines of a ``metrics.jsonl``, and how many others it has beside a torn last one."""
    lines, others = [], 0
    rows = _texts(content)
    for at, text in enumerate(rows):
        line = _value(text)
        if _is_line(line):
            lines.append(line)
        elif at < len(rows) - 1:
            others += 1
    return lines, others


def _texts(content: bytes) -> list[str]:
    """The text of each line, of one that is not UTF-8 none; all at once where that can be."""
    try:
        return content.decode().split("\n")
    except UnicodeDecodeError:
        return [_text(row) for row in content.split(b"\n")]


def _text(row: bytes) -> str:
    try:
        return row.decode()
    except UnicodeDecodeError:
        return ""


def _value(text: str) -> Any:
    try:
        value, end = _decode(text)  # half the time of json.loads, for lines as we write them
        if end == len(text):
            return value
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(text.removeprefix("\ufeff"))  # which some editors put before a text
    except (ValueError, RecursionError):
        return None


def _is_line(line: Any) -> bool:
    if not isinstance(line, dict) or not _is_step(line.get("step")):
        return False
    for name, value in line.items():
        if name in _LOG_NUMBERS:
            right = _is_number(value)
        elif name in _LOG_TEXT:
            right = isinstance(value, str)
        else:
            right = name != "since" or _is_since(value)
        if not right:
            return False
    return all(name in line for name in _NEEDED.get(line.get("kind"), ()))


def _is_since(value: Any) -> bool:
    """The steps before a branch point that are in no record yet (:mod:`lab.runs.window`)."""
    if not isinstance(value, dict) or not isinstance(value.get("last"), dict):
        return False
    series = [value.get(name) for name in ("loss_nats", "grad_norm")]
    return all(isinstance(one, list) and all(map(_is_number, one)) for one in series)


def _is_score(value: Any) -> bool:
    named = isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("task", "metric"))
    return named and all(value.get(key) is None or _is_number(value[key]) for key in _SCORE_NUMBERS)


def _is_number(value: Any) -> bool:
    """Finite as a float, too: a file may hold whole numbers of any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
