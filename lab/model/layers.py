"""Two arrangements of one model's parameters: a group for each layer, or all layers in one.

``apart``: ``attention_0``, ``mlp_0``, ``attention_1`` and so on, which is what checkpoints hold; layers are
unrolled, so that the compiler fuses across them. ``stacked``: ``blocks`` with a first axis of L; layers are
one loop, which compiles as one layer does, and in which a layer that is spread over devices is gathered when
its turn comes. :mod:`lab.model.decoder` computes with either, and the arrangement says how.

jax is imported where it is needed: memory is predicted by processes that have yet to set it up.
"""

import re

import numpy as np

from lab.config import ModelConfig

UNROLLED = 12  # layers; above, compiling takes longer than fusing across layers can win back
STACK = "blocks"
_GROUP = re.compile(r"(attention|mlp|norm_a|norm_m)_(\d+)")


def are_scanned(model: ModelConfig, fsdp: int = 1) -> bool:
    """Whether training loops over the layers: where they are many, or each is gathered by itself."""
    return fsdp > 1 or model.layers > UNROLLED


def is_stacked(params: dict) -> bool:
    return STACK in params


def stacked(tree):
    """Parameters, or a tree that holds such dicts (a state), with all layers in one group.

    Host arrays stay host arrays. What is stacked already is returned as it is.
    """
    import jax

    return jax.tree.map(_stacked, tree, is_leaf=_is_dict)


def apart(tree):
    """The other way: a group for each layer."""
    import jax

    return jax.tree.map(_apart, tree, is_leaf=_is_dict)


def _is_dict(node) -> bool:
    return isinstance(node, dict)


def _stacked(params):
    if not _is_dict(params):
        return params
    import jax

    groups: dict[str, dict[int, dict]] = {}
    rest = {}
    for name, group in params.items():
        if found := _GROUP.fullmatch(name):
            groups.setdefault(found[1], {})[int(found[2])] = group
        else:
            rest[name] = group
    if not groups:
        return params
    blocks = {
        name: jax.tree.map(lambda *leaves: _module(leaves[0]).stack(leaves), *(of[i] for i in sorted(of)))
        for name, of in groups.items()
    }
    return {**rest, STACK: blocks}


def _apart(params):
    if not _is_dict(params) or STACK not in params:
        return params
    import jax

    out = {name: group for name, group in params.items() if name != STACK}
    for name, group in params[STACK].items():
        for i in range(len(jax.tree.leaves(group)[0])):
            out[f"{name}_{i}"] = jax.tree.map(lambda leaf, i=i: leaf[i], group)
    return out


def _module(leaf):
    import jax.numpy as jnp

    return np if isinstance(leaf, np.ndarray) else jnp
