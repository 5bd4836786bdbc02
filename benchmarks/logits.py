"""What logits in 16 bits would do to a loss: one trained model, its logits as they are and rounded.

    python -m benchmarks.logits

The model computes in bfloat16 over parameters in float32; logits are float32 in either line, and rounded to
bfloat16 before the loss in the second, as a head that computes in 16 bits rounds them.
"""

from lab.machine import devices


def compared(steps: int = 400) -> dict[str, float]:
    """Nats a token by both, and how far apart single tokens and means of single windows are."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lab.config import ModelConfig, OptimizerConfig, RunConfig
    from lab.data import DataConfig, load
    from lab.model import decoder
    from lab.training import optimizer, pack, train

    data = load(DataConfig(source="synthetic", context=64, val_windows=256))
    config = RunConfig(
        tokens=steps * 16 * 64,
        model=ModelConfig(width=32, layers=2, heads=2),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_tokens=10_000),
        data=data.config,
        batch=16,
        precision="bfloat16",
    )
    found = pack.Pack(config, data.vocab_size)
    placed = found.put([config])
    for step in range(0, steps, 20):
        batches = data.batches(step, 20, config.batch)
        placed, _ = found.advance(placed, *batches, 20, [optimizer.hyper(config)])
    held = data.validation()
    shape = config.model, data.vocab_size, jnp.bfloat16
    logits_WxTxV = jax.jit(lambda p, x: decoder.apply(p, x, *shape))(placed[0].params, held.inputs_WxT)
    exact_WxT, _ = train.nats_of_logits(logits_WxTxV, held.targets_WxT)
    rounded_WxT, _ = train.nats_of_logits(
        logits_WxTxV.astype(jnp.bfloat16).astype(jnp.float32), held.targets_WxT
    )
    apart_WxT = np.asarray(rounded_WxT, np.float64) - np.asarray(exact_WxT, np.float64)
    return {
        "loss, logits in 32 bits": float(exact_WxT.mean()),
        "loss, logits in 16 bits": float(rounded_WxT.mean()),
        "apart, mean": float(apart_WxT.mean()),
        "apart, windows (RMS)": float(np.sqrt((apart_WxT.mean(1) ** 2).mean())),
        "apart, tokens (largest)": float(np.abs(apart_WxT).max()),
    }


if __name__ == "__main__":
    devices.configure()
    for what, nats in compared().items():
        print(f"{what:<26}{nats:>12.6f} nats")
