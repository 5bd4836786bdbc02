"""Foreign files in the shapes that people have, as tests of `lab import` make them."""

import json
import struct

import numpy as np


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def harness(model, params=None, scores=None, **more):
    """A results file of lm-evaluation-harness, version 0.4."""
    scores = scores or {"arc_easy": (0.4, 0.01), "lambada_openai": (0.2, 0.006)}
    results = {
        task: {"alias": task, "acc,none": acc, "acc_stderr,none": err, "acc_norm,none": acc + 0.01}
        | {"acc_norm_stderr,none": err}
        for task, (acc, err) in scores.items()
    }
    config = {"model": "hf", "model_args": f"pretrained={model},dtype=float", "limit": None}
    if params:
        config["model_num_parameters"] = params
    found = {"results": results, "config": config, "n-shot": dict.fromkeys(scores, 0)}
    return found | {"n-samples": {task: {"original": 2376, "effective": 2376} for task in scores}} | more


def chart(lines, axis="Step"):
    """The CSV of a chart: name -> {step: (value, low, high)}."""
    head = [axis]
    for name, _ in lines:
        head += [name, f"{name}__MIN", f"{name}__MAX"]
    steps = sorted({step for _, points in lines for step in points})
    out = [",".join(f'"{cell}"' for cell in head)]
    for step in steps:
        cells = [str(step)]
        for _, points in lines:
            cells += [f'"{cell}"' for cell in points.get(step, ("", "", ""))]
        out.append(",".join(cells))
    return "\n".join(out) + "\n"


def event(step, **values):
    """A record of an event file."""

    def field(number, kind, data):
        return bytes([number << 3 | kind]) + data

    def sized(number, data):
        return field(number, 2, bytes([len(data)]) + data)

    summary = b""
    for tag, value in values.items():
        tag = tag.encode()
        if isinstance(value, np.ndarray):  # as TensorFlow 2 writes scalars
            tensor = field(1, 0, bytes([1])) + sized(4, value.astype("<f4").tobytes())
            summary += sized(1, sized(1, tag) + sized(8, tensor))
        else:
            summary += sized(1, sized(1, tag) + field(2, 5, struct.pack("<f", value)))
    data = field(1, 1, struct.pack("<d", 1e9)) + field(2, 0, bytes([step])) + sized(5, summary)
    return struct.pack("<Q", len(data)) + b"crc_" + data + b"crc_"


MODDED = """s = 1
step:0/1390 val_loss:10.8258 train_time:0ms step_avg:nanms
step:125/1390 val_loss:4.7 train_time:18000ms step_avg:147.03ms
step:1390/1390 train_time:202890ms step_avg:147.03ms
step:1390/1390 val_loss:3.2782 train_time:202898ms step_avg:147.03ms
"""
