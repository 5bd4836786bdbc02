"""The peer of :mod:`benchmarks.accelerator`: nanoGPT's architecture in PyTorch, compiled, on its own device.

Started as a process of its own with a JSON object of sizes; prints one JSON object.
"""

import json
import sys
import time

import torch
from torch import nn

from lab.bench.torch_peer import GPT


def main(spec: dict) -> None:
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = GPT(spec["width"], spec["layers"], spec["heads"], spec["context"], spec["vocab"]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)
    run = torch.compile(model) if device == "cuda" else model
    tokens = torch.randint(16, (20, spec["batch"], spec["context"] + 1), device=device)

    def step(i: int) -> torch.Tensor:
        batch = tokens[i % len(tokens)]
        with torch.autocast(device, torch.bfloat16):
            loss = run(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for i in range(5):
        step(i)
    wait()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < spec["seconds"] or not steps:
        for i in range(20):
            loss = step(i)
        wait()
        steps += 20
    took = time.perf_counter() - started
    done = steps * spec["batch"] * spec["context"]
    print(json.dumps({"tokens_per_s": done / took, "loss": loss.item(), "compiled": device == "cuda"}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
