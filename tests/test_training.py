"""The learner behind `fit`: schedules reach the optimizer, the best weights come back, logs stay quiet, files are checked."""

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
from pets_learn.batches import dataloaders
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


def test_a_monitor_that_is_never_a_number_keeps_the_last_epoch():
    def loss(z, y):
        return nn.functional.cross_entropy(z, y) * (1 if torch.is_grad_enabled() else float("nan"))

    with pytest.warns(UserWarning, match="valid_loss was a finite number in no epoch"):
        made = training.fit(nn.Linear(4, 2), problem(), loss, 3, keep_best=True)
    assert made.best_epoch == 2 and made.history.valid_loss.isna().all()


def test_fastais_plot_of_the_losses_counts_batches(tmp_path):
    recorder = train(epochs=3, checkpoint=tmp_path).learner.recorder
    assert recorder.iters == [6, 12, 18] and len(recorder.losses) == 18
    assert train(epochs=4, checkpoint=tmp_path).learner.recorder.iters == [6, 12, 18, 24]


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
        ({"weight_decay": -0.1}, "weight_decay is -0.1; give a number >= 0"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"plateau": 0}, "plateau is 0; give whole epochs >= 1"),
        ({"patience": 0.5}, "patience is 0.5; give whole epochs >= 1"),
        ({"plateau": 2, "one_cycle": True}, "choose one of the two"),
    ]:
        with pytest.raises(BadSetting, match=words):
            train(**options)


def test_loss_that_explodes_ends_with_advice():
    with pytest.raises(PetsLearnError, match="lower the learning rate"):
        training.fit(nn.Linear(4, 2), problem(), lambda z, y: z.square().sum() * 1e30, 2, learning_rate=1e9, optimizer="sgd")


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


def test_misspelled_monitor_is_refused():
    with pytest.raises(BadSetting, match="choose from train_loss, valid_loss"):
        train(keep_best=True, monitor="valid_los")


def deep() -> nn.Sequential:
    """Three groups of layers; the first two contain batch normalization."""
    first, second = (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()) for _ in range(2))
    return nn.Sequential(first, second, nn.Linear(4, 2))


def three_groups(model: nn.Module) -> list:
    return [part.parameters() for part in model]


def changed(model: nn.Module, **options) -> list[str]:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training.fit(model, problem(), nn.CrossEntropyLoss(), 1, 0.05, groups=three_groups, **options)
    return [name for name, value in model.state_dict().items() if not torch.equal(before[name], value)]


def test_frozen_groups_stay_but_their_batch_norm_learns_unless_told_otherwise():
    tail, statistics = {"2.weight", "2.bias"}, {"running_mean", "running_var", "num_batches_tracked"}
    assert set(changed(deep(), freeze_to=-1, train_batch_norm=False)) == tail
    norms = {f"{i}.1.{name}" for i in (0, 1) for name in statistics | {"weight", "bias"}}
    assert set(changed(deep(), freeze_to=2)) == tail | norms
    assert set(changed(deep(), freeze_to=1, train_batch_norm=False)) == tail | {n for n in deep().state_dict() if n[0] == "1"}
    assert set(changed(deep())) == set(deep().state_dict())


def test_frozen_for_one_call_only():
    model = deep()
    training.fit(model, problem(), nn.CrossEntropyLoss(), 1, groups=three_groups, freeze_to=-1)
    assert all(p.requires_grad for p in model.parameters())
    model[0].requires_grad_(False)
    with pytest.raises(PetsLearnError):
        training.fit(model, problem(), lambda z, y: z.sum() * float("nan"), 1, groups=three_groups)
    assert [p.requires_grad for p in model.parameters()] == [False] * 4 + [True] * 6


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ((1e-4, 1e-2), [1e-4, 1e-3, 1e-2]),
        (slice(1e-4, 1e-2), [1e-4, 1e-3, 1e-2]),
        (slice(None, 1e-2), [1e-3, 1e-3, 1e-2]),
        (1e-2, [1e-2] * 3),
    ],
)
def test_rates_are_spread_over_the_groups(rate, expected):
    made = training.fit(deep(), problem(), nn.CrossEntropyLoss(), 1, rate, groups=three_groups)
    assert [group["lr"] for group in made.learner.opt.param_groups] == pytest.approx(expected)


def test_schedules_keep_the_ratio_of_the_groups():
    seen = []

    class Look(training.Callback):
        order = 100

        def before_step(self):
            seen.append([group["lr"] for group in self.opt.param_groups])

    options = {"groups": three_groups, "one_cycle": True, "callbacks": [Look()]}
    training.fit(deep(), problem(), nn.CrossEntropyLoss(), 2, (1e-4, 1e-2), **options)
    np.testing.assert_allclose(np.array(seen)[:, 2] / np.array(seen)[:, 0], 100, rtol=1e-6)
    assert max(row[2] for row in seen) == pytest.approx(1e-2, rel=0.05)
    flat = training.fit(
        deep(), problem(), lambda z, y: z.sum() * 0 + 1, 3, (1e-4, 1e-2), groups=three_groups, plateau=1, factor=0.5
    )
    assert [g["lr"] for g in flat.learner.opt.param_groups] == pytest.approx([2.5e-5, 2.5e-4, 2.5e-3])


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": (1e-3, 1e-2)},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": "fast"},
        {"learning_rate": (1e-3, 1e-2, 1e-1), "groups": three_groups},
        {"learning_rate": slice(1e-3, None), "groups": three_groups},
        {"learning_rate": (0, 1e-2), "groups": three_groups},
        {"freeze_to": 1},
        {"freeze_to": 3, "groups": three_groups},
        {"freeze_to": -4, "groups": three_groups},
        {"groups": lambda model: [model.parameters(), []]},
        {"groups": lambda model: [model[0].parameters(), model.parameters()]},
        {"groups": lambda model: [model[0].parameters()]},
    ],
)
def test_groups_and_rates_that_cannot_work_are_refused(options):
    model = deep()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(BadSetting):
        training.fit(model, problem(), nn.CrossEntropyLoss(), 1, **options)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_learning_rate_finder_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = np.random.default_rng(0).integers(0, 255, (64, 3, 4, 4), dtype=np.uint8)
    dls = dataloaders(photos, np.arange(64) % 2, range(48), range(48, 64), batch_size=8)
    dls.train.epoch = 5
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model[3].eval()
    model[1].requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    found = training.find_learning_rate(model, dls, nn.CrossEntropyLoss(), steps=40)
    assert torch.equal(torch.rand(1), expected) and dls.train.epoch == 5 and dls.valid.epoch == 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [layer.training for layer in model] == [True, True, True, False, True]
    assert all(p.grad is None for p in model.parameters()) and not model[1].weight.requires_grad
    assert list(tmp_path.iterdir()) == [] and 1e-7 < found.suggestion < 10 and len(found.table) <= 40


def test_learning_rate_finder_trains_with_the_callbacks_of_the_training():
    seen = []

    class Count(training.Callback):
        def before_batch(self): seen.append(self.learn.model[1].training)

    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    callbacks = [training.KeepBatchStatistics(), Count()]
    training.find_learning_rate(model, problem(), nn.CrossEntropyLoss(), steps=20, callbacks=callbacks)
    assert len(seen) >= 20 and not any(seen), "the normalization uses the statistics it brought along"


def test_learning_rate_finder_puts_back_after_an_error():
    model, dls, calls = nn.Linear(4, 2), problem(), []
    before = model.weight.clone()

    def broken(z, y):
        calls.append(1)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(z, y)

    with pytest.raises(KeyboardInterrupt):
        training.find_learning_rate(model, dls, broken, lowest=0.1, highest=10)
    assert torch.equal(model.weight, before) and len(calls) == 11


def test_learning_rate_finder_agrees_with_fastai(tmp_path):
    """The same rates and losses as fastai's own range test, which writes a file."""
    seed_everything(0)
    model = nn.Linear(4, 2)
    data = TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))
    dls = DataLoaders.from_dsets(data, data, bs=64, num_workers=0, device=torch.device("cpu"))
    ours = training.find_learning_rate(model, dls, nn.CrossEntropyLoss(), lowest=1e-4, highest=10)
    adam = training.partial(training.OptimWrapper, opt=training.OPTIMIZERS["adam"])
    learner = training.Learner(dls, model, nn.CrossEntropyLoss(), adam, wd=0.0, path=tmp_path)
    with learner.no_bar(), learner.no_logging():
        suggested = learner.lr_find(1e-4, 10, show_plot=False)
    np.testing.assert_allclose(ours.table.rate, learner.recorder.lrs, rtol=1e-6)
    np.testing.assert_allclose(ours.table.loss, [float(v) for v in learner.recorder.losses], rtol=1e-5)
    assert ours.suggestion == pytest.approx(suggested.valley)


@pytest.mark.parametrize("options", [{"lowest": 0}, {"lowest": 2, "highest": 1}, {"highest": float("inf")}, {"steps": 19}])
def test_learning_rate_finder_refuses(options):
    with pytest.raises(BadSetting, match="0 < lowest < highest"):
        training.find_learning_rate(nn.Linear(4, 2), problem(), nn.CrossEntropyLoss(), **options)


def test_precision_by_device(monkeypatch):
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    for native, expected in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        assert [training.precision(mixed, cuda) for mixed in (None, True, False)] == [expected, expected, None]
    assert [training.precision(mixed, cpu) for mixed in (None, True, False)] == [None, "bf16", None]


def test_mixed_precision_computes_with_16_bits_and_keeps_32_bit_weights():
    kinds = []

    class Look(nn.Module):
        def forward(self, x):
            kinds.append(x.dtype)
            return x

    model = nn.Sequential(nn.Linear(4, 4), Look(), nn.Linear(4, 2))
    made = training.fit(model, problem(), nn.CrossEntropyLoss(), 2, 0.05, mixed_precision=True)
    assert set(kinds) == {torch.bfloat16} and made.model[0].weight.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")
    kinds.clear()
    training.fit(model, problem(), nn.CrossEntropyLoss(), 1, 0.05)
    assert set(kinds) == {torch.float32}


@pytest.mark.parametrize("error", [KeyboardInterrupt, PetsLearnError])
def test_an_error_in_the_forward_pass_ends_the_16_bit_mode(error):
    """Left on, it would keep its copies of old weights and train with them."""

    class Broken(nn.Linear):
        def forward(self, x):
            if self.training and error is KeyboardInterrupt:
                raise KeyboardInterrupt
            return super().forward(x)

    loss = (lambda z, y: z.sum() * float("nan")) if error is PetsLearnError else nn.CrossEntropyLoss()
    with pytest.raises(error):
        training.fit(Broken(4, 2), problem(), loss, 1, mixed_precision=True)
    assert not torch.is_autocast_enabled("cpu") and torch.autocast_increment_nesting() == 1
    torch.autocast_decrement_nesting()


def test_float16_scales_the_loss_and_the_scale_is_in_the_checkpoint(tmp_path, monkeypatch):
    """A GPU is not needed for the bookkeeping: the scaler is switched on by hand and the mode computes on the CPU."""
    monkeypatch.setattr(training, "precision", lambda mixed, device: "fp16")

    class Scaler:
        def __init__(self, device, enabled):
            assert enabled
            self.value = 8.0

        def scale(self, loss):
            return loss * self.value

        def step(self, optimizer):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad /= self.value
            optimizer.step()

        def update(self):
            self.value += 1

        def get_scale(self):
            return self.value

        def state_dict(self):
            return {"scale": self.value}

        def load_state_dict(self, state):
            self.value = state["scale"]

    monkeypatch.setattr("fastai.callback.fp16.GradScaler", Scaler)
    scales = []

    class Look(training.Callback):
        def after_step(self):
            scales.append(self.learn.scaler.value)

    train(epochs=2, mixed_precision=True, checkpoint=tmp_path, callbacks=[Look()])
    train(epochs=3, mixed_precision=True, checkpoint=tmp_path, callbacks=[Look()])
    assert scales == [8.0 + i for i in range(18)], "the second call goes on with the scale of the first"


def test_errors_in_callbacks_are_told_without_fastais_prefix():
    with pytest.raises(PetsLearnError, match=r"^the loss became nan in epoch 1; lower the learning rate"):
        training.fit(nn.Linear(4, 2), problem(), lambda z, y: z.sum() * float("nan"), 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("mode", ["bf16", "fp16"])
def test_mixed_precision_on_cuda(monkeypatch, mode):
    monkeypatch.setattr(training, "precision", lambda mixed, device: mode)
    seed_everything(0)
    data = TensorDataset(torch.randn(256, 4), torch.randint(0, 2, (256,)))
    dls = DataLoaders.from_dsets(data, data, bs=16, num_workers=0, device=torch.device("cuda"))
    history = training.fit(nn.Linear(4, 2), dls, nn.CrossEntropyLoss(), 5, 0.05).history
    assert history.train_loss.iloc[-1] < history.train_loss.iloc[0] and not torch.is_autocast_enabled("cuda")
