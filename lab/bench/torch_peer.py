"""A peer to measure against: the GPT-2 style decoder of nanoGPT's architecture, written in PyTorch.

LayerNorm without bias, learned positions, a fused query-key-value product, PyTorch's own causal attention,
GELU, tied head, AdamW in its fused form, gradients clipped to norm 1. It is cheaper a token than the lab's
decoder (no rotary turn, no separate head). Started as a process of its own:

    python torch_peer.py '{"width": 64, "layers": 4, "heads": 4, "context": 128, "vocab": 256, "batch": 8,
                        "threads": 1, "compiled": false}'

``"accelerated": true`` instead of threads: on the GPU where torch has one, compiled there, activations in
bfloat16. With ``"steps"`` in it, it trains so many steps and ends. Else it answers once it is warm, ``{}`` or
the device and whether it compiled. Then each line ``SECONDS`` on standard input is one measurement, answered
by a line of JSON: ``{"tokens": ..., "seconds": ..., "loss": ...}``.
"""

import json
import sys
import time
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_a, self.norm_m = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        B, T, M = x.shape
        q, k, v = self.qkv(self.norm_a(x)).split(M, dim=2)
        q, k, v = (a.view(B, T, self.heads, M // self.heads).transpose(1, 2) for a in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, M))
        return x + self.down(F.gelu(self.up(self.norm_m(x))))


class GPT(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, context: int, vocab: int):
        super().__init__()
        self.table = nn.Embedding(vocab, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocab, bias=False)
        self.head.weight = self.table.weight
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, inputs, targets):
        x = self.table(inputs) + self.positions(torch.arange(inputs.shape[1], device=inputs.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def main(spec: dict) -> None:
    accelerated = spec.get("accelerated", False)
    device = "cuda" if accelerated and torch.cuda.is_available() else "cpu"
    if accelerated:
        torch.set_float32_matmul_precision("high")
    else:
        torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    model = GPT(spec["width"], spec["layers"], spec["heads"], spec["context"], spec["vocab"]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)
    compiled = spec.get("compiled", device == "cuda")
    run = torch.compile(model) if compiled else model
    tokens = torch.randint(spec["vocab"], (64, spec["batch"], spec["context"] + 1), device=device)
    together = 20 if device == "cuda" else 1  # steps that are started before they are waited for

    def step(i: int) -> torch.Tensor:
        batch = tokens[i % len(tokens)]
        with torch.autocast(device, torch.bfloat16) if accelerated else nullcontext():
            loss = run(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    def steps(first: int, count: int) -> float:
        for i in range(count):
            loss = step(first + i)
        return loss.item()  # which waits for the device

    warm = steps(0, spec.get("steps", 5))
    if "steps" in spec:
        print(json.dumps({"loss": warm}))
        return
    print(json.dumps({"device": device, "compiled": compiled} if accelerated else {}), flush=True)
    for line in sys.stdin:
        started, done, until = time.perf_counter(), 0, float(line)
        while (elapsed := time.perf_counter() - started) < until or done == 0:
            loss = steps(done, together)
            done += together
        told = {"tokens": done * spec["batch"] * spec["context"], "seconds": elapsed, "loss": loss}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
