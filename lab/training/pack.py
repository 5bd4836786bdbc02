"""How runs sit on devices. The one module that knows pmap.

A pack is R runs of one shape that advance in lockstep over the same data. Measured on CPU: ``serial`` and
``devices`` give the bits of the solo run, the others differ from it by rounding; so the mode is recorded with
every run, and tests hold them to 1e-5 of it.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Literal

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lab.config import RunConfig
from lab.execution import Execution
from lab.model import layers
from lab.training import mesh as meshes
from lab.training import optimizer, train

Mode = Literal["serial", "devices", "pmap", "vmap", "mesh"]
STEPS_PER_CALL = 20  # K: dispatch costs under 1 % of a call, and progress stays fine-grained
_PLAIN = Execution()


class Pack:
    """R runs in lockstep.

    Args:
        config: any of the runs; only what fixes the program (shape, batch, precision) is read.
        vocab: V.
        mode: ``serial``: one run on the first device; ``devices``: R runs, a program on each of R devices;
            ``pmap``: R runs, one program mapped over R devices; ``vmap``: R runs as one batched program, on
            the first device, or spread over all where R is a multiple of them; ``mesh``: one run over
            ``how.mesh``.
        runs: R.
        devices: those of this process by default; of all processes for ``mesh``.
        how: parts of a batch, layers computed again, the mesh.

    Raises:
        ValueError: if the mode cannot hold R runs on these devices.
        InputError: if ``how`` does not divide the shape.
    """

    def __init__(
        self,
        config: RunConfig,
        vocab: int,
        mode: Mode = "serial",
        runs: int = 1,
        devices=None,
        how: Execution = _PLAIN,
    ):
        how.check(config)
        devices = tuple(devices or (jax.devices() if mode == "mesh" else jax.local_devices()))
        if mode == "mesh" and runs != 1:
            raise ValueError(f"mode mesh takes one run, not {runs}")
        if mode == "mesh" and jax.process_count() == 1:
            devices = devices[: how.mesh.devices]
        if mode == "mesh" and how.mesh.devices != len(devices):
            raise ValueError(f"mesh {how.mesh} needs {how.mesh.devices} devices, there are {len(devices)}")
        if mode == "vmap":
            devices = devices if runs % len(devices) == 0 else devices[:1]
        elif mode in ("serial", "devices", "pmap"):
            if runs > len(devices) or (mode == "serial" and runs != 1):
                raise ValueError(f"{runs} runs do not fit {len(devices)} devices in mode {mode}")
            devices = devices[:runs]
        self.config, self.vocab = config, vocab
        self.mode, self.runs, self.devices, self.how = mode, runs, devices, how
        if mode == "mesh":
            self.mesh = meshes.make(how.mesh, devices)
            leaves, structure = jax.tree.flatten(meshes.state_shapes(config, vocab, self.mesh))
            shapes = tuple(leaves), structure
            self._program = meshes.program(config.model, config.precision, vocab, self.mesh, how, shapes)
        else:
            self._program = program(config.model, config.precision, vocab, mode, devices, how)

    def put(self, states: list[train.State | RunConfig]):
        """Place R states (host or device arrays; a configuration stands for its initial state) on the
        devices, for :meth:`advance`."""
        if self.mode == "mesh":
            (state,) = states
            if isinstance(state, RunConfig):
                return meshes.fresh(state, self.vocab, self.mesh)
            return meshes.put(state, self.config.model, self.mesh)
        states = [train.initial_state(s, self.vocab) if isinstance(s, RunConfig) else s for s in states]
        if layers.are_scanned(self.config.model):
            states = layers.stacked(jax.tree.map(np.asarray, states))
        if self.mode == "vmap":  # where the program leaves them: host arrays would be another program's
            return jax.device_put(_stack(states), _over_runs(self.devices))
        if self.mode == "pmap":
            return _stack(states)
        # a copy for each leaf: donated buffers must not be shared, neither between leaves nor with the caller
        return [
            jax.tree.map(lambda leaf, d=device: jax.device_put(np.array(leaf), d), state)
            for state, device in zip(states, self.devices, strict=True)
        ]

    def advance(self, placed, inputs_KxBxT, targets_KxBxT, n: int, hypers: list[optimizer.Hyper]):
        """The first ``n`` <= K batches, for all runs.

        Returns:
            the placed states after n steps (the given ones are consumed), and a list of R
            :class:`train.Metrics` of K entries, possibly still being computed.
        """
        n = np.int32(n)
        if self.mode in ("pmap", "vmap"):
            placed, metrics = self._program(placed, inputs_KxBxT, targets_KxBxT, n, _stack(hypers))
            return placed, [_Row(metrics, r, self.mode) for r in range(self.runs)]
        if self.mode == "mesh":
            batches = (meshes.put_batches(a, self.mesh) for a in (inputs_KxBxT, targets_KxBxT))
            placed, metrics = self._program(placed, *batches, *meshes.put_same((n, hypers[0]), self.mesh))
            return placed, [metrics]
        after, rows = [], []
        for state, hyper, device in zip(placed, hypers, self.devices, strict=True):
            batch = jax.device_put((inputs_KxBxT, targets_KxBxT, n, hyper), device)
            state, metrics = self._program(state, *batch)
            after.append(state)
            rows.append(metrics)
        return after, rows

    def get(self, placed, run: int) -> train.State:
        """The state of one run as host arrays, its layers apart: what a checkpoint holds."""
        return layers.apart(self._get(placed, run))

    def in_parts(self, placed):
        """The state of the run of a mesh as a checkpoint holds it, in parts over the devices."""
        return meshes.apart(placed, self.mesh)

    def place(self, like):
        """Where the parts of a tree of shapes lie on the mesh."""
        return meshes.kept(like, self.mesh)

    def _get(self, placed, run: int) -> train.State:
        if self.mode == "mesh":
            return meshes.get(placed)
        if self.mode == "pmap":
            return jax.tree.map(
                lambda a: np.asarray(a[run] if isinstance(a, np.ndarray) else _shard(a, run)), placed
            )
        if self.mode == "vmap":
            return jax.tree.map(lambda a: np.array(np.asarray(a)[run]), placed)
        return jax.tree.map(np.asarray, placed[run])

    def steps(self, placed) -> list[int]:
        """The step of each state as it is placed."""
        if isinstance(placed, list):
            return [int(state.step) for state in placed]
        return [int(step) for step in np.asarray(placed.step).ravel()]

    def trained(self, placed, run: int):
        """Parameters of one run where they are to be evaluated: over the mesh, or on the run's own device."""
        if self.mode == "mesh":
            return placed.params
        mine = self.devices[run * len(self.devices) // self.runs]
        return jax.device_put(self.get(placed, run).params, mine)

    def each(self, placed, runs: list[int], function) -> list:
        """What a function of :meth:`trained` gives for each run; a device has one at a time, all at once."""
        if self.mode == "mesh" or len(runs) < 2 or len(self.devices) < 2:
            return [function(self.trained(placed, r)) for r in runs]
        # a program runs on the device of its parameters: the bits are those of any other
        with ThreadPoolExecutor(len(self.devices)) as threads:
            return list(threads.map(lambda r: function(self.trained(placed, r)), runs))


class _Row(train.Metrics):
    """One run's row of mapped metrics, fetched from its own device only when read."""

    def __new__(cls, metrics: train.Metrics, run: int, mode: Mode):
        return super().__new__(cls, *(_Later(field, run, mode) for field in metrics))


class _Later:
    def __init__(self, array, run, mode):
        self.array, self.run, self.mode = array, run, mode

    def __array__(self, dtype=None, copy=None):
        if self.mode == "vmap":
            return np.asarray(np.asarray(self.array)[self.run], dtype)
        return np.asarray(_shard(self.array, self.run), dtype)


def _shard(array, run: int):
    # indexing a mapped array would compile and communicate; its shard is already there
    return np.asarray(array.addressable_shards[run].data)[0]


def _stack(trees: list):
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)


class _Mapped:
    """A pmapped program, compiled with sums as the compiler would have them.

    On CPU sums are computed plainly (:mod:`lab.machine.devices`), for speed; in a mapped program that leaves
    parameters more than 1e-5 from the solo run's after fifty steps, and the compiler's way a third of it.
    A program over a mesh comes nearer with plain sums.
    """

    def __init__(self, mapped):
        self._mapped, self._compiled = mapped, {}

    def __call__(self, *arguments):
        shapes = tuple((a.shape, a.dtype) for a in jax.tree.leaves(arguments))
        if shapes not in self._compiled:
            on_cpu = jax.default_backend() == "cpu"
            options = {"xla_disable_hlo_passes": ""} if on_cpu else None
            self._compiled[shapes] = self._mapped.lower(*arguments).compile(compiler_options=options)
        return self._compiled[shapes](*arguments)


@cache
def _over_runs(devices: tuple) -> NamedSharding:
    line = jax.make_mesh((len(devices),), ("runs",), axis_types=(AxisType.Auto,), devices=devices)
    return NamedSharding(line, PartitionSpec("runs"))


@cache
def program(model, precision, vocab: int, mode: Mode, devices, how: Execution):
    """:func:`lab.training.train.chunk` for the runs of a pack, compiled at its first call with each shape."""
    body = partial(
        train.chunk,
        model=model,
        precision=precision,
        vocab=vocab,
        accumulate=how.accumulate,
        remat=how.remat,
    )
    if mode == "pmap":
        return _Mapped(jax.pmap(body, in_axes=(0, None, None, None, 0), devices=devices, donate_argnums=0))
    if mode == "vmap":
        body = jax.vmap(body, in_axes=(0, None, None, None, 0))
        each = _over_runs(devices)
        same = NamedSharding(each.mesh, PartitionSpec())
        return jax.jit(
            body, in_shardings=(each, same, same, same, each), out_shardings=each, donate_argnums=0
        )
    return jax.jit(body, donate_argnums=0)
