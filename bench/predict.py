"""`pets-learn predict` against PyTorch: the same photos, the same trained network, in one run.

Four questions:

  startup     seconds from the start of the command to its first answer, in a new process
  photo       milliseconds from the file to the answer, one photo after another
  phone       the same for a photo of 12 megapixels
  throughput  photos per second over a folder, ours over torch's

Ours is what the command does with the classifier that comes with the package: ONNX Runtime; each of two threads decodes a few
photos and asks the network about them. Torch has the same network with the weights it was trained to, in float32 and
channels_last, each batch normalization folded into its convolution, in inference mode, in four ways: two worker processes of a
DataLoader that decode ahead, batches of 8 or of 32, and two threads for the network; or, as ours, two threads that each decode
and compute, one photo or eight at a time.
The best of these four counts, repeat by repeat. All workers are started, and each way has warmed up, before the clock starts. One
way runs at a time, and they take turns, so that a slow minute hits all of them. Reported and judged is the median. The run ends
with an error when the ways do not say the same.

    python bench/predict.py --model FOLDER           # 600 photos, 5 repeats, about three minutes
    python bench/predict.py --model FOLDER --photos 100 --repeats 2 --json out.json

FOLDER holds the trained classifier that the one in the package was made from, weights included; `pets-learn reproduce
pets/transfer` leaves it in the folder of its run. Without --model or without the real photos nothing is measured.
The chapter pets/shipped makes the same comparison and records it.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import pets_learn
from pets_learn.data import pets
from pets_learn.deploy import Answer, Classifier, Preprocessing, load_classifier, load_model
from pets_learn.pets.shipped import fold_batch_norms
from pets_learn.run import PetsLearnError, machine

SHIPPED = Path(pets_learn.__file__).parent / "shipped" / "breeds"
BARS = {"startup_seconds": 1.5, "photo_milliseconds": 60.0, "throughput_ratio": 1.5}
WORKERS = 2
Way = Callable[[list[Path]], Iterator[np.ndarray]]  # paths -> the best class of each photo, some photos at a time


def ours(classifier: Classifier, paths: list[Path]) -> Iterator[np.ndarray]:
    for path, answer in zip(paths, classifier.answer(iter(paths), top=1), strict=True):
        if not isinstance(answer, Answer): raise PetsLearnError(f"{path}: {answer}")
        yield np.array([classifier.classes.index(answer.classes[0][0])])


class Photos(Dataset[np.ndarray]):
    def __init__(self, preprocessing: Preprocessing, paths: list[Path]) -> None:
        self.preprocessing, self.paths = preprocessing, paths

    def __len__(self) -> int: return len(self.paths)
    def __getitem__(self, row: int) -> np.ndarray: return self.preprocessing(self.paths[row])


def said(model: torch.nn.Module, photos: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        inputs = (photos.float() / 255).contiguous(memory_format=torch.channels_last)
        return model(inputs).softmax(dim=1).argmax(dim=1).numpy()


class Processes:
    "Two worker processes that decode, started once."
    def __init__(self, model: torch.nn.Module, preprocessing: Preprocessing, paths: list[Path], batch_size: int) -> None:
        self.model, data = model, Photos(preprocessing, paths)
        self.loader = DataLoader(data, batch_size, num_workers=WORKERS, persistent_workers=True)

    def __call__(self, paths: list[Path]) -> Iterator[np.ndarray]:
        for photos in self.loader: yield said(self.model, photos)


def each(model: torch.nn.Module, preprocessing: Preprocessing, size: int, paths: list[Path]) -> Iterator[np.ndarray]:
    "Two threads, each of which decodes some photos and computes with one thread."
    def work(some: list[Path]) -> np.ndarray:
        return said(model, torch.from_numpy(np.stack([preprocessing(path) for path in some])))

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(WORKERS, initializer=partial(torch.set_num_threads, 1)) as pool:
            yield from pool.map(work, [paths[start:start + size] for start in range(0, len(paths), size)])
    finally: torch.set_num_threads(before)


def ways(classifier: Classifier, folder: Path, paths: list[Path]) -> dict[str, Way]:
    "The processes are started by the first pass over the photos, which is the warm-up."
    model = fold_batch_norms(load_model(folder).model)
    torch.set_num_threads(WORKERS)
    prepare = classifier.preprocessing
    found: dict[str, Way] = {"predict": partial(ours, classifier)}
    for size in (8, 32): found[f"torch, processes, batch {size}"] = Processes(model, prepare, paths, size)
    for size in (1, 8): found[f"torch, as ours, batch {size}"] = partial(each, model, prepare, size)
    return found


def throughput(
    classifier: Classifier, folder: Path, paths: list[Path], repeats: int, say: Callable[[str], object] = print,
) -> dict[str, list[float]]:
    "Photos per second of each way and repeat."
    all_ways = ways(classifier, folder, paths)
    speeds: dict[str, list[float]] = {name: [] for name in all_ways}
    answers = {name: np.concatenate(list(way(paths))) for name, way in all_ways.items()}  # the warm-up
    same = min(float((answers[name] == answers["predict"]).mean()) for name in answers)
    say(f"{same:.1%} of the answers are the same")
    if same < 0.99: raise PetsLearnError("the ways do not say the same; give the folder that the classifier was made from")
    for i in range(repeats):
        for name in list(all_ways)[::1 if i % 2 == 0 else -1]:  # nobody always goes first
            begun = time.perf_counter()
            count = sum(len(batch) for batch in all_ways[name](paths))
            speeds[name].append(count / (time.perf_counter() - begun))
            say(f"repeat {i + 1}/{repeats}: {name:<32}{speeds[name][-1]:>8.1f} photos/s")
    return speeds


def ratios(speeds: dict[str, list[float]]) -> list[float]:
    "Ours over the best of torch's, repeat by repeat."
    best = [max(row) for row in zip(*(values for name, values in speeds.items() if name != "predict"), strict=True)]
    return [mine / other for mine, other in zip(speeds["predict"], best, strict=True)]


def startup(photo: Path, repeats: int) -> list[float]:
    "Seconds to the first line of output, in new processes; the first one, which reads everything from the disk, does not count."
    code = "import sys; from pets_learn.cli import main; sys.exit(main())"
    seconds = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        command = [sys.executable, "-c", code, "predict", str(photo), "--model", str(SHIPPED)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            if process.stdout is None or not process.stdout.readline(): raise PetsLearnError("the command gave no answer")
            seconds.append(time.perf_counter() - begun)
    return seconds[1:]


def one_by_one(classifier: Classifier, paths: list[Path]) -> list[float]:
    "Milliseconds from file to answer for each photo."
    milliseconds = []
    next(classifier.answer(paths[0]))
    for path in paths:
        begun = time.perf_counter()
        next(classifier.answer(path))
        milliseconds.append(1e3 * (time.perf_counter() - begun))
    return milliseconds


def measure(args: argparse.Namespace) -> dict[str, Any]:
    paths = sorted(pets().stems.values())
    paths = paths[::max(1, len(paths) // args.photos)][:args.photos]
    classifier = load_classifier(SHIPPED, threads=1)
    speeds = throughput(classifier, args.model, paths, args.repeats)
    with TemporaryDirectory() as place:
        phone = Path(place)/"phone.jpg"
        with Image.open(paths[0]) as photo: photo.convert("RGB").resize((4000, 3000)).save(phone, quality=90)
        return {"photos": len(paths), "speeds": speeds, "throughput_ratio": ratios(speeds),
                "startup_seconds": startup(paths[0], args.repeats), "photo_milliseconds": one_by_one(classifier, paths[:200]),
                "phone_milliseconds": one_by_one(classifier, [phone] * 20)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, help="folder of the trained classifier")
    parser.add_argument("--photos", type=int, default=600, help="photos of the folder (default 600)")
    parser.add_argument("--repeats", type=int, default=5, help="timed passes of each way, and starts (default 5)")
    parser.add_argument("--json", type=Path, default=None, help="write everything that was measured to this file")
    args = parser.parse_args()
    if args.photos < 10 or args.repeats < 1: parser.error("--photos must be at least 10, --repeats at least 1")
    return args


def main() -> int:
    args = arguments()
    if args.model is None or pets().generated:
        print("bench/predict.py: nothing was measured; it needs --model and the real photos in PETS_LEARN_HOME")
        return 0
    try: found = measure(args)
    except PetsLearnError as error:
        print(error, file=sys.stderr)
        return 2
    rows = {name: values for name, values in found.items() if isinstance(values, list)} | found["speeds"]
    print(f"\n{machine()}: median (range)")
    for name, values in rows.items(): print(f"  {name:<36}{median(values):>9.2f}   ({min(values):.2f} to {max(values):.2f})")
    missed = [name for name, bar in BARS.items() if (median(rows[name]) < bar) == (name == "throughput_ratio")]
    print("bars: " + (f"MISSED {', '.join(missed)}" if missed else "all met"))
    if args.json: args.json.write_text(json.dumps(found, indent=1))
    return 1 if missed else 0


if __name__ == "__main__": raise SystemExit(main())
