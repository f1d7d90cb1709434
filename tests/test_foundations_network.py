"""The network of foundations/network: gradients against differences and PyTorch, steps against torch.optim, bad input."""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from pets_learn.data import mnist
from pets_learn.experiments import planned, run_experiment
from pets_learn.foundations import network as nw
from pets_learn.foundations.perceptron import BadShape
from pets_learn.run import BadSetting, PetsLearnError, environment

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(nw.ACTIVATIONS)
LOSSES = [("identity", nw.softmax_cross_entropy), ("identity", partial(nw.softmax_cross_entropy, smoothing=0.2))]
LOSSES += [(name, nw.squared_error) for name in NAMES]
TORCH = {"identity": lambda s: s, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}
SEED = st.integers(0, 2**32 - 1)
SIZES = st.lists(st.integers(1, 6), min_size=2, max_size=5)
few = settings(max_examples=25, deadline=None)


def by_torch(loss, outputs: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    """The same loss in PyTorch."""
    target = torch.as_tensor(labels)
    if loss is nw.squared_error:
        rows = nn.functional.one_hot(target, outputs.shape[1]) if target.ndim == 1 else target
        return ((outputs - rows) ** 2).sum(dim=1).mean()
    smoothing = loss.keywords["smoothing"] if isinstance(loss, partial) else 0.0
    return nn.functional.cross_entropy(outputs, target, label_smoothing=smoothing)


def torch_outputs(weights: list[torch.Tensor], activation: str, output: str, x: np.ndarray) -> torch.Tensor:
    said = torch.as_tensor(x, dtype=weights[0].dtype)
    for number, matrix in enumerate(weights, 1):
        signals = said @ matrix[1:] + matrix[0]
        said = TORCH[output if number == len(weights) else activation](signals)
    return said


def random_network(sizes, activation, output, loss, seed, dtype=np.float64) -> nw.Network:
    """With biases: at zero biases ReLU units that get nothing but zeros stand exactly on their bend."""
    network = nw.Network(sizes, activation, output, loss, "lecun", seed % 1000, dtype)
    rng = np.random.default_rng(seed)
    for matrix in network.weights:
        matrix[0] = rng.normal(0, 0.5, matrix.shape[1])
    return network


def batch(sizes, count, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, sizes[0])), rng.integers(0, sizes[-1], count)


def near_a_bend(network: nw.Network, x: np.ndarray) -> bool:
    """Is a signal so near to 0 that moving a weight may carry it over?"""
    said = x
    for matrix, activation in zip(network.weights, network.activations, strict=True):
        signals = said @ matrix[1:] + matrix[0]
        if np.abs(signals).min() < 1e-4:
            return True
        said = activation.value(signals)
    return False


# --- activations, losses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_activation_and_slope_are_torchs(name, numbers):
    signal = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    TORCH[name](signal).sum().backward()
    ours = nw.ACTIVATIONS[name].value(signal.detach().numpy())
    assert_allclose(ours, TORCH[name](signal).detach().numpy(), atol=1e-12)
    assert_allclose(nw.ACTIVATIONS[name].slope(ours), signal.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activation_keeps_dtype_and_never_warns(name, dtype):
    signals = np.array([-1e30, -1e4, -1, 0, 1, 1e4, 1e30], dtype)
    with np.errstate(all="raise", under="ignore"):
        value = nw.ACTIVATIONS[name].value(signals)
        assert value.dtype == dtype and np.isfinite(value).all()
        if name in ("tanh", "sigmoid"):
            assert nw.ACTIVATIONS[name].slope(value).dtype == dtype


@given(st.lists(st.floats(-1e5, 1e5), min_size=2, max_size=6), st.floats(-1e5, 1e5))
def test_softmax_is_torchs_and_ignores_a_shift(numbers, shift):
    logits = np.array([numbers])
    found = nw.softmax(logits)
    assert_allclose(found, torch.softmax(torch.tensor(logits), 1).numpy(), rtol=1e-9, atol=1e-300)
    assert_allclose(found.sum(), 1)
    assert_allclose(nw.softmax(logits + shift), found, rtol=1e-4, atol=1e-12)


@few
@given(st.integers(1, 5), st.integers(1, 6), SEED, st.sampled_from([1.0, 30.0, 1000.0]), st.sampled_from(LOSSES))
def test_loss_and_derivative_are_torchs(count, classes, seed, size, pair):
    loss, rng = pair[1], np.random.default_rng(seed)
    outputs, labels = rng.normal(0, size, (count, classes)), rng.integers(0, classes, count)
    tensor = torch.tensor(outputs, requires_grad=True)
    by_torch(loss, tensor, labels).backward()
    value, derivative = loss(outputs, labels)
    assert_allclose(value, by_torch(loss, tensor, labels).item(), rtol=1e-10, atol=1e-12)
    assert_allclose(derivative, tensor.grad.numpy(), rtol=1e-9, atol=1e-14)


def test_targets_stand_for_labels():
    outputs, labels = np.random.default_rng(0).normal(size=(4, 3)), np.array([2, 0, 1, 1])
    for loss in (nw.squared_error, nw.softmax_cross_entropy):
        value, derivative = loss(outputs, labels)
        again, same = loss(outputs, np.eye(3)[labels])
        assert value == again and (derivative == same).all()


@pytest.mark.parametrize("loss", [nw.squared_error, nw.softmax_cross_entropy])
@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ([0, 1], BadShape, r"labels has shape \(2,\), outputs \(3, 4\)"),
        (np.zeros((3, 5)), BadShape, r"labels has shape \(3, 5\), outputs \(3, 4\)"),
        ([0, 1, 4], BadSetting, "from 0 to 3"),
        ([0, -1, 2], BadSetting, "from 0 to 3"),
        ([0.0, 1.0, 2.0], BadShape, "labels has dtype float64"),
        (np.array([], int), BadShape, "labels is empty"),
        (np.full((3, 4), np.nan), BadShape, "labels of shape .* holds NaN"),
        (["a", "b", "c"], BadShape, "labels has dtype <U1"),
    ],
)
def test_losses_refuse_labels_that_do_not_fit(loss, labels, error, words):
    with pytest.raises(error, match=words):
        loss(np.zeros((3, 4)), np.array(labels))
    with pytest.raises(BadShape, match=r"outputs has shape \(4,\)"):
        loss(np.zeros(4), np.array([0]))


@pytest.mark.parametrize("loss", [nw.squared_error, nw.softmax_cross_entropy])
@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (np.int8([[-100, 100]]), "outputs has dtype int8"),  # differences wrap around
        (np.uint8([[0, 1]]), "outputs has dtype uint8"),
        (np.array([[1j, 0]]), "outputs has dtype complex128"),
        (np.zeros((0, 2)), "outputs is empty"),
        ([[0.0], [1.0, 2.0]], "outputs cannot be made an array"),
    ],
)
def test_losses_refuse_outputs(loss, outputs, words):
    with pytest.raises(BadShape, match=words):
        loss(outputs, [0])
    (value, derivative), (same, again) = loss([[0.0, 1.0]], [0]), loss(np.array([[0.0, 1.0]]), np.array([0]))
    assert value == same and (derivative == again).all()


@pytest.mark.parametrize("smoothing", [-0.1, 1, 1.5, math.nan, "some"])
def test_cross_entropy_refuses_smoothing(smoothing):
    with pytest.raises(BadSetting, match="smoothing is"):
        nw.softmax_cross_entropy(np.zeros((2, 3)), [0, 1], smoothing)


def test_cross_entropy_refuses_rows_that_do_not_sum_to_one():
    with pytest.raises(BadSetting, match="does not sum to 1"):
        nw.softmax_cross_entropy(np.zeros((2, 3)), np.array([[1.0, 0, 0], [1.0, 1, 0]]))
    rows = np.float32([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    assert_allclose(nw.softmax_cross_entropy(np.zeros((2, 3), np.float32), rows)[0], math.log(3), rtol=1e-6)


@pytest.mark.filterwarnings("error")
def test_softmax_of_whole_numbers_and_of_extremes():
    assert_array_equal(nw.softmax(np.int8([[100, -100]])), nw.softmax([[100.0, -100.0]]))
    assert_array_equal(nw.softmax([[1e308, -1e308]]), [[1, 0]])


@pytest.mark.parametrize("classes", [2.5, 0, "3", True])
def test_one_hot_refuses_classes(classes):
    with pytest.raises(BadSetting, match="classes is"):
        nw.one_hot([0, 1], classes)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=20))
def test_one_hot_is_torchs(labels):
    found = nw.one_hot(np.array(labels), 9)
    assert_array_equal(found, nn.functional.one_hot(torch.tensor(labels), 9).numpy())
    assert found.dtype == np.float64


# --- gradients ------------------------------------------------------------------------------------------------------


def gradients_by_torch(network, x, y, loss, activation, output) -> list[np.ndarray]:
    weights = [torch.tensor(matrix, requires_grad=True) for matrix in network.weights]
    by_torch(loss, torch_outputs(weights, activation, output, x), y).backward()
    return [matrix.grad.numpy() for matrix in weights]


@pytest.mark.parametrize("pair", LOSSES, ids=lambda pair: f"{pair[0]}-{getattr(pair[1], '__name__', 'smoothed')}")
@pytest.mark.parametrize("activation", NAMES)
@settings(max_examples=12, deadline=None)
@given(sizes=SIZES, count=st.integers(1, 4), seed=SEED)
def test_gradients_against_differences(activation, pair, sizes, count, seed):
    output, loss = pair
    network, (x, y) = random_network(sizes, activation, output, loss, seed), batch(sizes, count, seed)
    assume("relu" not in (activation, output) or not near_a_bend(network, x))
    gradients = network.loss_and_gradients(x, y)[1]
    references = gradients_by_torch(network, x, y, loss, activation, output)
    for matrix, gradient, theirs in zip(network.weights, gradients, references, strict=True):
        error = nw.gradient_check(lambda _: network.loss(network.outputs(x), y)[0], matrix, gradient)
        # a difference of two losses has a rounding error of about 1e-10, which is much of a gradient that is as small itself
        # (the error is a share of the longer of the two: a gradient of zeros would make it look small)
        assert error < 1e-6 or error * max(np.linalg.norm(gradient), np.linalg.norm(theirs)) < 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", NAMES)
@few
@given(sizes=SIZES, count=st.integers(1, 5), seed=SEED, pair=st.sampled_from(LOSSES))
def test_gradients_are_torchs(dtype, activation, sizes, count, seed, pair):
    output, loss = pair
    network, (x, y) = random_network(sizes, activation, output, loss, seed, dtype), batch(sizes, count, seed)
    assume(dtype is np.float64 or not near_a_bend(network, x))
    weights = [torch.tensor(matrix, requires_grad=True) for matrix in network.weights]
    expected = by_torch(loss, torch_outputs(weights, activation, output, x), y)
    expected.backward()
    value, gradients = network.loss_and_gradients(x, y)
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    assert_allclose(value, expected.item(), rtol=tolerance, atol=tolerance)
    whole = np.concatenate([g.ravel() for g in gradients]), np.concatenate([w.grad.numpy().ravel() for w in weights])
    assert [g.dtype for g in gradients] == [dtype] * len(gradients)
    assert nw.relative_error(*whole) < tolerance or np.abs(whole[0] - whole[1]).max() < tolerance


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_digit_network_gradients_are_torchs(activation):
    """The layers of the chapter, in float32."""
    network = nw.Network(nw.SEED_SIZES, activation)
    x, y = np.random.default_rng(0).random((64, 784)).astype(np.float32), np.arange(64) % 10
    weights = [torch.tensor(matrix, requires_grad=True) for matrix in network.weights]
    by_torch(nw.softmax_cross_entropy, torch_outputs(weights, activation, "identity", x), y).backward()
    for ours, theirs in zip(network.loss_and_gradients(x, y)[1], weights, strict=True):
        assert nw.relative_error(ours, theirs.grad.numpy()) < 1e-5


def test_a_wrong_gradient_is_noticed():
    network, (x, y) = random_network([3, 4, 2], "tanh", "identity", nw.softmax_cross_entropy, 1), batch([3, 4, 2], 5, 1)
    gradient = network.loss_and_gradients(x, y)[1][0]
    function = lambda _: network.loss(network.outputs(x), y)[0]  # noqa: E731
    for wrong in (gradient * 1.01, gradient * len(x), gradient * 0, np.vstack([0 * gradient[:1], gradient[1:]])):
        assert nw.gradient_check(function, network.weights[0], wrong) > 1e-3


@few
@given(SIZES, st.integers(2, 6), SEED)
def test_a_batch_is_the_mean_of_its_items(sizes, count, seed):
    """Also checks the short cut for one item against the matrix product."""
    network, (x, y) = random_network(sizes, "tanh", "sigmoid", nw.squared_error, seed), batch(sizes, count, seed)
    loss, gradients = network.loss_and_gradients(x, y)
    singles = [network.loss_and_gradients(x[i : i + 1], y[i : i + 1]) for i in range(count)]
    assert_allclose(loss, np.mean([single[0] for single in singles]))
    for number, gradient in enumerate(gradients):
        assert_allclose(gradient, np.mean([single[1][number] for single in singles], axis=0), atol=1e-12)


def test_gradient_check_puts_back_what_it_moved():
    array = np.arange(6.0).reshape(2, 3)
    assert nw.gradient_check(lambda a: float((a**2).sum()), array, 2 * array) < 1e-8
    assert_array_equal(array, np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("array", [np.zeros(3, np.float32), np.zeros(3, int), [1.0, 2.0]])
def test_gradient_check_wants_float64(array):
    with pytest.raises(BadSetting, match="float64"):
        nw.gradient_check(lambda a: 0.0, array, np.zeros(3))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(0.1, 10))
def test_relative_error_has_no_unit(numbers, factor):
    a = np.array(numbers)
    b = a[::-1] + 1
    assert nw.relative_error(a, a) == 0
    assert_allclose(nw.relative_error(a * factor, b * factor), nw.relative_error(a, b), rtol=1e-6)
    assert 0 <= nw.relative_error(a, b) <= 2
    with pytest.raises(BadShape, match="they must agree"):
        nw.relative_error(a, np.zeros(len(a) + 1))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_of_nan_does_not_pass(bad):
    array = np.arange(3.0)
    with pytest.raises(BadShape, match=r"got of shape .* holds NaN"):
        nw.gradient_check(lambda a: float((a**2).sum()), array, np.array([0, bad, 4]))
    with pytest.raises(BadShape, match=r"wanted of shape .* holds NaN"):
        nw.gradient_check(lambda a: bad, array, 2 * array)
    with pytest.raises(BadShape, match="got has dtype complex128"):
        nw.relative_error(np.array([1j]), np.array([1.0]))


@pytest.mark.filterwarnings("error")
def test_relative_error_of_very_large_and_small_numbers():
    for size in (1e300, 1e-300):
        assert_allclose(nw.relative_error(np.array([size]), np.array([size / 2])), 0.5)
    assert nw.relative_error(np.zeros(2), np.zeros(2)) == 0


# --- the network ----------------------------------------------------------------------------------------------------


@given(SIZES, SEED, st.sampled_from(sorted(nw.INITIALIZATIONS)))
def test_weights_have_the_documents_shapes(sizes, seed, initialization):
    weights = nw.initial_weights(sizes, initialization, seed % 1000)
    assert [w.shape for w in weights] == [(a + 1, b) for a, b in pairwise(sizes)]
    assert all(w.dtype == np.float32 and not w[0].any() for w in weights)
    again = nw.initial_weights(sizes, initialization, seed % 1000)
    assert all((a == b).all() for a, b in zip(weights, again, strict=True))


SPREADS = [("normal", 1), ("small", 0.01), ("lecun", 0.05), ("he", 0.005**0.5), ("glorot", 0.002**0.5)]


@pytest.mark.parametrize(("name", "spread"), SPREADS)
def test_spread_of_the_first_weights(name, spread):
    weights = nw.initial_weights((400, 600), name)[0][1:]
    assert_allclose([weights.std(), weights.mean() + 1], [spread, 1], rtol=0.02)


def test_forward_on_paper():
    weights = [np.array([[0.1, -0.2], [0.3, 0.1], [-0.2, -0.5]]), np.array([[0.1], [2.0], [1.0]])]
    layers = nw.forward_propagation(weights, [nw.ACTIVATIONS["tanh"]] * 2, np.array([[2.0, 1.0]]))
    assert_allclose(layers[1], [[1, math.tanh(0.5), math.tanh(-0.5)]])
    assert_allclose(layers[2], [[math.tanh(0.1 + math.tanh(0.5))]])


@given(SIZES, st.integers(1, 6), SEED)
def test_layers_begin_with_ones(sizes, count, seed):
    network, (x, _) = random_network(sizes, "relu", "tanh", nw.squared_error, seed), batch(sizes, count, seed)
    layers = network.forward(x)
    assert [layer.shape for layer in layers] == [*((count, d + 1) for d in sizes[:-1]), (count, sizes[-1])]
    assert all((layer[:, 0] == 1).all() for layer in layers[:-1])
    assert_array_equal(layers[0][:, 1:], x)


def test_items_of_any_shape_and_kind():
    network = nw.Network((6, 4, 3))
    items = np.random.default_rng(0).integers(0, 255, (5, 2, 3)).astype(np.uint8)
    assert_array_equal(network.outputs(items), network.outputs(items.reshape(5, 6).astype(np.float32)))
    assert network.outputs(items).dtype == np.float32


@pytest.mark.parametrize("shape", [(6,), (3, 5), (3, 2, 2), ()])
def test_network_refuses_items_that_do_not_fit(shape):
    for function in (nw.Network((6, 4, 3)).outputs, lambda x: nw.Network((6, 4, 3)).loss_and_gradients(x, [0])):
        with pytest.raises(BadShape, match=r"x has shape .*W\(1\) \(7, 4\)"):
            function(np.zeros(shape))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((0, 6)), "x is empty"),
        (np.full((2, 6), np.nan), "x of shape .* holds NaN"),
        (np.full((2, 6), np.inf), "holds NaN or infinity"),
        (np.ones((2, 6)) * 1j, "x has dtype complex128"),
        ([["a"] * 6], "x has dtype <U1"),
    ],
)
def test_network_refuses_what_is_no_number(x, words):
    network = nw.Network((6, 4, 3))
    functions = (network.outputs, partial(nw.predict, network), lambda x: nw.accuracy(network, x, np.zeros(len(x), int)))
    for function in functions:
        with pytest.raises(BadShape, match=words if len(x) or function is not functions[2] else "is empty"):
            function(x)


def test_layers_that_do_not_fit_are_not_broadcast():
    network = nw.Network((4, 5, 3))
    with pytest.raises(BadShape, match=r"x\(0\) has shape \(6, 1\), W\(1\) \(5, 5\)"):
        nw.forward_propagation(network.weights, network.activations, np.zeros((6, 1)))
    with pytest.raises(BadShape, match=r"x\(1\) has shape \(6, 1\), W\(2\) \(6, 3\)"):
        nw.forward_propagation([np.zeros((5, 1)), network.weights[1]], network.activations, np.zeros((6, 4)))
    layers = network.forward(np.ones((6, 4)))
    for shape in [(1, 3), (6, 1), (), (6, 4)]:
        with pytest.raises(BadShape, match=r"derivative has shape .*, x\(L\) \(6, 3\)"):
            nw.backpropagation(network.weights, network.activations, layers, np.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": (3,)}, "sizes is"),
        ({"sizes": (3, 0, 2)}, "sizes is"),
        ({"sizes": (3, 2.5)}, "sizes is"),
        ({"activation": "softmax"}, "activation is 'softmax'; use one of identity, tanh"),
        ({"output": "logits"}, "output is 'logits'"),
        ({"initialization": "xavier"}, "initialization is 'xavier'"),
        ({"activation": ["relu"]}, "activation is"),
        ({"dtype": int}, "give np.float32 or np.float64"),
        ({"dtype": np.complex128}, "give np.float32 or np.float64"),
    ],
)
def test_network_refuses_settings(changes, words):
    with pytest.raises(BadSetting, match=words):
        nw.Network(**({"sizes": (3, 2)} | changes))


def test_errors_are_value_errors_where_promised():
    assert issubclass(BadShape, ValueError) and issubclass(BadSetting, ValueError)
    assert issubclass(nw.Diverged, ArithmeticError) and issubclass(nw.Diverged, PetsLearnError)


# --- steps ----------------------------------------------------------------------------------------------------------


@few
@given(SEED, st.floats(1e-3, 1), st.sampled_from([0, 0.5, 0.99]), st.sampled_from([0, 1e-4, 0.1]), st.integers(1, 8))
def test_sgd_is_torchs(seed, rate, momentum, weight_decay, steps):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(3, 2)), rng.normal(size=(2, 4))]
    tensors = [torch.tensor(w, requires_grad=True) for w in weights]
    ours = nw.SGD(weights, rate, momentum, weight_decay)
    theirs = torch.optim.SGD(tensors, lr=rate, momentum=momentum, weight_decay=weight_decay)
    for number in range(steps):
        gradients = [rng.normal(size=w.shape) for w in weights]
        kept = [g.copy() for g in gradients]
        ours.learning_rate = theirs.param_groups[0]["lr"] = rate / (1 + number)
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = torch.tensor(gradient)
        ours.step(gradients)
        theirs.step()
        assert all((g == k).all() for g, k in zip(gradients, kept, strict=True)), "gradients belong to the caller"
    for w, tensor in zip(weights, tensors, strict=True):
        assert_allclose(w, tensor.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_training_ends_with_torchs_weights(activation, momentum):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 3, 60)
    network = nw.Network((5, 8, 3), activation)
    weights = [torch.tensor(w, requires_grad=True) for w in network.weights]
    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=momentum, weight_decay=1e-3)
    orders = np.random.default_rng(7)
    for epoch in range(3):
        order = orders.permutation(60)
        for number in range(0, 60, 16):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - (4 * epoch + number // 16) / 12)
            optimizer.zero_grad()
            rows = order[number : number + 16]
            by_torch(nw.softmax_cross_entropy, torch_outputs(weights, activation, "identity", x[rows]), y[rows]).backward()
            optimizer.step()
    nw.train(network, x, y, 3, 16, 0.1, momentum, 1e-3, schedule=lambda share: 1 - share, seed=7)
    for ours, theirs in zip(network.weights, weights, strict=True):
        assert nw.relative_error(ours, theirs.detach().numpy()) < 1e-5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 0}, "learning_rate is 0; give a number above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"learning_rate": "0.1"}, "learning_rate is '0.1'"),
        ({"momentum": 1.0}, "momentum is 1.0; give a number at least 0 and below 1"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001; give a number at least 0"),
    ],
)
def test_sgd_refuses_numbers(settings, words):
    with pytest.raises(BadSetting, match=words):
        nw.SGD([np.zeros((2, 2))], **({"learning_rate": 0.1} | settings))


def test_step_refuses_gradients_that_do_not_fit():
    optimizer = nw.SGD([np.zeros((2, 3))], 0.1)
    for gradients in ([np.zeros((3, 2))], [], [np.zeros((2, 3))] * 2):
        with pytest.raises(BadShape, match="they must agree"):
            optimizer.step(gradients)


# --- training -------------------------------------------------------------------------------------------------------


def blobs(count=200, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    return (rng.normal(0, 0.4, (count, 2)) + np.array([[0, 2], [2, -1], [-2, -1]])[y]).astype(np.float32), y


def test_train_reports_every_epoch():
    x, y = blobs()
    network, rows = nw.Network((2, 8, 3)), []
    history = nw.train(network, x, y, 4, 32, 0.2, valid=blobs(seed=1), progress=rows.append)
    assert list(history.columns) == ["train_loss", "valid_loss", "valid_accuracy", "seconds"] and len(history) == len(rows) == 4
    assert history.valid_accuracy.iloc[-1] == nw.accuracy(network, *blobs(seed=1)) > 0.95
    x, y = blobs(seed=1)
    assert_allclose(history.valid_loss.iloc[-1], nw.softmax_cross_entropy(network.outputs(x), y)[0], rtol=1e-6)
    assert history.train_loss.is_monotonic_decreasing and (history.seconds > 0).all()


def test_train_without_validation_says_so():
    history = nw.train(nw.Network((2, 3)), *blobs(), 2, 32, 0.1)
    assert history.valid_loss.isna().all() and history.train_loss.notna().all()


class Noting:
    """A model that notes what it is given."""

    def __init__(self):
        self.weights, self.batches, self.loss = [np.zeros((1, 1))], [], nw.squared_error

    def loss_and_gradients(self, x, y):
        self.batches.append((x, y))
        return float(len(self.batches)), [np.ones((1, 1))]

    def outputs(self, x):
        return np.zeros((len(x), 3))


@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 3), st.integers(0, 5))
def test_every_item_comes_once_an_epoch(count, batch_size, epochs, seed):
    model, x = Noting(), np.arange(count, dtype=float)[:, None]
    history = nw.train(model, x, np.arange(count), epochs, batch_size, 0.1, seed=seed)
    steps = math.ceil(count / batch_size)
    assert len(model.batches) == epochs * steps
    for epoch in range(epochs):
        seen = np.concatenate([x[:, 0] for x, _ in model.batches[epoch * steps : (epoch + 1) * steps]])
        assert sorted(seen) == list(range(count))
    assert all((x[:, 0] == y).all() and len(x) <= batch_size for x, y in model.batches)
    weights = [len(x) for x, _ in model.batches[:steps]]
    assert_allclose(history.train_loss[0], np.average(np.arange(1, steps + 1), weights=weights))


def test_schedule_sees_the_share_done_and_sets_the_rate():
    model, shares = Noting(), []
    schedule = lambda share: shares.append(share) or 2 - share  # noqa: E731
    nw.train(model, np.zeros((10, 2)), np.zeros(10, int), 2, 5, 0.5, schedule=schedule)
    assert shares == [0, 0.25, 0.5, 0.75]
    assert_allclose(model.weights[0], -0.5 * sum(2 - share for share in shares))


def test_augment_gets_a_copy_and_a_generator():
    x = np.arange(12.0).reshape(6, 2)
    kept = x.copy()

    def augment(batch, rng):
        batch += rng.normal(size=batch.shape)
        return batch

    models = [Noting(), Noting(), Noting()]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        nw.train(model, x, np.arange(6), 2, 3, 0.1, augment=augment, seed=seed)
    assert_array_equal(x, kept)
    first, second, third = (np.concatenate([b for b, _ in model.batches]) for model in models)
    assert (first == second).all() and (first != third).any() and (first != np.round(first)).all()


def test_no_two_batches_get_the_same_random_numbers():
    noises = []

    def augment(batch, rng):
        noises.append(rng.normal(size=batch.shape).tolist())
        return batch

    nw.train(Noting(), np.zeros((6, 2)), np.arange(6), 2, 3, 0.1, augment=augment)
    assert len(noises) == 4 and all(a != b for i, a in enumerate(noises) for b in noises[:i])


def test_same_seed_same_weights():
    results = []
    for seed in (0, 0, 1):
        network = nw.Network((2, 8, 3))
        nw.train(network, *blobs(), 2, 16, 0.1, momentum=0.9, seed=seed)
        results.append(np.concatenate([w.ravel() for w in network.weights]))
    assert (results[0] == results[1]).all() and (results[0] != results[2]).any()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"epochs": 0}, BadSetting, "epochs is 0"),
        ({"epochs": 1.5}, BadSetting, "epochs is 1.5"),
        ({"batch_size": 0}, BadSetting, "batch_size is 0"),
        ({"batch_size": True}, BadSetting, "batch_size is True"),
        ({"learning_rate": -1}, BadSetting, "learning_rate is -1"),
        ({"y": np.zeros(3, int)}, BadShape, r"x has shape \(200, 2\), y \(3,\)"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0, int)}, BadShape, r"x is empty, its shape is \(0, 2\)"),
        ({"x": np.zeros(200)}, BadShape, r"x has shape \(200,\)"),
        ({"x": np.zeros((200, 3))}, BadShape, r"x has shape \(16, 3\), W\(1\) \(3, 8\)"),
        ({"valid": (np.zeros((4, 2)), np.zeros(3, int))}, BadShape, r"valid\[0\] has shape \(4, 2\), valid\[1\] \(3,\)"),
        ({"y": np.full(200, 3)}, BadSetting, "from 0 to 2"),
        ({"x": np.full((200, 2), np.nan)}, BadShape, "x of shape .* holds NaN"),
        ({"x": np.ones((200, 2)) * 1j}, BadShape, "x has dtype complex128"),
        ({"x": [["a", "b"]] * 200}, BadShape, "x has dtype <U1"),
        ({"y": ["a"] * 200}, BadShape, "y has dtype <U1"),
        ({"valid": np.zeros((4, 2))}, BadSetting, "valid is a ndarray; give a pair"),
        ({"valid": (np.zeros((4, 2)), [0] * 4, [0] * 4)}, BadSetting, "valid is a tuple; give a pair"),
        ({"valid": (np.full((4, 2), np.nan), [0] * 4)}, BadShape, r"valid\[0\] of shape .* holds NaN"),
        ({"schedule": lambda share: -1}, BadSetting, r"schedule\(0\) is -1; give a number at least 0"),
        ({"schedule": lambda share: math.nan}, BadSetting, r"schedule\(0\) is nan"),
        ({"schedule": lambda share: math.inf}, BadSetting, r"schedule\(0\) is inf"),
        ({"schedule": lambda share: None}, BadSetting, r"schedule\(0\) is None"),
    ],
)
def test_train_refuses(changes, error, words):
    x, y = blobs()
    arguments = {"x": x, "y": y, "epochs": 1, "batch_size": 16, "learning_rate": 0.1} | changes
    network = nw.Network((2, 8, 3))
    before = [w.copy() for w in network.weights]
    with pytest.raises(error, match=words):
        nw.train(network, **arguments)
    assert all((a == b).all() for a, b in zip(network.weights, before, strict=True))


@pytest.mark.filterwarnings("error")
def test_divergence_stops_with_a_sentence():
    x, y = blobs()
    with pytest.raises(nw.Diverged, match=r"the loss is (nan|inf) at batch \d+, with learning_rate 1e\+20"):
        nw.train(nw.Network((2, 8, 3)), x, y, 20, 16, 1e20)
    with pytest.raises(nw.Diverged, match="the loss is nan at batch 1"):
        nw.train(nw.Network((2, 8, 3)), x, y, 1, 16, 0.1, augment=lambda batch, rng: batch * np.nan)


@pytest.mark.filterwarnings("error")
def test_a_last_step_too_far_is_noticed():
    """The loss of the only batch is finite; the weights after it are not."""
    with pytest.raises(nw.Diverged, match=r"weights are no finite numbers after batch 1, with learning_rate 1e\+39"):
        nw.train(nw.Network((2, 8, 3)), *blobs(), 1, 200, 1e39)


def test_lists_are_as_good_as_arrays():
    x, y = blobs(40)
    networks = [nw.Network((2, 8, 3)) for _ in range(2)]
    first = nw.train(networks[0], x, y, 2, 16, 0.1, valid=(x, y))
    second = nw.train(networks[1], x.astype(float).tolist(), y.tolist(), 2, 16, 0.1, valid=[x.tolist(), y.tolist()])
    assert_allclose(first.drop(columns="seconds"), second.drop(columns="seconds"), rtol=1e-5)
    assert nw.accuracy(networks[0], x.tolist(), y.tolist()) == first.valid_accuracy.iloc[-1]


@pytest.mark.parametrize("y", [np.eye(3), np.zeros((3, 1), int), ["a", "b", "c"], [0.0, 1.0, 2.0]])
def test_accuracy_wants_whole_numbers(y):
    with pytest.raises(BadShape, match=r"y has (shape|dtype)"):
        nw.accuracy(nw.Network((2, 3)), np.zeros((3, 2)), y)


def test_accuracy_is_counted_over_all_items():
    x, y = np.zeros((2500, 2)), np.arange(2500) % 3
    network = nw.Network((2, 3), initialization="zeros")
    assert nw.accuracy(network, x, y) == (y == 0).mean()
    assert nw.predict(network, x).shape == (2500,)
    with pytest.raises(BadShape, match=r"x has shape \(2500, 2\), y \(2499,\)"):
        nw.accuracy(network, x, y[1:])
    with pytest.raises(BadShape, match=r"x is empty, its shape is \(0, 2\)"):
        nw.predict(network, x[:0])
    with pytest.raises(BadShape, match=r"x has shape \(2,\)"):
        nw.predict(network, x[0])


# --- first weights, augmentation, recipes ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_what_the_first_weights_do(seed):
    spreads = partial(nw.layer_spreads, seed=seed)
    assert spreads("tanh", "small").outputs[-1] < 1e-8 and spreads("tanh", "small").sensitivities[0] < 1e-7
    assert spreads("relu", "normal").outputs[-1] > 1e6 and spreads("relu", "normal").sensitivities[0] > 1e6
    assert_allclose(spreads("identity", "lecun", width=400).outputs, 1, rtol=0.3)
    he = spreads("relu", "he", width=400).sensitivities
    assert_allclose(he, he[-1], rtol=0.15)
    assert not spreads("sigmoid", "zeros").sensitivities[:-1].any()


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_spreads_have_one_value_for_each_layer(depth):
    assert all(values.shape == (depth,) for values in nw.layer_spreads("tanh", "he", depth))
    assert f"tanh, he: differences between items {'hold,' if depth < 7 else ''}" in nw.describe_spreads("tanh", "he", depth)


def test_explorer_follows_its_controls():
    pytest.importorskip("ipywidgets")
    explorer = nw.spread_explorer()
    seen = {explorer.html}
    for name, value in (("activation", "relu"), ("initialization", "he"), ("depth", 30)):
        explorer.controls[name].value = value
        seen.add(explorer.html)
    assert len(seen) == 4 and nw.describe_spreads("relu", "he", 30) in explorer.html
    assert explorer.html.count("relu, he") == 1 and 'alt=""' in explorer.html, "a sentence is read once"


@given(st.integers(1, 6), st.integers(1, 3), st.integers(3, 7), st.integers(3, 7), SEED)
def test_shifted_images_are_shifted(count, most, height, width, seed):
    rng = np.random.default_rng(seed)
    batch = rng.random((count, height, width)).astype(np.float32)
    kept = batch.copy()
    moved = nw.shift_images(batch, rng, most)
    assert moved.shape == batch.shape and moved.dtype == batch.dtype and (batch == kept).all()
    for picture, result in zip(batch, moved, strict=True):
        wide = np.pad(picture, 2 * most)
        places = [wide[dy : dy + height, dx : dx + width] for dy in range(most, 3 * most + 1) for dx in range(most, 3 * most + 1)]
        assert any((result == place).all() for place in places)


def test_every_shift_occurs():
    dot = np.zeros((2000, 5, 5))
    dot[:, 2, 2] = 1
    places = np.argwhere(nw.shift_images(dot, np.random.default_rng(0), 1))[:, 1:]
    assert {tuple(place) for place in places.tolist()} == {(i, j) for i in (1, 2, 3) for j in (1, 2, 3)}


@given(st.floats(0, 0.95), SEED)
def test_hidden_pixels_keep_their_mean(share, seed):
    batch = np.ones((40, 20, 20), np.float32)
    hidden = nw.hide_pixels(batch, np.random.default_rng(seed), share)
    assert hidden.dtype == np.float32 and (batch == 1).all()
    values = np.unique(hidden)
    assert len(values) <= 2 and np.isclose(values, 1 / (1 - share)).sum() == 1
    assert abs(hidden.mean() - 1) < 6 * math.sqrt(share / (1 - share) / hidden.size) + 1e-5


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, math.nan, "half"])
def test_hide_pixels_refuses(share):
    with pytest.raises(BadSetting, match="share is"):
        nw.hide_pixels(np.ones((2, 2)), np.random.default_rng(0), share)


def test_augmentations_take_lists_and_refuse_the_rest():
    rng, pictures = np.random.default_rng(0), np.ones((2, 3, 3)).tolist()
    assert nw.shift_images(pictures, rng).shape == nw.hide_pixels(pictures, rng).shape == (2, 3, 3)
    for function in (nw.shift_images, nw.hide_pixels):
        with pytest.raises(BadShape, match="batch has dtype <U1"):
            function([["a"]], rng)


@given(st.integers(2, 50), st.floats(0.05, 0.95))
def test_cut_loses_nothing(count, share):
    x, y = np.arange(count)[:, None], np.arange(count)
    if round(share * count) in (0, count):
        with pytest.raises(BadSetting, match="leaves a part without any"):
            nw.cut(x, y, share)
        return
    (a, b), (c, d) = nw.cut(x, y, share)
    assert (np.concatenate([a, c]) == x).all() and (np.concatenate([b, d]) == y).all() and len(c) == round(share * count)


@given(st.floats(0, 1), st.floats(0.05, 0.9), st.floats(0, 1))
def test_one_cycle_stays_in_its_range(share, warm_up, start):
    assert min(start, 0) - 1e-12 <= nw.one_cycle(share, warm_up, start) <= 1 + 1e-12
    assert_allclose([nw.one_cycle(x, warm_up, start) for x in (0, warm_up, 1)], [start, 1, 0], atol=1e-12)


def test_one_cycle_comes_down_along_a_cosine():
    assert_allclose([nw.one_cycle(share) for share in (0.1, 0.4, 0.6, 0.8)], [0.55, 0.853553, 0.5, 0.146447], atol=1e-6)


@pytest.mark.parametrize("arguments", [(-0.1,), (1.1,), (math.nan,), (1, 1), (0.5, 0), (0.5, 0.2, -1), (0.5, 0.2, 2)])
def test_one_cycle_refuses(arguments):
    with pytest.raises(BadSetting, match="give a number"):
        nw.one_cycle(*arguments)


def changed(before, after):
    return {name for name in vars(before) if vars(before)[name] != vars(after)[name]} - {"learning_rate"}


def test_changes_are_one_at_a_time():
    """Each recipe keeps what the one before it has, but for the named change and the rate."""
    allowed = [
        {"batch_size"},
        {"output", "loss"},
        {"initialization"},
        {"activation", "initialization"},
        {"schedule"},
        {"momentum"},
    ]
    *stairs, control = nw.CHANGES.values()
    for (before, after), names in zip(pairwise(stairs), allowed, strict=True):
        assert changed(before, after) == names
    assert changed(stairs[1], control) == {"initialization"} and control.learning_rate == stairs[1].learning_rate
    assert changed(stairs[3], control) == {"output", "loss"}


def test_recipe_trains_as_train_does():
    x, y = np.random.default_rng(0).random((64, 28, 28)).astype(np.float32), np.arange(64) % 10
    network, history = nw.OURS.train(x, y, 2, seed=3, valid=(x, y))
    again = nw.Network(nw.SEED_SIZES, seed=3)
    nw.train(again, x, y, 2, 128, 0.1, 0.9, 1e-4, nw.one_cycle, nw.hide_pixels, seed=3)
    assert all((a == b).all() for a, b in zip(network.weights, again.weights, strict=True))
    assert history.valid_accuracy.notna().all()


@pytest.mark.parametrize("name", ["last", "changes", "seed"])
def test_experiments_run_and_say_what_goes_on_record(name, tmp_path):
    with environment(PETS_LEARN_SCALE="smoke"):
        (experiment,) = (e for e in nw.experiments() if e.name == name)
        assert experiment.seeds == 3 and len(planned(experiment, folder=tmp_path)) == 3 * len(experiment.settings)
        results = run_experiment(experiment, seeds=1, folder=tmp_path, quiet=True)
        figures = experiment.summarize(results.table)
    wanted = {
        "last": {"ours_accuracy", "ours_seconds", "shifted_accuracy", "shifted_seconds"},
        "changes": {"change_0_accuracy", "change_7_accuracy", "change_7_seconds"},
        "seed": {"accuracy"},
    }
    assert wanted[name] <= figures.keys() and all(f["n"] == 1 for f in figures.values())
    rows = {name: (f["seed_figure"], f["seed_row"]) for name, f in figures.items() if f["seed_row"] is not None}
    expected = {"last": {"ours_accuracy": (None, 22), "shifted_accuracy": (None, 22)}, "seed": {"accuracy": (0.9427, 22)}}
    assert rows == expected.get(name, {})


class Watched:
    """A run that keeps nothing, and a `Recipe.train` that notes how it is called and returns a history that falls."""

    def __init__(self, monkeypatch, seed=5):
        self.seed, self.calls, self.sizes = seed, [], None
        monkeypatch.setattr(nw.Recipe, "train", lambda recipe, *args, **options: self.train(recipe, *args, **options))
        self.judged = []
        monkeypatch.setattr(nw, "accuracy", lambda model, x, y: self.judged.append((x, y)) or 0.5)
        self.sizes = nw.sizes()

    def train(self, recipe, x, y, epochs, seed=0, **options):
        self.calls.append({"recipe": recipe, "x": x, "y": y, "epochs": epochs, "seed": seed} | options)
        network = nw.Network(nw.SEED_SIZES, initialization="zeros")
        return network, pd.DataFrame({"train_loss": [0.1, 0.4], "valid_accuracy": [0.9, 0.6], "seconds": [1.0, 2.0]})

    def uses(self, *args, **options): ...

    def keep_history(self, history): ...


@pytest.fixture
def watched(monkeypatch):
    with environment(PETS_LEARN_SCALE="smoke"):
        yield Watched(monkeypatch)


@pytest.mark.parametrize("recipe", ["ours", "shifted"])
def test_last_run_on_validation_never_sees_its_judges(watched, recipe):
    found = nw.run_last(watched, recipe, "valid")
    (call,), (judge,) = watched.calls, watched.judged
    x, y = nw.digit_arrays("train", 600)
    assert_array_equal(call["x"], x[:500])
    assert_array_equal(call["y"], y[:500])
    assert_array_equal(judge[0], x[500:])
    assert_array_equal(judge[1], y[500:])
    assert call["recipe"] is {"ours": nw.OURS, "shifted": nw.SHIFTED}[recipe] and call["seed"] == 5
    assert found["train_loss"] == 0.4 and found["accuracy"] == 0.5


@pytest.mark.parametrize("recipe", ["ours", "shifted"])
def test_last_run_on_the_test_digits_learns_from_all_others(watched, recipe, monkeypatch):
    monkeypatch.setattr(
        watched, "sizes", type("Sizes", (), {"name": "smoke", "digits": 600, "ours_epochs": 3, "shifted_epochs": 4})
    )
    nw.run_last(watched, recipe, "test")
    (call,), (judge,) = watched.calls, watched.judged
    assert len(call["x"]) == len(call["y"]) == 600 and call["epochs"] == {"ours": 3, "shifted": 4}[recipe]
    assert_array_equal(judge[0], nw.digit_arrays("test", 600)[0])
    assert not {"valid"} & call.keys()


@pytest.mark.parametrize("change", ["mini-batches of 64", "momentum"])
def test_a_change_is_judged_on_the_validation_part_after_its_last_epoch(watched, change):
    found = nw.run_change(watched, change)
    (call,) = watched.calls
    x, y = nw.digit_arrays("train", 600)
    assert_array_equal(call["x"], x[:500])
    assert_array_equal(call["valid"][0], x[500:])
    assert_array_equal(call["valid"][1], y[500:])
    assert call["recipe"] is nw.CHANGES[change] and call["seed"] == 5 and call["epochs"] == watched.sizes.change_epochs
    assert found == {"valid_accuracy": 0.6, "steps_seconds": 3.0}


def test_the_seeds_experiment_reports_the_last_epoch(watched, monkeypatch):
    calls = []
    falling = pd.DataFrame({"train_loss": [0.1, 0.4], "valid_accuracy": [0.9, 0.6]})
    monkeypatch.setattr(nw, "train", lambda *args, **options: calls.append((args, options)) or falling)
    assert nw.run_seed_setting(watched) == {"accuracy": 0.6, "train_loss": 0.4}
    (((network, x, _, epochs), options),) = calls
    assert len(x) == 600 and epochs == watched.sizes.seed_epochs and options["seed"] == 5
    assert (options["batch_size"], options["learning_rate"]) == (1, 0.1) and network.loss is nw.squared_error
    assert [a is nw.ACTIVATIONS["sigmoid"] for a in network.activations] == [True] * 3
    assert_array_equal(network.weights[0], nw.initial_weights(nw.SEED_SIZES, "normal", 5)[0])


def test_summaries_take_the_right_column_of_the_right_rows():
    grid = [(recipe, judge) for recipe in ("ours", "shifted") for judge in ("valid", "test")]
    rows = [
        {
            "recipe": recipe,
            "judge_on": judge,
            "accuracy": 0.1 + 0.2 * i,
            "steps_seconds": 10.0 + i,
            "processor_seconds": 20.0 + i,
            "seconds": 99.0,
        }
        for i, (recipe, judge) in enumerate(grid)
    ]
    last = {name: f["mean"] for name, f in nw._summarize_last(pd.DataFrame(rows)).items()}
    assert last == pytest.approx({
        "ours_valid_accuracy": 0.1, "ours_accuracy": 0.3, "ours_seconds": 11, "ours_processor_seconds": 21,
        "shifted_valid_accuracy": 0.5, "shifted_accuracy": 0.7, "shifted_seconds": 13, "shifted_processor_seconds": 23,
    })  # fmt: skip
    rows = [
        {"change": name, "seed": seed, "valid_accuracy": 0.1 * i + 0.01 * seed, "steps_seconds": i + 1.0, "seconds": 99.0}
        for i, name in enumerate(nw.CHANGES)
        for seed in range(3)
    ]
    changes = nw._summarize_changes(pd.DataFrame(rows[::-1]))
    for i in range(len(nw.CHANGES)):
        assert changes[f"change_{i}_accuracy"]["mean"] == pytest.approx(0.1 * i + 0.01)
        assert changes[f"change_{i}_seconds"]["mean"] == i + 1
    table = pd.DataFrame({"seed": [0, 1], "accuracy": [0.2, 0.4], "train_loss": [0.7, 0.9], "seconds": [9.0, 9.0]})
    assert nw._summarize_seed(table)["accuracy"]["mean"] == pytest.approx(0.3)


@pytest.mark.real
def test_real_digits_are_learned_in_three_epochs():
    with environment(PETS_LEARN_SCALE="laptop"):
        try:
            mnist("train", download=False)
        except PetsLearnError:
            pytest.skip("MNIST is not here")
        x, y = nw.digit_arrays("train")
        test = nw.digit_arrays("test")
    assert x.shape == (60_000, 28, 28) and test[1].shape == (10_000,)
    network, _ = nw.CHANGES["momentum"].train(x, y, 3)
    assert nw.accuracy(network, *test) > 0.975
