"""Several processes against one: the same training, photos and whole batch, on the same machine, in one run.

Three ways, for cats against dogs with a small network without batch normalization:

  one thread     one process with one thread
  all threads    one process with as many threads as the last way has processes
  processes      that many processes with one thread each, each on its part of every batch

With CUDA each process has a GPU of its own, and one GPU takes the place of the first two ways.

Each way is launched anew in each repeat, trains one epoch to warm up and then `--epochs` epochs against the clock.
The ways take turns within each repeat, so that a slow minute hits all of them. What starting takes is measured beside
it and is not in the ratios. Each figure is a ratio of two speeds of the same repeat; reported and recorded is the median.
The run ends with an error when the ways do not end with the same weights, up to rounding: a quick training that is
another training is no speed-up.

    python bench/distributed.py                      # 1,480 photos, two processes, 3 repeats, about 10 minutes on two cores
    python bench/distributed.py --images 200 --repeats 1 --json out.json
    python bench/distributed.py --record             # also writes book/results/workshop-distributed.<scale>.json

Without real pets (PETS_LEARN_HOME) it says so; with --stand-ins it draws photos, and records nothing.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from torch import nn

from pets_learn.batches import Augmentation, dataloaders, photo_cache
from pets_learn.data import MissingData, pets
from pets_learn.distributed import DistributedTraining, launch
from pets_learn.run import PetsLearnError, device, figure, machine, record, seed_everything
from pets_learn.training import fit

SIZE = 96
RANGES = Augmentation(rotation=30, shift=0.2, shear=0.2, zoom=0.2, flip=True)
ROUNDING = 0.02  # largest difference of a weight; rounding grows with the steps, also between one thread and two


def network() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)): layers += [nn.Conv2d(before, after, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 10 * 10, 1))


def train(paths: list[Path], folder: str, batch_size: int, epochs: int) -> dict[str, Any]:
    "Runs in every process. Photos per second of all processes together, and the weights at the end."
    begun = time.time()
    seed_everything(0)
    cache = photo_cache(paths, SIZE, folder=folder)
    dogs = np.array([not path.name[0].isupper() for path in cache.paths])
    train, valid = np.split(np.random.default_rng(0).permutation(len(cache)), [len(cache) * 49 // 50])
    dls = dataloaders(cache, dogs, train, valid, targets="binary", batch_size=batch_size, augmentation=RANGES, device=device())
    model, options = network(), {"learning_rate": 0.01, "optimizer": "sgd", "mixed_precision": False}
    fit(model, dls, nn.BCEWithLogitsLoss(), 1, callbacks=[DistributedTraining()], **options)  # warm up
    done = fit(model, dls, nn.BCEWithLogitsLoss(), epochs, callbacks=[DistributedTraining()], **options)
    weights = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    return {"begun": begun, "speed": epochs * len(train) / done.seconds, "weights": weights}


def ways(processes: int) -> dict[str, tuple[int, int]]:
    "Name -> processes and threads of each."
    together = {f"{processes} processes": (processes, 1)}
    if device().type == "cuda": return {"one GPU": (1, 1), **together}
    return {"one thread": (1, 1), f"{processes} threads": (1, processes), **together}


def stand_ins(folder: str) -> Any:
    from pets_learn.toys import make_pets
    return pets(root=make_pets(Path(folder)/"drawn", photos_per_breed=8, quirks=False), download=False)


def measure(args: argparse.Namespace, paths: list[Path], folder: str) -> tuple[dict[str, list[float]], list[float]]:
    "Photos per second of each way in each repeat, and the seconds that starting the processes took."
    chosen = ways(args.processes)
    speeds: dict[str, list[float]] = {name: [] for name in chosen}
    starts: list[float] = []
    for i in range(args.repeats):
        weights: dict[str, dict[str, np.ndarray]] = {}
        for name in list(chosen)[::1 if i % 2 == 0 else -1]:  # nobody always goes first
            count, threads = chosen[name]
            asked = time.time()
            found = launch(train, count, paths, folder, args.batch_size, args.epochs, threads=threads, timeout=3600)
            speeds[name].append(found["speed"])
            weights[name] = found["weights"]
            if count > 1: starts.append(found["begun"] - asked)
            print(f"repeat {i + 1}/{args.repeats}: {name:<16}{found['speed']:>9,.0f} photos/s", flush=True)
        check(weights)
    return speeds, starts


def check(weights: dict[str, dict[str, np.ndarray]]) -> None:
    first, *others = weights.values()
    worst = max(float(np.abs(first[name] - other[name]).max()) for other in others for name in first)
    print(f"largest difference of a weight between the ways: {worst:.1e}", flush=True)
    if not worst <= ROUNDING:
        raise PetsLearnError(f"the ways differ by {worst:.1e}, which is more than rounding; look for what differs")


def ratios(speeds: dict[str, list[float]]) -> dict[str, list[float]]:
    *singles, together = speeds
    keys = ["speed_up"] if len(singles) == 1 else ["speed_up", "against_threads"]
    return {key: [a / b for a, b in zip(speeds[together], speeds[single], strict=True)]
            for key, single in zip(keys, singles, strict=True)}


def meaning(speeds: dict[str, list[float]]) -> dict[str, str]:
    *singles, together = speeds
    return {key: f"training epoch, {together} / {single}, same whole batch, both on this machine"
            for key, single in zip(["speed_up", "against_threads"], singles, strict=False)}


def summary(values: list[float], **options: Any) -> dict[str, Any]:
    "A figure with the value of every repeat and their median, which is what counts."
    return figure(values, **options) | {"median": median(values), "values": values}


def figures(speeds: dict[str, list[float]], starts: list[float]) -> dict[str, dict[str, Any]]:
    words = meaning(speeds)
    found = {f"{key}_ratio": summary(values, versus=words[key]) for key, values in ratios(speeds).items()}
    found |= {f"{name.replace(' ', '_')}_photos_per_second": summary(values, unit="photos/s") for name, values in speeds.items()}
    return found | {"start_seconds": summary(starts, unit="s", better="lower")}


def report(speeds: dict[str, list[float]], starts: list[float]) -> None:
    print("\nphotos per second: median (range)")
    for name, values in speeds.items(): print(f"  {name:<16}{median(values):>9,.0f}   ({min(values):,.0f} to {max(values):,.0f})")
    print("\nratios: median (range)")
    for name, values in ratios(speeds).items():
        print(f"  {name:<16}{median(values):>9.2f}   ({min(values):.2f} to {max(values):.2f})   {meaning(speeds)[name]}")
    print(f"\nstarting the processes took {median(starts):.1f} s, which is in none of these figures")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1480, help="photos (default 1480)")
    parser.add_argument("--processes", type=int, default=2, help="processes of the last way (default 2)")
    parser.add_argument("--repeats", type=int, default=3, help="launches of each way (default 3)")
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs of each launch (default 2)")
    parser.add_argument("--batch-size", type=int, default=32, help="photos per whole batch, the same for all ways (default 32)")
    parser.add_argument("--json", type=Path, default=None, help="write all speeds and ratios to this file")
    parser.add_argument("--record", action="store_true", help="write the ratios to book/results")
    parser.add_argument("--stand-ins", action="store_true", help="use drawn photos even where real ones are")
    args = parser.parse_args()
    if args.images < 100 or min(args.repeats, args.epochs) < 1 or not 2 <= args.processes <= args.batch_size:
        parser.error("--images must be at least 100, --repeats and --epochs at least 1, --processes 2 to --batch-size")
    return args


def main() -> int:
    args = arguments()
    os.environ.setdefault("PETS_LEARN_SCALE", "laptop" if device().type == "cpu" else "gpu")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = pets(download=False) if not args.stand_ins else stand_ins(folder)
            rows = np.linspace(0, len(found.photos) - 1, min(args.images, len(found.photos))).astype(int)
            cache = photo_cache([found.photos[row] for row in rows], SIZE, folder=folder)  # the processes find it
            kind = "drawn stand-ins" if found.generated else "photos"
            print(f"data: {len(cache):,} {kind}; {machine()}, batches of {args.batch_size}", flush=True)
            speeds, starts = measure(args, list(cache.paths), folder)
        except PetsLearnError as error:
            again = "\nrun again with --stand-ins to time it on drawn photos" if isinstance(error, MissingData) else ""
            print(f"{error}{again}", file=sys.stderr)
            return 2
    report(speeds, starts)
    seconds = time.perf_counter() - begun
    data = {"name": "Oxford-IIIT Pet", "items": len(cache), "complete": len(cache) == len(found.photos),
            "generated": found.generated}
    print(f"\n{seconds:,.0f} s in all")
    if args.json:
        content = {"data": data, "speeds": speeds, "ratios": ratios(speeds), "start_seconds": starts, "seconds": seconds}
        args.json.write_text(json.dumps(content, indent=1))
    if args.record and data["generated"]: print("nothing recorded: the photos are drawn")
    elif args.record: print("recorded in", record("workshop/distributed", figures(speeds, starts), data=data, seconds=seconds))
    return 0


if __name__ == "__main__": raise SystemExit(main())
