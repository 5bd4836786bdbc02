"""How runs sit on devices. The one module that knows pmap.

A pack is R runs of one shape that advance in lockstep over the same data. Measured on CPU: ``serial`` and
``devices`` give the bits of the solo run, ``pmap`` and ``data`` differ from it by rounding; so the mode is
recorded with every run, and a test holds them to 1e-5 of it.
"""

from functools import cache, partial
from typing import Literal

import jax
import numpy as np

from lab import optimizer, train
from lab.config import RunConfig

Mode = Literal["serial", "devices", "pmap", "data"]
STEPS_PER_CALL = 20  # K: dispatch costs under 1 % of a call, and progress stays fine-grained


class Pack:
    """R runs in lockstep.

    Args:
        config: any of the runs; only what fixes the program (shape, batch, precision) is read.
        vocab: V.
        mode: ``serial``: one run on the first device; ``devices``: R runs, a program on each of R devices;
            ``pmap``: R runs, one program mapped over R devices; ``data``: one run, each batch spread over all
            the devices.
        runs: R.
        devices: those of this process by default.

    Raises:
        ValueError: if the mode cannot hold R runs on these devices.
    """

    def __init__(self, config: RunConfig, vocab: int, mode: Mode = "serial", runs: int = 1, devices=None):
        devices = tuple(devices or jax.local_devices())
        if mode == "data":
            if runs != 1 or config.batch % len(devices):
                raise ValueError(
                    f"data parallelism takes one run and a batch divisible by {len(devices)} devices"
                )
        elif runs > len(devices) or (mode == "serial" and runs != 1):
            raise ValueError(f"{runs} runs do not fit {len(devices)} devices in mode {mode}")
        else:
            devices = devices[:runs]
        self.mode, self.runs, self.devices = mode, runs, devices
        self._program = _program(_what_fixes_the_program(config), vocab, mode, devices)

    def put(self, states: list[train.State]):
        """Place R states (host or device arrays) on the devices, for :meth:`advance`."""
        if self.mode in ("pmap", "data"):
            copies = states if self.mode == "pmap" else states * len(self.devices)
            return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *copies)
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
        if self.mode == "pmap":
            hyper_R = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *hypers)
            placed, metrics = self._program(placed, inputs_KxBxT, targets_KxBxT, n, hyper_R)
            return placed, [_Row(metrics, r) for r in range(self.runs)]
        if self.mode == "data":
            split = (_spread(a, len(self.devices)) for a in (inputs_KxBxT, targets_KxBxT))
            placed, metrics = self._program(placed, *split, n, hypers[0])
            return placed, [_Row(metrics, 0)]
        after, rows = [], []
        for state, hyper, device in zip(placed, hypers, self.devices, strict=True):
            batch = jax.device_put((inputs_KxBxT, targets_KxBxT, n, hyper), device)
            state, metrics = self._program(state, *batch)
            after.append(state)
            rows.append(metrics)
        return after, rows

    def get(self, placed, run: int) -> train.State:
        """The state of one run as host arrays: what a checkpoint holds."""
        if self.mode in ("pmap", "data"):
            return jax.tree.map(
                lambda a: np.asarray(a[run] if isinstance(a, np.ndarray) else _shard(a, run)), placed
            )
        return jax.tree.map(np.asarray, placed[run])


class _Row(train.Metrics):
    """One run's row of mapped metrics, fetched from its own device only when read."""

    def __new__(cls, metrics: train.Metrics, run: int):
        return super().__new__(cls, *(_Later(field, run) for field in metrics))


class _Later:
    def __init__(self, array, run):
        self.array, self.run = array, run

    def __array__(self, dtype=None, copy=None):
        return np.asarray(_shard(self.array, self.run), dtype)


def _shard(array, run: int):
    # indexing a mapped array would compile and communicate; its shard is already there
    return np.asarray(array.addressable_shards[run].data)[0]


def _spread(a_KxBxT: np.ndarray, n: int) -> np.ndarray:
    K, B, T = a_KxBxT.shape
    return a_KxBxT.reshape(K, n, B // n, T).swapaxes(0, 1)


def _what_fixes_the_program(config: RunConfig):
    return config.model, config.precision


@cache
def _program(fixed, vocab: int, mode: Mode, devices):
    model, precision = fixed
    body = partial(train.chunk, model=model, precision=precision, vocab=vocab)
    if mode == "pmap":
        return jax.pmap(body, in_axes=(0, None, None, None, 0), devices=devices, donate_argnums=0)
    if mode == "data":
        body = partial(body, axis="data")
        return jax.pmap(body, "data", in_axes=(0, 0, 0, None, None), devices=devices, donate_argnums=0)
    return jax.jit(body, donate_argnums=0)
