"""Experiments on pairs: tests and intervals as SciPy has them, a schedule as PyTorch's, runs that repeat."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.losses import BCEWithLogitsLossFlat
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, contingency

from pets_learn import data, toys
from pets_learn.exercises import exercise_problems
from pets_learn.experiments import declared, finished, planned, run_experiment
from pets_learn.faces import experiments as fe
from pets_learn.faces import pairs as fp
from pets_learn.faces.siamese import area_under_curve
from pets_learn.run import BadSetting

pytestmark = pytest.mark.usefixtures("smoke")
answers = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    root = toys.make_faces(tmp_path_factory.mktemp("faces"), people=12, photos_per_person=3)
    folder = data.lfw(root.parent, pictures="lfw-125")
    store = fp.face_store(folder)
    train, test = (fp.read_pairs(folder, store, part) for part in ("train", "test"))
    return store, train.take(np.arange(6)), test.take(np.arange(4))


# --- McNemar's test -------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(answers)
def test_mcnemar_is_a_sum_over_coin_throws(drawn):
    first, second, _ = np.array(drawn).T
    one, other = (first & ~second).sum(), (second & ~first).sum()
    throws, fewer = one + other, min(one, other)
    by_hand = sum(binom.pmf(k, throws, 0.5) for k in range(throws + 1) if min(k, throws - k) <= fewer)
    assert fe.mcnemar(first, second) == pytest.approx(min(1, by_hand))
    assert fe.mcnemar(first, second) == fe.mcnemar(second, first) <= 1


def test_mcnemar_is_calibrated_where_the_unpaired_test_is_blind():
    rng = np.random.default_rng(0)
    hard = rng.random((400, 1000)) < 0.3  # the same pairs are hard for both
    rare = [fe.mcnemar(~(h ^ (rng.random(1000) < 0.05)), ~(h ^ (rng.random(1000) < 0.05))) < 0.05 for h in hard]
    assert 0.01 < np.mean(rare) < 0.08  # equally good: about one in twenty, a little less as counts are whole
    better = [(~(h & (rng.random(1000) < 0.9)), ~h) for h in hard[:50]]
    assert np.mean([fe.mcnemar(a, b) < 0.05 for a, b in better]) == 1
    tables = [[[a.sum(), (~a).sum()], [b.sum(), (~b).sum()]] for a, b in better]
    assert np.mean([contingency.chi2_contingency(table).pvalue < 0.05 for table in tables]) < 0.7


@pytest.mark.parametrize("first, second", [([], []), ([True], [True, False]), ([[True]], [[True]])])
def test_answers_that_do_not_fit(first, second):
    for function in (fe.mcnemar, fe.compare_answers):
        with pytest.raises(BadSetting, match="do not fit"):
            function(np.array(first, bool), np.array(second, bool))


@pytest.mark.parametrize("scores", [[0.2, 0.9], [1, float("nan")], [2, 0], ["yes", "no"]])
def test_scores_are_no_answers(scores):
    for function in (fe.mcnemar, fe.compare_answers):
        with pytest.raises(BadSetting, match="not scores"):
            function(np.array(scores), np.array([True, False]))
    assert fe.mcnemar([1, 0, 1], [0, 0, 1]) == fe.mcnemar(np.array([True, False, True]), np.array([False, False, True]))


# --- the bootstrap --------------------------------------------------------------------------------------------------


def share(scores, _): return scores.mean()


def test_interval_has_the_width_of_the_formula():
    right = np.repeat([1.0, 0.0], [300, 100])
    low, high = fe.bootstrap_interval(share, right, np.tile([0, 1], 200), repeats=1500)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - half, abs=0.008) and high == pytest.approx(0.75 + half, abs=0.008)
    assert np.ptp(fe.bootstrap_interval(share, right, np.tile([0, 1], 200), confidence=0.5)) < 0.5 * (high - low)


def test_groups_that_repeat_themselves_widen_the_interval():
    right, groups = np.repeat(np.tile([1.0, 1, 1, 0], 25), 4), np.repeat(np.arange(100), 4)  # four equal pairs a group
    mixed = np.random.default_rng(0).permutation(400)  # members of a group do not stand together
    right, groups, same = right[mixed], groups[mixed], np.tile([0, 1], 200)
    apart = np.ptp(fe.bootstrap_interval(share, right, same, None))
    together = np.ptp(fe.bootstrap_interval(share, right, same, groups))
    assert 1.7 < together / apart < 2.3  # four equal pairs say as much as one: twice as wide


def test_groups_widen_the_interval_of_a_difference():
    rng = np.random.default_rng(1)
    first, second = (np.repeat(rng.random(100) < share, 4) for share in (0.7, 0.6))
    groups, mixed = np.repeat(np.arange(100), 4), rng.permutation(400)
    alone = fe.compare_answers(first[mixed], second[mixed], repeats=4000)
    together = fe.compare_answers(first[mixed], second[mixed], groups[mixed], repeats=4000)
    assert 1.7 < (together.high - together.low) / (alone.high - alone.low) < 2.3 and alone.p_value == together.p_value
    interval = fe.bootstrap_interval(share, first[mixed].astype(float) - second[mixed], np.tile([0, 1], 200), groups[mixed], 4000)
    assert interval == pytest.approx((together.low, together.high), abs=0.01)
    with pytest.raises(BadSetting, match="one number for each"):
        fe.compare_answers(first, second, groups[:5])
    with pytest.raises(BadSetting, match="at least 10"):
        fe.compare_answers(first, second, repeats=3)


def test_draws_of_one_kind_are_drawn_again():
    assert fe.bootstrap_interval(area_under_curve, [0.1, 0.9], [0, 1], repeats=20) == (1, 1)


@settings(max_examples=50, deadline=None)
@given(answers)
def test_a_difference_turned_round_is_its_opposite(drawn):
    first, second, _ = np.array(drawn).T
    there, back = (fe.compare_answers(a, b, repeats=20) for a, b in ((first, second), (second, first)))
    assert there.points == pytest.approx(first.mean() - second.mean())
    assert (there.points, there.low, there.high) == pytest.approx((-back.points, -back.high, -back.low))
    assert there.p_value == back.p_value


# --- luck -----------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.floats(0.05, 0.95), st.integers(1, 6))
def test_best_of_is_the_mean_over_all_outcomes(count, accuracy, pairs):
    grid = np.meshgrid(*[np.arange(pairs + 1)] * count)
    chances = np.prod([binom.pmf(g, pairs, accuracy) for g in grid], axis=0)
    assert fe.best_of(count, accuracy, pairs) == pytest.approx((chances * np.max(grid, axis=0)).sum() / pairs)


@pytest.mark.parametrize("setting", [(0, 0.5, 10), (3, 0.0, 10), (3, 1.0, 10), (3, 0.5, 0), (2.5, 0.5, 10), (2, 0.5, 10.5)])
def test_luck_needs_numbers_that_can_be(setting):
    with pytest.raises(BadSetting, match="counts from 1"):
        fe.best_of(*setting)


def test_the_slider_says_what_the_function_says():
    shown = fe.luck_slider()
    shown.controls["count"].value, shown.controls["pairs"].value = 30, 200
    assert f"{fe.best_of(30, 0.685, 200):.1%}" in shown.html and "Each of 30 ways" in shown.html
    shown.controls["count"].value = 1
    assert "0.0 points of luck" in shown.html and "alert" not in shown.html


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every, factor", [(1, 0.5), (3, 0.1), (10, 0.1)])
def test_step_decay_is_pytorchs(every, factor):
    decay = fe.StepDecay(0.3, every, factor)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3)
    reference = torch.optim.lr_scheduler.StepLR(optimizer, every, factor)
    for epoch in range(25):
        assert decay.rate(epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("rate, every, factor", [(1e-4, 0, 0.1), (1e-4, 10, 0.0), (1e-4, 10, 1.0), (1e-4, 1.5, 0.1),
                                                 (float("nan"), 10, 0.1), (0.0, 10, 0.1)])
def test_schedules_that_cannot_be(rate, every, factor):
    with pytest.raises(BadSetting, match="every >= 1"):
        fe.StepDecay(rate, every, factor)


def test_the_rate_that_the_optimizer_gets(faces, monkeypatch):
    seen = []
    monkeypatch.setattr(fe.StepDecay, "after_step", lambda self: seen.append(self.opt.hypers[-1]["lr"]), raising=False)
    monkeypatch.setattr(fe.StepDecay, "rate", lambda self, epoch: 1e-4 / (epoch + 1))
    store, train, valid = faces
    fe.train_koch(store, train, valid, batch_size=6, epochs=2)
    assert seen == pytest.approx([1e-4, 5e-5])


def test_settings_reach_the_training(faces, monkeypatch):
    told = {}
    monkeypatch.setattr(fe, "fit", lambda model, dls, *rest, **named: told.update(named, model=model, dls=dls, rest=rest))
    store, train, valid = faces
    fe.train_koch(store, train, valid, dropout=0.2, optimizer="sgd", batch_size=3, weight_decay=1e-5)
    assert told["weight_decay"] == 1e-5 and told["patience"] == 5 and told["keep_best"] and told["dls"].train.bs == 3
    assert told["rest"][1:4] == (20, 1e-4, "sgd") and isinstance(told["rest"][0], BCEWithLogitsLossFlat)
    kinds = Counter(type(layer).__name__ for layer in told["model"].modules())
    assert kinds["BatchNorm2d"] == 4 and [m.p for m in told["model"].modules() if isinstance(m, torch.nn.Dropout)] == [0.2] * 5
    seen = {part: torch.cat([y.flatten() for _, y in told["dls"][i]]) for i, part in enumerate(("train", "valid"))}
    assert len(seen["train"]) == len(train) and seen["valid"].tolist() == valid.same.tolist()
    fe.train_koch(store, train, valid, batch_norm=False, learning_rate=0.01, seed=0)
    first = told["dls"].train.one_batch()[0] if hasattr(told["dls"].train, "one_batch") else next(iter(told["dls"].train))[0]
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in told["model"].modules())
    assert told["rest"][2] == told["callbacks"][0].learning_rate == 0.01
    fe.train_koch(store, train, valid, batch_norm=False, seed=1)
    assert not torch.equal(first, next(iter(told["dls"].train))[0]), "another seed, another order"


def test_unknown_optimizer(faces):
    with pytest.raises(BadSetting, match="optimizer"):
        fe.train_koch(*faces, optimizer="adamant", epochs=1)


@pytest.mark.parametrize("batch_size", [0, 1, -3])
def test_batches_of_one_pair(faces, batch_size):
    with pytest.raises(BadSetting, match="at least 2 pairs"):
        fe.train_koch(*faces, batch_size=batch_size)


def test_a_run_repeats_and_keeps_what_it_said(tmp_path):
    final = declared("faces/experiments")[1]
    tables = []
    for name in ("one", "two"):
        results = run_experiment(final, seeds=1, folder=tmp_path / name, quiet=True)
        tables.append(results.table.drop(columns=["cpu_seconds", "seconds"]))
        run = planned(final, 1, tmp_path / name)[0]
        kept = fe.kept_probabilities(run)
        assert {part: len(said) for part, said in kept.items()} == {"valid": run.sizes.test, "test": run.sizes.test}
        assert all(((said >= 0) & (said <= 1)).all() for said in kept.values())
        assert len(finished(final, folder=tmp_path / name).runs) == 1
        assert fe.kept_probabilities(planned(final, 2, tmp_path / name)[1]) == {}
        assert results.runs[0]["data"]["generated"]
    pd.testing.assert_frame_equal(*tables)


def test_the_documents_settings_are_declared(monkeypatch):
    monkeypatch.setenv("PETS_LEARN_SCALE", "gpu")
    steps, final, grid = declared("faces/experiments")
    at_128 = {"batch_size": 128}
    plain = at_128 | {"batch_norm": False}
    declared_steps = {"plain": plain, "sgd": plain | {"optimizer": "sgd"},
                        "sgd_fast": plain | {"optimizer": "sgd", "learning_rate": 0.01}, "batch_norm": at_128,
                        "dropout_0.1": at_128 | {"dropout": 0.1}, "dropout_0.2": at_128 | {"dropout": 0.2},
                        "final": {"batch_size": 32, "weight_decay": 1e-5}}
    assert declared_steps == fe.STEPS
    assert [point["step"] for point in [*steps.settings, *final.settings]] == list(fe.STEPS)
    assert len(grid.settings) == 12 and final.seeds == steps.seeds == grid.seeds == 3
    assert {(point["batch_size"], point["weight_decay"]) for point in grid.settings} == {
        (batch, decay) for batch in (32, 64, 128, 256) for decay in (1e-4, 1e-5, 1e-6)}


def test_a_grid_chooses_by_validation():
    others = dict.fromkeys(("test_loss", "valid_accuracy", "epochs", "best_epoch", "cpu_seconds"), 1.0)
    rows = [point | {"seed": seed, "valid_loss": 0.64, "test_accuracy": 0.66} | others for point in fe.GRID for seed in range(2)]
    rows[0]["valid_loss"] = 0.50  # one lucky run does not choose its point
    rows[1]["valid_loss"] = 0.80
    for seed in range(2):
        rows[8 + seed] |= {"valid_loss": 0.60, "test_accuracy": 0.68}
        rows[12 + seed] |= {"test_accuracy": 0.70}
    found = fe.summarize_grid(pd.DataFrame(rows))
    assert [found[f"{name}_test_accuracy"]["mean"] for name in ("chosen", "best")] == pytest.approx([0.68, 0.70])
    assert found["test_accuracy_grid_64_1e-05"]["n"] == 2 and found["test_accuracy_grid_128_0.0001"]["seed_figure"] == 0.696
    assert "best_test_accuracy" not in fe.summarize_grid(pd.DataFrame(rows[:6]))


def test_an_unknown_step():
    with pytest.raises(BadSetting, match="no step 'adam'; use one of plain"):
        fe.run_step(None, "adam")


def test_a_step_and_a_point_of_the_grid_reach_the_training(monkeypatch):
    told = []
    monkeypatch.setattr(fe, "_run", lambda run, **settings: told.append((run, settings)))
    for step in fe.STEPS:
        fe.run_step("a run", step)
    fe.run_grid("a run", 64, 1e-6)
    assert told == [("a run", settings) for settings in [*fe.STEPS.values(), {"batch_size": 64, "weight_decay": 1e-6}]]


def test_the_plain_network_and_a_point_of_the_grid_run(tmp_path):
    steps, _, grid = declared("faces/experiments")
    for experiment in (steps, grid):
        table = run_experiment(experiment, seeds=1, folder=tmp_path, quiet=True).table
        assert len(table) == 1 and table.epochs[0] == 1 and 0 <= table.test_accuracy[0] <= 1 and table.valid_loss[0] > 0
        entries = experiment.summarize(table)
        assert all(entry["n"] == 1 for entry in entries.values()) and len(entries) == 7


@pytest.mark.parametrize("exercise", fe.EXERCISES, ids=lambda exercise: exercise.name)
def test_exercises(exercise):
    assert exercise_problems(exercise) == []


def test_figures_of_the_document_stand_beside_ours():
    rows = [{"step": step, "seed": 0} | dict.fromkeys(fe._FIGURES, 0.5) for step in fe.STEPS]
    found = fe.summarize_steps(pd.DataFrame(rows))
    beside = {step: found[f"test_accuracy_{step}"]["seed_figure"] for step in fe.STEPS}
    assert beside == {"plain": 0.642, "sgd": 0.587, "sgd_fast": None, "batch_norm": 0.668, "dropout_0.1": 0.663,
                      "dropout_0.2": 0.635, "final": 0.704}
    assert found["test_loss_plain"]["seed_figure"] == 0.8784 and found["test_loss_final"]["seed_row"] == 10
