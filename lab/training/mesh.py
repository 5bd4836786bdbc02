"""One run over many devices: where each array lives, by key path.

The step is that of :mod:`lab.training.train`; placements are given to ``jit``, the compiler derives the rest
(GSPMD, 2105.04663). Parameters are *kept* in parts along ``fsdp`` and ``tensor``, and *used* in parts along
``tensor`` alone: the difference is the gathering of a layer before its use, and the scattering of its
gradients. Over ``fsdp`` layers are stacked and the step loops over them, so that one is gathered at a time.
"""

from collections.abc import Callable
from functools import cache, partial

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lab.config import ModelConfig, RunConfig
from lab.execution import AXES, Execution, MeshShape
from lab.model import layers
from lab.training import train

# end of the key path          kept                  used
_RULES = {
    ("embed", "embedding"): (P("tensor", "fsdp"), P()),
    ("qkv", "kernel"): (P("fsdp", "tensor"), P(None, "tensor")),
    ("out", "kernel"): (P("tensor", "fsdp"), P("tensor", None)),
    ("up", "kernel"): (P("fsdp", "tensor"), P(None, "tensor")),
    ("gate", "kernel"): (P("fsdp", "tensor"), P(None, "tensor")),
    ("down", "kernel"): (P("tensor", "fsdp"), P("tensor", None)),
    ("head", "kernel"): (P("fsdp", "tensor"), P(None, "tensor")),
}
_ROWS_BxT = P(("data", "fsdp"), None)
_BATCHES_KxBxT = P(None, *_ROWS_BxT)


@cache
def make(shape: MeshShape, devices: tuple) -> Mesh:
    """The mesh; neighbours on the ``tensor`` axis, which talks most, are neighbours in the machine."""
    return jax.make_mesh(shape.sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def kept(tree, mesh: Mesh):
    """Shardings for a tree of arrays or shapes: parameters, moments, or a whole state."""
    return jax.tree_util.tree_map_with_path(lambda path, a: _sharding(path, a.shape, mesh, 0), tree)


def view(params, *, model: ModelConfig, mesh: Mesh, dtype):
    """The parameters as a step uses them: gathered along ``fsdp``, in the type of the activations.

    Columns of the fused projection (queries, keys, values) are put in order of the devices that share the
    heads, so each device finds the three parts of its own heads; :mod:`lab.model.decoder` splits them so.
    """
    shards = mesh.shape["tensor"]
    in_float32 = [("embed", "embedding") if model.tied else ("head", "kernel")]  # what makes the logits

    def one(path, p):
        p = jax.lax.with_sharding_constraint(p, _sharding(path, p.shape, mesh, 0))  # and so its gradient
        if p.ndim == 2 and _end(path) not in in_float32:
            p = p.astype(dtype)  # before it travels; the product would do it after
        if _end(path) == ("qkv", "kernel") and shards > 1:
            M = model.width
            p = p.reshape(M, 3, shards, M // shards).swapaxes(1, 2).reshape(M, 3 * M)
        return jax.lax.with_sharding_constraint(p, _sharding(path, p.shape, mesh, 1))

    return jax.tree_util.tree_map_with_path(one, params)


@cache
def program(model: ModelConfig, precision: str, vocab: int, mesh: Mesh, how: Execution, shapes: tuple):
    """:func:`lab.training.train.chunk` over the mesh. ``shapes``: leaves, structure of the state's tree."""
    leaves, structure = shapes
    state = kept(jax.tree.unflatten(structure, leaves), mesh)
    batches, same = NamedSharding(mesh, _BATCHES_KxBxT), NamedSharding(mesh, P())
    body = partial(
        train.chunk,
        model=model,
        precision=precision,
        vocab=vocab,
        accumulate=how.accumulate,
        remat=how.remat,
        **seen(model, precision, mesh),
    )
    return jax.jit(
        body,
        in_shardings=(state, batches, batches, same, same),
        out_shardings=(state, same),
        donate_argnums=0,
    )


def fresh(config: RunConfig, vocab: int, mesh: Mesh) -> train.State:
    """The initial state, made where it will live: no device ever holds all of it."""
    return initial(config.model, config.optimizer.algorithm, vocab, mesh)[1](np.uint32(config.seed))


def state_shapes(config: RunConfig, vocab: int, mesh: Mesh) -> train.State:
    """Shapes and types of :func:`fresh`, without computing it."""
    return initial(config.model, config.optimizer.algorithm, vocab, mesh)[0]


@cache  # traced once for a shape, and one program for all its seeds
def initial(model: ModelConfig, algorithm: str, vocab: int, mesh: Mesh) -> tuple[train.State, Callable]:
    """The shapes of the initial state as the mesh keeps it, and a function of the seed that makes it."""

    def made(seed):
        return arranged(train.initial(seed, model, algorithm, vocab), model, mesh)

    shapes = jax.eval_shape(made, np.uint32(0))
    return shapes, jax.jit(made, out_shardings=kept(shapes, mesh))


def arranged(state, model: ModelConfig, mesh: Mesh):
    """A state, or shapes of one, as the mesh keeps it: with layers stacked where it loops over them."""
    return layers.stacked(state) if layers.are_scanned(model, mesh.shape["fsdp"]) else state


def put(tree, model: ModelConfig, mesh: Mesh):
    """Host arrays, the same in every process, onto the mesh; or what lies on it already, arranged."""
    if isinstance(jax.tree.leaves(tree)[0], jax.Array):
        return _moved(partial(arranged, model=model, mesh=mesh), tree, mesh)
    tree = arranged(tree, model, mesh)
    return jax.tree.map(_put, tree, kept(tree, mesh))


def apart(tree, mesh: Mesh):
    """What lies on the mesh as checkpoints hold it, layers apart, each array in parts as before."""
    return _moved(layers.apart, tree, mesh)


def _moved(function, tree, mesh: Mesh):
    return jax.jit(function, out_shardings=kept(jax.eval_shape(function, tree), mesh))(tree)


def put_batches(a_KxBxT: np.ndarray, mesh: Mesh) -> jax.Array:
    """Each device gets its sequences; every process draws the whole batch, which costs next to nothing."""
    return _put(a_KxBxT, NamedSharding(mesh, _BATCHES_KxBxT))


def of(params) -> Mesh | None:
    """The mesh over which parameters are kept; None: they lie on one device, or on the host."""
    sharding = getattr(jax.tree.leaves(params)[0], "sharding", None)
    mesh = getattr(sharding, "mesh", None)
    return mesh if mesh is not None and mesh.axis_names == AXES else None


def sharing_rows(mesh: Mesh | None) -> int:
    """How many devices divide the rows of a batch."""
    return 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]


def seen(model: ModelConfig, precision: str, mesh: Mesh | None) -> dict:
    """What the decoder is to know of where its parameters are, as keywords for it."""
    if mesh is None:
        return {}
    dtype = jax.numpy.dtype(precision)
    return {"view": partial(view, model=model, mesh=mesh, dtype=dtype), "shards": mesh.shape["tensor"]}


def over_rows(function, mesh: Mesh | None, **options):
    """``jit`` of a function of (parameters, rows (B, T), ...), whose results every process can read."""
    if mesh is None:
        return jax.jit(function, **options)
    return jax.jit(function, out_shardings=NamedSharding(mesh, P()), **options)


def put_rows(a_BxT: np.ndarray, mesh: Mesh | None):
    """Rows to be scored, each device its own."""
    return a_BxT if mesh is None else _put(a_BxT, NamedSharding(mesh, _ROWS_BxT))


def put_same(tree, mesh: Mesh):
    return jax.tree.map(lambda a: _put(np.asarray(a), NamedSharding(mesh, P())), tree)


def get(tree):
    """Host arrays of everything, in every process. All processes must call it together."""

    def one(a):
        if a.is_fully_addressable or a.is_fully_replicated:
            return np.asarray(a)
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(a, tiled=True))

    return jax.tree.map(one, tree)


def _put(a, sharding):
    a = np.asarray(a)
    # a copy: what is donated must not be shared with the caller
    return jax.make_array_from_callback(a.shape, sharding, lambda index: np.array(a[index]))


def _sharding(path, shape, mesh: Mesh, column: int) -> NamedSharding:
    spec = _RULES.get(_end(path), (P(), P()))[column]
    if any(getattr(key, "key", key) == layers.STACK for key in path):
        spec = P(None, *spec)
    axes = [
        axis if axis is not None and size % mesh.shape[axis] == 0 else None  # what does not divide is copied
        for axis, size in zip(spec, shape, strict=False)
    ]
    return NamedSharding(mesh, P(*axes))


def _end(path) -> tuple[str, ...]:
    return tuple(str(getattr(key, "key", key)) for key in path[-2:])
