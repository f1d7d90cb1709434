"""Our batches against fastai's stock ImageDataLoaders: the same photos, network, batch size and machine, in one run.

Three questions, for the binary CNN at 150 px:

  epoch   photos per second of a whole training epoch, ours over stock
  loader  photos per second of the loader alone, ours over stock
  step    speed of a training epoch with our batches as a share of the speed on one resident random batch

The ways take turns within each repeat, so that a slow minute hits all of them. Every way runs one epoch before the clock
starts (worker processes, file cache, memory), so what is timed is the second epoch and later ones. Each figure is a ratio of
two speeds of the same repeat; reported are the median and the range. Stock runs with fastai's own default of worker processes,
and with 0; with torch's default memory format, and with channels_last.

    python bench/batches.py                        # 1,000 photos, 5 repeats
    python bench/batches.py --images 600 --repeats 3 --json out.json
    python bench/batches.py --record               # also writes book/results/workshop-batches.<scale>.json

Without real pets (PETS_LEARN_HOME) it draws stand-ins, says so, and records nothing.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from fastai.vision.augment import Resize, ResizeMethod, aug_transforms
from fastai.vision.data import ImageDataLoaders
from torch import nn

from pets_learn.batches import Augmentation, BatchLoader, dataloaders, photo_cache
from pets_learn.data import MissingData, pets
from pets_learn.run import PetsLearnError, device, figure, machine, record, seed_everything

SIZE = 150
RANGES = Augmentation(rotation=30, shift=0.2, shear=0.2, zoom=0.2, flip=True)
BARS = {"epoch": 1.5, "loader": 4.0, "step": 0.85}
Ways = dict[str, Callable[[], float]]  # name -> run one epoch, return photos per second


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


class Trainer:
    "One network with its optimizer, and an epoch over whatever batches it is given."

    def __init__(self, channels_last: bool, place: torch.device):
        seed_everything(0)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = binary_cnn().to(place, memory_format=self.format)
        self.optimizer = torch.optim.RMSprop(self.model.parameters(), lr=1e-3)
        self.loss = nn.BCEWithLogitsLoss()

    def epoch(self, batches: Iterable[Any]) -> float:
        "Photos per second."
        photos, start = 0, time.perf_counter()
        for x, y in batches:
            x = x.as_subclass(torch.Tensor).contiguous(memory_format=self.format)  # fastai's own class would slow every operation
            self.optimizer.zero_grad()
            self.loss(self.model(x).flatten(), y.as_subclass(torch.Tensor).flatten().float()).backward()
            self.optimizer.step()
            photos += len(x)
        wait()
        return photos / (time.perf_counter() - start)


def wait() -> None:
    if torch.cuda.is_available(): torch.cuda.synchronize()


def drain(batches: Iterable[Any]) -> float:
    "Photos per second of a loader alone."
    photos, start = 0, time.perf_counter()
    for x, *_ in batches: photos += len(x)
    wait()
    return photos / (time.perf_counter() - start)


def stock(paths: list[Path], labels: list[int], batch_size: int, place: torch.device, workers: int | None) -> Any:
    "fastai's loader with the same ranges, as far as it has them: it shifts only by where it zooms, and has no shear."
    changes = aug_transforms(do_flip=True, max_rotate=30.0, min_zoom=0.8, max_zoom=1.2, max_lighting=0.0, max_warp=0.0,
                             p_affine=1.0, pad_mode="border")
    extra = {} if workers is None else {"num_workers": workers}
    loaders = ImageDataLoaders.from_lists(paths[0].parent, paths, labels, valid_pct=0.02, seed=0, bs=batch_size, device=place,
                                          item_tfms=Resize(SIZE, method=ResizeMethod.Squish), batch_tfms=changes, **extra)
    return loaders.train


def prepare(args: argparse.Namespace, folder: str) -> tuple[dict[str, Ways], dict[str, Any]]:
    "All ways to compare, by question, and a description of the data."
    found = pets(download=False) if not args.stand_ins else stand_ins(folder)
    step = max(1, len(found.photos) // args.images)
    chosen = found.photos[::step][:args.images]
    start = time.perf_counter()
    cache = photo_cache(chosen, SIZE, folder=folder)
    decoded = time.perf_counter() - start
    paths, place, size = list(cache.paths), device(), args.batch_size
    labels = [int(not path.name[0].isupper()) for path in paths]
    count = len(paths) // 50  # what fastai's valid_pct=0.02 takes away
    kind = "drawn stand-ins" if found.generated else "photos"
    print(f"data: {len(paths):,} {kind}, decoded once in {decoded:.1f} s; {machine()}")

    def ours(channels_last: bool) -> BatchLoader:
        return dataloaders(cache, labels, range(count, len(paths)), range(count), targets="binary", batch_size=size,
                           augmentation=RANGES, device=place, channels_last=channels_last, prefetch=args.prefetch,
                           drop_last=True).train

    stocks = {"stock": stock(paths, labels, size, place, None), "stock, 0 workers": stock(paths, labels, size, place, 0)}
    loaders = {"ours": ours(False), "ours, channels_last": ours(True)}
    batches = len(loaders["ours"])
    x, y = torch.rand(size, 3, SIZE, SIZE, device=place), torch.randint(0, 2, (size, 1), device=place).float()
    trainers = {flag: Trainer(flag, place) for flag in (False, True)}
    for trainer in trainers.values(): trainer.model.train()
    training: Ways = {}
    for flag, suffix in ((False, ""), (True, ", channels_last")):
        train, resident = trainers[flag].epoch, x.contiguous(memory_format=trainers[flag].format)
        training["resident" + suffix] = lambda train=train, resident=resident: train((resident, y) for _ in range(batches))
        training["ours" + suffix] = lambda train=train, loader=loaders["ours" + suffix]: train(loader)
        training["stock" + suffix] = lambda train=train: train(stocks["stock"])
    training["stock, 0 workers"] = lambda: trainers[False].epoch(stocks["stock, 0 workers"])
    alone: Ways = {name: lambda loader=loader: drain(loader) for name, loader in {**stocks, **loaders}.items()}
    data = {"name": "Oxford-IIIT Pet", "items": len(paths), "complete": len(paths) == len(found.photos),
            "generated": found.generated}
    return {"training": training, "loader alone": alone}, data


def stand_ins(folder: str) -> Any:
    from pets_learn.toys import make_pets
    return pets(root=make_pets(Path(folder)/"drawn", photos_per_breed=8, quirks=False), download=False)


def measure(ways: Ways, repeats: int) -> dict[str, list[float]]:
    "Photos per second of each way in each repeat; the first epoch of each is thrown away."
    for run in ways.values(): run()
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(repeats):
        order = list(ways) if i % 2 == 0 else list(ways)[::-1]  # nobody always goes first
        for name in order: speeds[name].append(ways[name]())
        if sys.stderr.isatty(): print(f"\rrepeat {i + 1}/{repeats}", end="", file=sys.stderr, flush=True)
    return speeds


def ratio(over: list[float], under: list[float]) -> list[float]: return [a / b for a, b in zip(over, under, strict=True)]


def best(speeds: dict[str, list[float]], prefix: str) -> list[float]:
    "The fastest way whose name starts with `prefix`, in each repeat: the rival at its best."
    return [max(values) for values in zip(*(v for name, v in speeds.items() if name.startswith(prefix)), strict=True)]


def ratios(training: dict[str, list[float]], alone: dict[str, list[float]]) -> dict[str, list[float]]:
    return {
        "epoch": ratio(training["ours, channels_last"], training["stock"]),
        "epoch_same_format": ratio(training["ours"], training["stock"]),
        "epoch_against_best_stock": ratio(training["ours, channels_last"], best(training, "stock")),
        "loader": ratio(alone["ours"], alone["stock"]),
        "loader_against_best_stock": ratio(alone["ours"], best(alone, "stock")),
        "step": ratio(training["ours"], training["resident"]),
        "step_channels_last": ratio(training["ours, channels_last"], training["resident, channels_last"]),
    }


MEANING = {
    "epoch": "ours (channels_last) / stock ImageDataLoaders as it comes, training epoch",
    "epoch_same_format": "ours / stock, training epoch, both in torch's default memory format",
    "epoch_against_best_stock": "ours (channels_last) / stock at its best of all formats and worker counts, training epoch",
    "loader": "ours / stock, loader alone with augmentation",
    "loader_against_best_stock": "ours / stock at its best worker count, loader alone",
    "step": "ours / one resident random batch, training epoch, default memory format",
    "step_channels_last": "ours / one resident random batch, training epoch, channels_last",
}


def report(speeds: dict[str, dict[str, list[float]]], found: dict[str, list[float]]) -> None:
    for question, ways in speeds.items():
        print(f"\n{question}, photos per second: median (range)")
        for name, values in ways.items():
            print(f"  {name:<26}{median(values):>9,.0f}   ({min(values):,.0f} to {max(values):,.0f})")
    print("\nratios: median (range)")
    for name, values in found.items():
        bar = BARS.get(name)
        verdict = "" if bar is None else f"   bar {bar}: {'met' if median(values) >= bar else 'MISSED'}"
        print(f"  {name:<26}{median(values):>9.2f}   ({min(values):.2f} to {max(values):.2f}){verdict}   {MEANING[name]}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="photos per epoch (default 1000)")
    parser.add_argument("--repeats", type=int, default=5, help="timed epochs of each way (default 5)")
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
    warnings.filterwarnings("ignore", message=".*torch.jit.*")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try: questions, data = prepare(args, folder)
        except MissingData as error:
            print(f"{error}\nrun again with --stand-ins to time it on drawn photos", file=sys.stderr)
            return 2
        except PetsLearnError as error:
            print(error, file=sys.stderr)
            return 2
        speeds = {question: measure(ways, args.repeats) for question, ways in questions.items()}
    found = ratios(speeds["training"], speeds["loader alone"])
    report(speeds, found)
    seconds = time.perf_counter() - begun
    if args.json:
        args.json.write_text(json.dumps({"data": data, "speeds": speeds, "ratios": found, "seconds": seconds}, indent=1))
    if args.record and data["generated"]: print("\nnothing recorded: the photos are drawn")
    elif args.record:
        figures = {f"{name}_ratio": figure(values, versus=MEANING[name]) for name, values in found.items()}
        for question, prefix in (("training", "epoch"), ("loader alone", "loader")):
            for name in ("stock", "ours"):
                figures[f"{prefix}_{name}_photos_per_second"] = figure(speeds[question][name], unit="photos/s")
        print("\nrecorded in", record("workshop/batches", figures, data=data, seconds=seconds))
    return 0


if __name__ == "__main__": raise SystemExit(main())
