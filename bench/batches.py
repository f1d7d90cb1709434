"""Our batches against fastai's stock ImageDataLoaders: the same photos, network, batch size and machine, in one run.

Three questions, for the binary CNN at 150 px:

  epoch   photos per second of a whole training epoch, ours over stock, both in the same memory format
  loader  photos per second of the loader alone, ours over stock
  step    speed of a training epoch with our batches as a share of the speed on one resident random batch

Every timed epoch starts from a fresh copy of one network and its optimizer, so that no way inherits what another one
learned. The ways take turns within each repeat, so that a slow minute hits all of them, and each one warms up before the
clock starts. Each figure is a ratio of two speeds of the same repeat; reported, recorded and judged is the median.

Stock runs with fastai's own default of worker processes and with none, each in torch's default memory format and in
channels_last. "Best stock" is the fastest of these four in each repeat, held against the better of our two formats.
fastai starts its worker processes anew for each epoch; its `persistent_workers` does not change that (2.8.7 passes by the
part of PyTorch that would keep them). So the clock of a loader alone starts when its first batch has arrived, for ours too.

    python bench/batches.py                        # 1,500 photos, 3 repeats, at most about 6 minutes
    python bench/batches.py --images 300 --repeats 2 --json out.json
    python bench/batches.py --record               # also writes book/results/workshop-batches.<scale>.json

Without real pets (PETS_LEARN_HOME) it says so; with --stand-ins it draws photos, and records nothing.
"""
from __future__ import annotations

import warnings

warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)  # fastai's import

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from fastai.vision.augment import Resize, ResizeMethod, aug_transforms
from fastai.vision.data import ImageDataLoaders
from torch import nn

from pets_learn.batches import Augmentation, BatchLoader, dataloaders, photo_cache
from pets_learn.data import MissingData, pets
from pets_learn.run import PetsLearnError, device, figure, machine, record, seed_everything

SIZE = 150
RANGES = Augmentation(rotation=30, shift=0.2, shear=0.2, zoom=0.2, flip=True)
BARS = {"epoch": 1.5, "epoch_channels_last": 1.5, "loader": 4.0, "step": 0.85, "step_channels_last": 0.85}
WARM_UP = 6             # batches
FORMATS = {"": torch.contiguous_format, ", channels_last": torch.channels_last}
Batches = Iterable[Any]
Way = Callable[[int | None], float]  # how many batches at most (None: all) -> photos per second


def binary_cnn() -> nn.Module:
    "The network of the chapter pets/cnn; as long as that is not there, the same layers."
    try:
        from pets_learn.pets.cnn import binary_cnn as chapters  # type: ignore[import-not-found,unused-ignore]
        return chapters()
    except ImportError:
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(18496, 512), nn.ReLU(), nn.Linear(512, 1))


def train(batches: Batches, memory_format: torch.memory_format, place: torch.device, limit: int | None = None) -> float:
    "Photos per second of an epoch with a fresh network, which is always the same one."
    seed_everything(0)
    model = binary_cnn().to(place, memory_format=memory_format).train()
    optimizer, loss = torch.optim.RMSprop(model.parameters(), lr=1e-3), nn.BCEWithLogitsLoss()
    wait()
    photos, start = 0, time.perf_counter()
    for x, y in islice(batches, limit):
        x = x.as_subclass(torch.Tensor).contiguous(memory_format=memory_format)  # fastai's own class would slow every operation
        optimizer.zero_grad()
        loss(model(x).flatten(), y.as_subclass(torch.Tensor).flatten().float()).backward()
        optimizer.step()
        photos += len(x)
    wait()
    return photos / (time.perf_counter() - start)


def drain(batches: Batches, limit: int | None = None) -> float:
    "Photos per second of a loader alone, from its first batch on: what starting worker processes takes is left out."
    running = iter(islice(batches, limit))
    next(running)
    wait()
    photos, start = 0, time.perf_counter()
    for x, *_ in running: photos += len(x)
    wait()
    return photos / (time.perf_counter() - start)


def wait() -> None:
    if torch.cuda.is_available(): torch.cuda.synchronize()


def stock(paths: list[Path], labels: list[int], batch_size: int, place: torch.device, workers: int | None) -> Any:
    "fastai's loader with the same ranges, as far as it has them: it shifts only by where it zooms, and has no shear."
    changes = aug_transforms(do_flip=True, max_rotate=30.0, min_zoom=0.8, max_zoom=1.2, max_lighting=0.0, max_warp=0.0,
                             p_affine=1.0, pad_mode="border")
    loaders = ImageDataLoaders.from_lists(paths[0].parent, paths, labels, valid_pct=0.02, seed=0, bs=batch_size, device=place,
                                          item_tfms=Resize(SIZE, method=ResizeMethod.Squish), batch_tfms=changes,
                                          num_workers=workers, persistent_workers=workers != 0)
    return loaders.train


def prepare(args: argparse.Namespace, folder: str) -> tuple[dict[str, dict[str, Way]], dict[str, Any]]:
    "All ways to compare, by question, and a description of the data."
    found = pets(download=False) if not args.stand_ins else stand_ins(folder)
    count = min(args.images, len(found.photos))
    rows = np.linspace(0, len(found.photos) - 1, count).astype(int)  # spread evenly: all breeds keep their share
    chosen = [found.photos[row] for row in rows]
    start = time.perf_counter()
    cache = photo_cache(chosen, SIZE, folder=folder)
    decoded = time.perf_counter() - start
    paths, place, size = list(cache.paths), device(), args.batch_size
    labels = [int(not path.name[0].isupper()) for path in paths]
    kind = "drawn stand-ins" if found.generated else "photos"
    print(f"data: {len(paths):,} {kind}, {sum(labels) / len(labels):.0%} dogs, decoded once in {decoded:.1f} s; {machine()}",
          flush=True)
    valid = np.linspace(0, len(paths) - 1, int(0.02 * len(paths))).astype(int)  # as many as fastai's valid_pct=0.02 takes away
    used = np.setdiff1d(np.arange(len(paths)), valid)

    def ours(suffix: str) -> BatchLoader:
        return dataloaders(cache, labels, used, valid, targets="binary", batch_size=size, augmentation=RANGES, device=place,
                           channels_last=bool(suffix), prefetch=args.prefetch, drop_last=True).train

    stocks = {"stock": stock(paths, labels, size, place, None), "stock, 0 workers": stock(paths, labels, size, place, 0)}
    mine = {"ours" + suffix: ours(suffix) for suffix in FORMATS}
    batch = torch.rand(size, 3, SIZE, SIZE, device=place), torch.randint(0, 2, (size, 1), device=place).float()
    fixed = max(WARM_UP, len(mine["ours"]) // 3)  # a batch that never changes needs no whole epoch
    training: dict[str, Way] = {}

    def add(name: str, suffix: str, batches: Callable[[], Batches]) -> None:
        training[name + suffix] = lambda limit: train(batches(), FORMATS[suffix], place, limit)

    for suffix, memory_format in FORMATS.items():
        resident = batch[0].contiguous(memory_format=memory_format), batch[1]
        add("resident", suffix, lambda resident=resident: repeat(resident, fixed))
        add("ours", suffix, lambda suffix=suffix: mine["ours" + suffix])
        for name, loader in stocks.items(): add(name, suffix, lambda loader=loader: loader)
    alone: dict[str, Way] = {name: lambda limit, loader=loader: drain(loader, limit)
                             for name, loader in {**stocks, **mine}.items()}
    data = {"name": "Oxford-IIIT Pet", "items": len(paths), "complete": len(paths) == len(found.photos),
            "generated": found.generated}
    return {"training": training, "loader alone": alone}, data


def stand_ins(folder: str) -> Any:
    from pets_learn.toys import make_pets
    return pets(root=make_pets(Path(folder)/"drawn", photos_per_breed=8, quirks=False), download=False)


def measure(question: str, ways: dict[str, Way], repeats: int, seconds: float) -> dict[str, list[float]]:
    "Photos per second of each way in each repeat; a repeat that would not end within `seconds` is not begun."
    begun = time.perf_counter()
    for run in ways.values(): run(WARM_UP)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    longest = 0.0
    for i in range(repeats):
        if i and time.perf_counter() - begun + longest > seconds:
            print(f"{question}: {i} of {repeats} repeats, as one more would go beyond --minutes", flush=True)
            break
        start = time.perf_counter()
        for name in list(ways)[::1 if i % 2 == 0 else -1]:  # nobody always goes first
            speeds[name].append(ways[name](None))
            print(f"{question}, repeat {i + 1}/{repeats}: {name:<32}{speeds[name][-1]:>9,.0f} photos/s", flush=True)
        longest = max(longest, time.perf_counter() - start)
    return speeds


def ratio(over: list[float], under: list[float]) -> list[float]: return [a / b for a, b in zip(over, under, strict=True)]


def best(speeds: dict[str, list[float]], prefix: str) -> list[float]:
    "The fastest way whose name starts with `prefix`, in each repeat."
    return [max(values) for values in zip(*(v for name, v in speeds.items() if name.startswith(prefix)), strict=True)]


def ratios(training: dict[str, list[float]], alone: dict[str, list[float]]) -> dict[str, list[float]]:
    last = ", channels_last"
    return {
        "epoch": ratio(training["ours"], training["stock"]),
        "epoch_channels_last": ratio(training["ours" + last], training["stock" + last]),
        "epoch_against_best_stock": ratio(best(training, "ours"), best(training, "stock")),
        "loader": ratio(alone["ours"], alone["stock"]),
        "loader_against_best_stock": ratio(alone["ours"], best(alone, "stock")),
        "step": ratio(training["ours"], training["resident"]),
        "step_channels_last": ratio(training["ours" + last], training["resident" + last]),
    }


MEANING = {
    "epoch": "training epoch, ours / stock with its default workers, both in the default memory format",
    "epoch_channels_last": "training epoch, ours / stock with its default workers, both in channels_last",
    "epoch_against_best_stock": "training epoch, ours in its better format / the fastest of stock's four settings "
                                "(default workers or none, both formats)",
    "loader": "loader alone with augmentation, ours / stock with its default workers",
    "loader_against_best_stock": "loader alone with augmentation, ours / the faster of stock's default workers and none",
    "step": "training epoch, ours / one resident random batch, default memory format",
    "step_channels_last": "training epoch, ours / one resident random batch, channels_last",
}


def report(speeds: dict[str, dict[str, list[float]]], found: dict[str, list[float]]) -> None:
    for question, ways in speeds.items():
        print(f"\n{question}, photos per second: median (range)")
        for name, values in ways.items():
            print(f"  {name:<32}{median(values):>9,.0f}   ({min(values):,.0f} to {max(values):,.0f})")
    print("\nratios: median (range)")
    for name, values in found.items():
        bar = BARS.get(name)
        verdict = "" if bar is None else f"   bar {bar}: {'met' if median(values) >= bar else 'MISSED'}"
        print(f"  {name:<26}{median(values):>9.2f}   ({min(values):.2f} to {max(values):.2f}){verdict}   {MEANING[name]}")


def summary(values: list[float], **options: Any) -> dict[str, Any]:
    "A figure with the value of every repeat and their median, which is what a bar is judged on."
    return figure(values, **options) | {"median": median(values), "values": values}


def figures(speeds: dict[str, dict[str, list[float]]], found: dict[str, list[float]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, values in found.items(): yield f"{name}_ratio", summary(values, versus=MEANING[name]) | {"bar": BARS.get(name)}
    for question, prefix in (("training", "epoch"), ("loader alone", "loader")):
        for name, values in speeds[question].items():
            yield f"{prefix}_{name.replace(', ', '_').replace(' ', '_')}_photos_per_second", summary(values, unit="photos/s")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500, help="photos per epoch (default 1500)")
    parser.add_argument("--repeats", type=int, default=3, help="timed epochs of each way (default 3)")
    parser.add_argument("--minutes", type=float, default=6, help="begin no repeat that would end later than this (default 6)")
    parser.add_argument("--batch-size", type=int, default=20, help="photos per batch, the same for all ways (default 20)")
    parser.add_argument("--prefetch", type=int, default=None, help="batches ours makes ahead (default: its own choice)")
    parser.add_argument("--json", type=Path, default=None, help="write all speeds and ratios to this file")
    parser.add_argument("--record", action="store_true", help="write the ratios to book/results")
    parser.add_argument("--stand-ins", action="store_true", help="use drawn photos even where real ones are")
    args = parser.parse_args()
    if args.images < 100 or args.repeats < 1 or args.batch_size < 1:
        parser.error("--images must be at least 100, --repeats and --batch-size at least 1")
    return args


def main() -> int:
    args = arguments()
    os.environ.setdefault("PETS_LEARN_SCALE", "laptop" if device().type == "cpu" else "gpu")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try: questions, data = prepare(args, folder)
        except MissingData as error:
            print(f"{error}\nrun again with --stand-ins to time it on drawn photos", file=sys.stderr)
            return 2
        except PetsLearnError as error:
            print(error, file=sys.stderr)
            return 2
        speeds = {}
        for question in ("loader alone", "training"):  # the short one first: what it takes is known when training is planned
            left = 60 * args.minutes - (time.perf_counter() - begun)
            speeds[question] = measure(question, questions[question], args.repeats, left)
    found = ratios(speeds["training"], speeds["loader alone"])
    report(speeds, found)
    seconds = time.perf_counter() - begun
    print(f"\n{seconds:,.0f} s in all")
    if args.json:
        args.json.write_text(json.dumps({"data": data, "speeds": speeds, "ratios": found, "seconds": seconds}, indent=1))
    if args.record and data["generated"]: print("nothing recorded: the photos are drawn")
    elif args.record: print("recorded in", record("workshop/batches", dict(figures(speeds, found)), data=data, seconds=seconds))
    return 0


if __name__ == "__main__": raise SystemExit(main())
