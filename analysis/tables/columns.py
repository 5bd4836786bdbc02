"""Which column plays which role (params, tokens, flops, loss, ...), under the names that tables use."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import numpy as np

from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.formulas import FormulaError, parse
from analysis.tables.units import PF_DAY, unit_of

# Names are compared in lower case without punctuation: "Model Size" is modelsize. The second tier of a role
# is read only when the first finds nothing, so that a table's `loss` is not disputed by its `loss_nats`.
_ALIASES: Mapping[str, tuple[str, str]] = {
    "params": (
        "params n parameters nparams numparams nparameters numparameters modelsize modelparams "
        "modelparameters paramscount paramcount parametercount numberofparams numberofparameters ofparams "
        "ofparameters nparam numparam",
        "paramstotal totalparams totalparameters totalparametercount totalparamcount weightparams "
        "nonembeddingparams paramsnonembedding paramsnoembed nonembparams nonembedparams nnoemb nnonemb "
        "densparametercount denseparametercount size",
    ),
    "tokens": (
        "tokens d ntokens numtokens trainingtokens traintokens tokencount totaltokens tokensseen "
        "datasetsize datasize tokenstrained trainedtokens numtraintokens tokensconsumed consumedtokens "
        "consumedtraintokens "
        "pretrainingtokens pretraintokens pretrainingdatasize pretrainingdata trainingdatasize traindatasize "
        "trainingsettokens tokenstotal toks trainingtoks traintoks tokensprocessed processedtokens "
        "tokensused numberoftokens oftokens tokenstrainedon numtrainingtokens",
        "t data tokenbudget goaltraintokens totaltraintokens dtokens",
    ),
    "flops": (
        "flops flop c compute trainingflop trainingflops trainflops trainflop totalflops totalflop "
        "trainingcompute traincompute flopstotal totaltrainflops totalcompute computeflops pretrainflops "
        "pretrainingflops pretrainingcompute computespent computeused",
        "flops6nd flopsexact budget computebudget flopbudget flopsbudget isoflop isoflops isoflopbudget",
    ),
    "loss": (
        "loss l valloss validationloss evalloss testloss finalloss crossentropy crossentropyloss "
        "lossval lossvalidation nll finalvalloss finalvalidationloss",
        "lossnats trainloss trainingloss losstrain trainlossnats",
    ),
    "unique_tokens": ("uniquetokens u datauniquetokens", ""),
    "held_out": ("heldout holdout", ""),
    "seed": ("seed randomseed", ""),
    "status": ("status", "state"),
    "cluster": ("cluster trunk", "runid run runname experiment experimentname expname name modelname"),
}
ALIASES = {role: tuple(tuple(tier.split()) for tier in tiers) for role, tiers in _ALIASES.items()}
_ALL = frozenset(alias for tiers in ALIASES.values() for tier in tiers for alias in tier)
NEEDED = ("params", "tokens", "flops", "loss")
# Inputs that laws with terms take besides; `--columns` may name or compute them.
_COVARIATES = (
    "learning_rate batch_tokens bits bits_weights bits_activations bits_attention bits_after experts streams "
    "vocab_params width depth share share_1 share_2 share_3 share_4 arm task_loss"
)
COVARIATES = frozenset(_COVARIATES.split())
# Words in a name that looks like a loss and is none: an interval's end, a share, another quantity.
_NO_LOSS = re.compile(
    r"reducible|lower|upper|std|stderr|error|delta|weight|scale|aux|zloss|balanc|router|spike|grad|ratio|rank|pred|fit"
)
_LOSS = r"loss(?:val|valid|validation|eval|test)?$|^loss|crossentropy$|xent$|nll$"
_HELD_BACK = re.compile(r"val|eval|test|held|dev(?![a-z])")
_BITS = re.compile(r"(bpb|bpc|bitsperbyte|bitsperchar|bitspercharacter|bitspertoken)$")
_PERPLEXITY = re.compile(r"(ppl|perplexity)$")
# Longer names are held against no pattern whose time grows with a power of their length.
_LONGEST = 500
# `Eval loss (nats/token)`, `Loss [bits]`: the unit of a loss behind its name.
_MEASURED = re.compile(r"\s*[\[(]\s*(?:in\s+)?(nats?|bits?|bpb|bpc)\b[^()\[\]]{0,40}[\])]\s*$", re.IGNORECASE)
# What parameters are counted: names of two counts of one model differ in these words alone.
_COUNTED = re.compile(
    r"nonembeddings?|nonembed|nonemb|noembeddings?|noembed|noemb|(?:without|wo|excl|with|incl)(?:embeddings?|embed|emb)"
    r"|total|active|activated|backbone|trainable|exact|actual|all|dense|matmul"
)


def parse_map(text: str, option: str = "--columns") -> dict[str, str]:
    """`params=N,tokens=D` as {"params": "N", "tokens": "D"}. Raises InputError on anything else."""
    pairs: dict[str, str] = {}
    problems = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        role, separator, column = (piece.strip() for piece in part.partition("="))
        if not separator or not column:
            problems.append(f"{option}: {part!r} is not name=value, as in params=N,tokens=D")
        elif role in pairs:
            problems.append(f"{option}: {role!r} is given twice")
        else:
            pairs[role] = column
    if problems:
        raise InputError(*problems)
    return pairs


def normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def nearest(name: str, valid) -> str:
    """`; nearest: x` for the valid name most like `name`, else the list of valid names."""
    lowered = {str(option).lower(): str(option) for option in valid}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if close:
        return f"; nearest: {lowered[close[0]]!r}"
    shown = [str(option) for option in list(valid)[:20]]
    return f"; there are {', '.join(shown)}" + (", ..." if len(lowered) > 20 else "")


def shown(role: str, column: str) -> str:
    """role=column as a shell takes it."""
    return f'"{role}={column}"' if re.search(r"[\s()*]", column) else f"{role}={column}"


IN_MEMORY = "table in memory"


def spoken(text: str, source: str) -> str:
    """A message in the words of whoever reads it: options for a file, arguments for a table in memory."""
    if source != IN_MEMORY:
        return text
    said = re.sub(r'--columns "(\w+)=([^"]+)"', r'columns={"\1": "\2"}', text)
    said = re.sub(r"--columns (\w+)=([^\s;\"]+)", r'columns={"\1": "\2"}', said)
    return said.replace("--where grid=...", "runs.where(grid=...)").replace("--noise:", "noise:")


def assign(
    columns: Mapping[str, np.ndarray], wanted: Mapping[str, str] | None, source: str
) -> tuple[dict[str, str], list[Note]]:
    """Role -> column name, or a formula over columns (`1e9*total_gflops`), and what to say.

    Raises InputError for unknown roles or columns in the map, and for roles with two different candidates.
    """
    wanted = dict(wanted or {})
    problems = []
    notes = []
    roles: dict[str, str] = {}
    for role, column in wanted.items():
        if role not in ALIASES and role not in COVARIATES:
            known = (*ALIASES, *sorted(COVARIATES))
            problems.append(f"{source}: column map: no role {role!r}{nearest(role, known)}")
            continue
        try:
            parse(column, columns)
        except FormulaError as error:
            what = f"no column {error.unknown!r}{nearest(error.unknown, columns)}" if error.unknown else error
            problems.append(f"{source}: column map: {role}={column}: {what}")
        else:
            roles[role] = column
    for role in ALIASES:
        if role in wanted:
            continue
        free = [name for name in columns if name not in roles.values()]
        found = _candidates(role, free, columns)
        if not found:
            continue
        if len(found) > 1 and role in NEEDED:
            first = next(
                (name for name in found if role == "loss" and _HELD_BACK.search(name.lower())), found[0]
            )
            names = " and ".join(repr(name) for name in found[:4])
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            wide = "; if each is a run, the table must first have one row a run: `lab import`" if more else ""
            problems.append(
                f"{source}: {names}{more} could {'both' if len(found) == 2 else 'all'} be {role}; "
                f"choose with --columns {shown(role, first)}{wide}"
            )
        roles[role] = found[0]
        if role == "params" and (others := rival_params(found[0], columns)):
            notes.append(_two_params(found[0], others, columns))
        if found[0] != role and role in NEEDED:
            what = f"the column {found[0]!r}" if found[0] in columns else found[0]
            notes.append(Note("column_alias", f"{role} is {what}"))
    if (bits := roles.get("loss")) and in_bits(bits):
        notes.append(Note("loss_in_bits", f"{bits!r} is in bits: E, A and B are too"))
    if "loss" not in wanted and (chosen := roles.get("loss")) and re.search(r"train", chosen.lower()):
        notes += _held_back(chosen, columns)
    if problems:
        raise InputError(*problems)
    return roles, notes


def _held_back(chosen: str, columns: Mapping[str, np.ndarray]) -> list[Note]:
    """That a loss of training was taken beside a measure of held-out text in another unit."""
    rules = (_BITS, _PERPLEXITY)
    names = [name for name in columns if _HELD_BACK.search(name.lower())]
    found = [formula for rule in rules for formula in _by_ending(names, rule)]
    found = [formula for formula in found if np.isfinite(_values(formula, columns)).any()]
    if not found:
        return []
    text = f"{chosen!r} is of training; {found[0]} is of text held out: --columns {shown('loss', found[0])}"
    return [Note("training_loss", text)]


def in_bits(name: str) -> bool:
    """Whether a loss of this name is in bits: `val_bpb`, `loss (bits/byte)`."""
    unit = _MEASURED.search(name[-_LONGEST:])
    return bool(_BITS.search(normal(name)) or (unit and unit[1].lower().startswith("b")))


def _bare(name: str) -> str:
    """The name without the unit of a loss behind it."""
    return name if len(name) > _LONGEST else _MEASURED.sub("", name)


def is_known(name: str) -> bool:
    """Whether a head is one that some role is recognised by, its unit aside."""
    base = normal(unit_of(_bare(name))[0])
    return base in _ALL or bool(re.search(_LOSS, base))


def is_params(name: str) -> bool:
    """Whether a name is a count of parameters, whatever it counts: `N`, `N_total`, `n_non_embedding`."""
    seen = normal(name)
    known = {alias for tier in ALIASES["params"] for alias in tier}
    return seen in known or (bool(seen) and _COUNTED.sub("", seen) in {*ALIASES["params"][0], "size"})


def rival_params(chosen: str, columns: Mapping[str, np.ndarray]) -> list[str]:
    """Formulas of other columns that could be params too: other counts of the same models, most rows given.

    A thousandfold apart they would be something else, or another unit.
    """
    values = _values(chosen, columns)
    used = set(parse(chosen, columns).columns)
    found = []
    for name in columns:
        seen = re.split(r"[/.:]", name)[-1]
        base, unit = unit_of(seen)
        if name in used or not is_params(base) or (seen != name and len(normal(seen)) < 3):
            continue
        other = _values(name, columns)
        scaled = unit != 1 and np.nan_to_num(np.nanmax(other, initial=0)) < 1e6
        formula = f"1e{np.log10(unit):g}*{name}" if scaled else name
        other = _values(formula, columns)
        both = (other > 0) & (values > 0)
        if both.sum() < 0.5 * max((values > 0).sum(), 1) or not both.any():
            continue
        if _alike(values, other) or not 1e-3 < np.median(other[both] / values[both]) < 1e3:
            continue
        if not any(_alike(_values(one, columns), other) for one in found):
            found.append(formula)
    return found


def _two_params(chosen: str, others: list[str], columns: Mapping[str, np.ndarray]) -> Note:
    values, said = _values(chosen, columns), []
    for other in others[:4]:
        with np.errstate(all="ignore"):
            ratio = _values(other, columns) / values
        ratio = ratio[np.isfinite(ratio)]
        said.append(f"{other!r} could be it too and is {ratio.min():.3g} to {ratio.max():.3g} times as large")
    text = f"params is {chosen!r}; {'; '.join(said)}: --columns {shown('params', others[0])} takes that"
    return Note("two_params", text)


def _candidates(role: str, names: list[str], columns: Mapping[str, np.ndarray]) -> list[str]:
    """Formulas that could play the role, from the first way of looking that finds any; one if they agree."""
    ways = [_by_alias(role, names, tier, whole, columns) for whole in (True, False) for tier in (0, 1)]
    if role == "params":  # any other count, of which `two_params` says how far it is from the rest
        ways += [_counts(names)[:1]]
    if role == "loss":
        ways += [_by_ending(names, rule) for rule in (_LOSS, _BITS, _PERPLEXITY)]
    if role not in NEEDED:
        return next((way[:1] for way in ways if way), [])
    # Numbers first; a column of none is named in the reasons why no row can be used.
    numeric = ([formula for formula in way if np.isfinite(_values(formula, columns)).any()] for way in ways)
    found = next((way for way in numeric if way), None) or next((way for way in ways if way), [])
    return _distinct(found, columns) if found else []


def _by_alias(role: str, names: list[str], tier: int, whole: bool, columns) -> list[str]:
    """Formulas of the names that are aliases, in the aliases' order. whole: not the last part, `eval/loss`.

    The unit in a name such as `Params (M)` counts where the numbers lack it.
    """
    aliases = ALIASES[role][tier]
    found = []
    for name in names:
        bare = _bare(name)
        seen = bare if whole else re.split(r"[/.:]", bare)[-1]
        # A single letter at the end of a path is rarely what it is in a paper's table.
        if not whole and (seen == bare or len(normal(seen)) < 3):
            continue
        if normal(seen) in aliases:
            found.append((aliases.index(normal(seen)), name))
            continue
        base, unit = unit_of(seen)
        if unit != 1 and role in ("params", "tokens", "flops") and normal(base) in aliases:
            have = role != "flops" and np.nan_to_num(np.nanmax(_values(name, columns), initial=0)) >= 1e6
            found.append(
                (
                    aliases.index(normal(base)),
                    name
                    if have
                    else f"1e{np.log10(unit):g}*{name}"
                    if unit != PF_DAY
                    else f"{unit:g}*{name}",
                )
            )
    return [formula for _, formula in sorted(found, key=lambda pair: pair[0])]


def _counts(names: list[str]) -> list[str]:
    """Names that are counts of parameters of some kind: `Parameters (non-embedding)`."""
    return [name for name in names if len(normal(name)) > 2 and is_params(name) and unit_of(name)[1] == 1]


def _by_ending(names: list[str], rule) -> list[str]:
    """Names whose last part ends like a loss; held-back data before training data."""
    found = [
        name
        for name in names
        if re.search(rule, normal(re.split(r"[/.:]", _bare(name))[-1])) and not _NO_LOSS.search(normal(name))
    ]
    kept = [name for name in found if _HELD_BACK.search(name.lower())] or found
    return [f"log({name})" for name in kept] if rule is _PERPLEXITY else kept


def _values(formula: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    return parse(formula, columns).of(columns)


def _distinct(found: list[str], columns: Mapping[str, np.ndarray]) -> list[str]:
    """One formula of those that agree; those that lack most rows of another do not count beside it."""
    values = {formula: _values(formula, columns) for formula in found}
    count = {formula: int(np.isfinite(array).sum()) for formula, array in values.items()}
    left = [formula for formula in found if count[formula] >= 0.5 * max(count.values())]
    first = values[left[0]]
    others = [formula for formula in left[1:] if not _alike(first, values[formula])]
    return [left[0], *others]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal up to the rounding of a label such as 70M, where both are given."""
    both = np.isfinite(one) & np.isfinite(other)
    return bool(np.allclose(one[both], other[both], rtol=0.01, atol=0)) if both.any() else not len(one)
