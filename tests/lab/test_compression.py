import json

import jax
import numpy as np
import pytest

from lab.compression import packed, scores
from lab.compression.encoded import (
    Factors,
    Method,
    Plain,
    Rounded,
    decode,
    encode,
    flat,
    largest,
    low_rank,
    nested,
    rounded,
    two_of_four,
)
from lab.config import ModelConfig
from lab.errors import InputError
from lab.evaluation.generate import generate
from lab.model import decoder, drawn
from lab.model.rounding import Rounding, levels
from lab.model.rounding import rounded as rounded_activations

V = 12
CONFIG = ModelConfig(width=16, layers=2, heads=2)
ALL = (
    *(Method("weights", bits) for bits in range(2, 9)),
    Method("prune_global", 0.5),
    Method("prune_layer", 0.3),
    Method("prune_2_4"),
    Method("low_rank", 0.5),
    Method(),
)


@pytest.fixture(scope="module")
def params():
    found = drawn.params(3, CONFIG, V)
    found["head"]["kernel"] = found["head"]["kernel"] * 30  # decided enough for different continuations
    return found


def test_rounding_by_hand():
    """Two bits are -1, 0, 1 times the largest of a column; three bits -3 to 3 thirds of it."""
    matrix = np.array([[1.0, 0.6], [0.4, -3.0], [-0.6, 1.4]], np.float32)
    two = rounded(matrix, 2)
    np.testing.assert_array_equal(two.codes_IxO, [[1, 0], [0, -1], [-1, 0]])
    np.testing.assert_array_equal(two.scales, [[1, 3]])
    np.testing.assert_array_equal(rounded(matrix, 3).codes_IxO, [[3, 1], [1, -3], [-2, 1]])
    rows = rounded(matrix, 2, is_table=True)
    np.testing.assert_array_equal(rows.scales, np.float32([[1], [3], [1.4]]))
    np.testing.assert_array_equal(rounded(np.zeros((3, 2), np.float32), 4).codes_IxO, 0)


@pytest.mark.parametrize("bits", range(2, 9))
def test_no_weight_is_off_by_more_than_half_a_step(bits):
    matrix = np.random.default_rng(bits).normal(size=(40, 30)).astype(np.float32)
    kept = rounded(matrix, bits)
    error = np.abs(decode({"a": kept})["a"] - matrix)
    step = np.abs(matrix).max(0) / (2 ** (bits - 1) - 1)
    assert (error <= step / 2 * (1 + 1e-5)).all()
    assert (error.max(0) > step / 2 * 0.7).all(), "and some come near it"
    # the errors of a fine grid are spread evenly over a step: a variance of a twelfth
    if bits >= 5:
        assert np.mean((error / step) ** 2) == pytest.approx(1 / 12, rel=0.1)


def test_pruning_takes_the_smallest_and_exactly_so_many(params):
    matrix = np.array([[0.1, -5.0], [2.0, -0.3]], np.float32)
    np.testing.assert_array_equal(largest(np.abs(matrix), 0.5), [[False, True], [True, False]])
    arrays, everywhere = flat(params), flat(decode(encode(params, Method("prune_global", 0.4))))
    blocks = [name for name in arrays if name.startswith(("attention", "mlp")) and arrays[name].ndim == 2]
    gone = np.concatenate([(everywhere[name] == 0).ravel() for name in blocks])
    sizes = np.concatenate([np.abs(arrays[name]).ravel() for name in blocks])
    assert gone.sum() == round(0.4 * len(gone))
    assert sizes[gone].max() <= sizes[~gone].min()
    for name, array in flat(decode(encode(params, Method("prune_layer", 0.4)))).items():
        wanted = round(0.4 * array.size) if name in blocks else 0
        assert (array == 0).sum() == wanted, name


def test_two_of_four_keeps_the_two_largest_of_each_group():
    matrix = np.array([[1, 9], [-4, 1], [2, 2], [3, 8], [5, 0], [7, 1]], np.float32)
    np.testing.assert_array_equal(
        two_of_four(matrix), [[0, 1], [1, 0], [0, 0], [1, 1], [0, 0], [1, 1]], "the last two keep one"
    )
    kept = two_of_four(np.random.default_rng(0).normal(size=(64, 5)))
    assert (kept.reshape(16, 4, 5).sum(1) == 2).all()


def test_low_rank_is_the_nearest_of_its_rank():
    """Eckart and Young: what is left of the squares is those of the singular values beyond the rank."""
    matrix = np.random.default_rng(1).normal(size=(24, 40)).astype(np.float32)
    kept = low_rank(matrix, 0.5)
    rank = kept.left_IxR.shape[1]
    assert rank == int(0.5 * 24 * 40 / 64)
    sizes = np.linalg.svd(matrix, compute_uv=False)
    error = ((decode({"a": kept})["a"] - matrix) ** 2).sum()
    assert error == pytest.approx((sizes[rank:] ** 2).sum(), rel=1e-4)


@pytest.mark.parametrize("method", ALL, ids=str)
def test_a_packed_model_is_the_measured_one_bit_for_bit(method, params, tmp_path):
    kept = encode(params, method)
    (tmp_path / packed.NAME).write_bytes(packed.dumped(kept, method))
    again = packed.params(tmp_path / packed.NAME, params)
    for (name, one), (other, two) in zip(flat(decode(kept)).items(), flat(again).items(), strict=True):
        assert name == other
        assert one.dtype == two.dtype == np.float32
        np.testing.assert_array_equal(one, two, name)


def test_bytes_by_hand(params):
    """A matrix of n weights in b bits takes n b / 8 bytes and 4 for each channel; pruned, a bit for each and
    4 for those kept; of rank r, 4 r for each row and column; the rest 4 each."""
    arrays = flat(params)
    matrices = {name: a for name, a in arrays.items() if a.ndim == 2}
    blocks = {n: a for n, a in matrices.items() if n.startswith(("attention", "mlp"))}
    whole = 4 * sum(a.size for a in arrays.values())
    header = lambda kept, method: packed.size(kept, method) - _body(kept, method)

    def body(method):
        return _body(encode(params, method), method)

    for bits in (2, 3, 5, 8):
        vectors = whole - 4 * sum(a.size for a in matrices.values())
        channels = sum(len(a) if n == "embed/embedding" else a.shape[1] for n, a in matrices.items())
        codes = sum(-(-a.size * bits // 8) for a in matrices.values())
        assert body(Method("weights", bits)) == vectors + codes + 4 * channels
    rest = whole - 4 * sum(a.size for a in blocks.values())
    weights = sum(a.size for a in blocks.values())
    assert body(Method("prune_2_4")) == rest + weights // 8 + 4 * weights // 2
    ranks = {n: int(0.5 * a.size / sum(a.shape)) for n, a in blocks.items()}
    assert body(Method("low_rank", 0.5)) == rest + sum(4 * ranks[n] * sum(a.shape) for n, a in blocks.items())
    assert body(Method()) == whole
    assert 0 < header(encode(params, Method()), Method()) < 3000


def _body(kept, method) -> int:
    content = packed.dumped(kept, method)
    start = len(packed._MARK) + 8
    return len(content) - start - int.from_bytes(content[start - 8 : start], "little")


def test_a_loaded_model_generates_the_tokens_of_the_simulated_one(params, tmp_path):
    prompts = [[1], [2, 3, 4, 5], [7, 7]]
    said = {}
    for bits in (8, 3):
        method = Method("weights", bits)
        kept = encode(params, method)
        (tmp_path / packed.NAME).write_bytes(packed.dumped(kept, method))
        for name, one in (
            ("simulated", decode(kept)),
            ("loaded", packed.params(tmp_path / packed.NAME, params)),
        ):
            said[bits, name] = generate(one, prompts, CONFIG, V, 11, window=64, max_new=15)
        assert said[bits, "simulated"] == said[bits, "loaded"]
    assert said[8, "loaded"] != said[3, "loaded"], "else nothing was compressed"


def test_activations_and_cache_are_rounded_where_they_are_held(params):
    """To 8 bits hardly anything changes, to 2 much; no bits is the plain model, in one program for all."""
    tokens = jax.random.randint(jax.random.key(5), (3, 16), 0, V)
    run = jax.jit(lambda rounding: decoder.apply(params, tokens, CONFIG, V, rounding=rounding))
    plain = jax.jit(lambda: decoder.apply(params, tokens, CONFIG, V))()
    zero = np.float32(0)
    np.testing.assert_allclose(run(Rounding(zero, zero)), plain, atol=1e-4)
    for kind in range(2):
        off = []
        for bits in (8, 4, 2):
            tops = [zero, zero]
            tops[kind] = np.float32(levels(bits))
            off.append(float(np.abs(run(Rounding(*tops)) - plain).mean()))
        assert 0 < off[0] < 0.2 * off[1] < 0.2 * off[2]
    assert run._cache_size() == 1


def test_cached_keys_and_values_are_those_of_the_whole_pass(params):
    """Rounded keys and values are the same whether a text is read at once or a token at a time."""
    tokens = jax.random.randint(jax.random.key(6), (2, 16), 0, V)
    rounding = Rounding(np.float32(0), np.float32(levels(4)))
    cached = jax.jit(
        lambda part, cache: decoder.apply_cached(params, part, cache, CONFIG, V, 16, rounding),
    )
    cache, parts = decoder.empty_cache(CONFIG, 2, 16), []
    for t in range(16):
        logits, cache = cached(tokens[:, t : t + 1], cache)
        parts.append(logits)
    whole = jax.jit(lambda: decoder.apply(params, tokens, CONFIG, V, rounding=rounding))()
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=2e-3)


def test_a_rounded_row_by_hand():
    x = np.array([[0.0, 1.0, -2.0, 0.6], [0.0, 0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(rounded_activations(x, 3.0), [[0, 4 / 3, -2, 2 / 3], [0] * 4], atol=1e-6)
    np.testing.assert_array_equal(rounded_activations(x, 0.0), x)


def test_paired_errors_are_of_the_difference():
    """Windows differ far more from each other than a window does from itself compressed."""
    count = np.full(200, 10)
    difference = np.random.default_rng(0).normal(0.5, 0.1, 200)
    mean, se = scores.paired(difference, count)
    assert mean == pytest.approx(difference.mean() / 10)
    assert se == pytest.approx(difference.std(ddof=1) / 10 / np.sqrt(200))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("weights-4", Method("weights", 4)),
        ("prune-global-0.5", Method("prune_global", 0.5)),
        ("prune-2-4", Method("prune_2_4")),
        ("low-rank-0.25", Method("low_rank", 0.25)),
    ],
)
def test_methods_by_name(text, wanted):
    assert Method.parse(text) == wanted
    assert str(wanted) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("weights-1", "2 to 8, is 1"),
        ("weights-4.5", "should be whole"),
        ("cache-9", "is 9"),
        ("prune-layer-1", "above 0 and below 1"),
        ("low-rank-nan", "above 0 and below 1"),
        ("weights-inf", "should be whole"),
        ("weigths-4", "is no method; as in weights-4"),
        ("weights", "is no method"),
    ],
)
def test_a_method_that_cannot_be_is_one_line(text, why):
    with pytest.raises(InputError, match=why) as caught:
        Method.parse(text)
    assert len(caught.value.problems) == 1


def test_a_damaged_or_foreign_file_is_one_line(params, tmp_path):
    method = Method("weights", 4)
    good = packed.dumped(encode(params, method), method)
    start = len(packed._MARK) + 8
    length = int.from_bytes(good[start - 8 : start], "little")
    head = json.loads(good[start : start + length])

    def with_head(**changed):
        text = json.dumps({**head, **changed}).encode()
        return packed._MARK + len(text).to_bytes(8, "little") + text + good[start + length :]

    flipped = bytearray(good)
    flipped[-3] ^= 1
    arrays = head["arrays"]
    cases = {
        b"": "no packed model",
        b"PK\x03\x04": "no packed model",
        good[:-5]: "damaged",
        bytes(flipped): "damaged",
        good[: start + 10]: "damaged",
        with_head(arrays=[]): "of another model",
        with_head(arrays=[{**arrays[0], "shape": [10**9, 10**9]}, *arrays[1:]]): "of another model",
        with_head(arrays=[{**arrays[0], "kind": "pickle"}, *arrays[1:]]): "damaged",
        with_head(arrays=[{**one, "bits": 40} for one in arrays]): "damaged",
        with_head(method={"kind": "weights", "amount": 77}): "2 to 8",
        with_head(method=[]): "damaged",
    }
    for content, why in cases.items():
        (tmp_path / packed.NAME).write_bytes(content)
        with pytest.raises(InputError, match=why) as caught:
            packed.params(tmp_path / packed.NAME, params)
        assert len(caught.value.problems) == 1


def test_flat_and_nested_are_inverse(params):
    assert jax.tree.structure(nested(flat(params))) == jax.tree.structure(params)
    assert isinstance(encode(params, Method())["embed/embedding"], Plain)
    assert isinstance(encode(params, Method("weights", 4))["embed/embedding"], Rounded)
    assert isinstance(encode(params, Method("low_rank", 0.5))["embed/embedding"], Plain), "blocks alone"
    assert isinstance(encode(params, Method("low_rank", 0.5))["mlp_0/up/kernel"], Factors)
