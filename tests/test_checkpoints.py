"""A killed training ends as if nothing had happened, and a checkpoint that is damaged or of another training is never used."""

import json
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import CancelFitException
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pets_learn import checkpoints
from pets_learn.batches import dataloaders
from pets_learn.run import BadSetting, PetsLearnError, environment, seed_everything
from pets_learn.training import (
    Callback,
    EarlyStoppingCallback,
    Learner,
    OptimWrapper,
    Watch,
    accuracy,
    fit,
)

pytestmark = pytest.mark.usefixtures("smoke")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def photos(change: int = 0) -> np.ndarray:
    made = np.random.default_rng(0).integers(0, 255, (60, 3, 8, 8), dtype=np.uint8)
    made[0, 0, 0, 0] ^= change
    return made


LABELS = np.arange(60) % 2


def train(folder=None, epochs=4, *, changed=0, network=None, loss=None, seed=0, data=None, **options):
    seed_everything(seed)
    model = network or nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    dls = dataloaders(photos(changed), LABELS, range(40), range(40, 60), **{"batch_size": 8} | (data or {}))
    return fit(model, dls, loss or nn.CrossEntropyLoss(), epochs, **{"checkpoint": folder} | options)


def flat(z, y):
    """A loss without progress."""
    return z.sum() * 0 + 1


def assert_same(one, two) -> None:
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name]), name
    pd.testing.assert_frame_equal(one.history, two.history, check_exact=True)
    assert one.best_epoch == two.best_epoch
    states = [made.learner.opt.state_dict()["state"] for made in (one, two)]
    for key, entry in states[0].items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(states[1][key][k])) for k, v in entry.items())


class Cut(Callback):
    """Interrupts once, in a batch of an epoch."""

    def __init__(self, at: int, error: type[BaseException] = KeyboardInterrupt):
        self.at, self.left = at, error  # not under its own name: `error` would be one of the settings

    def state(self):
        """Nothing: where it cuts is no part of the training."""
        return {}

    def load_state(self, state):
        pass

    def after_loss(self):
        if self.training and self.learn.train_iter == self.at and self.left:
            error, self.left = self.left, None
            raise error("cut")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize(("configuration", "kills", "threads"), [("one-cycle", 4, 1), ("plateau", 4, 1), ("one-cycle", 1, 2)])
def test_killed_anywhere_it_ends_with_the_same_bits(root, configuration, kills, threads):
    """`python tests/kill_training.py one-cycle 20` does it at 20 moments; here it is done at four."""
    script = [sys.executable, root / "tests" / "kill_training.py", configuration, str(kills)]
    command = [*script, "--threads", str(threads), "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["calm"], "checkpoints alone must not change a training"
    assert report["same"] == report["kills"] and not report["unlike"], report
    assert report["killed"] >= report["kills"] // 2, "most were killed before their end"
    assert report["resumed"] >= report["kills"] // 2, "training anew would give the same bits as well"


@pytest.mark.parametrize("at", [0, 3, 5, 12, 19])
def test_interrupted_anywhere_and_called_again(tmp_path, at):
    """The same objects are used for the second call, as when a cell is run again: the first call leaves them as they were."""
    seed_everything(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(192, 2))
    dls = dataloaders(photos(), LABELS, range(40), range(40, 60), batch_size=8)
    start, cut = [p.clone() for p in model.parameters()], Cut(at)

    def call(**options):
        return fit(model, dls, nn.CrossEntropyLoss(), 4, one_cycle=True, callbacks=[cut], **options)

    with pytest.raises(KeyboardInterrupt):
        call(checkpoint=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(start, model.parameters(), strict=True)) and dls.train.epoch == 0
    assert len(list(tmp_path.glob("epoch-*.json"))) == min(2, at // 5)
    put_back = checkpoints.remember(model, dls)
    resumed = call(checkpoint=tmp_path)
    ended = [p.clone() for p in model.parameters()]
    put_back()
    straight = call()
    assert all(torch.equal(a, b) for a, b in zip(ended, model.parameters(), strict=True))
    pd.testing.assert_frame_equal(resumed.history, straight.history, check_exact=True)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, SystemExit])
def test_any_error_leaves_a_checkpoint_to_go_on_from(tmp_path, error):
    cut = Cut(12, error)
    with pytest.raises(error):
        train(tmp_path, callbacks=[cut])
    assert_same(train(tmp_path, callbacks=[cut]), train(callbacks=[cut]))


def test_a_finished_training_comes_back_at_once(tmp_path, monkeypatch):
    first = train(tmp_path, keep_best=True, measures=[accuracy])
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != ".lock"}

    def never(self, *batch):
        raise AssertionError("a finished training must not train")

    monkeypatch.setattr(Learner, "one_batch", never)
    again = train(tmp_path, keep_best=True, measures=[accuracy])
    assert_same(first, again)
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != ".lock"}
    assert again.seconds >= first.seconds * 0.5, "the seconds of the training are those that it took"


def test_the_learner_of_a_training_with_checkpoints_can_be_used_further(tmp_path):
    made = train(tmp_path, 2)
    assert made.learner.validate()[0] == pytest.approx(made.history.valid_loss.iloc[-1])
    made.learner.fit(1)
    assert sorted(path.stem for path in tmp_path.glob("epoch-*.json")) == ["epoch-00001", "epoch-00002"]


def test_early_stop_stays_stopped(tmp_path):
    first = train(tmp_path, 20, loss=flat, patience=2, keep_best=True)
    assert len(first.history) == 3
    assert_same(first, train(tmp_path, 20, loss=flat, patience=2, keep_best=True))
    assert_same(first, train(tmp_path, 30, loss=flat, patience=2, keep_best=True))


def test_plateau_goes_on_with_the_lowered_rate(tmp_path):
    options = {"plateau": 2, "factor": 0.5, "learning_rate": 0.1, "optimizer": "sgd"}
    cut = Cut(27)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 8, loss=flat, callbacks=[cut], **options)
    rates = [train(folder, 8, loss=flat, callbacks=[cut], **options).learner.recorder.lrs for folder in (tmp_path, None)]
    assert rates[0] == rates[1] and rates[0][-1] == pytest.approx(0.1 * 0.5**3)


def test_longer_with_a_constant_rate_but_not_with_a_schedule(tmp_path):
    train(tmp_path / "constant", 2)
    assert_same(train(tmp_path / "constant", 4), train(epochs=4))
    with pytest.raises(PetsLearnError, match="ask for at least 4"):
        train(tmp_path / "constant", 3)
    train(tmp_path / "cycle", 2, one_cycle=True)
    with pytest.raises(PetsLearnError, match=r"epochs \(2, now 4\)"):
        train(tmp_path / "cycle", 4, one_cycle=True)


OTHERS = {
    "initial weights": {"seed": 1},
    "training data": {"data": {"batch_size": 10}},
    "loss": {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
    "network": {"network": nn.Sequential(nn.Flatten(), nn.Linear(192, 2))},
    "optimizer's name": {"optimizer": "sgd"},
    "learning_rate": {"learning_rate": 0.5},
    "weight_decay": {"weight_decay": 0.5},
    "keep_best": {"keep_best": True},
    "plateau": {"plateau": 3},
    "measures": {"measures": [accuracy]},
    "callbacks": {"callbacks": [Cut(99)]},
    "mixed_precision": {"mixed_precision": True},
    "other data": {"changed": 1},
}


@pytest.mark.parametrize("part", OTHERS)
def test_another_training_is_refused_by_name_and_nothing_is_written(tmp_path, part):
    train(tmp_path, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(PetsLearnError) as caught:
        train(tmp_path, 1, **OTHERS[part])
    message = str(caught.value)
    assert message.startswith(tmp_path.name) and part in message and "another folder" in message
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("options", [{"data": {"seed": 1}}, {"changed": 1}, {"data": {"balanced": True}}])
def test_other_data_of_the_same_size_is_another_training(tmp_path, options):
    train(tmp_path, 1)
    with pytest.raises(PetsLearnError, match="training data"):
        train(tmp_path, 1, **options)


DAMAGE = {
    "cut tensors": lambda path: path.with_suffix(".safetensors").write_bytes(path.with_suffix(".safetensors").read_bytes()[:-9]),
    "no tensors": lambda path: path.with_suffix(".safetensors").unlink(),
    "empty": lambda path: path.write_text(""),
    "cut json": lambda path: path.write_text(path.read_text()[:-20]),
    "other json": lambda path: path.write_text('["a list"]'),
    "no body": lambda path: path.write_text("{}"),
    "altered number": lambda path: path.write_text(path.read_text().replace('"lr": 0.001', '"lr": 0.002')),
    "pickle": lambda path: path.with_suffix(".safetensors").write_bytes(b"\x80\x04K\x01."),
}


def flip_one_bit(path: Path) -> None:
    content = bytearray(path.with_suffix(".safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    path.with_suffix(".safetensors").write_bytes(content)


@pytest.mark.parametrize("damage", [*DAMAGE.values(), flip_one_bit], ids=[*DAMAGE, "one bit"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_used(tmp_path, damage, capsys):
    cut = Cut(17)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, callbacks=[cut])
    newest = max(tmp_path.glob("epoch-*.json"))
    damage(newest)
    assert checkpoints.read_checkpoint(newest) is None
    resumed = train(tmp_path, callbacks=[cut])
    shown = capsys.readouterr().out
    assert "epoch-00003 is damaged" in shown and "going on after epoch 2 of 4" in shown
    assert_same(resumed, train(callbacks=[cut]))
    for path in tmp_path.glob("epoch-*.json"):
        damage(path)
    with pytest.raises(PetsLearnError, match="delete the folder to train anew"):
        train(tmp_path, callbacks=[cut])


def test_two_checkpoints_stay_and_leftovers_go(tmp_path):
    (tmp_path / ".epoch-00001.safetensors.k1ll3d").write_bytes(b"half")
    (tmp_path / "epoch-00099.safetensors").write_bytes(b"no json: not a checkpoint")
    (tmp_path / "epoch-notes.txt").write_text("mine")
    train(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock")
    pairs = [f"epoch-0000{i}.{kind}" for i in (3, 4) for kind in ("json", "safetensors")]
    assert names == [*pairs, "epoch-notes.txt"]


def test_every_so_many_epochs_and_always_the_last(tmp_path):
    written = []

    class Look(Callback):
        order = 2000

        def after_epoch(self):
            written.append(sorted(int(path.stem[-5:]) for path in tmp_path.glob("epoch-*.json")))

    train(tmp_path, 5, checkpoint_every=2, callbacks=[Look()])
    assert written == [[], [2], [2], [2, 4], [4, 5]]
    with pytest.raises(BadSetting, match="at least 1"):
        train(tmp_path, checkpoint_every=0)


def test_a_full_disk_is_said_and_the_old_checkpoint_stays(tmp_path, monkeypatch):
    cut = Cut(7)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, callbacks=[cut])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(fd):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(PetsLearnError, match=r"^epoch-00002.safetensors was not written: No space left on device"):
            train(tmp_path, callbacks=[cut])
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert_same(train(tmp_path, callbacks=[cut]), train(callbacks=[cut]))


def test_a_folder_that_cannot_be_used_is_said_before_training(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PetsLearnError, match="choose a folder"):
        train(tmp_path / "file")


def test_a_second_process_is_kept_out_and_a_dead_one_is_not_in_the_way(tmp_path):
    code = f"""
import sys, time
from pets_learn.checkpoints import only_user
with only_user({str(tmp_path)!r}): print("in", flush=True); time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "in\n"
    with pytest.raises(PetsLearnError, match="another process"), checkpoints.only_user(tmp_path, wait=0.1):
        pass
    other.kill()
    other.wait()
    with checkpoints.only_user(tmp_path, wait=0.1):
        pass


def test_a_checkpoint_serves_any_learner(tmp_path):
    """Without `fit`: fastai's own Learner, optimizer wrapper, loaders with a generator of their own, and early stopping."""

    def run(folder, stop_at=99):
        seed_everything(0)
        data = TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))
        loaders = [DataLoader(data, 16, shuffle=True, generator=torch.Generator().manual_seed(1)), DataLoader(data, 32)]
        dls = DataLoaders(*loaders, device=torch.device("cpu"))
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        callbacks = [Cut(stop_at), EarlyStoppingCallback(patience=9), *([checkpoints.Checkpoint(folder)] if folder else [])]
        adam = partial(OptimWrapper, opt=torch.optim.AdamW)
        learner = Learner(dls, model, nn.CrossEntropyLoss(), adam, cbs=callbacks)
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(5, 0.01)
        return learner

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at=14)
    resumed, straight = run(tmp_path), run(None)
    assert torch.equal(resumed.model[0].weight, straight.model[0].weight)
    assert resumed.recorder.values == straight.recorder.values, "the moving average of the loss goes on as well"
    assert resumed.recorder.lrs == straight.recorder.lrs and len(resumed.recorder.losses) == 20
    assert resumed.recorder.hps["mom"] == straight.recorder.hps["mom"]


def test_a_shuffling_fastai_loader_goes_on_in_its_order(tmp_path):
    def run(folder, cut):
        seed_everything(0)
        data = TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))
        dls = DataLoaders.from_dsets(data, data, bs=16, num_workers=0, device=torch.device("cpu"))
        return fit(nn.Linear(4, 2), dls, nn.CrossEntropyLoss(), 4, 0.1, checkpoint=folder, callbacks=[cut])

    cut = Cut(9)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, cut)
    assert_same(run(tmp_path, cut), run(None, cut))


def test_watch_and_callbacks_with_the_protocol_take_part(tmp_path):
    class Found(Callback):
        def before_fit(self):
            self.found = {object(): []}

        def after_batch(self):
            next(iter(self.found.values())).append(float(self.loss.detach()))

        def state(self):
            return {"found": next(iter(self.found.values()))}

        def load_state(self, state):
            self.found = {object(): state["found"]}

    def run(folder, cut):
        watch, found = Watch(dataloaders(photos(), LABELS, range(40), range(40, 60)).valid), Found()
        train(folder, callbacks=[watch, found, cut])
        return watch, found.state()["found"]

    cut = Cut(11)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, cut)
    (one, losses), (two, expected) = run(tmp_path, cut), run(None, cut)
    pd.testing.assert_frame_equal(one.history(), two.history(), check_exact=True)
    assert all(np.array_equal(a.confusion, b.confusion) for a, b in zip(one.judgments, two.judgments, strict=True))
    assert losses == expected and len(losses) == 4 * (5 + 2)


def test_a_callback_is_not_run_in_epochs_that_are_done(tmp_path):
    events = []

    class Note(Callback):
        order = -500

        def before_epoch(self):
            events.append(("before", self.epoch))

        def after_epoch(self):
            events.append(("after", self.epoch))

    train(tmp_path, 2, callbacks=[Note()])
    events.clear()
    train(tmp_path, 4, callbacks=[Note()])
    assert events == [("before", 2), ("after", 2), ("before", 3), ("after", 3)]


def test_another_number_of_threads_is_said(tmp_path, capsys):
    train(tmp_path, 1)
    torch.set_num_threads(2)
    train(tmp_path, 2)
    said = capsys.readouterr().out
    assert "begun on cpu, 1 thread, 1 process, torch" in said and "now cpu, 2 threads, 1 process, torch" in said


def test_only_the_main_process_speaks(tmp_path, capsys):
    cut = Cut(17)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, callbacks=[cut])
    max(tmp_path.glob("epoch-*.json")).write_text("{}")
    capsys.readouterr()
    with environment(RANK="1", WORLD_SIZE="2"):
        train(tmp_path, callbacks=[cut])
    assert "checkpoint" not in capsys.readouterr().out
    assert not (tmp_path / "epoch-00004.json").exists(), "and only it writes"


def test_gradients_that_wait_for_a_step_are_kept(tmp_path):
    """24 photos a step and 40 an epoch: at the end of the first epoch two batches wait."""

    def run(folder, cut):
        return train(folder, callbacks=[cut, GradientAccumulation(n_acc=24)])

    cut = Cut(7)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, cut)
    waiting = checkpoints.newest_checkpoint(tmp_path)["state"]["gradients"]
    assert set(waiting) == {"2.weight", "2.bias", "3.weight", "3.bias", "4.weight", "4.bias"}
    assert waiting["4.weight"].abs().max() > 0
    assert_same(run(tmp_path, cut), run(None, cut))


def test_a_cancel_in_the_middle_of_an_epoch_is_no_end(tmp_path):
    cut = Cut(12, CancelFitException)
    assert len(train(tmp_path, callbacks=[cut]).history) == 2
    assert sorted(path.stem for path in tmp_path.glob("epoch-*.json")) == ["epoch-00001", "epoch-00002"]
    assert not checkpoints.newest_checkpoint(tmp_path)["stopped"]
    assert_same(train(tmp_path, callbacks=[cut]), train(callbacks=[cut]))


def test_groups_cut_elsewhere_are_another_training(tmp_path):
    def groups(at):
        return lambda model: [list(model[:at].parameters()), list(model[at:].parameters())]

    train(tmp_path, 1, groups=groups(3))
    with pytest.raises(PetsLearnError, match="groups"):
        train(tmp_path, 1, groups=groups(4))
    assert len(train(tmp_path, 2, groups=groups(3)).history) == 2


def test_the_same_objects_again_are_told_to_be_made_anew(tmp_path):
    seed_everything(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    dls = dataloaders(photos(), LABELS, range(40), range(40, 60), batch_size=8)
    fit(model, dls, nn.CrossEntropyLoss(), 1, checkpoint=tmp_path)
    with pytest.raises(PetsLearnError, match="make network and loaders anew for each call, after seed_everything"):
        fit(model, dls, nn.CrossEntropyLoss(), 2, checkpoint=tmp_path)


def test_random_numbers_on_apples_cards_come_back(monkeypatch):
    given = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: torch.tensor([7], dtype=torch.uint8))
    monkeypatch.setattr(torch.mps, "set_rng_state", given.append)
    states = checkpoints.random_states()
    checkpoints.load_random_states(states)
    assert [state.tolist() for state in given] == [[7]] and "torch_mps_state" in states
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    checkpoints.load_random_states(states)
    assert len(given) == 1


def test_no_pickle_in_a_checkpoint(tmp_path):
    train(tmp_path, 1, keep_best=True)
    for path in tmp_path.glob("epoch*"):
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))
        if path.suffix == ".json":
            json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.just("$tuple"), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(plain)
def test_plain_values_survive_json(value):
    tensors: dict = {}
    packed = json.loads(json.dumps(checkpoints.pack(value, tensors), allow_nan=False))
    back = checkpoints.unpack(packed, tensors)
    assert back == value and repr(back) == repr(value) and checkpoints.is_plain(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4, 5)])
def test_tensors_survive_a_file(tmp_path, dtype, shape):
    value = torch.randint(0, 2, shape).to(dtype)
    if len(shape) == 4:
        value = value.contiguous(memory_format=torch.channels_last)
    shared = {"a": value, "b": value, "array": np.asarray(random.getstate()[1], dtype=np.uint32), "none": np.zeros((0, 2))}
    back = checkpoints.read_checkpoint(checkpoints.write_checkpoint(tmp_path, 1, shared))
    assert torch.equal(back["a"], value) and back["b"].dtype == dtype and back["a"].stride() == value.stride()
    assert np.array_equal(back["array"], shared["array"]) and back["array"].dtype == np.uint32 and back["none"].shape == (0, 2)


def test_what_is_not_plain_is_refused(tmp_path):
    for value in ({1, 2}, object(), b"bytes", np.array([None]), [lambda: 1]):
        assert not checkpoints.is_plain(value)
    with pytest.raises(BadSetting, match="cannot hold a set"):
        checkpoints.write_checkpoint(tmp_path, 1, {"a": {1}})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("mode", [None, False])
def test_resume_on_cuda(tmp_path, mode):
    """The state is complete on a GPU as well: generators, scaler, optimizer; sums may be added in another order."""
    cut, place = Cut(12), {"data": {"device": "cuda"}, "mixed_precision": mode}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, callbacks=[cut], **place)
    assert not torch.is_autocast_enabled("cuda")
    resumed, straight = train(tmp_path, callbacks=[cut], **place), train(callbacks=[cut], **place)
    for a, b in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
