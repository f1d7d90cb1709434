"""The learner behind `fit`: schedules reach the optimizer, the best weights come back, logs stay quiet, files are checked."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from fastai.data.core import DataLoaders
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix
from torch import nn
from torch.utils.data import TensorDataset

from pets_learn import training
from pets_learn.run import BadSetting, PetsLearnError, seed_everything

pytestmark = pytest.mark.usefixtures("smoke")


def problem(items: int = 96) -> DataLoaders:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(items, 4, generator=generator)
    data = TensorDataset(x, (x.sum(dim=1) > 0).long())
    return DataLoaders.from_dsets(data, data, bs=16, num_workers=0, device=torch.device("cpu"))


def train(**options):
    seed_everything(0)
    return training.fit(nn.Linear(4, 2), problem(), nn.CrossEntropyLoss(), **{"epochs": 3, "learning_rate": 0.05} | options)


@pytest.mark.parametrize("optimizer", sorted(training.OPTIMIZERS))
def test_every_optimizer_learns(optimizer):
    history = train(optimizer=optimizer, epochs=8, measures=[training.accuracy]).history
    assert history.valid_loss.iloc[-1] < history.valid_loss.iloc[0] and history.valid_accuracy.iloc[-1] > 0.8


@pytest.mark.parametrize("optimizer", sorted(training.OPTIMIZERS))
def test_plateau_reaches_the_optimizer_itself(optimizer):
    """With a loss that never improves the rate must fall inside the optimizer, not only in a copy."""
    made = training.fit(
        nn.Linear(4, 2),
        problem(),
        lambda z, y: z.sum() * 0 + 1,
        epochs=5,
        learning_rate=0.1,
        optimizer=optimizer,
        plateau=1,
        factor=0.5,
    )
    assert made.learner.opt.opt.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**4)


def test_weight_decay_shrinks_weights():
    assert train(weight_decay=1.0).model.weight.norm() < train().model.weight.norm()


def test_keep_best_returns_the_best_epoch():
    """After three useful epochs the labels' side is turned against the network, so that the third epoch is the best."""

    class Ruin(training.Callback):
        def before_epoch(self):
            if self.epoch >= 3:
                with torch.no_grad():
                    self.model.weight.mul_(-1)
            self.opt.set_hypers(lr=0.05 if self.epoch < 3 else 1e-6)

    made = train(epochs=6, keep_best=True, callbacks=[Ruin()])
    assert made.best_epoch == made.history.valid_loss.idxmin() == 2
    x, y = problem().valid_ds.tensors
    with torch.no_grad():
        assert float(nn.functional.cross_entropy(made.model(x), y)) == pytest.approx(made.history.valid_loss.min(), rel=1e-5)


def test_early_stop_after_patience():
    made = training.fit(nn.Linear(4, 2), problem(), lambda z, y: z.sum() * 0 + 1, epochs=20, patience=3, keep_best=True)
    assert len(made.history) == 4 and made.best_epoch == 0


def test_one_cycle_ends_lower_than_it_peaks():
    made = train(one_cycle=True, epochs=4)
    rates = made.learner.recorder.lrs
    assert max(rates) == pytest.approx(0.05, rel=0.05) and rates[0] < 0.01 and rates[-1] < 0.001


def test_runs_are_bit_identical():
    assert torch.equal(train().model.weight, train().model.weight)


def test_a_log_gets_one_line_an_epoch_and_no_bar(tmp_path):
    code = """
import sys; sys.path.insert(0, "tests")
from test_training import train
train(epochs=2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert (
        [line[:11] for line in lines] == ["epoch   1/2", "epoch   2/2"]
        and "\r" not in done.stdout + done.stderr
        and "it/s" not in done.stderr
    )


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 10**6))
def test_judge_agrees_with_scikit_learn(classes, count, seed):
    generator = np.random.default_rng(seed)
    probabilities, labels = generator.dirichlet(np.ones(classes), count), generator.integers(0, classes, count)
    made, predicted = training.judge(probabilities, labels), probabilities.argmax(axis=1)
    assert made.accuracy == pytest.approx(accuracy_score(labels, predicted))
    np.testing.assert_array_equal(made.confusion, confusion_matrix(labels, predicted, labels=range(classes)))
    assert made.interval[0] - 1e-12 <= made.accuracy <= made.interval[1] + 1e-12
    if set(predicted) <= set(labels):
        assert made.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_bad_settings_are_refused_before_training():
    for options, words in [
        ({"epochs": 0}, "epochs >= 1"),
        ({"learning_rate": 0}, "learning_rate > 0"),
        ({"optimizer": "x"}, "choose from"),
        ({"plateau": 1, "factor": 2}, "factor between"),
    ]:
        with pytest.raises(BadSetting, match=words):
            train(**options)


def test_loss_that_explodes_ends_with_advice():
    with pytest.raises(PetsLearnError, match="lower the learning rate"):
        training.fit(nn.Linear(4, 2), problem(), lambda z, y: z.square().sum() * 1e30, 2, learning_rate=1e9, optimizer="sgd")


def test_saved_model_loads_in_a_fresh_process_bit_for_bit(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    training.save_model(model, tmp_path / "m", {"classes": ["a", "b", "c"]})
    code = f"""
import torch; from torch import nn; from pets_learn.training import load_model
m = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
print(load_model(m, r"{tmp_path / "m"}")["classes"], m(torch.arange(8.).reshape(2, 4)).tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"['a', 'b', 'c'] {model.eval()(torch.arange(8.0).reshape(2, 4)).tolist()}"


@pytest.mark.parametrize("damage", ["cut", "garbage", "no facts", "bad facts", "other model"])
def test_damaged_model_is_refused(tmp_path, damage):
    training.save_model(nn.Linear(4, 2), tmp_path, {})
    weights, facts = tmp_path / "model.safetensors", tmp_path / "model.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-7])
    if damage == "garbage":
        weights.write_bytes(b"\x80\x04K\x01.")  # a pickle: must not be opened as one
    if damage == "no facts":
        facts.unlink()
    if damage == "bad facts":
        facts.write_text("{")
    if damage == "other model":
        facts.write_text(json.dumps({}))
    model = nn.Linear(5, 2) if damage == "other model" else nn.Linear(4, 2)
    with pytest.raises(PetsLearnError):
        training.load_model(model, tmp_path)


def test_rmsprop_takes_the_steps_of_keras():
    """Keras: v = 0.9 v + 0.1 g^2, w = w - rate g / (sqrt(v) + 1e-7), from v = 0."""
    weight = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = training.OPTIMIZERS["rmsprop"]([weight], lr=1e-3)
    expected, v = np.array([1.0, -2.0]), np.zeros(2)
    for _ in range(5):
        optimizer.zero_grad()
        (weight**4).sum().backward()
        optimizer.step()
        gradient = 4 * expected**3
        v = 0.9 * v + 0.1 * gradient**2
        expected = expected - 1e-3 * gradient / (np.sqrt(v) + 1e-7)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-9)


def test_one_cycle_gives_rmsprop_no_momentum():
    assert train(one_cycle=True, epochs=2, optimizer="rmsprop").learner.opt.opt.param_groups[0]["momentum"] == 0


def test_watch_does_not_hide_a_loss_that_explodes():
    watch = training.Watch(problem().valid)
    with pytest.raises(PetsLearnError, match="lower the learning rate"):
        training.fit(nn.Linear(4, 2), problem(), lambda z, y: z.square().sum() * 1e30, 3, 1e9, "sgd", callbacks=[watch])
    assert watch.judgments == [], "it ends in the first epoch"


def test_predict_puts_every_layer_back():
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    model[1].eval()
    training.predict(model, problem().valid)
    assert [layer.training for layer in model.modules()] == [True, True, False]


def test_new_weights_beside_old_facts_are_noticed(tmp_path):
    training.save_model(nn.Linear(4, 2), tmp_path / "old", {"seed": 0})
    training.save_model(nn.Linear(4, 2), tmp_path / "new", {"seed": 1})
    (tmp_path / "new" / "model.safetensors").replace(tmp_path / "old" / "model.safetensors")
    assert training.model_facts(tmp_path / "old") is None and training.model_facts(tmp_path / "new") is None
    with pytest.raises(PetsLearnError, match="missing or damaged"):
        training.load_model(nn.Linear(4, 2), tmp_path / "old")


def test_misspelled_monitor_is_refused():
    with pytest.raises(BadSetting, match="choose from train_loss, valid_loss"):
        train(keep_best=True, monitor="valid_los")
