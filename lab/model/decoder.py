"""The decoder: pre-norm transformer with rotary positions. The one file that imports flax.

Shapes are in the names: B sequences, T positions, N = B T, S cached positions, M width, H heads, K head
width, F hidden width, V vocabulary. Modules have no mutable state: ``init`` and ``apply`` are the whole
interface, so that vmap, pmap, grad, optimisers and checkpoints see a plain nested dict of arrays.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core.scope import LazyRng

from lab.config import ModelConfig
from lab.model import kernels, layers, parametrization
from lab.model.rounding import Rounding, rounded

_normal = nn.initializers.normal  # of a standard deviation


class Cache(NamedTuple):
    """Keys and values of the last S positions of each layer, and how many were seen in all.

    Position p lies in place p mod S, so that what slides out of the window makes room for what comes. Each
    layer has arrays of its own: a step writes one place of each, and a loop writes it where it lies.
    """

    keys: tuple[jax.Array, ...]  # L of (B, S, H, K)
    values: tuple[jax.Array, ...]
    length: jax.Array  # int32 scalar


def init(key: jax.Array, config: ModelConfig, vocab: int) -> dict:
    """Initial parameters: float32, a nested dict; as lab/model/parametrization.py says.

    In the standard one, matrices have standard deviation 1/sqrt(fan_in); those that write into the residual
    stream are divided by sqrt(2 L) more (GPT-2). The head's 1/M keeps the first logits small: the untrained
    loss is ln V. What modules would compute of them is left out while they are initialised: it would be
    traced, which is what counting the parameters of a shape costs, and thrown away.
    """
    return Decoder(config, vocab).init(key, jnp.zeros((1, 2), jnp.int32))["params"]


def described(config: ModelConfig, vocab: int) -> tuple[dict, dict[tuple[str, ...], float]]:
    """Shapes of :func:`init`; and by key path the standard deviation of what it draws. The rest are ones."""
    stds = {("embed", "embedding"): 1.0}

    def look(call, args, kwargs, context):
        if isinstance(context.module, Dense):
            stds[(*context.module.path, "kernel")] = context.module.std
        if isinstance(context.module, (Dense, Decoder)) and context.method_name == "__call__":
            kwargs = kwargs | {"draw": _undrawn}
        return call(*args, **kwargs)

    with nn.intercept_methods(look):
        shapes = jax.eval_shape(lambda: init(jax.random.key(0), config, vocab))
    return shapes, stds


def _undrawn(std: float):
    """Of the shape of a draw, which is all that is asked for: traced ten times as fast."""
    return nn.initializers.zeros_init()


def key_of(key: jax.Array, path: tuple[str, ...]) -> jax.Array:
    """The key by which :func:`init` draws the parameter at ``path``, the one of its module."""
    return LazyRng.create(key, *path[:-1], 1).as_jax_rng()


def apply(
    params: dict,
    tokens_BxT: jax.Array,
    config: ModelConfig,
    vocab: int,
    dtype=jnp.float32,
    view=None,
    rounding: Rounding | None = None,
    **how,
) -> jax.Array:
    """Logits float32 (B, T, V); position t sees tokens 0..t.

    Args:
        params: layers apart, which are unrolled, or stacked, which are one loop (:mod:`lab.model.layers`).
        view: parameters as they are used, from those stored (:mod:`lab.training.mesh`); of stacked layers
            each is seen when its turn comes.
        how: ``remat``, ``shards`` of Decoder.
    """
    if view is not None:
        kept = {name: group for name, group in params.items() if name == layers.STACK}
        params = view({name: group for name, group in params.items() if name not in kept}) | kept
    model = Decoder(config, vocab, dtype, view=view, **how)
    return model.apply({"params": params}, tokens_BxT, rounding=rounding)[0]


def activations(params: dict, tokens_BxT: jax.Array, config: ModelConfig, vocab: int) -> dict[str, jax.Array]:
    """What flows through the model: ``embedding``, ``block_0`` .. after each block (N, M), ``logits``."""
    params = layers.apart(params)
    (logits_BxTxV, _), kept = Decoder(config, vocab).apply(
        {"params": params}, tokens_BxT, mutable=["intermediates"]
    )
    table_VxM = params["embed"]["embedding"]
    streams = {f"block_{i}": kept["intermediates"][f"stream_{i}"][0] for i in range(config.layers)}
    return {"embedding": table_VxM[tokens_BxT.reshape(-1)], **streams, "logits": logits_BxTxV}


def apply_cached(
    params: dict,
    tokens_BxT,
    cache: Cache,
    config: ModelConfig,
    vocab: int,
    window: int,
    rounding: Rounding | None = None,
):
    """Logits (B, T, V) for tokens that follow ``cache.length`` seen ones, and the cache with them.

    Each position sees the last ``window`` ones: past the trained context, attention slides, since rotary
    positions are relative. The cache must hold as many positions, or all that will ever be seen.
    """
    model = Decoder(config, vocab, window=window)
    return model.apply({"params": layers.apart(params)}, tokens_BxT, cache, rounding)


def empty_cache(config: ModelConfig, batch: int, positions: int) -> Cache:
    """Room for the last ``positions`` of each sequence."""

    def zeros():
        shape = (batch, positions, config.heads, config.head_width)
        return tuple(jnp.zeros(shape) for _ in range(config.layers))

    return Cache(zeros(), zeros(), jnp.int32(0))


class Decoder(nn.Module):
    config: ModelConfig
    vocab: int
    dtype: jnp.dtype = jnp.float32  # of activations; parameters and logits are float32
    window: int = 0  # positions seen back from each, with a cache; without one, all
    remat: bool = False  # keep only each layer's input for the backward pass, and compute the layer again
    shards: int = 1  # devices that share the heads of a layer: see lab.training.mesh.view
    view: Callable | None = None  # a stacked layer's parameters as they are used: see apply

    @nn.compact
    def __call__(
        self, tokens_BxT, cache: Cache | None = None, rounding: Rounding | None = None, draw=_normal
    ):
        c = self.config
        # of parameters that are given, flax asks the initialiser for their shape
        drawn = draw(1.0) if self.is_initializing() else _undrawn(1.0)
        table = nn.Embed(self.vocab, c.width, embedding_init=drawn, dtype=self.dtype, name="embed")
        B, T = tokens_BxT.shape
        # flat from here on: gradients of weights contract over one axis N = B T, not over two, which XLA:CPU
        # runs far slower
        x_NxM = table(tokens_BxT.reshape(B * T))
        start = 0 if cache is None else cache.length
        # <start> is the last id but one of every vocabulary; what is generated is one document
        is_masked = c.document_mask and cache is None
        document_BxT = jnp.cumsum(tokens_BxT == self.vocab - 2, axis=1) if is_masked else None
        grown = []
        block = nn.remat(Decoder.block, static_argnums=(1, 3)) if self.remat else Decoder.block
        is_stacked = self.has_variable("params", layers.STACK)
        if is_stacked:
            x_NxM = self.loop(x_NxM, (B, T), document_BxT, rounding)
        for layer in range(0 if is_stacked else c.layers):
            past = None if cache is None else (cache.keys[layer], cache.values[layer])
            x_NxM, kept = block(self, layer, x_NxM, (B, T), start, past, document_BxT, rounding)
            self.sow("intermediates", f"stream_{layer}", x_NxM)  # nothing unless activations() asks
            grown.append(kept)
        # logits in float32 whatever the activations: 16 bits round by more than losses are told apart
        x_NxM, scale_M = Norm(jnp.float32, name="norm_final")(x_NxM)
        if c.tied:
            # the table has unit rows at initialisation; 1/M gives the logits the size of an untied head's
            if rounding is not None:
                x_NxM = rounded(x_NxM, rounding.activations)
            logits_NxV = jnp.dot(x_NxM * scale_M, table.embedding.T) / c.width
        else:
            head = Dense(self.vocab, parametrization.head_std(c), jnp.float32, name="head")
            logits_NxV = head(x_NxM, scale_M, rounding)
            logits_NxV = scaled(logits_NxV, parametrization.multipliers(c).logits)
        logits_BxTxV = logits_NxV.reshape(B, T, self.vocab)
        if cache is None:
            return logits_BxTxV, None
        keys, values = zip(*grown, strict=True)
        return logits_BxTxV, Cache(keys, values, start + T)

    def block(self, layer, x_NxM, shape, start, past, document_BxT, rounding):
        return _block(self, f"_{layer}", x_NxM, shape, start, past, document_BxT, rounding)

    def loop(self, x_NxM, shape, document_BxT, rounding):
        """All layers, whose parameters are stacked, as one loop."""
        one = Block(self.config, self.dtype, shards=self.shards, parent=None)

        def layer(x_NxM, params):
            params = params if self.view is None else self.view(params)
            return one.apply({"params": params}, x_NxM, shape, document_BxT, rounding), None

        # What was gathered must not be kept for the way back: only the results of products are.
        policy = None if self.remat else jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        if self.remat or self.view is not None:
            layer = jax.checkpoint(layer, prevent_cse=False, policy=policy)
        return jax.lax.scan(layer, x_NxM, self.get_variable("params", layers.STACK))[0]


class Block(nn.Module):
    """One layer by itself."""

    config: ModelConfig
    dtype: jnp.dtype
    window: int = 0
    shards: int = 1

    @nn.compact
    def __call__(self, x_NxM, shape, document_BxT, rounding=None):
        return _block(self, "", x_NxM, shape, 0, None, document_BxT, rounding)[0]


def _block(module: nn.Module, suffix: str, x_NxM, shape, start, past, document_BxT, rounding):
    """A layer whose parts are parts of ``module``, under their names and ``suffix``."""
    c, dtype = module.config, module.dtype
    factor = parametrization.multipliers(c).residual
    attention = Attention(c, dtype, module.window, module.shards, name=f"attention{suffix}")
    normed = Norm(dtype, name=f"norm_a{suffix}")(x_NxM)
    out_NxM, kept = attention(*normed, shape, start, past, document_BxT, rounding)
    x_NxM = x_NxM + scaled(out_NxM, factor)
    mlp = Mlp(c, dtype, name=f"mlp{suffix}")
    normed = Norm(dtype, name=f"norm_m{suffix}")(x_NxM)
    return x_NxM + scaled(mlp(*normed, rounding), factor), kept


class Norm(nn.Module):
    """RMS normalisation (1910.07467); the learned scale is returned apart, for the product that follows."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_NxM):
        scale_M = self.param("scale", nn.initializers.ones_init(), x_NxM.shape[-1:])
        if self.is_initializing():
            return x_NxM, scale_M
        x_NxM = x_NxM.astype(jnp.float32)
        size_Nx1 = jnp.sqrt(jnp.mean(x_NxM * x_NxM, axis=-1, keepdims=True) + 1e-6)
        return (x_NxM / size_Nx1).astype(self.dtype), scale_M


class Dense(nn.Module):
    """A product without bias. ``scale``, of the norm before it, is put into the matrix.

    (x * scale) W = x (scale W): what would be two passes over the activations, and in the gradient a slow sum
    over all positions, becomes a multiplication of small matrices.
    """

    features: int
    std: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_NxI, scale_I=None, rounding: Rounding | None = None, draw=_normal):
        shape = x_NxI.shape[-1], self.features
        drawn = draw(self.std) if self.is_initializing() else _undrawn(self.std)
        kernel_IxO = self.param("kernel", drawn, shape)
        if self.is_initializing():
            return jnp.zeros((x_NxI.shape[0], self.features), self.dtype)
        if scale_I is not None:
            kernel_IxO = scale_I[:, None] * kernel_IxO
        if rounding is not None:
            x_NxI = rounded(x_NxI, rounding.activations)
        multiply = narrowing if shape[0] > shape[1] and kernels.turns_gradients() else jnp.matmul
        return multiply(x_NxI.astype(self.dtype), kernel_IxO.astype(self.dtype))


@jax.custom_vjp
def narrowing(x_NxI, w_IxO):
    """x w for I > O, with the gradient of w computed as a transposed (O, I) product.

    XLA:CPU runs the wide form, (O, N) times (N, I), far faster than (I, N) times (N, O).
    """
    return x_NxI @ w_IxO


def _narrowing_forward(x_NxI, w_IxO):
    return x_NxI @ w_IxO, (x_NxI, w_IxO)


def _narrowing_backward(kept, dy_NxO):
    x_NxI, w_IxO = kept
    # without the barrier the compiler would turn the transposed product back into the slow one
    return dy_NxO @ w_IxO.T, jax.lax.optimization_barrier(dy_NxO.T @ x_NxI).T


narrowing.defvjp(_narrowing_forward, _narrowing_backward)


class Attention(nn.Module):
    config: ModelConfig
    dtype: jnp.dtype
    window: int
    shards: int

    @nn.compact
    def __call__(self, x_NxM, scale_M, shape, start, past, document_BxT=None, rounding=None):
        c = self.config
        (B, T), M = shape, c.width
        H, K = c.heads, c.head_width
        # one product for queries, keys and values: three narrow ones reach a lower rate. And split, not
        # indexing: its gradient is one concatenation instead of three padded sums
        qkv = Dense(3 * M, parametrization.matrix_std(c, M), self.dtype, name="qkv")
        qkv_Nx3M = qkv(x_NxM, scale_M, rounding)
        if self.shards > 1:  # the columns come ordered by device
            qkv_Nx3M = qkv_Nx3M.reshape(B * T, self.shards, 3 * M // self.shards)
        q_BxTxHxK, k_BxTxHxK, v_BxTxHxK = (a.reshape(B, T, H, K) for a in jnp.split(qkv_Nx3M, 3, axis=-1))
        if c.qk_norm:
            q_BxTxHxK = nn.RMSNorm(epsilon=1e-6, dtype=self.dtype, name="norm_q")(q_BxTxHxK)
            k_BxTxHxK = nn.RMSNorm(epsilon=1e-6, dtype=self.dtype, name="norm_k")(k_BxTxHxK)
        std = parametrization.matrix_std(c, M, into_residual=True)
        write = Dense(M, std, self.dtype, name="out")
        if self.is_initializing():
            return write(v_BxTxHxK.reshape(B * T, M)), None
        positions_T = start + jnp.arange(T)
        # the scale of the scores is part of the turn's cosines and sines: one pass less
        scale = K**-0.5 * parametrization.multipliers(c).attention
        q_BxTxHxK, k_BxTxHxK = rotate(q_BxTxHxK, positions_T, scale), rotate(k_BxTxHxK, positions_T)
        if rounding is not None:
            k_BxTxHxK, v_BxTxHxK = (rounded(a, rounding.cache) for a in (k_BxTxHxK, v_BxTxHxK))
        if past is None:
            out_BxTxHxK, kept = attend_causal(q_BxTxHxK, k_BxTxHxK, v_BxTxHxK, document_BxT), None
        else:
            out_BxTxHxK, kept = attend_cached(q_BxTxHxK, k_BxTxHxK, v_BxTxHxK, past, start, self.window)
        return write(out_BxTxHxK.reshape(B * T, M), rounding=rounding), kept


class Mlp(nn.Module):
    config: ModelConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x_NxM, scale_M, rounding=None):
        c = self.config
        std = parametrization.matrix_std(c, c.width)
        up_NxF = Dense(c.hidden, std, self.dtype, name="up")(x_NxM, scale_M, rounding)
        if c.mlp == "gated":
            gate_NxF = Dense(c.hidden, std, self.dtype, name="gate")(x_NxM, scale_M, rounding)
            act_NxF = nn.silu(gate_NxF) * up_NxF
        else:
            act_NxF = nn.gelu(up_NxF)
        std = parametrization.matrix_std(c, c.hidden, into_residual=True)
        return Dense(c.width, std, self.dtype, name="down")(act_NxF, rounding=rounding)


def attend(q_BxTxHxK, k_BxSxHxK, v_BxSxHxK, seen_TxS):
    """Softmax attention where ``seen_TxS``, of queries that are scaled already.

    Products are batched over (B, H), which XLA:CPU runs fastest.
    """
    q_BxHxTxK, k_BxHxSxK, v_BxHxSxK = (a.swapaxes(1, 2) for a in (q_BxTxHxK, k_BxSxHxK, v_BxSxHxK))
    scores_BxHxTxS = q_BxHxTxK @ k_BxHxSxK.swapaxes(2, 3)
    scores_BxHxTxS = jnp.where(seen_TxS, scores_BxHxTxS.astype(jnp.float32), -1e30)
    top_BxHxTx1 = jax.lax.stop_gradient(scores_BxHxTxS.max(-1, keepdims=True))
    weights_BxHxTxS = jnp.exp(scores_BxHxTxS - top_BxHxTx1)
    # dividing K values instead of S weights; exact, since both are linear in the weights
    out_BxHxTxK = weights_BxHxTxS.astype(v_BxHxSxK.dtype) @ v_BxHxSxK
    total_BxHxTx1 = weights_BxHxTxS.sum(-1, keepdims=True).astype(out_BxHxTxK.dtype)
    return (out_BxHxTxK / total_BxHxTx1).swapaxes(1, 2)


def attend_causal(q_BxTxHxK, k_BxTxHxK, v_BxTxHxK, document_BxT=None):
    """Causal attention in blocks of queries, each of which leaves out the keys that none of it sees.

    With the number of the document at each position, none sees another document. Rotary positions are
    relative, so those of a document then count from its own start.
    """
    T, K = q_BxTxHxK.shape[1], q_BxTxHxK.shape[3]
    if (kernel := kernels.here(q_BxTxHxK.dtype, K)) != "blocks":
        if document_BxT is not None:
            return jax.nn.dot_product_attention(
                q_BxTxHxK,
                k_BxTxHxK,
                v_BxTxHxK,
                mask=(document_BxT[:, :, None] == document_BxT[:, None, :])[:, None],
                scale=1.0,
                is_causal=True,
                implementation="xla",
            )
        return jax.nn.dot_product_attention(
            q_BxTxHxK, k_BxTxHxK, v_BxTxHxK, scale=1.0, is_causal=True, implementation=kernel
        )
    seen_TxT = jnp.tril(jnp.ones((T, T), bool))
    blocks = []
    for start in range(0, T, kernels.QUERY_BLOCK):
        stop = min(start + kernels.QUERY_BLOCK, T)
        q, k, v = q_BxTxHxK[:, start:stop], k_BxTxHxK[:, :stop], v_BxTxHxK[:, :stop]
        seen = seen_TxT[start:stop, :stop]
        if document_BxT is not None:
            seen = seen & (document_BxT[:, start:stop, None] == document_BxT[:, None, :stop])[:, None]
        blocks.append(attend(q, k, v, seen))
    return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=1)


def attend_cached(q_BxTxHxK, k_BxTxHxK, v_BxTxHxK, past, start, window: int):
    """Attention of T positions from ``start`` on to those before them in a :class:`Cache` and to each other.

    Returns:
        the values attended to (B, T, H, K), and the layer's keys and values with the new ones.
    """
    T, S = q_BxTxHxK.shape[1], past[0].shape[1]
    positions_T = start + jnp.arange(T)
    last = min(T, S)  # of the new positions, as many as there is room for
    places = positions_T[-last:] % S

    def written(old, new):
        if T == 1:  # one place: no scatter
            return jax.lax.dynamic_update_slice(old, new, (0, places[0], 0, 0))
        return old.at[:, places].set(new[:, -last:])

    kept = written(past[0], k_BxTxHxK), written(past[1], v_BxTxHxK)
    if T == 1:  # what its place held before is out of the window: only what was written is read
        keys, values, length = *kept, start + 1
    else:
        keys, values = (jnp.concatenate(pair, 1) for pair in zip(past, (k_BxTxHxK, v_BxTxHxK), strict=True))
        length = start
    held_S = length - 1 - (length - 1 - jnp.arange(S)) % S  # the newest position of each place; none below 0
    held = held_S if T == 1 else jnp.concatenate([held_S, positions_T])
    back = positions_T[:, None] - held[None, :]
    return attend(q_BxTxHxK, keys, values, (held >= 0) & (back >= 0) & (back < window)), kept


def rotate(
    x_BxTxHxK: jax.Array, positions_T: jax.Array, scale: float = 1.0, base: float = 10_000.0
) -> jax.Array:
    """Rotary positions (2104.09864): pairs (i, i + K/2) turned by position * base^(-2i/K); and scaled."""
    half = x_BxTxHxK.shape[-1] // 2
    frequency = base ** (-jnp.arange(half) / half)
    angle_Tx1xI = positions_T[:, None, None] * frequency
    cos, sin = (scaled(f(angle_Tx1xI), scale).astype(x_BxTxHxK.dtype) for f in (jnp.cos, jnp.sin))
    a, b = jnp.split(x_BxTxHxK, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def scaled(x, factor: float):
    return x if factor == 1 else x * factor
