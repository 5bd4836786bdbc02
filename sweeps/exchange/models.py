"""A trained model for Hugging Face transformers: safetensors, configuration, tokenizer and a card.

The files are plain: safetensors are a length, a JSON header and the bytes of the arrays, and tokenizer.json
is JSON. Nothing is needed to write them, and nothing of them is executed where they are read.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from lab.config import RunConfig
from lab.errors import InputError
from lab.files import write_bytes
from lab.tokenizers import ByteTokenizer, SubwordTokenizer, SymbolTokenizer
from sweeps.arguments import Json

_TYPES = {"float32": "F32"}


def export(argv: list[str]) -> int:
    """`lab export`: with --model a trained model, else the runs of a store (`exports`)."""
    if not any(word == "--model" or word.startswith("--model=") for word in argv):
        from sweeps.exchange import exports

        return exports.export(argv)

    def command(model: Path, out: Path, as_json: Json = False) -> int:
        """Write a trained model for Hugging Face transformers: safetensors, config, tokenizer and a card.

        Args:
            model: the run's folder, such as DIR/runs/RUN_ID.
            out: folder to write to; it must be empty or not there.
            as_json: print one JSON object.
        """
        done = write_model(model, out)
        if as_json:
            print(json.dumps(done))
        else:
            print(
                f"{done['architecture']} of {done['params']:,} weights in {out}: {', '.join(done['files'])}"
            )
        return 0

    return tyro.cli(command, args=argv, prog="lab export")


def write_model(path: Path, out: Path) -> dict[str, Any]:
    """Write the model of the run folder `path` into the folder `out`; what was written.

    Raises InputError where the run has no trained parameters, and where `out` is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not empty; name a new folder")
    from lab.runs.folder import RunFolder
    from lab.verbs.common import load_run

    config, params, dataset = load_run(path)
    from lab.model import hugging_face, layers  # they import jax, which load_run sets up

    model, tokenizer = config.model, dataset.tokenizer
    found = hugging_face.tensors(layers.apart(params), model)
    context = config.data.context
    made = hugging_face.settings(model, dataset.vocab_size, context, tokenizer.start, tokenizer.end)
    result = RunFolder(path).result() or {}
    spec = RunFolder(path).spec() or {}
    marks = {"bos_token_id": tokenizer.start, "eos_token_id": tokenizer.end}
    files = {
        "config.json": _json(made),
        "generation_config.json": _json(marks),
        "model.safetensors": safetensors(found),
        "README.md": card(config, result.get("row") or {}, made, spec, law_of(path)).encode(),
    }
    text = tokenizer_json(tokenizer)
    if text is not None:
        files["tokenizer.json"] = _json(text)
        named = {"bos_token": "<start>", "eos_token": "<end>", "model_max_length": context}
        kind = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        files["tokenizer_config.json"] = _json(kind | named)
    for name, content in files.items():
        write_bytes(out / name, content, out)
    return {
        "out": str(out),
        "architecture": made["architectures"][0],
        "files": sorted(files),
        "params": int(sum(value.size for value in found.values())),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    """The file's content: 8 bytes of length, the header, the arrays one after the other, little-endian."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts, at = [], 0
    for name, value in sorted(arrays.items()):
        content = value.astype(value.dtype.newbyteorder("<")).tobytes()
        kind = _TYPES[value.dtype.name]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [at, at + len(content)]}
        parts.append(content)
        at += len(content)
    said = json.dumps(header, separators=(",", ":")).encode()
    said += b" " * (-len(said) % 8)
    return struct.pack("<Q", len(said)) + said + b"".join(parts)


def tokenizer_json(tokenizer: Any) -> dict[str, Any] | None:
    """What the `tokenizers` library reads, with <start> put before each text as in training; None for ids
    that stand for no text."""
    if isinstance(tokenizer, ByteTokenizer):
        made = _characters({letter: byte for byte, letter in enumerate(_letters_of_bytes())})
        made["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        made["pre_tokenizer"]["use_regex"] = False
        made["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
        made["decoder"]["use_regex"] = True
    elif isinstance(tokenizer, SymbolTokenizer):
        made = _characters({letter: place for place, letter in enumerate(tokenizer.alphabet)})
        made["decoder"] = {"type": "Fuse"}
    elif isinstance(tokenizer, SubwordTokenizer):
        made = json.loads(tokenizer.json) | {"truncation": None, "padding": None}
    else:
        return None
    marks = {"<start>": tokenizer.start, "<end>": tokenizer.end}
    shape = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    made["added_tokens"] = [
        *(made.get("added_tokens") or []),
        *({"id": place, "content": mark, **shape} for mark, place in marks.items()),
    ]
    first = {"SpecialToken": {"id": "<start>", "type_id": 0}}
    made["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<start>": {"id": "<start>", "ids": [tokenizer.start], "tokens": ["<start>"]}},
    }
    return made


def _characters(vocab: dict[str, int]) -> dict[str, Any]:
    """A byte pair encoding without any pair: a token a character."""
    nothing = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")
    model = {"type": "BPE", **dict.fromkeys(nothing), "fuse_unk": False, "byte_fallback": False}
    model |= {"ignore_merges": False, "vocab": vocab, "merges": []}
    parts = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {"version": "1.0", **dict.fromkeys(parts), "added_tokens": [], "model": model}


def _letters_of_bytes() -> list[str]:
    """A printable letter for each byte, as byte-level vocabularies write them since GPT-2."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def law_of(path: Path) -> str:
    """The law of the store that the run folder lies in, in a sentence; empty where there is none."""
    from analysis.audits.leading import leading_fit
    from analysis.laws.law import tidy_formula
    from analysis.tables.table import read

    store = path.resolve().parents[1]
    if not (store / "studies").is_dir():
        return ""
    try:
        fit = leading_fit(read(store), bootstrap=0)
    except ValueError as error:
        if not hasattr(error, "problems"):  # the InputError of analysis has them: too few runs, as a rule
            raise
        return ""
    return (
        f"Of {fit.points} runs of its store `{tidy_formula(fit.law, fit.params)}`, in nats a token "
        f"(the law {fit.law.name}; held-out runs are left out of it). {_doubts(fit.warnings)}"
    )


def _doubts(warnings: Any) -> str:
    """A law that its table hardly carries is not quoted without saying so."""
    codes = ", ".join(dict.fromkeys(f"`{note.code}`" for note in warnings))
    return f"The fit itself warns of {codes}. " if codes else ""


def _data(config: RunConfig) -> str:
    """What was learned from; of paths their last parts, for a card is read by strangers."""
    places = [Path(place) for place in config.data.places]
    return ", ".join(place.name if place.is_absolute() else str(place) for place in places)


def card(
    config: RunConfig, row: dict[str, Any], made: dict[str, Any], spec: dict[str, Any], fitted: str = ""
) -> str:
    """What the model is, learned from, cost and cannot do, as Markdown. fitted: `law_of` its folder."""
    model, law = config.model, row.get("study")
    facts = [
        ("run", row.get("run_id") or spec.get("run_id")),
        ("parameters", row.get("params_total")),
        (
            "shape",
            f"{model.layers} layers of width {model.width}, {model.heads} heads, {model.mlp} MLP, "
            f"context {config.data.context}",
        ),
        ("data", _data(config)),
        ("data digest", spec.get("data_digest")),
        ("tokens seen", row.get("tokens") or config.tokens),
        ("distinct tokens", row.get("unique_tokens")),
        ("validation loss (nats a token)", _with_error(row.get("loss_nats"), row.get("loss_se"))),
        ("bits a byte", row.get("bits_per_byte")),
        ("training compute (FLOPs, counted)", row.get("flops_exact")),
        ("device", row.get("device")),
        ("device seconds", row.get("device_seconds")),
        ("energy (J)", _energy(row)),
        ("seed", config.seed),
        ("numerics", config.precision),
        ("program", row.get("git_commit")),
    ]
    lines = [f"| {name} | {_said(value)} |" for name, value in facts if value is not None]
    weights = f"`{made['architectures'][0]}` holds the same function as it was trained: factors of the "
    weights += (
        f"{model.parametrization} parametrisation are folded into the weights, logits agree to rounding."
    )
    study = f" of the study `{law}`" if law else ""
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "---",
            "",
            f"# A decoder of {config.model.label}",
            "",
            "One model of a scaling study, exported by `lab export --model`.",
            "",
            "| | |",
            "|---|---|",
            *lines,
            "",
            "## What it is for",
            "",
            "It is a point on a scaling curve: to be compared with its sisters of other sizes and budgets. "
            "It follows no instructions, was never aligned, and knows what its data say, right or wrong.",
            "",
            "## The law it belongs to",
            "",
            f"{fitted}Run `lab fit STORE` on the store{study}: the law is fitted to all runs together and "
            "says how this loss follows from size and tokens, with intervals. One run alone is no law.",
            "",
            "## Limits",
            "",
            f"- Trained on {_data(config)} alone; what may be done with it follows from the data.",
            f"- Sees {config.data.context} tokens; positions beyond were never trained.",
            "- Starts each text with `<start>`, which the tokenizer puts there; `<end>` ends a document.",
            *(
                ["- Was trained with attention kept within documents; give it one document at a time."]
                if model.document_mask
                else []
            ),
            "- Energy is what counters read; where none is named, none was read.",
            f"- {weights}",
            "",
        ]
    )


def _said(value: Any) -> str:
    text = (
        f"{value:,.6g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )
    return text.replace("|", "\\|").replace("\n", " ")


def _with_error(loss: Any, se: Any) -> str | None:
    if loss is None:
        return None
    return f"{loss:.4f}" + (f" ± {se:.4f}" if se is not None else "")


def _energy(row: dict[str, Any]) -> str:
    if row.get("energy_joules") is None:
        return "not measured"
    return f"{row['energy_joules']:.4g} by {row.get('energy_source')}"
