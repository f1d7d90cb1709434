"""Several processes against one: the same history and weights, nothing that hangs, errors that say what was wrong."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pets_learn import distributed
from pets_learn.batches import Augmentation, BatchLoader, dataloaders
from pets_learn.distributed import DistributedTraining, ProcessFailed, connect, is_main_process, launch
from pets_learn.distributed import predict_in_parallel, world
from pets_learn.run import BadSetting, PetsLearnError, environment, seed_everything
from pets_learn.training import Callback, Watch, accuracy, fit, predict

pytestmark = pytest.mark.usefixtures("smoke")
TRAIN, VALID = range(33), range(33, 54)  # batches of 8: the last one has 1 photo in training and 5 in validation


def striped(items: int = 54) -> tuple[np.ndarray, np.ndarray]:
    "Photos of three classes that a network can tell apart: a third of each is bright."
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, items)
    photos = rng.integers(0, 128, (items, 3, 12, 12), dtype=np.uint8)
    for photo, label in zip(photos, labels, strict=True):
        photo[:, 4 * label : 4 * label + 4] += 100
    return photos, labels


def loaders(seed: int = 3):
    changes = Augmentation(rotation=10, shift=0.05, flip=True, brightness=0.1)
    return dataloaders(*striped(), TRAIN, VALID, batch_size=8, valid_batch_size=8, augmentation=changes, seed=seed)


def network(normalized: bool = False) -> nn.Module:
    seed_everything(0)
    middle = [nn.BatchNorm2d(4)] if normalized else []
    return nn.Sequential(nn.Conv2d(3, 4, 3), *middle, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 3))


def train(model: nn.Module, dls, **options):
    settings = {"epochs": 2, "learning_rate": 0.05, "optimizer": "sgd", "measures": [accuracy]} | options
    callbacks = [DistributedTraining(), *settings.pop("callbacks", [])]
    return fit(model, dls, nn.CrossEntropyLoss(), callbacks=callbacks, **settings)


class Names(Callback):
    "Looks at the network as a callback that saves it would."

    def after_epoch(self):
        self.seen = list(self.learn.model.state_dict())


def experiment() -> dict:
    "Everything that two processes are asked to do as one does, in one go: starting them is what takes the time."
    dls, look = loaders(), Names()
    watch = Watch(dls.valid)
    made = train(network(), dls, callbacks=[look, watch], keep_best=True, plateau=1)
    again = train(made.model, dls, epochs=1)  # a second training of the same network, with the loaders of the first
    made.model.zero_grad()
    validated = list(map(float, again.learner.validate()))
    if is_main_process():  # nothing may be left that waits for the other process
        made.model(torch.zeros(1, 3, 12, 12)).sum().backward()
    found = {
        "history": made.history.to_dict("list"),
        "again": again.history.to_dict("list"),
        "weights": {name: value.tolist() for name, value in made.model.state_dict().items()},
        "names": look.seen,
        "predicted": [values.tolist() for values in predict_in_parallel(made.model, dls.valid)],
        "two_photos": predict_in_parallel(made.model, dls.valid.new(indices=[40, 35, 50]))[1].tolist(),
        "validated": validated,
        "watched": watch.history().to_dict("list"),
        "epoch": dls.train.epoch,
        "processes": dls.train.processes,
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        normalized = train(network(normalized=True), dls, epochs=1).model
    found["warned"] = sum("SyncBatchNorm" in str(w.message) for w in caught)
    mean = normalized[1].running_mean
    everyone = [connect().gather(values).view(-1, values.numel()) for values in (mean, normalized[0].weight.detach().flatten())]
    found["spread"] = [float((rows - rows[0]).abs().max()) for rows in everyone]
    return found


@pytest.fixture(scope="module")
def alone() -> dict:
    with environment(PETS_LEARN_SCALE="smoke"):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return experiment()
        finally:
            torch.set_num_threads(threads)


def assert_same(together: dict, alone: dict) -> None:
    np.testing.assert_allclose(together["validated"], alone["validated"], atol=1e-5)
    for part in ("history", "again", "watched"):
        assert list(together[part]) == list(alone[part])
        for name, values in alone[part].items():
            np.testing.assert_allclose(together[part][name], values, rtol=1e-5, atol=1e-5, err_msg=f"{part} {name}")
    for name, values in alone["weights"].items():
        assert_close(torch.tensor(together["weights"][name]), torch.tensor(values), rtol=0, atol=1e-5)
    np.testing.assert_allclose(together["predicted"][0], alone["predicted"][0], atol=1e-5)
    for name in ("names", "epoch", "processes", "two_photos"):
        assert together[name] == alone[name], name
    assert together["predicted"][1] == alone["predicted"][1] == striped()[1][list(VALID)].tolist()
    assert together["processes"] == 1 and together["epoch"] == 3


def test_two_processes_learn_what_one_learns(alone, capfd):
    together = launch(experiment, 2, threads=1, timeout=150)
    assert_same(together, alone)
    assert alone["warned"] == 0 and together["warned"] == 1 and together["spread"] == [0, 0]
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line[:11] for line in lines] == ["epoch   1/2", "epoch   2/2", "epoch   1/1", "epoch   1/1"]  # one process prints


def test_torchrun_starts_the_same_script(alone, tmp_path):
    """`launch` inside a process that torchrun has started calls the function and starts nobody."""
    script = tmp_path / "train.py"
    script.write_text(f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_distributed import experiment
from pets_learn.distributed import is_main_process, launch
if __name__ == "__main__":
    found = launch(experiment, 7)
    if is_main_process(): open({str(tmp_path / "found.json")!r}, "x").write(json.dumps(found))
""")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "3", str(script)]
    variables = os.environ | {"PETS_LEARN_SCALE": "smoke", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=variables, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(json.loads((tmp_path / "found.json").read_text()), alone)


# ---- when something goes wrong


def stop_in_the_middle() -> None:
    accelerator = connect()
    if not is_main_process():
        raise ValueError("no photo left")
    distributed.sum_over_processes([1.0], accelerator)  # waits for process 1, which does not come


def test_error_of_one_process_ends_all(capfd):
    with pytest.raises(ProcessFailed, match="process 1 of 2 failed with ValueError: no photo left") as caught:
        launch(stop_in_the_middle, 2, threads=1, timeout=120)
    assert "stop_in_the_middle" in caught.value.__notes__[0]
    assert "Terminating process" not in capfd.readouterr().err


def test_killed_process_is_reported():
    with pytest.raises(ProcessFailed, match="process 0 of 1 ended with signal SIGKILL and no last words"):
        launch(lambda: os.kill(os.getpid(), signal.SIGKILL), 1, timeout=120)


def test_time_limit_stops_all(tmp_path):
    def sleep(file: str):
        Path(file).write_text(str(os.getpid()))
        time.sleep(600)

    with pytest.raises(ProcessFailed, match="did not end within 30 s and were stopped"):
        launch(sleep, 1, str(tmp_path / "pid"), timeout=30)
    assert (tmp_path / "pid").exists(), "it had begun"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_process_that_torchrun_started_alone_does_the_work_itself():
    with environment(RANK="0", WORLD_SIZE="1"):
        assert launch(os.getpid, 1) == os.getpid()
    with environment(RANK="1", WORLD_SIZE="1"), pytest.raises(BadSetting, match="unset both"):
        launch(os.getpid, 1)


def test_bad_settings(monkeypatch):
    for options in ({"processes": 0}, {"processes": 2, "threads": 0}, {"processes": 2, "timeout": 0}):
        with pytest.raises(BadSetting, match="above 0"):
            launch(print, **options)
    with pytest.raises(BadSetting, match="leave it out"):
        launch(print, 2, port=70000)
    with pytest.raises(BadSetting, match="arguments cannot be sent"):
        launch(print, 2, (i for i in range(3)))
    monkeypatch.setattr(distributed, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BadSetting, match="3 processes need 3 GPUs and this machine has 1; start 1"):
        launch(print, 3)
    with environment(RANK="1", LOCAL_RANK="1", WORLD_SIZE="2"), pytest.raises(BadSetting, match="this machine has 1"):
        connect()


@pytest.mark.parametrize("asked", [("2", "2"), ("-1", "2"), ("x", "2"), ("0", "0"), ("0", "")])
def test_variables_that_make_no_sense(asked):
    with environment(RANK=asked[0], WORLD_SIZE=asked[1]), pytest.raises(BadSetting, match="unset both"):
        world()


def test_script_without_guard_is_told(tmp_path):
    script = tmp_path / "careless.py"
    script.write_text("from pets_learn.distributed import launch\nlaunch(print, 1, 'hello')\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "put the call under if __name__ ==" in done.stderr and "hello" not in done.stdout
    assert "ended with exit code 1" in done.stderr


def test_loaders_and_measures_that_cannot_be_split():
    class Learner:
        metrics = ()
        dls = None

    learner = Learner()
    learner.dls = type("Loaders", (), {"loaders": [torch.utils.data.DataLoader([1, 2])]})
    with pytest.raises(BadSetting, match="DataLoader cannot be split"):
        distributed._check_learner(learner)
    from fastai.learner import AvgMetric
    from fastai.metrics import F1Score

    learner.dls.loaders = list(loaders())
    learner.metrics = [AvgMetric(accuracy)]
    distributed._check_learner(learner)
    learner.metrics = [F1Score()]
    with pytest.raises(BadSetting, match="cannot be summed"):
        distributed._check_learner(learner)


def test_one_process_is_left_alone():
    plain = fit(network(), loaders(), nn.CrossEntropyLoss(), 1, optimizer="sgd")
    called = train(network(), loaders(), epochs=1, learning_rate=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), called.model.parameters(), strict=True))


def test_parallel_prediction_alone_is_prediction():
    dls = loaders()
    shuffled = BatchLoader(*striped(), indices=VALID, shuffle=True, batch_size=4)
    for a, b in zip(predict_in_parallel(network(), shuffled), predict(network(), dls.valid), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_synchronized_layers_judge_alike_and_come_off_again():
    model = network(normalized=True)
    before, x = model[1], torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        before.running_mean.add_(0.5)
    expected = model.eval()(x)
    layers = distributed.synchronize_batch_norm(model)
    assert isinstance(model[1], nn.SyncBatchNorm) and model[1].weight is before.weight
    assert_close(model.eval()(x), expected)
    model[1].running_mean.zero_()
    model.train()
    distributed.restore_layers(model, layers)
    assert model[1] is before and before.training and before.running_mean.abs().max() == 0


class StopsOnce(Callback):
    "Breaks the first training off in the middle of its third epoch, on every process."

    stopped = False  # of the class: the callback of the second training knows it

    def before_fit(self):
        self.trained = []

    def state(self):
        return {}  # what this process does is counted, not what the checkpoint's did

    def load_state(self, state):
        pass

    def after_batch(self):
        if self.training:
            if not self.trained:
                self.drawn = torch.rand(8)  # as dropout would
            self.trained.append(self.epoch)
        if self.training and self.epoch == 2 and not StopsOnce.stopped:
            StopsOnce.stopped = True
            raise KeyboardInterrupt


def interrupted(folder: str) -> dict:
    "Two epochs of four, then the same call again."
    options = {"epochs": 4, "checkpoint": folder, "one_cycle": True, "optimizer": "adam", "learning_rate": 0.01}
    with pytest.raises(KeyboardInterrupt):
        train(network(), loaders(), callbacks=[StopsOnce()], **options)
    counter = StopsOnce()
    made = train(network(), loaders(), callbacks=[counter], **options)
    found = {"history": made.history.to_dict("list"), "weights": [value.tolist() for value in made.model.state_dict().values()]}
    drawn = connect().gather(counter.drawn).view(-1, 8).tolist()
    apart = options | {"epochs": 1, "checkpoint": f"{folder} of {world()[0]}"}  # as on two machines without a shared disk
    train(network(), loaders(), **apart)
    with pytest.raises(PetsLearnError, match=r"^the processes do not see the same checkpoints in .*disk that all machines share"):
        train(network(), loaders(), **apart)
    return found | {"trained": counter.trained, "drawn": drawn}


def test_training_of_two_processes_goes_on_from_a_checkpoint(tmp_path):
    options = {"epochs": 4, "one_cycle": True, "optimizer": "adam", "learning_rate": 0.01}
    whole = train(network(), loaders(), **options)
    resumed = launch(interrupted, 2, str(tmp_path / "checkpoint"), threads=1, timeout=240)
    assert [len(values) for values in resumed["history"].values()] == [4] * len(resumed["history"])
    assert resumed["trained"] == [2] * 5 + [3] * 5, "the first two epochs are not trained again"
    assert resumed["drawn"][0] != resumed["drawn"][1], "each rank has random numbers of its own"
    for name, values in whole.history.to_dict("list").items():
        np.testing.assert_allclose(resumed["history"][name], values, atol=1e-4)
    for found, expected in zip(resumed["weights"], whole.model.state_dict().values(), strict=True):
        assert_close(torch.tensor(found), expected, atol=1e-4, rtol=0)
    files = sorted(path.name for path in (tmp_path / "checkpoint").iterdir() if not path.name.startswith("."))
    assert files == [f"epoch-0000{n}.{kind}" for n in (3, 4) for kind in ("json", "safetensors")]
