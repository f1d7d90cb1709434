"""The cures: each equals its reference, both parts are judged alike, and the test part decides nothing."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pets_learn import data, deploy, toys
from pets_learn.batches import augment, class_weights
from pets_learn.exercises import exercise_problems
from pets_learn.experiments import run_experiment
from pets_learn.pets import cnn
from pets_learn.pets import overfitting as of
from pets_learn.run import BadSetting, seed_everything

pytestmark = pytest.mark.usefixtures("smoke")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = data.pets(toys.make_pets(tmp_path_factory.mktemp("drawn"), photos_per_breed=5))
    return cnn.species_parts(folder, side=40)


def weights(run: of.CureRun) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in run.training.model.parameters()])


def without_seconds(run: of.CureRun) -> dict[str, float]:
    return {name: value for name, value in run.figures().items() if "seconds" not in name}


# --- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [22, 75, 150])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_forward_and_backward(side, dropout, batch_norm):
    model = of.regularized_cnn(side, dropout, batch_norm)
    logits = model(torch.rand(2, 3, side, side))
    assert logits.shape == (2, 1) and logits.dtype == torch.float32
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_without_switches_it_is_the_network_of_the_chapter_before():
    seed_everything(0)
    plain = cnn.binary_cnn(40)
    seed_everything(0)
    same = of.regularized_cnn(40)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), same.parameters(), strict=True))
    assert sum(p.numel() for p in of.regularized_cnn().parameters()) == 9_494_561


def test_switches_add_layers_and_keep_the_others():
    kinds = [type(layer) for layer in of.regularized_cnn(40, 0.5, True)]
    assert kinds.count(nn.Dropout) == 2 and kinds.count(nn.BatchNorm2d) == 3 and kinds.count(nn.BatchNorm1d) == 1
    rest = [kind for kind in kinds if kind not in (nn.Dropout, nn.BatchNorm2d, nn.BatchNorm1d)]
    assert rest == [type(layer) for layer in cnn.binary_cnn(40)]
    assert all(isinstance(after, nn.ReLU) for kind, after in _pairs(of.regularized_cnn(40, 0, True)) if "BatchNorm" in kind)


def _pairs(model: nn.Sequential) -> list[tuple[str, nn.Module]]:
    layers = list(model)
    return [(type(a).__name__, b) for a, b in pairwise(layers)]


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0])
def test_a_share_that_cannot_be(dropout):
    with pytest.raises(BadSetting, match="below 1"):
        of.regularized_cnn(40, dropout)


def test_a_saved_network_may_name_it():
    rebuilt = deploy.build("pets_learn.pets.overfitting:regularized_cnn", {"side": 40, "dropout": 0.3, "batch_norm": True})
    assert not rebuilt.training and rebuilt(torch.zeros(1, 3, 40, 40)).shape == (1, 1)


# --- the measures ---------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 10_000))
def test_calibration_error_by_a_loop(count, bins, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([1, 1, 1], count)
    y = rng.integers(0, 3, count)
    total = 0.0
    for b in range(bins):
        inside = [i for i in range(count) if b < p[i].max() * bins <= b + 1]
        if inside:
            confidence, right = np.mean([p[i].max() for i in inside]), np.mean([p[i].argmax() == y[i] for i in inside])
            total += len(inside) / count * abs(confidence - right)
    found = of.expected_calibration_error(p, y, bins)
    assert found == pytest.approx(total, abs=1e-12) and 0 <= found <= 1


@pytest.mark.parametrize(
    ("p", "y", "bins"), [(np.eye(2), [0], 10), (np.zeros((0, 2)), [], 10), (np.ones(2), [0, 1], 10), (np.eye(2), [0, 1], 0)]
)
def test_calibration_error_refuses(p, y, bins):
    with pytest.raises(BadSetting, match="at least one bin"):
        of.expected_calibration_error(p, np.array(y), bins)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=20), st.floats(0.1, 5), st.floats(0.1, 5), st.integers(0, 1000))
def test_class_weights_equal_torch_s_weighted_cross_entropy(labels, cat, dog, seed):
    y = torch.tensor(labels, dtype=torch.float32)[:, None]
    logits = torch.randn(len(labels), 1, generator=torch.Generator().manual_seed(seed))
    ours = of.ClassWeights(torch.tensor([cat, dog])).loss_of(logits, y)
    per_photo = nn.functional.cross_entropy(
        torch.cat([torch.zeros_like(logits), logits], 1), y[:, 0].long(), torch.tensor([cat, dog]), reduction="none"
    )
    torch.testing.assert_close(ours, per_photo.mean())


# --- the photos -----------------------------------------------------------------------------------------------------


def test_fewer_photos(parts):
    table, _ = parts
    fewer = of.fewer_photos(table, train=2, valid=1)
    assert fewer.index.equals(table.index) and (fewer.part == "test").equals(table.part == "test")
    kept = fewer[fewer.part == "train"].groupby("breed").size()
    assert kept.max() <= 2 and set(fewer.part) == {"train", "valid", "test", "unused"}
    assert of.fewer_photos(table).part.equals(table.part)
    assert ((fewer.part == table.part) | (fewer.part == "unused")).all()


@pytest.mark.parametrize("limits", [{"train": 0}, {"valid": 0}, {"train": -1}])
def test_fewer_photos_refuses(parts, limits):
    with pytest.raises(BadSetting, match="at least one photo"):
        of.fewer_photos(parts[0], **limits)


def test_figure_7_keeps_shape_and_range():
    photos = torch.rand(4, 3, 30, 30)
    changed = augment(photos, of.FIGURE_7, torch.Generator().manual_seed(0))
    assert changed.shape == photos.shape and changed.min() >= 0 and changed.max() <= 1 and not torch.equal(changed, photos)


# --- the training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cure", of.CURES)
def test_every_cure_trains_and_repeats_bit_by_bit(parts, cure):
    once = replace(of.CURES[cure], longer=1)
    first, again = (of.train_cure(*parts, once, epochs=1, watched=10) for _ in range(2))
    assert torch.equal(weights(first), weights(again)) and without_seconds(first) == without_seconds(again)
    assert weights(first).isfinite().all() and len(first.history) == 1


def test_plain_is_the_training_of_the_chapter_before(parts):
    """But for the 16-bit forward pass, which moves the weights a little."""
    ours = of.train_cure(*parts, "plain", epochs=1)
    theirs = cnn.train_species(*parts, epochs=1, watch_test=False)
    theirs_weights = torch.cat([p.detach().flatten() for p in theirs.training.model.parameters()])
    seed_everything(0)
    start = torch.cat([p.detach().flatten() for p in of.regularized_cnn(40).parameters()])
    alike = torch.cosine_similarity(weights(ours) - start, theirs_weights - start, dim=0)
    others = [of.train_cure(*parts, "augmentation", epochs=1), of.train_cure(*parts, "plain", epochs=1, learning_rate=3e-4)]
    control = [torch.cosine_similarity(weights(run) - start, theirs_weights - start, dim=0) for run in others]
    assert alike > 0.75 > 0.65 > max(control), "the same training goes the same way, another one does not"


@pytest.mark.parametrize("cure", ["augmentation", "weight_decay", "class_weights", "dropout"])
def test_a_cure_acts(parts, cure):
    """These four add no parameters, so the weights can be compared with those of the plain network."""
    plain, cured = (of.train_cure(*parts, name, epochs=1) for name in ("plain", cure))
    assert not torch.equal(weights(plain), weights(cured))


def test_the_rate_falls_where_the_validation_loss_does_not(parts):
    plain, cured = (of.train_cure(*parts, cure, epochs=4, learning_rate=1e-12) for cure in ("plain", "plateau"))
    rates = [run.training.learner.opt.hypers[-1]["lr"] for run in (plain, cured)]
    assert rates[0] == pytest.approx(1e-12, rel=1e-6) and rates[1] < 0.5e-12


def test_labels_of_the_test_part_decide_nothing(parts):
    table, cache = parts
    turned = table.copy()
    test = turned.part == "test"
    turned.loc[test, "species"] = turned.loc[test, "species"].map({"cat": "dog", "dog": "cat"})
    cure = replace(of.CURES["together"], longer=1)
    honest, fooled = (of.train_cure(t, cache, cure, epochs=2) for t in (table, turned))
    assert torch.equal(weights(honest), weights(fooled)) and honest.best_epoch == fooled.best_epoch
    assert honest.valid.accuracy == fooled.valid.accuracy
    assert honest.test.accuracy == pytest.approx(1 - fooled.test.accuracy)


def test_class_weights_are_left_out_of_validation(parts):
    table, cache = parts
    run = of.train_cure(table, cache, "class_weights", epochs=1)
    assert run.history.valid_loss.iloc[-1] == pytest.approx(run.valid.loss, abs=0.02)  # the history's is computed in 16 bits
    labels = table.species.eq("dog").to_numpy(dtype=int)[np.flatnonzero(table.part == "train")]
    assert set(labels) == {0, 1} and not torch.equal(class_weights(labels), torch.ones(2))


def test_a_last_batch_of_one_photo(parts):
    """Batch normalization cannot take it."""
    table, cache = parts
    train = np.flatnonzero(table.part == "train")[:21]
    kept = table.part.where(~(table.part == "train"), "unused").to_numpy(dtype=object, copy=True)
    kept[train] = "train"
    run = of.train_cure(table.assign(part=kept), cache, "batch_norm", epochs=1)
    assert len(run.training.learner.dls.train.indices) == 21 and weights(run).isfinite().all()


def test_early_stopping_goes_back_and_nothing_else(parts):
    last, stopped = (of.train_cure(*parts, cure, epochs=3) for cure in ("plain", "early_stopping"))
    pd.testing.assert_frame_equal(last.history, stopped.history)
    assert 1 <= last.best_epoch == stopped.best_epoch <= 3
    assert torch.equal(weights(last), weights(stopped)) == (last.best_epoch == 3)
    assert stopped.valid.loss == pytest.approx(stopped.history.valid_loss.min(), abs=0.02)


@pytest.mark.parametrize("cure", ["plain", "early_stopping"])
def test_the_judged_network_is_the_one_that_comes_back(parts, cure):
    run = of.train_cure(*parts, cure, epochs=3)
    again = of.judge(*of.predict(run.training.model, run.training.learner.dls[2]))
    assert again.loss == run.test.loss


def test_an_unknown_cure(parts):
    with pytest.raises(BadSetting, match="no cure 'prayer'"):
        of.train_cure(*parts, "prayer", epochs=1)


# --- the experiment -------------------------------------------------------------------------------------------------


def test_experiment_and_its_figures(tmp_path):
    declared = of.experiments()
    pair = replace(declared, settings=[{"cure": "plain"}, {"cure": "together"}], seeds=1)
    results = run_experiment(pair, folder=tmp_path, quiet=True)
    figures = of.summarize(results.table)
    assert [point["cure"] for point in declared.settings] == list(of.CURES) and declared.seeds == 3
    assert figures["balanced_accuracy_gain_plain"]["mean"] == 0 and figures["time_plain"]["mean"] == 1
    row = results.table.set_index("cure").loc["together"]
    assert figures["gap_together"]["mean"] == pytest.approx(row.train_accuracy - row.accuracy)
    assert len(results.history()) == of.sizes().epochs * (1 + of.CURES["together"].longer)
    assert results.record() is None  # stand-ins at smoke scale leave no record


def test_summary_pairs_the_seeds():
    rows = [
        {name: 0.0 for name in of.CureRun.__dataclass_fields__}
        | {name: 0.5 for name in (*of._SHARES, *of._UNITS)}
        | {"cure": cure, "seed": seed, "balanced_accuracy": 0.5 + 0.1 * (cure == "together") + 0.05 * seed}
        for cure in ("plain", "together")
        for seed in range(3)
    ]
    gain = of.summarize(pd.DataFrame(rows))["balanced_accuracy_gain_together"]
    assert (gain["min"], gain["max"]) == (pytest.approx(0.1), pytest.approx(0.1)) and gain["n"] == 3


@pytest.mark.parametrize("exercise", of.EXERCISES, ids=lambda exercise: exercise.name)
def test_exercises(exercise):
    assert exercise_problems(exercise) == []
