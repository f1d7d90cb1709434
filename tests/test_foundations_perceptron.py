"""The perceptron: against scikit-learn and PyTorch, its theorems on drawn data, and what bad input gets."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Perceptron
from sklearn.metrics import log_loss
from sklearn.preprocessing import add_dummy_feature

from pets_learn import exercises as ex
from pets_learn import experiments
from pets_learn.foundations import perceptron as p
from pets_learn.run import BadSetting, PetsLearnError

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)
seeds = st.integers(0, 2**32 - 1)
relaxed = settings(deadline=None, max_examples=60)  # other processes may share the machine


@st.composite
def labeled(draw, most=12, widest=4):
    """Small whole numbers, so that every sum is exact, and labels of both kinds or of one."""
    rows, columns = draw(st.integers(1, most)), draw(st.integers(1, widest))
    x = draw(hnp.arrays(np.int64, (rows, columns), elements=st.integers(-5, 5)))
    y = draw(hnp.arrays(np.int64, rows, elements=st.sampled_from([-1, 1])))
    return x, y


# --- arrays ---------------------------------------------------------------------------------------------------------


@relaxed
@given(hnp.arrays(st.sampled_from([np.float32, np.float64, np.int8, np.uint8, np.int64, bool]), hnp.array_shapes(max_dims=4)))
def test_check_array_returns_the_same_memory(array):
    assume(np.isfinite(array).all())
    assert p.check_array("x", array) is array
    assert p.check_array("x", array, ndim=array.ndim) is array
    with pytest.raises(p.BadShape, match=rf"^x has shape .*{array.ndim + 1} dimension"):
        p.check_array("x", array, ndim=array.ndim + 1)


@pytest.mark.parametrize(
    ("value", "options", "words"),
    [
        ([[1, 2], [3]], {}, "rows of equal length"),
        ("cat", {}, "dtype <U3"),
        (None, {}, "dtype object"),
        ({1, 2}, {}, "dtype object"),
        ([1 + 1j], {}, "dtype complex128; give numbers of kind float, int"),
        ([np.datetime64("2020-01-01")], {}, "dtype datetime64"),
        ([], {}, r"empty, its shape is \(0,\)"),
        (np.zeros((3, 0)), {}, r"empty, its shape is \(3, 0\)"),
        ([1.0, np.nan], {}, "NaN or infinity"),
        ([[np.inf]], {}, r"shape \(1, 1\) holds NaN or infinity"),
        ([True], {"dtype_kinds": "f"}, "dtype bool; give numbers of kind float"),
        ([1.0], {"dtype_kinds": "iu"}, "give numbers of kind int, unsigned int"),
        (1.0, {"ndim": (1, 2)}, "1 or 2 dimensions"),
        ([[1.0]], {"ndim": 1}, "1 dimension$"),
        (torch.zeros(2, requires_grad=True), {}, "cannot be made an array"),
    ],
)
def test_check_array_refuses(value, options, words):
    with pytest.raises(p.BadShape, match=words) as caught:
        p.check_array("thing", value, **options)
    assert str(caught.value).startswith("thing ")
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, BadSetting)


def test_check_array_takes_what_numpy_takes():
    assert p.check_array("x", torch.arange(3)).tolist() == [0, 1, 2]
    assert p.check_array("x", range(3)).tolist() == [0, 1, 2]
    assert p.check_array("x", 1.5, ndim=0) == 1.5
    assert np.isnan(p.check_array("x", [np.nan], finite=False)).all()
    assert p.check_array("x", [1j], dtype_kinds="c").dtype == np.complex128


@relaxed
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=finite))
def test_add_ones_is_scikit_learn_s(x):
    assert_array_equal(p.add_ones(x), add_dummy_feature(x.astype(np.float64)))
    assert_array_equal(p.add_ones(x)[0], p.add_ones(x[0]))
    assert p.add_ones(x).dtype == np.float64


@relaxed
@given(hnp.arrays(np.float64, hnp.array_shapes(), elements=finite))
def test_sign_has_two_values(signals):
    found = p.sign(signals)
    assert found.shape == signals.shape and found.dtype == np.int64 and set(np.unique(found)) <= {-1, 1}
    assert_array_equal(found[signals != 0], np.sign(signals[signals != 0]))
    assert (found[signals == 0] == 1).all()


# --- the rule -------------------------------------------------------------------------------------------------------


@relaxed
@given(labeled(), st.integers(1, 8))
def test_same_order_same_weights_as_scikit_learn(data, passes):
    x, y = data
    assume(len(set(y)) == 2)
    ours = p.train_perceptron(x, y, passes)
    theirs = Perceptron(shuffle=False, max_iter=passes, tol=None).fit(x, y)
    assert_array_equal(ours.weights, np.append(theirs.intercept_, theirs.coef_))


@relaxed
@given(labeled(), st.integers(1, 5), seeds)
def test_drawn_order_is_scikit_learn_s_in_that_order(data, passes, seed):
    x, y = data
    ours = p.train_perceptron(x, y, passes, seed)
    theirs, rng = Perceptron(shuffle=False), np.random.default_rng(seed)
    for order in [rng.permutation(len(y)) for _ in range(passes)][: len(ours.per_pass)]:
        theirs.partial_fit(x[order], y[order], classes=[-1, 1])
    assert_array_equal(ours.weights, np.append(theirs.intercept_, theirs.coef_))


@relaxed
@given(labeled(), st.data())
def test_start_is_scikit_learn_s(data, more):
    x, y = data
    assume(len(set(y)) == 2)
    start = more.draw(hnp.arrays(np.int64, x.shape[1] + 1, elements=st.integers(-9, 9)))
    kept = start.copy()
    ours = p.train_perceptron(x, y, 3, weights=start)
    theirs = Perceptron(shuffle=False, max_iter=3, tol=None).fit(x, y, coef_init=start[None, 1:], intercept_init=start[:1])
    assert_array_equal(ours.weights, np.append(theirs.intercept_, theirs.coef_))
    assert_array_equal(start, kept)


@relaxed
@given(labeled(), seeds)
def test_a_pass_is_a_chain_of_steps(data, seed):
    x, y = data
    weights = np.zeros(x.shape[1] + 1)
    for i in np.random.default_rng(seed).permutation(len(y)):
        weights = p.perceptron_step(weights, x[i], y[i])
    assert_array_equal(p.train_perceptron(x, y, 1, seed).weights, weights)


@relaxed
@given(labeled(), st.integers(1, 5))
def test_the_path_ends_in_the_weights_and_counts_every_update(data, passes):
    x, y = data
    run = p.train_perceptron(x, y, passes, seed=3)
    path = p.weight_path(run, x, y)
    assert_array_equal(path[-1], run.weights)
    assert len(path) == run.updates + 1 == sum(run.per_pass) + 1 and not path[0].any()
    assert run.converged == (run.per_pass[-1] == 0)
    if run.converged:
        assert (y * p.signals(run.weights, x) > 0).all()


@relaxed
@given(hnp.arrays(np.float64, (6, 3), elements=finite), hnp.arrays(np.int64, 6, elements=st.sampled_from([-1, 1])))
def test_the_path_is_exact_for_floats_too(x, y):
    run = p.train_perceptron(x, y, 4)
    assert_array_equal(p.weight_path(run, x, y)[-1], run.weights)


@relaxed
@given(labeled())
def test_other_labels_other_sign(data):
    """0 counts as a mistake for both classes, so swapping them turns all weights around."""
    x, y = data
    assert_array_equal(p.train_perceptron(x, -y, 4).weights, -p.train_perceptron(x, y, 4).weights)


@relaxed
@given(labeled(), st.data())
def test_step_moves_the_signal_by_the_squared_length(data, more):
    x, y = data
    weights = more.draw(hnp.arrays(np.int64, x.shape[1] + 1, elements=st.integers(-9, 9)))
    kept = weights.copy()
    new = p.perceptron_step(weights, x[0], y[0])
    inputs = np.append(1, x[0])
    wrong = y[0] * (weights @ inputs) <= 0
    assert new @ inputs - weights @ inputs == (y[0] * (inputs @ inputs) if wrong else 0)
    assert_array_equal(weights, kept)
    assert new is not weights and new.dtype == np.float64


def test_nothing_of_the_caller_is_changed_and_no_fraction_is_lost():
    x, y, start = np.array([[0.25, 0.5]]), np.array([-1]), np.zeros(3, dtype=np.int64)
    for array in (x, y, start):
        array.setflags(write=False)
    assert p.train_perceptron(x, y, weights=start).weights.tolist() == [-1, -0.25, -0.5]
    assert p.perceptron_step(start, x[0], -1).tolist() == [-1, -0.25, -0.5]
    assert start.tolist() == [0, 0, 0]
    pixels = np.array([[200], [100]], dtype=np.uint8)
    assert p.train_perceptron(pixels, [1, 1], passes=1).weights.tolist() == [1, 200]


# --- geometry -------------------------------------------------------------------------------------------------------


@relaxed
@given(hnp.arrays(np.float64, 4, elements=st.floats(-5, 5)), hnp.arrays(np.float64, (5, 3), elements=st.floats(-5, 5)))
def test_distance_leads_to_the_line(weights, x):
    length = np.linalg.norm(weights[1:])
    assume(length > 1e-3)
    away = p.signed_distances(weights, x)
    feet = x - away[:, None] * weights[1:] / length
    assert_allclose(p.signals(weights, feet), 0, atol=1e-9)
    assert_array_equal(p.sign(away), p.classify(weights, x))
    assert_allclose(p.signed_distances(-3 * weights, x), -away, atol=1e-9)


@relaxed
@given(st.floats(-180, 180), st.floats(-9, 9), hnp.arrays(np.float64, (4, 2), elements=st.floats(-5, 5)))
def test_line_weights_have_direction_and_offset(direction, offset, x):
    weights = p.line_weights(direction, offset)
    arrow = np.array([np.cos(np.radians(direction)), np.sin(np.radians(direction))])
    assert_allclose(p.signed_distances(weights, x), x @ arrow - offset, atol=1e-9)


@pytest.mark.parametrize("side", [1, 2, 7])
def test_decision_grid_asks_at_the_centers(side):
    view = (-1.0, 3.0, 2.0, 4.0)
    grid = p.decision_grid(lambda points: points @ [10, 1], view, side)
    for row, column in itertools.product(range(side), repeat=2):
        assert grid[row, column] == pytest.approx(10 * (-1 + (column + 0.5) * 4 / side) + 2 + (row + 0.5) * 2 / side)


# --- the bound ------------------------------------------------------------------------------------------------------


@relaxed
@given(seeds, st.integers(1, 40), st.integers(2, 6), st.floats(0.03, 0.9), seeds)
def test_no_order_needs_more_corrections_than_the_bound(seed, items, dimensions, gap, order):
    x, y, separator = p.separable_set(np.random.default_rng(seed), items, dimensions, gap)
    assert x.shape == (items, dimensions) and set(y) <= {-1, 1}
    assert_allclose(np.linalg.norm(x, axis=1), 1)
    assert p.margin(separator, x, y) == pytest.approx(gap)
    bound = p.update_bound(x, y, separator)
    assert bound == pytest.approx(2 / gap**2)
    run = p.train_perceptron(x, y, passes=10_000, seed=order)
    assert run.converged and run.updates <= bound + 1e-6
    assert run.updates <= p.update_bound(x, y, run.weights) + 1e-6


@relaxed
@given(labeled(most=6, widest=2), seeds)
def test_a_bound_holds_for_whole_numbers(data, order):
    """Whatever a perceptron finds is a separator, and so a bound for every other order."""
    x, y = data
    run = p.train_perceptron(x, y, passes=300)
    assume(run.converged)
    other = p.train_perceptron(x, y, passes=100_000, seed=order)
    assert other.converged and other.updates <= p.update_bound(x, y, run.weights) * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(2, 5))
def test_widest_separator_is_wider_than_others(seed, dimensions):
    rng = np.random.default_rng(seed)
    x, y, separator = p.separable_set(rng, 15, dimensions, 0.1)
    best = p.update_bound(x, y, p.widest_separator(x, y))
    others = [separator, p.train_perceptron(x, y, 1000).weights]
    others += [w for w in separator + rng.normal(0, 0.02, (20, dimensions + 1)) if (y * p.signals(w, x) > 0).all()]
    assert best <= min(p.update_bound(x, y, w) for w in others) * (1 + 1e-4)


def best_bound(x, y):
    """The smallest bound of all separators, from a quadratic program: shortest w with y w^T x >= 1, its length times R."""
    from scipy.optimize import minimize

    lessons = y[:, None] * np.column_stack([np.ones(len(x)), x])
    inside = {"type": "ineq", "fun": lambda w: lessons @ w - 1, "jac": lambda w: lessons}
    start = p.train_perceptron(x, y, 10_000).weights
    start = start / (lessons @ start).min()
    found = minimize(lambda w: w @ w / 2, start, jac=lambda w: w, constraints=inside, method="SLSQP", options={"ftol": 1e-12})
    assert found.success
    return (lessons**2).sum(axis=1).max() * (found.x @ found.x)


@pytest.mark.parametrize(("seed", "dimensions", "gap"), [(0, 2, 0.1), (1, 3, 0.3), (2, 6, 0.05), (3, 12, 0.2)])
def test_widest_separator_is_an_optimizer_s(seed, dimensions, gap):
    x, y, _ = p.separable_set(np.random.default_rng(seed), 20, dimensions, gap)
    assert p.update_bound(x, y, p.widest_separator(x, y)) == pytest.approx(best_bound(x, y), rel=1e-4)


def test_widest_margin_and_largest_gamma_are_two_things():
    animals, kinds = np.array([[2, 1], [1, 4], [5, 1], [1, 5]]), np.array([1, -1, 1, -1])
    best = p.widest_separator(animals, kinds)
    assert p.update_bound(animals, kinds, best) == pytest.approx(1026 / 59, rel=1e-5)
    assert best_bound(animals, kinds) == pytest.approx(1026 / 59, rel=1e-5)
    wide = np.array([6, 1, -3])
    assert p.margin(wide, animals, kinds) == pytest.approx(5 / 10**0.5)
    assert p.margin(wide, animals, kinds) > p.margin(best, animals, kinds) + 0.2
    assert p.update_bound(animals, kinds, wide) == pytest.approx(27 * 46 / 25)


def test_the_margin_in_place_of_gamma_would_be_no_bound():
    x, y = np.array([[9.0], [11.0]]), np.array([-1, 1])
    run = p.train_perceptron(x, y, 1000)
    assert run.converged and run.updates == 202
    assert p.margin([-10, 1], x, y) == 1 and run.updates > (1 + 11**2) / 1**2  # R squared over the squared margin
    assert p.update_bound(x, y, [-10, 1]) == pytest.approx(122 * 101)


@pytest.mark.parametrize("length", [1e-310, 1e-160, 1.0, 1e160, 1e300])
def test_the_length_of_the_separator_does_not_matter(length):
    x, y = np.array([[2, 1], [1, 4], [5, 1], [1, 5]]), np.array([1, -1, 1, -1])
    assert p.update_bound(x, y, length * np.array([1.0, 3.0, -2.0])) == pytest.approx(23.625)


def test_the_bound_is_reached():
    """Perpendicular examples: the rows of a Hadamard matrix, whose first column is the 1 in front."""
    from scipy.linalg import hadamard

    for size in (2, 4, 32):
        x, y = hadamard(size)[:, 1:], np.random.default_rng(size).choice([-1, 1], size)
        run = p.train_perceptron(x, y)
        assert run.updates == size and p.update_bound(x, y, run.weights) == pytest.approx(size)


# --- the pocket -----------------------------------------------------------------------------------------------------


@relaxed
@given(labeled(), st.integers(1, 6), seeds)
def test_the_pocket_holds_the_best_weights_of_the_walk(data, passes, seed):
    x, y = data
    pocket, plain = p.train_pocket(x, y, passes, seed), p.train_perceptron(x, y, passes, seed)
    assert_array_equal(pocket.mistakes, plain.mistakes)
    assert pocket.per_pass == plain.per_pass

    def wrong(weights):
        return int((y * p.signals(weights, x) <= 0).sum())

    visited = [wrong(weights) for weights in p.weight_path(plain, x, y)[1:]]
    assert wrong(pocket.weights) == min(visited) <= wrong(plain.weights)
    if plain.converged:
        assert_array_equal(pocket.weights, plain.weights)


# --- XOR ------------------------------------------------------------------------------------------------------------


@relaxed
@given(hnp.arrays(np.float64, 3, elements=st.floats(-1e3, 1e3)))
def test_no_neuron_gets_four_of_xor_right(weights):
    assert (p.classify(weights, p.XOR_INPUTS) == p.XOR_LABELS).sum() <= 3


@relaxed
@given(hnp.arrays(np.float64, (3, 1), elements=st.floats(-9, 9)), hnp.arrays(np.float64, (2, 1), elements=st.floats(-9, 9)))
def test_one_hidden_neuron_is_not_enough(hidden, output):
    assert (p.sign(p.mlp_outputs(hidden, output, p.XOR_INPUTS)) == p.XOR_LABELS).sum() <= 3


def test_fourteen_of_sixteen():
    solved = [p.train_perceptron(p.XOR_INPUTS, y, 100).converged for y in itertools.product([-1, 1], repeat=4)]
    assert sum(solved) == 14


def test_constants_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        p.XOR_LABELS[0] = 1


# --- the multi-layer perceptron -------------------------------------------------------------------------------------


@st.composite
def networks(draw):
    rows, inputs, units = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(seeds))
    spread = draw(st.sampled_from([0.1, 1.0, 3.0]))
    y = rng.choice([-1, 1], rows)
    return rng.normal(0, spread, (inputs + 1, units)), rng.normal(0, spread, (units + 1, 1)), rng.normal(size=(rows, inputs)), y


@relaxed
@given(networks(), st.sampled_from(p.LOSSES))
def test_outputs_and_gradients_are_pytorch_s(network, loss):
    hidden, output, x, y = network
    first, second, inputs = torch.tensor(hidden, requires_grad=True), torch.tensor(output, requires_grad=True), torch.tensor(x)
    middle = torch.tanh(first[0] + inputs @ first[1:])
    final = (second[0] + middle @ second[1:])[:, 0]
    outputs, labels = torch.tanh(final), torch.tensor(y, dtype=torch.float64)
    assert_allclose(p.mlp_outputs(hidden, output, x), outputs.detach(), rtol=1e-12, atol=1e-14)
    mean = ((outputs - labels) ** 2).mean()
    if loss == "logistic":
        mean = torch.nn.functional.binary_cross_entropy_with_logits(2 * final, (labels + 1) / 2)
    mean.backward()
    value, for_hidden, for_output = p.mlp_gradients(hidden, output, x, y, loss)
    assert value == pytest.approx(mean.item(), rel=1e-12, abs=1e-14)
    assert_allclose(for_hidden, first.grad, rtol=1e-9, atol=1e-12)
    assert_allclose(for_output, second.grad, rtol=1e-9, atol=1e-12)
    assert for_hidden.shape == hidden.shape and for_output.shape == output.shape and for_hidden.dtype == np.float64


@relaxed
@given(networks())
def test_logistic_loss_is_scikit_learn_s_log_loss(network):
    hidden, output, x, y = network
    chances = (1 + p.mlp_outputs(hidden, output, x)) / 2
    assume(((chances > 1e-9) & (chances < 1 - 1e-9)).all())
    assert p.mlp_gradients(hidden, output, x, y, "logistic")[0] == pytest.approx(log_loss(y, chances, labels=[-1, 1]), rel=1e-6)


def test_logistic_loss_stays_finite():
    hidden, output = np.full((2, 1), 1e3), np.full((2, 1), 1e4)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, *gradients = p.mlp_gradients(hidden, output, [[1.0]], [-1], "logistic")
    assert value == pytest.approx(4e4) and all(np.isfinite(g).all() for g in gradients)


def test_saturated_and_wrong_gets_no_gradient_from_squared_error():
    hidden, output = np.zeros((2, 1)), np.array([[9.0], [0.0]])
    squared = p.mlp_gradients(hidden, output, [[1.0]], [-1])[2]
    logistic = p.mlp_gradients(hidden, output, [[1.0]], [-1], "logistic")[2]
    assert abs(squared[0, 0]) < 1e-6 and logistic[0, 0] == pytest.approx(2)


def test_signs_make_a_network_of_perceptrons():
    rng = np.random.default_rng(0)
    for _ in range(20):
        hidden, output, x = (rng.integers(-2, 3, shape) for shape in ((3, 4), (5, 1), (6, 2)))
        middle = np.column_stack([p.classify(column, x) for column in hidden.T])
        assert_array_equal(p.mlp_outputs(hidden, output, x, p.sign), p.classify(output[:, 0], middle))


def test_training_goes_downhill_and_is_repeatable():
    run = p.train_mlp(p.XOR_INPUTS, p.XOR_LABELS, 3, seed=5, rate=0.1, steps=300)
    assert (np.diff(run.losses) < 1e-12).all()
    again = p.train_mlp(p.XOR_INPUTS, p.XOR_LABELS, 3, seed=5, rate=0.1, steps=300)
    assert_array_equal(run.hidden, again.hidden)
    assert not np.array_equal(run.hidden, p.train_mlp(p.XOR_INPUTS, p.XOR_LABELS, 3, seed=6, rate=0.1, steps=300).hidden)


def test_one_step_is_minus_rate_times_gradient():
    before = p.train_mlp(p.XOR_INPUTS, p.XOR_LABELS, 2, seed=1, steps=1)
    rng = np.random.default_rng(1)
    hidden, output = rng.normal(0, 1, (3, 2)), rng.normal(0, 1, (3, 1))
    _, for_hidden, for_output = p.mlp_gradients(hidden, output, p.XOR_INPUTS, p.XOR_LABELS)
    assert_array_equal(before.hidden, hidden - 0.5 * for_hidden)
    assert_array_equal(before.output, output - 0.5 * for_output)


def test_zero_weights_never_move():
    for loss in p.LOSSES:
        gradients = p.mlp_gradients(np.zeros((3, 2)), np.zeros((3, 1)), p.XOR_INPUTS, p.XOR_LABELS, loss)[1:]
        assert not any(g.any() for g in gradients)


def test_share_counts_solved_starts():
    runs = [p.train_mlp(p.XOR_INPUTS, p.XOR_LABELS, 2, steps=300, seed=20_000 + k).solved for k in range(8)]
    assert p.xor_share(2, starts=8, steps=300, seed=2) == np.mean(runs)
    assert 0 < np.mean(runs) < 1, "a share of 0 or 1 would not tell a broken count"


@pytest.mark.parametrize(("loss", "spread"), [("logistic", 1.0), ("squared", 2.0), ("squared", 0.5)])
def test_share_uses_loss_and_spread(loss, spread):
    runs = [p.train_mlp(p.XOR_INPUTS, p.XOR_LABELS, 2, loss, spread, steps=120, seed=k).solved for k in range(24)]
    plain = [p.train_mlp(p.XOR_INPUTS, p.XOR_LABELS, 2, steps=120, seed=k).solved for k in range(24)]
    assert p.xor_share(2, loss, spread, starts=24, steps=120) == np.mean(runs)
    assert np.mean(runs) != np.mean(plain), "the same share would not tell an ignored setting"


# --- bad input ------------------------------------------------------------------------------------------------------

X, Y, W = np.array([[2.0, 1.0], [1.0, 4.0]]), np.array([1, -1]), np.array([1.0, 3.0, -2.0])
BAD_X = [
    (X[0], "2 dimensions"),
    (np.zeros((0, 2)), "empty"),
    (np.array([[np.nan, 1], [1, 1]]), "NaN"),
    (np.array([[1e200, 1], [1, 1]]), "numbers beyond 1e100; scale them"),
    ("cat", "dtype"),
]
BAD_Y = [
    (Y[:1], r"has shape \(1,\) for 2 rows"),
    (np.array([1, 1, -1]), r"has shape \(3,\) for 2 rows"),
    (Y[:, None], "1 dimension"),
    (np.array([0, 1]), r"holds 0; the classes are -1 and \+1. .* write np.where\(y == 1, 1, -1\)"),
    (np.array([0, 1], dtype=np.uint8), "holds 0; the classes are"),
    (np.array([1, 2]), "holds 2"),
    (np.array([1.0, -0.5]), "holds -0.5"),
    (np.array([True, False]), r"has dtype bool; write np.where\(y, 1, -1\)"),
    (np.array(["cat", "dog"]), "dtype <U3"),
    (np.array([1.0, np.nan]), "NaN"),
    ([], "empty"),
]
BAD_W = [(W[1:], "give 3 numbers, the bias first"), (W[None], "1 dimension"), ([1, np.inf, 0], "NaN or infinity"), ("w", "dtype")]
TRAINERS = [p.train_perceptron, p.train_pocket, lambda x, y: p.train_mlp(x, y, 2, steps=1), p.widest_separator]
TRAINERS += [lambda x, y: p.margin(W, x, y), lambda x, y: p.update_bound(x, y, W)]
TRAINERS += [lambda x, y: p.weight_path(p.train_perceptron(X, Y), x, y)]


@pytest.mark.parametrize("train", TRAINERS)
@pytest.mark.parametrize(("x", "words"), BAD_X)
def test_bad_examples(train, x, words):
    with pytest.raises(p.BadShape, match=rf"^x\b.*{words}"):
        train(x, Y)


@pytest.mark.parametrize("train", TRAINERS)
@pytest.mark.parametrize(("y", "words"), BAD_Y)
def test_bad_labels(train, y, words):
    with pytest.raises(BadSetting, match=rf"^y\b.*{words}"):
        train(X, y)


BAD_LABEL = [(0, "holds 0"), (True, "dtype bool"), (np.nan, "NaN"), ("cat", "dtype"), ([1], "1 dimension")]


@pytest.mark.parametrize(("label", "words"), BAD_LABEL)
def test_bad_label_of_one_example(label, words):
    with pytest.raises(BadSetting, match=rf"^label\b.*{words}"):
        p.perceptron_step(W, X[0], label)


@pytest.mark.parametrize(("weights", "words"), BAD_W)
def test_bad_weights(weights, words):
    uses = [
        lambda: p.signals(weights, X),
        lambda: p.classify(weights, X),
        lambda: p.perceptron_step(weights, X[0], 1),
        lambda: p.train_perceptron(X, Y, weights=weights),
        lambda: p.signed_distances(weights, X),
        lambda: p.describe_line(weights, X, Y),
    ]
    for use in uses:
        with pytest.raises(p.BadShape, match=rf"^weights\b.*{words}"):
            use()
    with pytest.raises(p.BadShape, match=rf"^separator\b.*{words}"):
        p.update_bound(X, Y, weights)


def test_huge_numbers_do_not_pass_for_converged():
    with pytest.raises(p.BadShape, match="scale them"):
        p.train_perceptron([[1e200, 1e200], [1e200, -1e200], [-1e200, 1e200]], [1, 1, -1])
    x, y = np.array([[1e100, 1e100], [1e100, -1e100], [-1e100, 1e100]]), np.array([1, 1, -1])
    run = p.train_perceptron(x, y)
    assert run.converged and (p.classify(run.weights, x) == y).all()


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: p.train_perceptron(X, Y, passes=0), "passes is 0"),
        (lambda: p.train_perceptron(X, Y, passes=2.5), "passes is 2.5"),
        (lambda: p.train_perceptron(X, Y, passes=True), "passes is True"),
        (lambda: p.train_perceptron(X, Y, seed=-1), "seed is -1"),
        (lambda: p.train_pocket(X, Y, seed="a"), "seed is 'a'"),
        (lambda: p.perceptron_step(W, X, 1), "1 dimension"),
        (lambda: p.signed_distances([5, 0, 0], X), "no line belongs"),
        (lambda: p.update_bound(X, -Y, W), "wrong on 2 of 2"),
        (lambda: p.update_bound(X, Y, np.zeros(3)), "wrong on 2 of 2"),
        (lambda: p.widest_separator(p.XOR_INPUTS, p.XOR_LABELS), "no weights separate"),
        (lambda: p.separable_set(np.random.default_rng(0), gap=0), "gap is 0"),
        (lambda: p.separable_set(np.random.default_rng(0), items=0), "items is 0"),
        (lambda: p.separable_set(np.random.default_rng(0), gap="wide"), "gap is 'wide'"),
        (lambda: p.line_weights(True, 0), "direction is True"),
        (lambda: p.line_grid(X, Y, []), "lines is empty"),
        (lambda: p.decision_grid(lambda q: q[:, 0], (0, 0, 0, 1)), "left < right"),
        (lambda: p.decision_grid(lambda q: q[:, 0], (0, 1, 0)), "view has 3 numbers"),
        (lambda: p.decision_grid(lambda q: q[:, 0], (0, 1, 0, 1), 0), "side is 0"),
        (lambda: p.decision_grid(lambda q: q, (0, 1, 0, 1), 2), "1 dimension"),
        (lambda: p.decision_grid(lambda q: np.log(q[:, 0]), (-1, 1, 0, 1), 2), "NaN"),
        (lambda: p.train_mlp(X, Y, 0), "hidden_units is 0"),
        (lambda: p.train_mlp(X, Y, 2, loss="hinge"), "squared or logistic"),
        (lambda: p.train_mlp(X, Y, 2, spread=0), "spread is 0"),
        (lambda: p.train_mlp(X, Y, 2, rate=float("nan")), "rate is nan"),
        (lambda: p.xor_share(2, starts=0), "starts is 0"),
        (lambda: p.mlp_outputs(np.zeros((2, 2)), np.zeros((3, 1)), X), "give 3 rows, the biases first"),
        (lambda: p.mlp_outputs(np.zeros((3, 2)), np.zeros((2, 1)), X), r"give shape \(3, 1\)"),
        (lambda: p.separable_set(5), "^rng is 5; give a generator"),
        (lambda: p.digit_pair(3, 3), "two different ones"),
        (lambda: p.digit_pair([0], 1), r"the digits are \[0\] and 1; give two different ones"),
        (lambda: p.digit_pair(0, True), "two different ones"),
        (lambda: p.line_grid(X, Y, [(0, 1), (1, 2, 3)]), r"lines holds \(1, 2, 3\); give pairs"),
        (lambda: p.step_grid(p.train_perceptron(X, Y), X, Y, []), "steps is empty"),
        (lambda: p.digit_measurements(np.zeros((2, 28, 28))), "dtype float64"),
        (lambda: p.step_grid(p.train_perceptron(X, Y), X, Y, [99]), "no step 99"),
        (lambda: p.weight_path(p.train_perceptron(X, Y), X[:1], Y[:1]), "give its own examples"),
        (lambda: p.weight_path(p.train_perceptron(X, Y), 2 * X, Y), "do not lead from zeros"),
        (lambda: p.weight_path(p.train_perceptron(X, Y), np.hstack([X, X]), Y), "do not lead from zeros"),
        (lambda: p.weight_path(p.train_perceptron(X, Y, weights=[9, 9, 9]), X, Y), "do not lead from zeros"),
        (lambda: p.step_slider(p.train_perceptron(X, -Y), X, Y), "do not lead from zeros"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_settings(use, words):
    with pytest.raises(BadSetting, match=words):
        use()


# --- interactives ---------------------------------------------------------------------------------------------------


def test_sliders_draw_every_position():
    run = p.train_perceptron(X, Y)
    steps = p.step_slider(run, X, Y)
    for k in range(run.updates + 1):
        steps.controls["step"].value = k
        assert f"After {k} of {run.updates} corrections" in steps.html and steps.html.count("<img") == 1
    line = p.line_slider(p.XOR_INPUTS, p.XOR_LABELS)
    for direction in (-180, -45, 0, 135):
        line.controls["direction"].value = direction
        words = p.describe_line(p.line_weights(direction, 0), p.XOR_INPUTS, p.XOR_LABELS)
        assert line.html.count(words) == 1 and 'alt=""' in line.html, "a sentence is read once"


def test_the_slider_names_the_step_in_the_pocket():
    x, y = np.array([[2, -1], [-2, -1], [0, 2], [0, -2], [-1, 1], [2, 1]]), np.array([1, -1, 1, -1, 1, -1])
    kept = p.train_pocket(x, y, passes=2, seed=None)
    path = p.weight_path(kept, x, y)
    best = int(np.flatnonzero((path == kept.weights).all(axis=1))[0])
    assert 0 < best < kept.updates
    slider = p.step_slider(kept, x, y)
    named = []
    for k in range(kept.updates + 1):
        slider.controls["step"].value = k
        named += [k] if "These weights are in the pocket" in slider.html else []
    assert named == [best]
    assert "pocket" not in p.step_slider(p.train_perceptron(X, Y), X, Y).html


def test_without_ipywidgets_the_sliders_say_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(PetsLearnError, match="pip install ipywidgets"):
        p.line_slider(X, Y)


def test_one_column_of_points_can_be_drawn():
    """All points on an upright line: the view must have a width all the same."""
    line = p.line_slider([[1, 0], [1, 1]], [1, -1])
    assert "of 2 points are on their own side" in line.html


# --- the module and its experiment ----------------------------------------------------------------------------------


def test_import_is_light():
    code = (
        "import sys, pets_learn.foundations.perceptron as p; p.train_perceptron([[1.0]], [1]);"
        "print(*sorted({'torch', 'fastai', 'sklearn', 'matplotlib', 'pandas', 'ipywidgets'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_bound_table_is_repeatable_and_below_one():
    table, again = p.bound_table(9, seed=4), p.bound_table(9, seed=4)
    assert table.equals(again) and not table.equals(p.bound_table(9, seed=5))
    assert table.converged.all() and (table.corrections <= table.tightest * 1.001).all() and set(table.inputs) == {2, 10, 50}


def test_compare_learners_counts_on_the_test_part():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = np.where(x[:, 0] + rng.normal(0, 1, 60) > -1, 1, -1)
    unseen, truth = rng.normal(size=(40, 3)), rng.choice([-1, 1], 40)
    found = p.compare_learners((x, y), (unseen, truth), passes=4, seed=7)
    run, pocket = p.train_perceptron(x, y, 4, 7), p.train_pocket(x, y, 4, 7)
    assert len({*run.weights}) > 1 and not np.array_equal(run.weights, pocket.weights), "two learners to tell apart"
    answers = {"perceptron": p.classify(run.weights, unseen), "pocket": p.classify(pocket.weights, unseen)}
    answers["logistic"] = LogisticRegression(max_iter=2000).fit(x, y).predict(unseen)
    answers["majority"] = np.full(40, 1)
    assert (y == 1).mean() > 0.5
    for name, said in answers.items():
        assert found[name] == (said == truth).mean() and found[f"{name}_says_plus"] == (said == 1).mean()
    assert (found["updates"], found["passes"], found["converged"]) == (run.updates, 4, 0)


def test_gray_pets_gives_shades_and_labels(tmp_path):
    from PIL import Image

    from pets_learn.data import BadPhoto, PetsFolder

    stems = {}
    for stem, shade in (("Abyssinian_1", 51), ("pug_1", 204)):
        stems[stem] = tmp_path / f"{stem}.png"
        Image.new("RGB", (40, 30), (shade, shade, shade)).save(stems[stem])
    (tmp_path / "pug_2.png").write_bytes(b"no photo")
    photos = [*stems.values(), tmp_path / "pug_2.png"]
    lists = {"trainval": [*stems, "pug_2"], "test": ["pug_2"]}
    folder = PetsFolder(tmp_path, photos, [], lists, {"trainval": 0, "test": 0}, [], {})
    x, y = p.gray_pets(folder, "trainval", side=4)
    assert x.shape == (2, 16) and sorted(y) == [-1, 1]
    assert_allclose(x[y == -1], 0.2, atol=1e-9)
    assert_allclose(x[y == 1], 0.8, atol=1e-9)
    assert sum(len(p.gray_pets(folder, "trainval", side=2, most=k)[1]) for k in (2, 3)) in (3, 4)
    with pytest.raises(BadPhoto, match="none of the 1 photos of the list 'test' can be read"):
        p.gray_pets(folder, "test")
    for options, words in (({"side": 0}, "^side is 0"), ({"most": 0}, "^most is 0"), ({"most": 1.5}, r"^most is 1\.5")):
        with pytest.raises(BadSetting, match=words):
            p.gray_pets(folder, "trainval", **options)


def test_summarize_has_units_and_ranges():
    import pandas as pd

    table = pd.DataFrame({"seed": [0, 1], "seconds": [9.0, 9.0], "zero_one_updates": [90.0, 110.0], "zero_one_passes": [7.0, 9.0],
                          "cat_dog_pocket": [0.6, 0.7], "bound_share": [0.1, 0.3]})
    found = p.summarize(table)
    assert found.keys() == {"zero_one_updates", "zero_one_passes", "cat_dog_pocket", "bound_share"}
    assert {name: entry["unit"] for name, entry in found.items()} == {
        "zero_one_updates": "updates", "zero_one_passes": "passes", "cat_dog_pocket": "share", "bound_share": "share"}
    assert [found["zero_one_updates"][key] for key in ("mean", "min", "max", "n", "better")] == [100, 90, 110, 2, "lower"]
    assert found["cat_dog_pocket"]["better"] == "higher" and found["cat_dog_pocket"]["versus"] is None
    assert "largest gamma" in found["bound_share"]["versus"]


def test_the_record_has_three_seeds():
    path = Path(__file__).parent.parent / "book/results/foundations-perceptron.laptop.json"
    few = {name: entry["n"] for name, entry in json.loads(path.read_text(encoding="utf-8"))["figures"].items() if entry["n"] < 3}
    assert not few, "run pets-learn reproduce foundations/perceptron --seeds 3"


def test_reproduce_runs_and_leaves_no_record_at_smoke_scale(tmp_path):
    assert experiments.reproduce("foundations/perceptron", seeds=2, scale="smoke", folder=tmp_path) is None
    runs = sorted(tmp_path.rglob("run.json"))
    figures = [json.loads(path.read_text(encoding="utf-8"))["figures"] for path in runs]
    assert len(figures) == 2 and figures[0].keys() == figures[1].keys()
    assert figures[0] != figures[1], "another seed is another run"
    for name in ("bound_share", "xor_squared_8", "four_nine_perceptron"):
        assert name in figures[0]
    assert figures[0]["bound_share"] != figures[1]["bound_share"]
    units = {"updates", "passes"}
    assert all(0 <= v <= 1 for f in figures for name, v in f.items() if name.rpartition("_")[2] not in units)
    assert all(f["xor_squared_1"] == f["xor_logistic_1"] == 0 for f in figures)


@pytest.mark.real
def test_real_zeros_and_ones_are_separable():
    if not os.environ.get("PETS_LEARN_HOME"):
        pytest.skip("the real digits are not here: set PETS_LEARN_HOME")
    x, y = p.digit_pair(0, 1)
    assert x.shape == (12_665, 784) and (y == 1).sum() == 6_742
    run = p.train_perceptron(x, y, 30, seed=1)
    unseen, truth = p.digit_pair(0, 1, "test")
    assert run.converged and len(truth) == 2_115 and (p.classify(run.weights, unseen) == truth).mean() > 0.995


# --- the exercises --------------------------------------------------------------------------------------------------


def test_exercises_agree_with_the_library():
    for weights, x, label in ex.cases_of(ex.exercise_named("foundations/perceptron.learn_from")):
        assert_array_equal(p._learn_from(weights, x, label), p.perceptron_step(weights, x, label))
    for weights, x in ex.cases_of(ex.exercise_named("foundations/perceptron.distances")):
        assert_allclose(p._distances(weights, x), p.signed_distances(weights, x))
    for x, y, weights in ex.cases_of(ex.exercise_named("foundations/perceptron.most_corrections")):
        assert p._most_corrections(x, y, weights) == pytest.approx(p.update_bound(x, y, weights))
        assert p.train_perceptron(x, y, 100_000).updates <= p._most_corrections(x, y, weights) + 1e-9
    for x, hidden, output in ex.cases_of(ex.exercise_named("foundations/perceptron.two_layers")):
        assert_array_equal(p._two_layers(x, hidden, output), p.mlp_outputs(hidden, output[:, None], x, p.sign))


def by_if(weights, x, label):
    s = weights[0] + sum(w * v for w, v in zip(weights[1:], x, strict=True))
    if s * label > 0:
        return np.array(weights, dtype=float)
    return np.array([weights[0] + label, *(w + label * v for w, v in zip(weights[1:], x, strict=True))], dtype=float)


def plus_equals(weights, x, label):
    if label * (weights[0] + weights[1:] @ x) <= 0:
        weights += label * np.append(1.0, x)
    return weights


def compares_answers(weights, x, label):
    inputs = np.append(1.0, x)
    answer = 1 if weights @ inputs >= 0 else -1
    return np.array(weights, float) + (label * inputs if answer != label else 0)


def scaled_error(weights, x, label):
    inputs = np.append(1.0, x)
    return weights + (label - np.sign(weights @ inputs)) * inputs


def as_it_is(weights, x, label):
    """The caller's own array where the answer is right: no copy is asked for."""
    inputs = np.append(1.0, x)
    return weights + label * inputs if label * (weights @ inputs) <= 0 else np.asarray(weights, dtype=float)


def no_label_in_the_condition(weights, x, label):
    inputs = np.append(1.0, x)
    return weights + label * inputs if weights @ inputs <= 0 else weights * 1.0


def no_bias_in_the_signal(weights, x, label):
    return weights + label * np.append(1.0, x) if label * (weights[1:] @ x) <= 0 else weights * 1.0


def error_of_our_sign(weights, x, label):
    inputs = np.append(1.0, x)
    return weights + (label - (1 if weights @ inputs >= 0 else -1)) * inputs


def bias_at_the_end(weights, x, label):
    inputs = np.append(x, 1.0)
    return weights + label * inputs if label * (weights @ inputs) <= 0 else weights * 1.0


def bound_of(x, y, w, gain=np.min):
    inputs = np.insert(x, 0, 1, axis=1)
    return (inputs**2).sum(axis=1).max() * (w @ w) / gain(y * (inputs @ w)) ** 2


def layers(hidden_activation, output_activation):
    def answer(x, hidden, output):
        middle = hidden_activation(np.insert(x, 0, 1, axis=1) @ hidden)
        return output_activation(np.insert(np.asarray(middle, float), 0, 1, axis=1) @ output).astype(np.int64)

    return answer


def our_sign(s):
    return 2 * (s >= 0) - 1


def loops(x, hidden, output):
    answers = []
    for row in x:
        middle = [1 if h[0] + h[1:] @ row >= 0 else -1 for h in hidden.T]
        answers.append(1 if output[0] + output[1:] @ middle >= 0 else -1)
    return np.array(answers)


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("learn_from", by_if, ""),
        ("learn_from", as_it_is, ""),
        ("learn_from", compares_answers, "exactly 0 is undecided"),
        ("learn_from", scaled_error, "multiplies x by an error, which is 2"),
        ("learn_from", error_of_our_sign, "multiplies x by an error: which values"),
        ("learn_from", no_label_in_the_condition, "Is your condition looking at the label"),
        ("learn_from", no_bias_in_the_signal, "Does the bias count in the signal"),
        ("learn_from", bias_at_the_end, "bias comes first"),
        ("learn_from", plus_equals, "array of its caller"),
        ("learn_from", lambda w, x, label: None, "forget `return`"),
        ("distances", lambda w, x: np.array([(w[0] + w[1:] @ r) / np.sqrt((w[1:] ** 2).sum()) for r in x]), ""),
        ("distances", lambda w, x: (w[0] + x @ w[1:, None]) / np.linalg.norm(w[1:]), "shape"),
        ("distances", lambda w, x: (-w[0] + x @ w[1:]) / np.linalg.norm(w[1:]), "Yours takes it away"),
        ("distances", lambda w, x: (-w[0] - x @ w[1:]) / np.linalg.norm(w[1:]), "signs are turned around"),
        ("distances", lambda w, x: x @ w, "ValueError"),
        ("most_corrections", bound_of, ""),
        ("most_corrections", lambda x, y, w: bound_of(x, y, w, np.max), "least gain counts, not the one with the most"),
        ("most_corrections", lambda x, y, w: int(bound_of(x, y, w)), "Do not round"),
        ("most_corrections", lambda x, y, w: (x**2).sum(axis=1).max() / p.margin(w, x, y) ** 2, "You measure the margin"),
        ("two_layers", loops, ""),
        ("two_layers", layers(np.tanh, our_sign), "not with tanh"),
        ("two_layers", layers(our_sign, np.sign), "the last one too. What does NumPy's sign"),
        ("two_layers", layers(lambda s: s >= 0, lambda s: s >= 0), "0 and 1 in both layers"),
        ("two_layers", layers(our_sign, lambda s: 2 * (s > 0) - 1), "gives .1 in every layer, the last one too"),
        ("two_layers", lambda x, h, o: loops(x, h, o).astype(float), "dtype float64, but int64"),
        ("two_layers", lambda x, h, o: loops(x, h, o)[:, None], "shape"),
    ],
)
def test_answers_of_other_kinds(name, answer, words):
    result = ex.examine(ex.exercise_named(f"foundations/perceptron.{name}"), answer)
    assert bool(result) == (words == ""), result
    assert not words or re.search(words, " ".join(str(result).split())), result
