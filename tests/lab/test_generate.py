import math
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.config import ModelConfig, Sampling
from lab.evaluation.generate import _program, generate
from lab.model import decoder, drawn

V, END = 12, 11
CONFIG = ModelConfig(width=16, layers=2, heads=2)
# One program each: called as they are, every operation of every shape would be compiled by itself.
apply = jax.jit(decoder.apply, static_argnames=("config", "vocab"))
apply_cached = jax.jit(decoder.apply_cached, static_argnames=("config", "vocab", "window"))


@pytest.fixture(scope="module")
def params():
    found = drawn.params(3, CONFIG, V)
    found["head"]["kernel"] = found["head"]["kernel"] * 30  # decided enough for different continuations
    return found


def slow_greedy(params, prompt, n):
    tokens = list(prompt)
    for _ in range(n):
        padded = np.zeros((1, 24), np.int32)  # one length for all: no position sees what is to its right
        padded[0, : len(tokens)] = tokens
        logits = apply(params, padded, CONFIG, V)[0, len(tokens) - 1]
        tokens.append(int(np.argmax(logits)))
        if tokens[-1] == END:
            return tokens[len(prompt) : -1]
    return tokens[len(prompt) :]


def test_greedy_of_prompts_of_different_lengths_is_the_slow_one(params):
    prompts = [[1], [2, 3, 4, 5], [7, 7], [10, 0, 3]]
    got = generate(params, prompts, CONFIG, V, END, window=64, max_new=15)
    assert got == [slow_greedy(params, p, 15) for p in prompts]


def test_it_stops_at_the_end(params):
    always = dict(params, head={"kernel": jnp.zeros((16, V))})  # all logits equal: argmax is token 0
    assert generate(always, [[1, 2]], CONFIG, V, end=0, window=8, max_new=9) == [[]]
    assert generate(always, [[1, 2]], CONFIG, V, end=5, window=8, max_new=9) == [[0] * 9]


def test_samples_follow_the_probabilities(params):
    n = 3000
    tokens = generate(
        params, [[4, 2]] * n, CONFIG, V, end=V, window=8, max_new=1, sampling=Sampling(1.0), seed=1
    )
    expected = np.asarray(jax.nn.softmax(apply(params, jnp.array([[4, 2]]), CONFIG, V)[0, -1]))
    counts = np.bincount([t[0] for t in tokens], minlength=V)
    assert (abs(counts / n - expected) < 4 * np.sqrt(expected * (1 - expected) / n) + 1e-9).all()


@pytest.mark.parametrize(
    "sampling", [Sampling(1.0, top_k=3), Sampling(1.0, top_p=0.6)], ids=["top k", "top p"]
)
def test_only_the_probable_tokens_are_drawn(sampling, params):
    probabilities = np.asarray(jax.nn.softmax(apply(params, jnp.array([[4, 2]]), CONFIG, V)[0, -1]))
    order = np.argsort(-probabilities)
    keep = 3 if sampling.top_k else 1 + int(np.searchsorted(np.cumsum(probabilities[order]), 0.6))
    tokens = generate(params, [[4, 2]] * 800, CONFIG, V, V, window=8, max_new=1, sampling=sampling)
    assert {t[0] for t in tokens} == set(order[:keep].tolist())


def test_the_same_seed_gives_the_same_text(params):
    draw = lambda seed: generate(params, [[1]], CONFIG, V, END, 64, 30, Sampling(1.0), seed)
    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


def test_cached_logits_equal_uncached_ones_beyond_the_context(params):
    """A token at a time, against all at once: with a window of 6, far past it."""
    tokens = jax.random.randint(jax.random.key(5), (3, 16), 0, V)
    cache = decoder.empty_cache(CONFIG, 3, 16)
    parts = []
    for t in range(16):
        logits, cache = apply_cached(params, tokens[:, t : t + 1], cache, CONFIG, V, window=6)
        parts.append(logits)
    whole, _ = apply_cached(params, tokens, decoder.empty_cache(CONFIG, 3, 16), CONFIG, V, window=6)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=1e-5)
    plain = apply(params, tokens[:, :6], CONFIG, V)
    np.testing.assert_allclose(whole[:, :6], plain, atol=1e-5)


def test_generation_slides_past_the_context(params):
    """Greedy text longer than the window, against a slow decoder that sees the same window in each layer."""
    prompt = [3, 1, 4]

    def logits_at_end(tokens):
        padded = np.zeros((1, 12), np.int32)
        padded[0, : len(tokens)] = tokens
        cache = decoder.empty_cache(CONFIG, 1, 12)
        return apply_cached(params, padded, cache, CONFIG, V, window=5)[0][0, len(tokens) - 1]

    expected = list(prompt)
    for _ in range(9):
        expected.append(int(jnp.argmax(logits_at_end(expected))))
    got = generate(params, [prompt], CONFIG, V, end=V, window=5, max_new=9)
    assert got == [expected[len(prompt) :]]


def test_prompts_longer_than_the_window_are_read_in_blocks(params):
    """Against one call that sees all positions: three blocks, and a window within, at and beyond one."""
    prompts = [[(7 * i + 3 * k) % V for i in range(k)] for k in (49, 60)]
    for window in (5, 16, 20):
        expected = []
        for prompt in prompts:
            tokens = list(prompt)
            for _ in range(3):
                padded = np.zeros((1, 64), np.int32)
                padded[0, : len(tokens)] = tokens
                cache = decoder.empty_cache(CONFIG, 1, 64)
                logits, _ = apply_cached(params, padded, cache, CONFIG, V, window=window)
                tokens.append(int(jnp.argmax(logits[0, len(tokens) - 1])))
            expected.append(tokens[len(prompt) :])
        assert generate(params, prompts, CONFIG, V, V, window, max_new=3) == expected


def made_by_loops(text: str) -> list[list[tuple[str, int]]]:
    """Of each loop of a compiled program: the operation that makes each float array, and its elements."""
    bodies, lines = {}, []
    for line in text.splitlines():
        if named := re.match(r"(?:ENTRY )?%(\S+) .*\{$", line):
            lines = bodies.setdefault(named[1], [])
        lines.append(line)

    def operation(line: str, name: str) -> str:
        if called := re.search(r"calls=%([\w.-]+)", line):
            (root,) = (one for one in bodies[called[1]] if "ROOT" in one)
            return re.search(r" ([\w-]+)\(", root.split(" = ")[1])[1]
        return name

    pattern = re.compile(r"\s+(?:ROOT )?%\S+ = f32\[([\d,]*)\]\S* ([\w-]+)\(")
    views = ("parameter", "get-tuple-element", "bitcast")
    return [
        [
            (operation(line, made[2]), math.prod(map(int, filter(None, made[1].split(",")))))
            for line in bodies[name]
            if (made := pattern.match(line)) and made[2] not in views
        ]
        for name in re.findall(r" while\(.*body=%([\w.-]+)", text)
    ]


def test_a_token_copies_no_cache(params):
    """Its own place is written, and keys and values are read once: no token pays for those before it."""
    S = 1024
    args = params, np.zeros((1, S), np.int32), np.ones(1, np.int32), np.int32(0), np.int32(S - 1)
    program = _program(CONFIG, V, END, S, 0, False)
    # The suite fuses otherwise than programs of users do, with the versions that know this option.
    option = "xla_cpu_use_fusion_emitters"
    as_for_users = {option: True} if option in os.environ.get("XLA_FLAGS", "") else None
    text = program.lower(*args, np.uint32(0), 1.0, 1.0).compile(as_for_users).as_text()
    layer = S * CONFIG.width
    loops = [[one for one in found if one[1] >= layer] for found in made_by_loops(text)]
    (token,) = (found for found in loops if "dynamic-update-slice" in [name for name, _ in found])
    written = [elements for name, elements in token if name == "dynamic-update-slice"]
    assert written == [layer] * 2 * CONFIG.layers, "in place, one layer's keys or values each"
    assert sum(elements for _, elements in token) - sum(written) <= 2 * CONFIG.layers * layer


def test_prompts_come_from_a_file_a_line_each(tmp_path):
    from lab.errors import InputError
    from lab.verbs.generate import lines

    path = tmp_path / "prompts.txt"
    path.write_text("one\n\nthree\n")
    assert lines(path) == ["one", "", "three"]
    path.write_text("")
    with pytest.raises(InputError, match="has no line"):
        lines(path)
