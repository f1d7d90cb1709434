"""Kill a training with SIGKILL at random moments, go on, and compare the end with that of a training that was left alone.

`python tests/kill_training.py CONFIGURATION KILLS [--seed S] [--threads T]` prints one line of JSON. Trainings run in forked
processes, so that torch and fastai are imported once.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pets_learn.batches import Augmentation, dataloaders
from pets_learn.checkpoints import read_checkpoint, write_checkpoint
from pets_learn.run import seed_everything
from pets_learn.training import Callback, Watch, accuracy, fit

CONFIGURATIONS = {
    "one-cycle": {"one_cycle": True, "keep_best": True, "learning_rate": 0.01, "epochs": 6},
    "plateau": {
        "optimizer": "sgd",
        "learning_rate": (0.02, 0.2),
        "plateau": 1,
        "factor": 0.5,
        "patience": 4,
        "keep_best": True,
        "epochs": 9,
        "groups": lambda model: [list(model[:4].parameters()), list(model[4:].parameters())],
    },
}


THREADS = 1  # of each training


def draw_everywhere() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002 - the global generator is meant


class Noise(Callback):
    """Adds to each batch what depends on the state of every random generator."""

    def before_batch(self):
        self.learn.xb = (self.xb[0] + 0.01 * sum(draw_everywhere()),)


def train(options: dict, folder: Path | None, result: Path) -> None:
    seed_everything(0)
    generator = np.random.default_rng(0)
    photos = generator.integers(0, 256, (260, 3, 14, 14), dtype=np.uint8)
    labels = (photos[:, 0].mean(axis=(1, 2)) > photos[:, 1].mean(axis=(1, 2))).astype(int)
    change = Augmentation(rotation=10, shift=0.1, flip=True, brightness=0.2)
    rows = np.arange(260)
    parts = rows[:180], rows[180:220], rows[220:]
    dls = dataloaders(photos, labels, *parts, batch_size=16, augmentation=change, channels_last=True, balanced=True)
    layers = [nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(12, 12, 3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(1200, 2)).to(memory_format=torch.channels_last)
    watch = Watch(dls[2])
    options = {"callbacks": [watch, Noise()], "measures": [accuracy]} | options
    made = fit(model, dls, nn.CrossEntropyLoss(), checkpoint=folder, **options)
    write_checkpoint(
        result,
        0,
        {
            "model": model.state_dict(),
            "optimizer": made.learner.opt.state_dict(),
            "history": made.history.to_numpy(),
            "best": made.best_epoch,
            "watched": watch.history().to_numpy(),
            "rates": [float(rate) for rate in made.learner.recorder.lrs],
            "losses": [float(loss) for loss in made.learner.recorder.losses],
            "epochs": [loader.epoch for loader in dls.loaders],
            "next": draw_everywhere(),
        },
    )


def die_at_rename(number: int, after: bool) -> None:
    """The process kills itself just before or after it has given the n-th file of a checkpoint its name."""
    count, replace = 0, Path.replace

    def counted(self, target):
        nonlocal count
        count += 1
        if count == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(self, target)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    Path.replace = counted


def start(work, said: str | os.PathLike[str] = os.devnull) -> int:
    """A process that does the work; what it prints is appended to the file `said`."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        torch.set_num_threads(THREADS)
        sys.stdout = Path(said).open("a")  # noqa: SIM115 - until the process ends
        work()
        status = 0
    finally:
        os._exit(status)


def wait(child: int, seconds: float | None = None) -> int:
    """The exit status; after so many seconds the process is killed."""
    limit = time.perf_counter() + (seconds if seconds is not None else 300)
    while time.perf_counter() < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def same(a, b) -> bool:
    """Whether two results agree in every bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=True)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def main() -> None:
    global THREADS
    parser = argparse.ArgumentParser()
    parser.add_argument("configuration", choices=CONFIGURATIONS)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    THREADS = asked.threads
    options, chance = CONFIGURATIONS[asked.configuration], random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        torch.set_num_threads(1)  # a pool of threads would not survive the fork
        train(options | {"epochs": 1}, root / "warm", root / "warm-result")  # whatever is imported late is imported now
        assert wait(start(lambda: train(options, None, root / "alone"))) == 0, "the training without checkpoints failed"
        began = time.perf_counter()
        assert wait(start(lambda: train(options, root / "calm", root / "calm-result"))) == 0, "with checkpoints it failed"
        duration = time.perf_counter() - began
        expected = read_checkpoint(root / "alone" / "epoch-00000.json")
        report = {"calm": same(expected, read_checkpoint(root / "calm-result" / "epoch-00000.json")), "unlike": []}
        report |= {"duration": round(duration, 2), "kills": 0, "starts": 0, "killed": 0, "resumed": 0}
        for i in range(asked.kills):
            folder, result, said = root / str(i), root / f"{i}-result", root / f"{i}-said"
            moment = duration * (i + chance.random()) / asked.kills  # spread over the whole run
            rename = (1 + chance.randrange(2 * options["epochs"]), chance.random() < 0.5) if i % 4 == 3 else None

            def first(folder=folder, result=result, rename=rename):
                if rename:
                    die_at_rename(*rename)
                train(options, folder, result)

            status, times = wait(start(first), None if rename else moment), 1
            report["killed"] += status == -signal.SIGKILL
            again = [chance.random() * duration] if chance.random() < 0.3 else []  # some are killed a second time
            while status and times < 5:
                status = wait(start(lambda f=folder, r=result: train(options, f, r), said), again.pop() if again else None)
                times += 1
            report["resumed"] += said.exists() and "going on after epoch" in said.read_text()
            report["starts"] += times
            report["kills"] += 1
            made = read_checkpoint(result / "epoch-00000.json")
            if status or not same(expected, made):
                report["unlike"].append({"i": i, "moment": moment, "rename": rename, "status": status})
    print(json.dumps(report | {"same": report["kills"] - len(report["unlike"])}))


if __name__ == "__main__":
    main()
