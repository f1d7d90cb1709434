"""Pairs of faces from a store of decoded faces against pairs whose photos are opened each time: one run, equal batches.

Two questions, for an epoch over the pairs to learn from (a random four fifths of LFW's training list, 1,760 pairs):

  loading   seconds to make all batches, the other way's over ours
  training  the same with a small Siamese network that learns from them

The other way is a torch Dataset that opens both photos of a pair, makes them gray and 105 x 105 pixels, in a DataLoader with no
worker process and with two that stay; the faster of the two counts, repeat by repeat. For information, PyTorch's loader over the
decoded faces runs as well: what is left to win for a loader once nothing is decoded twice. Workers are started and every way has
warmed up before the clock starts, and the ways take turns. Reported and judged is the median. It also checks that both see the
same faces.

    python bench/pairs.py                    # three repeats, about a minute
    python bench/pairs.py --repeats 5 --json out.json

Without the real faces (PETS_LEARN_HOME) it says so and measures nothing.
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from pets_learn.batches import BatchLoader
from pets_learn.faces.pairs import FacePairs, FaceStore, face_store, read_pairs, split_pairs, whole_faces
from pets_learn.run import PetsLearnError, machine, seed_everything

SIZE, BATCH, BAR = 105, 128, 2.0


class OpenedPairs(Dataset[tuple[torch.Tensor, int]]):
    "Both photos of a pair, decoded each time."
    def __init__(self, pairs: FacePairs, store: FaceStore) -> None: self.pairs, self.store = pairs, store
    def __len__(self) -> int: return len(self.pairs)

    def face(self, row: int) -> torch.Tensor:
        photo = Image.open(self.store.paths[row])
        photo.draft("L", (SIZE, SIZE))  # JPEG decodes straight to gray
        return torch.from_numpy(np.array(photo.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)))[None].float() / 255

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.stack([self.face(row) for row in self.pairs.rows[i]]), int(self.pairs.same[i])


class DecodedPairs(Dataset[tuple[torch.Tensor, int]]):
    "The same pairs from faces that are decoded already, for PyTorch's own loader."
    def __init__(self, pairs: FacePairs, store: FaceStore) -> None: self.groups, self.same = pairs.photos(store), pairs.same
    def __len__(self) -> int: return len(self.same)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.groups[i]).float() / 255, int(self.same[i])


def drain(batches: Iterable[Any]) -> None:
    for x, _ in batches: assert x.shape[1:] == (2, 1, SIZE, SIZE)


def train(batches: Iterable[Any]) -> None:
    "One epoch of a small Siamese network, always the same one."
    seed_everything(0)
    branch = nn.Sequential(nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
                           nn.Flatten(), nn.LazyLinear(64))
    compare, loss = nn.Linear(64, 1), nn.BCEWithLogitsLoss()
    branch(torch.zeros(1, 1, SIZE, SIZE))
    optimizer = torch.optim.Adam([*branch.parameters(), *compare.parameters()], 1e-3)
    for x, y in batches:
        optimizer.zero_grad()
        loss(compare((branch(x[:, 0]) - branch(x[:, 1])).abs())[:, 0], y.float()).backward()
        optimizer.step()


def measure(work: Callable[[Iterable[Any]], None], ways: dict[str, Iterable[Any]], repeats: int) -> dict[str, list[float]]:
    "Seconds of an epoch of each way in each repeat."
    for batches in ways.values(): work(batches)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(repeats):
        for name in list(ways)[::1 if i % 2 == 0 else -1]:
            start = time.perf_counter()
            work(ways[name])
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="how often each way is timed")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    if args.repeats < 1: parser.error(f"--repeats is {args.repeats}; give at least 1")
    try: folder = whole_faces()
    except PetsLearnError as error:
        print(f"nothing is measured: {error}", file=sys.stderr)
        return 2
    if folder.generated:
        print("nothing is measured: these faces are drawn; set PETS_LEARN_HOME to real ones, at laptop scale", file=sys.stderr)
        return 2
    store = face_store(folder, SIZE)
    pairs = split_pairs(read_pairs(folder, store), store, "pair")[0]
    opened, ours = OpenedPairs(pairs, store), BatchLoader(pairs.photos(store), pairs.same, batch_size=BATCH, shuffle=True)
    apart = np.mean([abs(opened[i][0].numpy() - pairs.photos(store)[np.array([i])][0] / 255).mean() for i in range(20)])
    if apart > 0.03: raise PetsLearnError(f"the two ways do not see the same faces: pixels differ by {apart:.3f} on average")
    ways: dict[str, Iterable[Any]] = {
        "files, 0 workers": DataLoader(opened, BATCH, shuffle=True),
        "files, 2 workers": DataLoader(opened, BATCH, shuffle=True, num_workers=2, persistent_workers=True),
        "decoded, 0 workers": DataLoader(DecodedPairs(pairs, store), BATCH, shuffle=True), "our store": ours}
    print(f"{len(pairs):,} pairs, batches of {BATCH}, {SIZE} x {SIZE}; {machine()}", flush=True)
    figures: dict[str, float] = {}
    for question, work in (("loading", drain), ("training", train)):
        seconds = measure(work, ways, args.repeats)
        for name, values in seconds.items(): print(f"{question:<10}{name:<20}{median(values):>8.3f} s an epoch")
        ratios = [min(files) / own for *files, decoded, own in zip(*seconds.values(), strict=True)]
        figures[f"{question}_ratio"] = median(ratios)
        figures[f"{question}_ratio_decoded"] = median(d / own for *_, d, own in zip(*seconds.values(), strict=True))
        print(f"{question:<10}{median(ratios):.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f})")
    if args.json: args.json.write_text(json.dumps(figures, indent=1) + "\n")
    print("met" if figures["loading_ratio"] >= BAR else f"NOT met: loading should be {BAR} times as fast")
    return 0 if figures["loading_ratio"] >= BAR else 1


if __name__ == "__main__": sys.exit(main())
