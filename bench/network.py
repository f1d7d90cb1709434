"""An epoch of the NumPy network against PyTorch on the CPU: same digits, layers, first weights and batches, in one run.

Ways to train 784-128-64-10 with ReLU, cross-entropy and SGD with momentum, one epoch of MNIST in batches of 64:

  ours          pets_learn.foundations.network.train
  torch         nn.Sequential and torch.optim.SGD, as its tutorials write it
  torch, fused  the same with fused=True, which updates all weights in one call
  ... 1 thread  both ways of torch once more, with one thread: for layers as small as these that may be quicker

Every timed epoch starts from fresh copies of the same weights. The ways take turns within each repeat, so that a slow minute hits
all of them, and each one warms up before the clock starts. The ratio is our seconds over those of the fastest torch, repeat by
repeat; reported, recorded and judged is the median. The run ends with an error when the ways do not end with the same weights, up
to rounding: a quick training that is another training is no speed-up. It also ends with an error when the ratio misses its bar.

Beside it the errors of our gradients: against central differences in float64 for every activation and loss, and against autograd
in float32 for the layers above.

    python bench/network.py                    # 60,000 digits, 5 repeats, about a minute
    python bench/network.py --digits 6000 --repeats 2 --json out.json
    python bench/network.py --record           # also writes into book/results/foundations-network.<scale>.json

`pets-learn reproduce foundations/network` begins that record anew: run this after it. Without MNIST (PETS_LEARN_HOME) it says so.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from pets_learn.foundations.network import (
    ACTIVATIONS,
    SEED_SIZES,
    Network,
    digit_arrays,
    network_gradient_error,
    relative_error,
    softmax_cross_entropy,
    squared_error,
    train,
)
from pets_learn.run import PetsLearnError, device, figure, machine, record

RATE, MOMENTUM = 0.05, 0.9
BAR = 3.0        # our seconds over torch's
ROUNDING = 1e-2  # relative difference of the weights after an epoch; rounding grows with the steps
Weights = list[np.ndarray]
Way = Callable[[np.ndarray, np.ndarray, int], tuple[float, Weights]]  # (x, y, batch size) -> seconds of an epoch, weights


def ours(x: np.ndarray, y: np.ndarray, batch_size: int) -> tuple[float, Weights]:
    network = Network(SEED_SIZES)
    begun = time.perf_counter()
    train(network, x, y, 1, batch_size, RATE, MOMENTUM)
    return time.perf_counter() - begun, network.weights


def torch_model() -> nn.Sequential:
    "The layers of the network, with its first weights."
    layers: list[nn.Module] = []
    for matrix in Network(SEED_SIZES).weights:
        layer = nn.Linear(len(matrix) - 1, matrix.shape[1])
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(matrix[1:].T))
            layer.bias.copy_(torch.tensor(matrix[0]))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def by_torch(x: np.ndarray, y: np.ndarray, batch_size: int, fused: bool, threads: int = 0) -> tuple[float, Weights]:
    "An epoch with so many threads; 0: as many as were set before."
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try: return torch_epoch(x, y, batch_size, fused)
    finally: torch.set_num_threads(before)


def torch_epoch(x: np.ndarray, y: np.ndarray, batch_size: int, fused: bool) -> tuple[float, Weights]:
    model, items, labels = torch_model(), torch.from_numpy(x), torch.from_numpy(y)
    begun = time.perf_counter()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, fused=fused)
    loss, total = nn.CrossEntropyLoss(), 0.0
    for rows in torch.from_numpy(np.random.default_rng(0).permutation(len(x))).split(batch_size):  # the order that `train` has
        optimizer.zero_grad()
        value = loss(model(items[rows]), labels[rows])
        value.backward()
        optimizer.step()
        total += value.item() * len(rows)  # as `train` does, which reports the loss of the epoch
    seconds = time.perf_counter() - begun
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    return seconds, [np.vstack([layer.bias.detach().numpy(), layer.weight.detach().numpy().T]) for layer in linear]


WAYS: dict[str, Way] = {
    "ours": ours,
    "torch": partial(by_torch, fused=False),
    "torch, fused": partial(by_torch, fused=True),
    "torch, 1 thread": partial(by_torch, fused=False, threads=1),
    "torch, fused, 1 thread": partial(by_torch, fused=True, threads=1),
}


def measure(x: np.ndarray, y: np.ndarray, args: argparse.Namespace) -> dict[str, list[float]]:
    "Seconds of an epoch for each way and repeat."
    for way in WAYS.values(): way(x[:6400], y[:6400], args.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for i in range(args.repeats):
        weights = {}
        for name in list(WAYS)[::1 if i % 2 == 0 else -1]:  # nobody always goes first
            taken, weights[name] = WAYS[name](x, y, args.batch_size)
            seconds[name].append(taken)
            print(f"repeat {i + 1}/{args.repeats}: {name:<24}{taken:>8.3f} s", flush=True)
        check(weights)
    return seconds


def check(weights: dict[str, Weights]) -> None:
    first, *others = weights.values()
    worst = max(relative_error(a, b) for other in others for a, b in zip(first, other, strict=True))
    print(f"relative difference of the weights after the epoch: {worst:.1e}", flush=True)
    if not worst <= ROUNDING:
        raise PetsLearnError(f"the ways differ by {worst:.1e}, which is more than rounding; look for what differs")


def gradient_errors(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    "The largest relative errors of our gradients: against differences in float64, against autograd in float32."
    losses = [("identity", softmax_cross_entropy), *((name, squared_error) for name in ACTIVATIONS)]
    differences = max(network_gradient_error(name, output, loss, seed=seed)
                      for name in ACTIVATIONS for output, loss in losses for seed in range(3))
    model = torch_model()
    nn.functional.cross_entropy(model(torch.from_numpy(x[:64])), torch.from_numpy(y[:64])).backward()
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    theirs = [np.vstack([layer.bias.grad.numpy(), layer.weight.grad.numpy().T]) for layer in linear]  # type: ignore[union-attr]
    mine = Network(SEED_SIZES).loss_and_gradients(x[:64], y[:64])[1]
    return {"gradient_error": differences,
            "gradient_error_torch": max(relative_error(a, b) for a, b in zip(mine, theirs, strict=True))}


def figures(seconds: dict[str, list[float]], ratios: list[float], errors: dict[str, float], batch_size: int) -> dict[str, Any]:
    def summary(values: list[float], **options: Any) -> dict[str, Any]:
        return figure(values, better="lower", **options) | {"median": median(values), "values": values}

    against = (f"seconds of an epoch at batch {batch_size}, ours / the fastest torch (plain or fused SGD, all threads or one), "
               f"{machine()}, one run")
    found = {"epoch_ratio": summary(ratios, versus=against) | {"bar": BAR}}
    found |= {f"epoch_{name.replace(',', '').replace(' ', '_')}_seconds": summary(values, unit="s")
              for name, values in seconds.items()}
    meaning = {"gradient_error": "central differences in float64, largest of all activations and losses",
               "gradient_error_torch": "torch autograd in float32, 784-128-64-10, 64 digits"}
    return found | {name: figure(value, "relative error", "lower", versus=meaning[name]) for name, value in errors.items()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, default=60_000, help="digits per epoch (default 60000)")
    parser.add_argument("--repeats", type=int, default=5, help="timed epochs of each way (default 5)")
    parser.add_argument("--batch-size", type=int, default=64, help="digits per batch, the same for all ways (default 64)")
    parser.add_argument("--threads", type=int, default=0, help="threads, where a way says no other (default: one a core)")
    parser.add_argument("--json", type=Path, default=None, help="write all seconds and ratios to this file")
    parser.add_argument("--record", action="store_true", help="write the figures to book/results")
    args = parser.parse_args()
    if args.digits < 1000 or min(args.repeats, args.batch_size) < 1 or args.threads < 0:
        parser.error("--digits must be at least 1000, --repeats and --batch-size at least 1, --threads at least 0")
    return args


def main() -> int:
    from threadpoolctl import threadpool_limits

    args = arguments()
    os.environ.setdefault("PETS_LEARN_SCALE", "laptop" if device().type == "cpu" else "gpu")
    threads, begun = args.threads or os.cpu_count() or 1, time.perf_counter()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            x, y = digit_arrays("train", args.digits)
            print(f"data: {len(x):,} digits; {machine()}, batches of {args.batch_size}", flush=True)
            seconds, errors = measure(x, y, args), gradient_errors(x, y)
    except PetsLearnError as error:
        print(error, file=sys.stderr)
        return 2
    fastest = [min(times) for times in zip(*(seconds[name] for name in WAYS if name != "ours"), strict=True)]
    ratios = [a / b for a, b in zip(seconds["ours"], fastest, strict=True)]
    print("\nseconds of an epoch: median (range)")
    for name, values in seconds.items(): print(f"  {name:<24}{median(values):>8.3f}   ({min(values):.3f} to {max(values):.3f})")
    print(f"\nours / fastest torch: {median(ratios):.2f}   ({min(ratios):.2f} to {max(ratios):.2f})   "
          f"bar {BAR:g}: {'met' if median(ratios) <= BAR else 'MISSED'}")
    for name, value in errors.items(): print(f"{name:<22}{value:.1e}")
    spent = time.perf_counter() - begun
    if args.json:
        args.json.write_text(json.dumps({"seconds": seconds, "ratios": ratios, "errors": errors, "spent": spent}, indent=1))
    whole = args.digits >= 60_000 and os.environ["PETS_LEARN_SCALE"] != "smoke"
    if args.record and not whole: print("nothing recorded: that takes all of MNIST's digits")
    elif args.record:
        data = {"name": "MNIST", "items": 70_000, "complete": True}  # as in the chapter's own record, which this adds to
        print("recorded in", record("foundations/network", figures(seconds, ratios, errors, args.batch_size), data, spent))
    return 0 if median(ratios) <= BAR else 1


if __name__ == "__main__": raise SystemExit(main())
