"""`lab export --model`: what is written holds the same function, for any reader of its files."""

import json
import os
import re
import struct
import subprocess
import sys

import jax
import numpy as np
import pytest

from lab.config import ModelConfig, RunConfig
from lab.data.config import DataConfig
from lab.model import decoder, drawn, hugging_face, layers
from lab.tokenizers import ByteTokenizer, SymbolTokenizer, train_bpe
from sweeps.exchange import models
from tests.analysis.conftest import Store, language

V, T = 24, 12
SHAPES = {
    "llama": ModelConfig(width=16, layers=2, heads=2, mlp="gated", qk_norm=False, tied=True),
    "llama, plain MLP": ModelConfig(width=16, layers=2, heads=2, mlp="gelu", qk_norm=False),
    "qwen3": ModelConfig(
        width=16, layers=3, heads=2, mlp="gated", parametrization="completep", base_width=8, base_layers=2
    ),
    "apertus": ModelConfig(width=16, layers=2, heads=2, mlp="gelu", parametrization="mup", base_width=8),
}
# The Python that has torch and transformers: this one, or another that SCALING_LAB_TRANSFORMERS names.
PEER = os.environ.get("SCALING_LAB_TRANSFORMERS") or sys.executable
ASK = """
import sys, numpy, torch, transformers
folder, tokens, out = sys.argv[1:]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
with torch.no_grad():
    logits = model.float()(torch.tensor(numpy.load(tokens)))
numpy.save(out, logits.logits.numpy())
print(type(model).__name__, transformers.AutoTokenizer.from_pretrained(folder)("Hi")["input_ids"])
"""


def shaken(config):
    """Parameters whose norms are no ones, and whose logits are far from even."""
    params = drawn.params(1, config, V)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    shaken = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, shaken)


def tokens():
    return np.random.default_rng(0).integers(0, V, (2, T))


def ours(config, params):
    return np.asarray(jax.jit(decoder.apply, static_argnums=(2, 3))(params, tokens(), config, V))


def read(content):
    """Arrays of a safetensors file, by its specification alone."""
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    assert header.pop("__metadata__") == {"format": "pt"}
    assert (8 + size) % 8 == 0
    body, out = content[8 + size :], {}
    for name, one in header.items():
        begin, end = one["data_offsets"]
        assert one["dtype"] == "F32"
        out[name] = np.frombuffer(body[begin:end], "<f4").reshape(one["shape"])
    assert sum(value.nbytes for value in out.values()) == len(body)
    return out


def reference(w, settings, ids):
    """The architectures of transformers in NumPy, written from their papers: logits (B, T, V)."""

    def norm(x, scale):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + settings["rms_norm_eps"]) * scale

    def act(x):
        if settings["hidden_act"] == "silu":
            return x / (1 + np.exp(-x))
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    H, K = settings["num_attention_heads"], settings["head_dim"]
    B, T = ids.shape
    angle = np.arange(T)[:, None] * settings["rope_theta"] ** (-np.arange(0, K, 2) / K)
    cos, sin = (np.concatenate([f(angle)] * 2, -1)[:, None] for f in (np.cos, np.sin))
    x = w["model.embed_tokens.weight"][ids].astype(float)
    for layer in range(settings["num_hidden_layers"]):
        own = {
            name.split(".", 3)[3]: value.astype(float)
            for name, value in w.items()
            if name.startswith(f"model.layers.{layer}.")
        }
        first = own.get("input_layernorm.weight", own.get("attention_layernorm.weight"))
        h = norm(x, first)
        q, k, v = ((h @ own[f"self_attn.{n}_proj.weight"].T).reshape(B, T, H, K) for n in ("q", "k", "v"))
        if "self_attn.q_norm.weight" in own:
            q, k = norm(q, own["self_attn.q_norm.weight"]), norm(k, own["self_attn.k_norm.weight"])
        q, k = (a * cos + np.concatenate([-a[..., K // 2 :], a[..., : K // 2]], -1) * sin for a in (q, k))
        scores = np.einsum("bthk,bshk->bhts", q, k) / np.sqrt(K)
        scores = np.where(np.tril(np.ones((T, T), bool)), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("bhts,bshk->bthk", scores / scores.sum(-1, keepdims=True), v)
        x = x + mixed.reshape(B, T, H * K) @ own["self_attn.o_proj.weight"].T
        second = own.get("post_attention_layernorm.weight", own.get("feedforward_layernorm.weight"))
        h = norm(x, second)
        up = h @ own["mlp.up_proj.weight"].T + own.get("mlp.up_proj.bias", 0)
        if "mlp.gate_proj.weight" in own:
            up = up * act(h @ own["mlp.gate_proj.weight"].T + own.get("mlp.gate_proj.bias", 0))
        else:
            up = act(up)
        x = x + up @ own["mlp.down_proj.weight"].T + own.get("mlp.down_proj.bias", 0)
    return norm(x, w["model.norm.weight"]) @ w["lm_head.weight"].T


@pytest.mark.parametrize("shape", SHAPES)
def test_the_files_hold_the_function_that_was_trained(shape):
    config = SHAPES[shape]
    params = shaken(config)
    settings = hugging_face.settings(config, V, T, V - 2, V - 1)
    assert settings["model_type"] == shape.split(",")[0]
    written = read(models.safetensors(hugging_face.tensors(params, config)))
    expected = ours(config, params)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(reference(written, settings, tokens()), expected, atol=1e-4)


def test_layers_in_one_stack_are_written_apart():
    config = SHAPES["qwen3"]
    params = shaken(config)
    apart = hugging_face.tensors(layers.apart(layers.stacked(params)), config)
    for name, value in hugging_face.tensors(params, config).items():
        np.testing.assert_array_equal(value, apart[name])


@pytest.fixture(scope="module")
def transformers():
    found = subprocess.run([PEER, "-c", "import torch, transformers"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no torch and transformers here; SCALING_LAB_TRANSFORMERS names a Python that has them")
    return PEER


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_loads_it_with_the_same_logits(transformers, shape, tmp_path):
    config = SHAPES[shape]
    params = shaken(config)
    alphabet = SymbolTokenizer("ABCDEFGHi0123456789jkl")
    assert alphabet.vocab_size == V
    (tmp_path / "m").mkdir()
    made = hugging_face.settings(config, V, T, alphabet.start, alphabet.end)
    for name, content in {
        "config.json": json.dumps(made).encode(),
        "model.safetensors": models.safetensors(hugging_face.tensors(params, config)),
        "tokenizer.json": json.dumps(models.tokenizer_json(alphabet)).encode(),
        "tokenizer_config.json": b'{"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<start>"}',
    }.items():
        (tmp_path / "m" / name).write_bytes(content)
    np.save(tmp_path / "tokens.npy", tokens())
    done = subprocess.run(
        [transformers, "-c", ASK, *(str(tmp_path / name) for name in ("m", "tokens.npy", "logits.npy"))],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    name, ids = done.stdout.strip().splitlines()[-1].split(" ", 1)
    assert name == made["architectures"][0]
    assert json.loads(ids) == [alphabet.start, *alphabet.encode("Hi").tolist()]
    # a weight that the file lacks, or has and the model does not, is drawn anew or dropped with a warning
    assert "newly initialized" not in done.stderr
    assert "not used" not in done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), ours(config, params), atol=1e-4)


@pytest.mark.parametrize("kind", ["bytes", "symbols", "subwords"])
def test_its_tokenizer_gives_our_ids_and_gives_back_the_text(kind):
    made = pytest.importorskip("tokenizers")
    text = "a fade — ünder 12"
    tokenizer = {
        "bytes": ByteTokenizer,
        "symbols": lambda: SymbolTokenizer("".join(sorted(set(text)))),
        "subwords": lambda: train_bpe(["under a fade, under a fade"] * 9, 270),
    }[kind]()
    theirs = made.Tokenizer.from_str(json.dumps(models.tokenizer_json(tokenizer)))
    ids = theirs.encode(text).ids
    assert ids == [tokenizer.start, *tokenizer.encode(text).tolist()]
    assert theirs.decode(ids) == text
    assert theirs.token_to_id("<end>") == tokenizer.end


def test_the_card_quotes_the_law_of_its_store_and_its_doubts(tmp_path):
    """The law that leads on the fitted runs; nothing where there is no store, or too few runs."""
    store = Store(tmp_path / "store")
    language(store)
    path = store.finish()
    run = next((path / "runs").iterdir())
    said = models.law_of(run)
    count, law = re.match(r"Of (\d+) runs of its store `loss = (.+?)`, in nats", said).groups()
    assert int(count) == sum(not cell["held_out"] for cell in store.cells)
    from analysis.audits.leading import leading_fit
    from analysis.tables.table import read as read_table

    fit = leading_fit(read_table(path), bootstrap=0)
    assert law.startswith(f"{fit.params['E']:.4g} + ")
    assert f"(the law {fit.law.name};" in said
    assert set(re.findall(r"`(\w+)`", said.partition("warns of")[2])) == {one.code for one in fit.warnings}
    assert models.law_of(tmp_path / "alone" / "run") == ""
    few = Store(tmp_path / "few")
    language(few, widths=(16,), budgets=(1e6,), seeds=(0,))
    few.finish()
    assert models.law_of(next((few.path / "runs").iterdir())) == ""


def test_a_card_names_no_folder_of_the_machine(tmp_path):
    (tmp_path / "texts").mkdir()
    config = RunConfig(tokens=10_000, data=DataConfig(source=str(tmp_path / "texts")))
    made = {"architectures": ["LlamaForCausalLM"]}
    text = models.card(config, {"tokens": 9_984}, made, {}, "Of 8 runs of its store. ")
    assert "| data | texts |" in text
    assert str(tmp_path) not in text
    assert "| tokens seen | 9,984 |" in text
    assert "\nOf 8 runs of its store. Run `lab fit STORE`" in text
