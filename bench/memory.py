"""Keeping freed memory against giving it back: one training step of MobileNetV2 on the CPU, in one run on the same machine.

The setting holds for a whole process and cannot be undone, so each repeat starts one fresh process for either way, in turns.
The network is that of the first hour: early layers frozen, batches of 32 random photos of 192 pixels. Reported and recorded
is the ratio of photos per second, with over without `keep_freed_memory`; the losses of both ways must be equal to the last bit.

    python bench/memory.py                 # 5 repeats, about 2 minutes on two cores
    python bench/memory.py --record        # also writes book/results/workshop-run.laptop.json
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from statistics import median
from typing import Any

BATCH, SIZE, WARM_UP = 32, 192, 3


def steps(keep: bool, count: int) -> dict[str, Any]:
    "Runs in a process of its own: photos per second and the loss of the last step."
    import torch
    from pets_learn.run import keep_freed_memory, seed_everything
    from pets_learn.start.classifier import image_classifier, layer_groups
    from torch import nn
    if keep and not keep_freed_memory(): raise SystemExit("the C library here is not glibc: there is nothing to compare")
    seed_everything(0)
    model = image_classifier(37).to(memory_format=torch.channels_last).train()
    frozen, *trained = layer_groups(model)
    for parameter in frozen: parameter.requires_grad = False
    optimizer = torch.optim.AdamW([parameter for group in trained for parameter in group], 1e-4)
    photos = torch.rand(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 37
    for step in range(WARM_UP + count):
        if step == WARM_UP: started = time.perf_counter()
        loss = nn.functional.cross_entropy(model(photos), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"speed": count * BATCH / (time.perf_counter() - started), "loss": float(loss.detach()).hex()}


def launch(keep: bool, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--steps", str(count), "--way", "keep" if keep else "give back"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="processes of either way (default 5)")
    parser.add_argument("--steps", type=int, default=12, help="timed steps of each (default 12)")
    parser.add_argument("--record", action="store_true", help="write the ratio to book/results")
    parser.add_argument("--way", choices=("keep", "give back"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(steps(args.way == "keep", args.steps)))
        return 0
    from pets_learn.run import figure, record
    begun, ratios, speeds = time.perf_counter(), [], {True: [], False: []}
    for repeat in range(args.repeats):
        found = {keep: launch(keep, args.steps) for keep in ((True, False) if repeat % 2 else (False, True))}
        if found[True]["loss"] != found[False]["loss"]: raise SystemExit("the two ways compute different losses")
        for keep, result in found.items(): speeds[keep].append(result["speed"])
        ratios.append(found[True]["speed"] / found[False]["speed"])
        print(f"repeat {repeat + 1}/{args.repeats}: {ratios[-1]:.2f}", flush=True)
    print(f"photos/s: kept {median(speeds[True]):.0f}, given back {median(speeds[False]):.0f}; "
          f"ratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); losses equal")
    if args.record:
        words = "training step of MobileNetV2, batches of 32 at 192 px, with keep_freed_memory / without, processes in turns"
        made = figure(ratios, versus=words) | {"median": median(ratios), "values": ratios}
        data = {"name": "random photos", "items": BATCH, "complete": True}
        print("recorded in", record("workshop/run", {"keep_memory_ratio": made}, data, time.perf_counter() - begun))
    return 0


if __name__ == "__main__": raise SystemExit(main())
