"""A grid of twelve short trainings for test_experiments: each notes its starts and ends, and goes on from a checkpoint.

`python -c "import grid_of_twelve; grid_of_twelve.main()" FOLDER WORKERS` runs it, with this folder on the path.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from pets_learn.experiments import Experiment, Run, grid, run_experiment
from pets_learn.run import PetsLearnError, write_atomically

EPOCHS, BATCH = 5, 16


def note(run: Run, event: str) -> None:
    """One line of its own making, independent of the runner's journal."""
    trace = run.place.parents[2] / "trace.jsonl"
    with trace.open("ab", buffering=0) as file:
        file.write((json.dumps({"event": event, "run": run.title, "pid": os.getpid(), "time": time.time()}) + "\n").encode())


def train(run: Run, learning_rate: float, width: int) -> dict[str, float]:
    """Five epochs of a real network on invented numbers; weights and epoch are kept after each."""
    import torch

    note(run, "start")
    assert torch.get_num_threads() == 1
    run.uses("invented", items=64, complete=True)
    model = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
    kept = run.checkpoint / "weights.npy"
    epoch = 0
    if kept.exists():
        numbers = np.load(kept)
        epoch = int(numbers[0])
        torch.nn.utils.vector_to_parameters(torch.from_numpy(numbers[1:].copy()), model.parameters())
    while epoch < EPOCHS:
        generator = torch.Generator().manual_seed(100 * run.seed + epoch)
        x = torch.randn(64, 4, generator=generator)
        for rows in x.split(BATCH):
            loss = (model(rows) - rows.sum(dim=1, keepdim=True)).square().mean()
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= learning_rate * p.grad
        epoch += 1
        time.sleep(0.03)
        weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
        with write_atomically(kept) as file:
            np.save(file, np.concatenate([[np.float32(epoch)], weights]))
        print(f"epoch {epoch}/{EPOCHS} loss {loss.item():.4f}")
    note(run, "end")
    x = torch.linspace(-1, 1, 40).reshape(10, 4)
    with torch.no_grad():
        error = (model(x) - x.sum(dim=1, keepdim=True)).square().mean()
    return {"loss": error.item(), "first_weight": next(model.parameters())[0, 0].item()}


def die(run: Run, learning_rate: float, width: int) -> dict[str, float]:
    """Like a run for which memory runs out: its process is killed, once."""
    already = run.folder / "died"
    if width == 3 and learning_rate == 0.01 and not already.exists():
        already.touch()
        os.kill(os.getpid(), 9)
    return train(run, learning_rate, width)


POINTS = grid(learning_rate=[0.01, 0.1], width=[2, 3, 5])
TWELVE = Experiment("tests/twelve", train, POINTS, seeds=2)
DEADLY = Experiment("tests/twelve", die, POINTS, seeds=1, name="deadly")


def run_twelve(folder: Path, workers: int) -> None:
    os.environ["PETS_LEARN_SCALE"] = "smoke"
    try:
        run_experiment(TWELVE, workers=workers, folder=folder, quiet=True)
    except PetsLearnError as error:
        sys.exit(str(error))


def main() -> None:
    run_twelve(Path(sys.argv[1]), int(sys.argv[2]))
