"""The convolution of foundations/convolution against its own loop and against PyTorch, on one thread.

One layer of 64 filters of 3 x 3 on 64 channels of 56 x 56 pixels, padding 1, with a bias, float32. Three ways give the same
numbers, which is checked first:

  loop   `conv2d_loop`: Python loops over filters, rows and columns; NumPy multiplies and adds up each window
  ours   `conv2d`: windows as columns, one matrix product
  torch  `torch.nn.functional.conv2d`

  loop_ratio            how many times as fast as the loop ours is (bar: at least 200)
  torch_ratio           how many times as long as PyTorch ours takes (bar: at most 8)
  torch_ratio_batch     the same for a batch of 8 images
  torch_ratio_backward  the same for the three gradients

NumPy and PyTorch are held to one thread each. The ways take turns within each repeat, so that a slow minute hits all of them.
Each figure is a ratio of two times of the same repeat; reported, recorded and judged is the median. A missed bar ends in exit
status 1.

    python bench/convolution.py            # 15 repeats, about half a minute
    python bench/convolution.py --record   # also adds the ratios to book/results/foundations-convolution.<scale>.json

`pets-learn reproduce foundations/convolution` begins that file anew: run this with --record after it.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch.nn import functional as F

from pets_learn.foundations.convolution import conv2d, conv2d_backward, conv2d_loop
from pets_learn.run import figure, read_record, record, scale_name

CHANNELS, SIDE, BATCH = 64, 56, 8
BARS = {"loop_ratio": (200, "at least"), "torch_ratio": (8, "at most")}
LAYER = f"one layer, 3 x 3, {CHANNELS} to {CHANNELS} channels at {SIDE} x {SIDE}, padding 1, bias, float32, one thread"
MEANING = {
    "loop_ratio": f"time of conv2d_loop / time of conv2d; {LAYER}; one image",
    "torch_ratio": f"time of conv2d / time of torch.nn.functional.conv2d; {LAYER}; one image",
    "torch_ratio_batch": f"time of conv2d / time of torch.nn.functional.conv2d; {LAYER}; {BATCH} images",
    "torch_ratio_backward": f"time of conv2d_backward / time of torch.autograd.grad by all three inputs; {LAYER}; one image",
}
Way = Callable[[], Any]


def arrays(images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = (images, CHANNELS, SIDE, SIDE), (CHANNELS, CHANNELS, 3, 3), (CHANNELS,)
    x, weight, bias = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return x, weight, bias


def ways() -> dict[str, tuple[Way, int]]:
    "What to time, and how often in a row."
    x, weight, bias = arrays(1)
    many = arrays(BATCH)[0]
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    plain, batch = [t.detach() for t in tensors], torch.tensor(many)
    output = F.conv2d(*tensors, padding=1)
    sensitivity = np.random.default_rng(1).normal(size=output.shape).astype(np.float32)
    delta = torch.tensor(sensitivity)
    return {
        "loop": (lambda: conv2d_loop(x, weight, bias, padding=1), 1),
        "ours": (lambda: conv2d(x, weight, bias, padding=1), 20),
        "torch": (lambda: F.conv2d(*plain, padding=1), 20),
        "ours, batch": (lambda: conv2d(many, weight, bias, padding=1), 5),
        "torch, batch": (lambda: F.conv2d(batch, *plain[1:], padding=1), 5),
        "ours, backward": (lambda: conv2d_backward(sensitivity, x, weight, padding=1), 10),
        "torch, backward": (lambda: torch.autograd.grad(output, tensors, delta, retain_graph=True), 10),
    }


def check(named: dict[str, tuple[Way, int]]) -> None:
    "All ways must give the same numbers, or their times mean nothing."
    pairs = ("ours", "loop"), ("ours", "torch"), ("ours, batch", "torch, batch"), ("ours, backward", "torch, backward")
    for one, other in pairs:
        first, second = named[one][0](), named[other][0]()
        for a, b in zip(*((r,) if not isinstance(r, tuple) else r for r in (first, second)), strict=True):
            np.testing.assert_allclose(a, np.asarray(b), rtol=0, atol=1e-5 * np.abs(a).max())


def measure(named: dict[str, tuple[Way, int]], repeats: int) -> dict[str, list[float]]:
    "Milliseconds of one call of each way in each repeat."
    times: dict[str, list[float]] = {name: [] for name in named}
    for i in range(repeats):
        for name in list(named)[::1 if i % 2 == 0 else -1]:  # nobody always goes first
            way, count = named[name]
            if count > 1: way()  # whoever ran before has filled the cache with other numbers
            begun = time.perf_counter()
            for _ in range(count): way()
            times[name].append(1000 * (time.perf_counter() - begun) / count)
    return times


def ratios(times: dict[str, list[float]]) -> dict[str, list[float]]:
    pairs = ("loop", "ours"), ("ours", "torch"), ("ours, batch", "torch, batch"), ("ours, backward", "torch, backward")
    return {name: [a / b for a, b in zip(times[over], times[under], strict=True)]
            for name, (over, under) in zip(MEANING, pairs, strict=True)}


def met(name: str, value: float) -> bool:
    bar, side = BARS[name]
    return value >= bar if side == "at least" else value <= bar


def report(times: dict[str, list[float]], found: dict[str, list[float]]) -> None:
    print(f"{LAYER}\n\nmilliseconds: median (range)")
    for name, values in times.items(): print(f"  {name:<20}{median(values):>9.2f}   ({min(values):.2f} to {max(values):.2f})")
    print("\nratios: median (range)")
    for name, values in found.items():
        bar = BARS.get(name)
        verdict = "" if bar is None else f"   {bar[1]} {bar[0]}: {'met' if met(name, median(values)) else 'MISSED'}"
        print(f"  {name:<22}{median(values):>7.2f}   ({min(values):.2f} to {max(values):.2f}){verdict}")


def figures(found: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    "Each ratio with its repeats and their median, which is what a bar is judged on."
    return {name: figure(values, better="higher" if name == "loop_ratio" else "lower", versus=MEANING[name])
            | {"median": median(values), "values": values, "bar": BARS[name][0] if name in BARS else None}
            for name, values in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="turns of each way (default 15)")
    parser.add_argument("--json", type=Path, default=None, help="write all times and ratios to this file")
    parser.add_argument("--record", action="store_true", help="add the ratios to the chapter's record")
    args = parser.parse_args()
    if args.repeats < 1: parser.error("--repeats must be at least 1")
    os.environ.setdefault("PETS_LEARN_SCALE", "laptop")  # one thread of the processor, whatever else the machine has
    begun = time.perf_counter()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        named = ways()
        check(named)
        times = measure(named, args.repeats)
        found, seconds = ratios(times), time.perf_counter() - begun
        report(times, found)
        if args.json: args.json.write_text(json.dumps({"times": times, "ratios": found, "seconds": seconds}, indent=1))
        if args.record:
            old = read_record("foundations/convolution", scale_name())
            if old is None:
                print("nothing recorded: run pets-learn reproduce foundations/convolution first", file=sys.stderr)
                return 2
            print("recorded in", record("foundations/convolution", figures(found), data=old["data"], seconds=old["seconds"]))
    return 0 if all(met(name, median(found[name])) for name in BARS) else 1


if __name__ == "__main__": raise SystemExit(main())
