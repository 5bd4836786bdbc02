"""A peer to measure against: the GPT-2 style decoder of nanoGPT's architecture, written in PyTorch.

LayerNorm without bias, learned positions, a fused query-key-value product, PyTorch's own causal attention,
GELU, tied head, AdamW in its fused form, gradients clipped to norm 1. It is cheaper a token than the lab's
decoder (no rotary turn, no separate head). Started as a process of its own:

    python torch_peer.py '{"width": 64, "layers": 4, "heads": 4, "context": 128, "vocab": 256, "batch": 8,
                        "threads": 1, "compiled": false}'

With ``"steps"`` in it, it trains so many steps and ends. Else it answers ``{}`` once it is warm, and each
line ``SECONDS`` on standard input is one measurement, answered by a line of JSON:
``{"tokens": ..., "seconds": ..., "loss": ...}``.
"""

import json
import sys
import time

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
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    model = GPT(spec["width"], spec["layers"], spec["heads"], spec["context"], spec["vocab"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)
    run = torch.compile(model) if spec["compiled"] else model
    tokens = torch.randint(spec["vocab"], (64, spec["batch"], spec["context"] + 1))

    def step(i: int) -> torch.Tensor:
        batch = tokens[i % len(tokens)]
        loss = run(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    for i in range(spec.get("steps", 5)):
        loss = step(i)
    if "steps" in spec:
        print(json.dumps({"loss": loss.item()}))
        return
    print("{}", flush=True)
    for line in sys.stdin:
        started, steps, until = time.perf_counter(), 0, float(line)
        while (elapsed := time.perf_counter() - started) < until or steps == 0:
            loss = step(steps)
            steps += 1
        done = steps * spec["batch"] * spec["context"]
        print(json.dumps({"tokens": done, "seconds": elapsed, "loss": loss.item()}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
