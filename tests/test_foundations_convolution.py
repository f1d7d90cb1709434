"""Convolution, pooling and transposed convolution in NumPy against PyTorch: values, gradients, dtypes, and bad input."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import signal
from torch.nn import functional as F
from torch.testing import assert_close

from pets_learn.exercises import examine, exercise_named
from pets_learn.foundations import convolution as conv
from pets_learn.foundations import network as net
from pets_learn.foundations.convolution import BadWindow
from pets_learn.foundations.perceptron import BadShape
from pets_learn.run import BadSetting, read_record

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
pytestmark = pytest.mark.usefixtures("smoke")


def close(ours: np.ndarray, theirs: torch.Tensor) -> None:
    assert_close(torch.from_numpy(np.ascontiguousarray(ours)), theirs.detach(), **TOLERANCE)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


def spans(kernel: tuple[int, int], dilation: tuple[int, int]) -> list[int]:
    return [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]


def as_it_comes(draw, array: np.ndarray) -> np.ndarray:
    """The same numbers as an array that lies in memory in another way, or may not be written to."""
    how = draw(st.sampled_from(["as it is", "Fortran", "reversed", "read-only"]))
    if how == "Fortran":
        return np.asfortranarray(array)
    if how == "reversed":
        return array[::-1, :, ::-1, ::-1].copy()[::-1, :, ::-1, ::-1]
    if how == "read-only":
        array.flags.writeable = False
    return array


@st.composite
def convolutions(draw) -> dict[str, Any]:
    """Images, weights, bias and settings that fit."""
    kernel, stride, padding, dilation = draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(0, 3)), draw(pairs(1, 3))
    groups, inputs, outputs, images = (draw(st.integers(1, 3)) for _ in range(4))
    least = [max(1, s - 2 * p) for s, p in zip(spans(kernel, dilation), padding, strict=True)]
    size = [low + draw(st.integers(0, 6)) for low in least]
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    return {
        "x": as_it_comes(draw, rng.normal(size=(images, groups * inputs, *size))),
        "weight": as_it_comes(draw, rng.normal(size=(groups * outputs, inputs, *kernel))),
        "bias": rng.normal(size=groups * outputs) if draw(st.booleans()) else None,
        "settings": {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
        "rng": rng,
    }


def tensors(*arrays: np.ndarray | None) -> list[torch.Tensor | None]:
    return [None if a is None else torch.tensor(a.copy(), requires_grad=True) for a in arrays]


def gradients(output: torch.Tensor, sensitivity: np.ndarray, inputs: list[torch.Tensor | None]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(output, [t for t in inputs if t is not None], torch.tensor(sensitivity))


# --- convolution ----------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(convolutions())
def test_convolution_is_pytorch_s_forward_and_backward(case):
    x, weight, bias, how = case["x"], case["weight"], case["bias"], case["settings"]
    inputs = tensors(x, weight, bias)
    wanted = F.conv2d(*inputs, **how)
    kept = x.copy(), weight.copy()
    close(conv.conv2d(x, weight, bias, **how), wanted)
    sensitivity = case["rng"].normal(size=wanted.shape)
    dx, dw, db = conv.conv2d_backward(sensitivity, x, weight, **how)
    for ours, theirs in zip((dx, dw, db), gradients(wanted, sensitivity, inputs), strict=False):
        close(ours, theirs)
    np.testing.assert_allclose(db, sensitivity.sum((0, 2, 3)))
    assert np.array_equal(kept[0], x) and np.array_equal(kept[1], weight), "the arguments are left as they are"


def test_pieces_cover_the_batch():
    assert conv._pieces(5, 2**19) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert conv._pieces(3, 2**22) == [slice(0, 1), slice(1, 2), slice(2, 3)], "an image is never cut"
    assert conv._pieces(7, 1)[0].stop >= 7


def test_a_batch_in_pieces_is_the_whole_batch(monkeypatch):
    """Small batches fit into one piece, so that the splitting shows only where pieces are made small."""
    monkeypatch.setattr(conv, "_pieces", lambda n, _: [slice(i, i + 2) for i in range(0, n, 2)])
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(5, 4, 7, 6)), rng.normal(size=(6, 2, 3, 2)), rng.normal(size=6)
    grown, grown_bias = rng.normal(size=(4, 3, 3, 2)), rng.normal(size=6)
    for ours, backward, theirs, w, b in (
        (conv.conv2d, conv.conv2d_backward, F.conv2d, weight, bias),
        (conv.conv_transpose2d, conv.conv_transpose2d_backward, F.conv_transpose2d, grown, grown_bias),
    ):
        how = {"stride": (2, 1), "padding": 1, "groups": 2}
        inputs = tensors(x, w, b)
        wanted = theirs(*inputs, **how)
        close(ours(x, w, b, **how), wanted)
        sensitivity = rng.normal(size=wanted.shape)
        for mine, gradient in zip(backward(sensitivity, x, w, **how), gradients(wanted, sensitivity, inputs), strict=True):
            close(mine, gradient)


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_loop_is_the_fast_one(case):
    arguments = case["x"], case["weight"], case["bias"]
    np.testing.assert_allclose(
        conv.conv2d_loop(*arguments, **case["settings"]), conv.conv2d(*arguments, **case["settings"]), rtol=1e-11, atol=1e-11
    )


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_sizes_use_and_columns(case):
    x, kernel = case["x"], case["weight"].shape[2:]
    how = {name: case["settings"][name] for name in ("stride", "padding", "dilation")}
    columns = conv.unfold(x, kernel, **how)
    theirs = F.unfold(torch.tensor(x.copy()), kernel, **how)
    close(columns, theirs)
    close(conv.fold(columns, x.shape[2:], kernel, **how), F.fold(theirs, x.shape[2:], kernel, **how))
    rows, across = (
        conv.output_size(n, k, s, p, d) for n, k, s, p, d in zip(x.shape[2:], kernel, *how.values(), strict=True)
    )
    assert columns.shape[2] == rows * across
    use = conv.pixel_use(x.shape[2:], kernel, **how)
    ones = torch.ones_like(theirs)[:1, : theirs.shape[1] // x.shape[1]]
    close(use.astype(float), F.fold(ones, x.shape[2:], kernel, **how)[0, 0])
    assert not np.shares_memory(columns, x) and columns.flags.writeable


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_windows_hold_what_the_loop_sees(case):
    x, (k, m) = case["x"], case["weight"].shape[2:]
    stride, dilation = case["settings"]["stride"], case["settings"]["dilation"]
    height, width = spans((k, m), dilation)
    assume(height <= x.shape[2] and width <= x.shape[3])
    seen = conv.windows(x, (k, m), stride, dilation)
    assert np.shares_memory(seen, x) and not seen.flags.writeable
    for i in range(seen.shape[2]):
        for j in range(seen.shape[3]):
            top, left = i * stride[0], j * stride[1]
            under = x[:, :, top : top + height : dilation[0], left : left + width : dilation[1]]
            np.testing.assert_array_equal(seen[:, :, i, j], under)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_transposed_is_the_transpose(case):
    """<conv(a), b> = <a, transposed(b)>, where the output padding gives back what the rounding took."""
    x, weight, how = case["x"], case["weight"], case["settings"]
    out = conv.conv2d(x, weight, **how)
    sizes = zip(x.shape[2:], out.shape[2:], weight.shape[2:], how["stride"], how["padding"], how["dilation"], strict=True)
    lost = tuple(n - ((o - 1) * s - 2 * p + d * (k - 1) + 1) for n, o, k, s, p, d in sizes)
    other = case["rng"].normal(size=out.shape)
    back = conv.conv_transpose2d(other, weight, output_padding=lost, **how)
    assert back.shape == x.shape
    np.testing.assert_allclose((out * other).sum(), (x * back).sum(), rtol=1e-9, atol=1e-9)


def test_two_dimensional_functions_are_scipy_s():
    rng = np.random.default_rng(0)
    for shape, size in (((5, 7), (2, 3)), ((3, 3), (3, 3)), ((4, 1), (2, 1))):
        image, kernel = rng.normal(size=shape), rng.normal(size=size)
        np.testing.assert_allclose(conv.cross_correlate(image, kernel), signal.correlate2d(image, kernel, "valid"))
        np.testing.assert_allclose(conv.convolve(image, kernel), signal.convolve2d(image, kernel, "valid"))


def test_the_documents_figures():
    image, kernel = np.arange(9).reshape(3, 3), np.arange(4).reshape(2, 2)
    assert conv.cross_correlate(image, kernel).tolist() == [[19, 25], [37, 43]]
    strided = conv.conv2d(image[None, None], kernel[None, None], stride=(3, 2), padding=1)
    assert strided[0, 0].tolist() == [[0, 8], [6, 8]]
    assert conv.output_size(224, 11, 4, 2) == 55
    assert [conv.transposed_size(2, 3, 2), conv.transposed_size(5, 5, 3, 1), conv.transposed_size(15, 2, 2, 1)] == [5, 15, 28]
    figures = conv.paper_figures()
    assert figures["first_value"]["mean"] == figures["first_value"]["seed_figure"] == 19
    assert figures["dense_weights"]["mean"] == figures["dense_weights"]["seed_figure"] == 10**9


@settings(max_examples=60, deadline=None)
@given(pairs(1, 6), pairs(1, 3), pairs(1, 3), pairs(0, 2), pairs(1, 2), st.integers(0, 99))
def test_matrix_times_image_is_the_convolution(size, kernel, stride, padding, dilation, seed):
    assume(all(s <= n + 2 * p for s, n, p in zip(spans(kernel, dilation), size, padding, strict=True)))
    rng = np.random.default_rng(seed)
    image, weights = rng.normal(size=size), rng.normal(size=kernel)
    matrix = conv.conv_matrix(weights, size, stride, padding, dilation)
    result = conv.conv2d(image[None, None], weights[None, None], None, stride, padding, dilation)
    np.testing.assert_allclose(matrix @ image.ravel(), result.ravel(), atol=1e-12)


# --- transposed convolution -----------------------------------------------------------------------------------------


@st.composite
def transposed(draw) -> dict[str, Any]:
    kernel, stride, padding, dilation = draw(pairs(1, 4)), draw(pairs(1, 3)), draw(pairs(0, 2)), draw(pairs(1, 3))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    groups, inputs, outputs, images = (draw(st.integers(1, 3)) for _ in range(4))
    size = draw(pairs(1, 5))
    left = zip(size, kernel, stride, padding, extra, dilation, strict=True)
    assume(all((n - 1) * s - 2 * p + d * (k - 1) + 1 + e >= 1 for n, k, s, p, e, d in left))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    how = {"stride": stride, "padding": padding, "output_padding": extra, "groups": groups, "dilation": dilation}
    return {
        "x": rng.normal(size=(images, groups * inputs, *size)),
        "weight": rng.normal(size=(groups * inputs, outputs, *kernel)),
        "bias": rng.normal(size=groups * outputs) if draw(st.booleans()) else None,
        "settings": how,
        "rng": rng,
    }


@settings(max_examples=150, deadline=None)
@given(transposed())
def test_transposed_convolution_is_pytorch_s_forward_and_backward(case):
    x, weight, bias, how = case["x"], case["weight"], case["bias"], case["settings"]
    inputs = tensors(x, weight, bias)
    wanted = F.conv_transpose2d(*inputs, **how)
    close(conv.conv_transpose2d(x, weight, bias, **how), wanted)
    sensitivity = case["rng"].normal(size=wanted.shape)
    found = conv.conv_transpose2d_backward(sensitivity, x, weight, **how)
    for ours, theirs in zip(found, gradients(wanted, sensitivity, inputs), strict=False):
        close(ours, theirs)
    assert found[2].shape == (how["groups"] * weight.shape[1],)


# --- pooling --------------------------------------------------------------------------------------------------------


@st.composite
def poolings(draw, dilated: bool) -> dict[str, Any]:
    kernel, dilation = draw(pairs(1, 4)), draw(pairs(1, 3)) if dilated else (1, 1)
    stride = draw(st.none() | pairs(1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    least = [max(1, s - 2 * p) for s, p in zip(spans(kernel, dilation), padding, strict=True)]
    size = [low + draw(st.integers(0, 6)) for low in least]
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size)
    tied = rng.integers(-2, 3, shape).astype(float)  # few values: many ties
    x = tied if draw(st.booleans()) else rng.normal(size=shape)
    return {"x": x, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "rng": rng}


@settings(max_examples=150, deadline=None)
@given(poolings(dilated=True))
def test_max_pooling_is_pytorch_s_forward_and_backward(case):
    x, how = case["x"], {name: case[name] for name in ("kernel", "stride", "padding", "dilation")}
    (t,) = tensors(x)
    wanted = F.max_pool2d(t, how["kernel"], how["stride"], how["padding"], how["dilation"])
    if not wanted.isfinite().all():  # PyTorch lets a window of padding only through; a gradient would go nowhere
        with pytest.raises(BadWindow, match="padding only"):
            conv.max_pool2d(x, **how)
        return
    close(conv.max_pool2d(x, **how), wanted)
    sensitivity = case["rng"].normal(size=wanted.shape)
    (theirs,) = gradients(wanted, sensitivity, [t])
    close(conv.max_pool2d_backward(sensitivity, x, **how), theirs)


@settings(max_examples=150, deadline=None)
@given(poolings(dilated=False), st.booleans())
def test_average_pooling_is_pytorch_s_forward_and_backward(case, counted):
    x, how = case["x"], {name: case[name] for name in ("kernel", "stride", "padding")} | {"count_include_pad": counted}
    (t,) = tensors(x)
    wanted = F.avg_pool2d(t, how["kernel"], how["stride"], how["padding"], count_include_pad=counted)
    close(conv.avg_pool2d(x, **how), wanted)
    sensitivity = case["rng"].normal(size=wanted.shape)
    (theirs,) = gradients(wanted, sensitivity, [t])
    close(conv.avg_pool2d_backward(sensitivity, x, **how), theirs)


def test_of_equal_numbers_the_first_wins():
    x = np.zeros((1, 1, 4, 4))
    found = conv.max_pool2d_backward(np.ones((1, 1, 2, 2)), x, 2)
    assert np.argwhere(found[0, 0]).tolist() == [[0, 0], [0, 2], [2, 0], [2, 2]]


# --- types ----------------------------------------------------------------------------------------------------------

SHAPES = {
    "conv2d": ((2, 4, 7, 6), (4, 4, 3, 2)),
    "conv2d_loop": ((1, 4, 5, 4), (2, 4, 3, 2)),
    "conv_transpose2d": ((2, 4, 7, 6), (4, 4, 3, 2)),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("float32", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float16", "float16", "float32"),
        ("uint8", "float32", "float32"),
        ("uint8", "uint8", "float64"),
        ("int64", "bool", "float64"),
    ],
)
def test_types(name, one, other, wanted):
    rng = np.random.default_rng(0)
    x, weight = (rng.integers(0, 2, shape).astype(dtype) for shape, dtype in zip(SHAPES[name], (one, other), strict=True))
    assert getattr(conv, name)(x, weight).dtype == wanted


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32"])
def test_whole_numbers_do_not_wrap_around(dtype):
    most = np.iinfo(dtype).max
    x, weight = np.full((1, 2, 4, 4), most, dtype), np.full((2, 2, 3, 3), most, dtype)
    exact = pytest.approx(float(2 * 9 * int(most) ** 2), rel=1e-15)  # above 2**53 only the roundings may differ
    assert conv.conv2d(x, weight)[0, 0, 0, 0] == exact and conv.conv2d_loop(x, weight)[0, 0, 0, 0] == exact
    assert 2 * conv.cross_correlate(x[0, 0], weight[0, 0])[0, 0] == exact
    assert conv.avg_pool2d(x, 2).max() == conv.max_pool2d(x, 2).max() == most
    assert conv.conv_transpose2d(x, weight).max() == exact
    assert conv.Sequential([conv.ReLU()]).outputs(x).max() == pytest.approx(most)


@pytest.mark.parametrize("function", [conv.conv2d, conv.conv2d_loop, conv.conv_transpose2d])
@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1])
def test_whole_numbers_that_float64_would_round_are_refused(function, value):
    x, one = np.full((1, 1, 3, 3), value), np.ones((1, 1, 1, 1), np.int64)
    with pytest.raises(BadShape, match=r"x of shape .* beyond 2\*\*53"):
        function(x, one)
    with pytest.raises(BadShape, match=r"weight of shape .* beyond 2\*\*53"):
        function(np.ones((1, 1, 3, 3)), one * value)
    with pytest.raises(BadShape, match="beyond"):
        conv.max_pool2d(x, 2)
    with pytest.raises(BadShape, match="beyond"):
        conv.avg_pool2d(x.astype(np.uint64) | np.uint64(2**63), 2)


def test_the_largest_exact_whole_numbers_are_kept():
    x = np.full((1, 1, 2, 2), 2**53)
    assert conv.max_pool2d(x, 2).item() == 2**53 and conv.max_pool2d(-x, 2).item() == -(2**53)


@pytest.mark.parametrize("function", [conv.conv2d, conv.conv2d_loop])
def test_a_bias_that_the_type_cannot_hold_is_refused(function):
    x, weight = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)
    with pytest.raises(BadShape, match=r"bias of shape .* too large for float32"):
        function(x, weight, [1e300])
    assert function(x.astype(np.float64), weight, [1e300]).max() == 1e300


def test_gradients_keep_single_precision():
    rng = np.random.default_rng(0)
    x, weight, grown = (rng.normal(size=s).astype(np.float32) for s in ((2, 4, 6, 5), (6, 2, 3, 3), (4, 3, 3, 3)))
    found = [
        *conv.conv2d_backward(np.ones_like(conv.conv2d(x, weight, groups=2)), x, weight, groups=2),
        *conv.conv_transpose2d_backward(np.ones_like(conv.conv_transpose2d(x, grown, groups=2)), x, grown, groups=2),
        conv.max_pool2d_backward(np.ones((2, 4, 3, 2), np.float32), x, 2),
        conv.avg_pool2d_backward(np.ones((2, 4, 3, 2), np.float32), x, 2),
        conv.avg_pool2d_backward(np.ones((2, 4, 4, 3), np.float32), x, 2, 2, 1, count_include_pad=False),
        conv.fold(conv.unfold(x, 2), (6, 5), 2),
    ]
    network = conv.digit_cnn()
    found += network.loss_and_gradients(rng.normal(size=(3, 1, 28, 28)).astype(np.float32), np.array([0, 1, 2]))[1]
    assert len(found) == 18 and {a.dtype for a in found} == {np.dtype(np.float32)}


def test_float32_is_as_good_as_pytorch_s():
    rng = np.random.default_rng(0)
    x, weight = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 64, 20, 20), (64, 64, 3, 3)))
    exact = conv.conv2d(x.astype(np.float64), weight.astype(np.float64), padding=1)
    ours, theirs = conv.conv2d(x, weight, padding=1), F.conv2d(torch.tensor(x), torch.tensor(weight), padding=1).numpy()
    assert np.abs(ours - exact).max() < 4 * np.abs(theirs - exact).max() + 1e-6


# --- bad input ------------------------------------------------------------------------------------------------------

X, W = np.ones((2, 4, 6, 5)), np.ones((6, 4, 3, 3))
T = np.ones((4, 6, 3, 3))
NAN, INF = np.full(X.shape, np.nan), np.full(X.shape, np.inf)


@pytest.mark.parametrize("function", [conv.conv2d, conv.conv2d_loop])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((X[0], W), r"x has shape \(4, 6, 5\)"),
        ((X, W[0]), r"weight has shape \(4, 3, 3\)"),
        ((X, W[:, :3]), r"weight has shape \(6, 3, 3, 3\), x \(2, 4, 6, 5\)"),
        ((X[:0], W), r"x is empty, its shape is \(0, 4, 6, 5\)"),
        ((X[..., :0], W), "x is empty"),
        ((X, W[:0]), "weight is empty"),
        ((NAN, W), "x of shape .* NaN"),
        ((X, W * np.inf), "weight of shape .* infinity"),
        ((X[..., :2], W), r"kernel has shape \(3, 3\).*x has shape \(2, 4, 6, 2\)"),
        ((X[:, :, :2], W), r"kernel has shape \(3, 3\).*x has shape \(2, 4, 2, 5\)"),
        ((X, W, np.ones(5)), r"bias has shape \(5,\), but there are 6 filters"),
        ((X, W, np.ones((6, 1))), r"bias has shape \(6, 1\)"),
        ((X, W, [np.nan] * 6), "bias of shape"),
        ((X.astype(complex), W), "x has dtype complex128"),
        ((X.astype(str), W), "x has dtype"),
        ((None, W), "x has dtype object"),
    ],
)
def test_bad_arrays(function, arguments, said):
    with pytest.raises(BadShape, match=said) as caught:
        function(*arguments)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, BadSetting)


@pytest.mark.parametrize("function", [conv.conv2d, conv.conv2d_loop])
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"stride": 0}, "stride is 0"),
        ({"stride": -1}, "stride is -1"),
        ({"stride": (1, 0)}, r"stride is \(1, 0\)"),
        ({"stride": 1.5}, "stride is 1.5"),
        ({"stride": True}, "stride is True"),
        ({"stride": (1, 2, 3)}, r"stride is \(1, 2, 3\)"),
        ({"stride": "2"}, "stride is '2'"),
        ({"stride": None}, "stride is None"),
        ({"padding": -1}, "padding is -1"),
        ({"padding": (0, -2)}, r"padding is \(0, -2\)"),
        ({"dilation": 0}, "dilation is 0"),
        ({"groups": 0}, "groups is 0"),
        ({"groups": 1.0}, "groups is 1.0"),
        ({"groups": True}, "groups is True"),
    ],
)
def test_bad_settings(function, setting, said):
    with pytest.raises(BadWindow, match=said) as caught:
        function(X, W, **setting)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, BadSetting)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: conv.conv2d(X, np.ones((3, 2, 3, 3)), groups=2), r"weight has shape \(3, 2, 3, 3\)"),
        (lambda: conv.conv2d(X, W, dilation=3), r"covers \(7, 7\) pixels"),
        (lambda: conv.conv2d_backward(X, X, W), r"sensitivity has shape \(2, 4, 6, 5\), the output \(2, 6, 4, 3\)"),
        (lambda: conv.conv_transpose2d(X, W), r"weight has shape \(6, 4, 3, 3\), x \(2, 4, 6, 5\)"),
        (lambda: conv.conv_transpose2d(X[:, :, :1, :1], T, padding=2), "leaves -1"),
        (lambda: conv.conv_transpose2d_backward(X, X, T), "sensitivity has shape"),
        (lambda: conv.max_pool2d(NAN, 2), "x of shape"),
        (lambda: conv.max_pool2d(-INF, 2), "x of shape"),
        (lambda: conv.max_pool2d(X, 7), "covers"),
        (lambda: conv.max_pool2d(X[0], 2), "x has shape"),
        (lambda: conv.max_pool2d_backward(X, X, 2), "sensitivity has shape"),
        (lambda: conv.avg_pool2d(X[:, :0], 2), "x is empty"),
        (lambda: conv.avg_pool2d(X, (1, 6)), "covers"),
        (lambda: conv.avg_pool2d_backward(X, X, 2), "sensitivity has shape"),
        (lambda: conv.unfold(X, 9), "covers"),
        (lambda: conv.fold(np.ones((1, 9, 5)), 4, 3), r"columns has shape \(1, 9, 5\)"),
        (lambda: conv.fold(np.ones((1, 8, 4)), 4, 3), r"columns has shape \(1, 8, 4\)"),
        (lambda: conv.windows(X, 7), "covers"),
        (lambda: conv.conv_matrix(np.ones((3, 3)), 2), "covers"),
        (lambda: conv.cross_correlate(np.ones((2, 2)), np.ones((3, 1))), r"kernel has shape \(3, 1\), image \(2, 2\)"),
        (lambda: conv.convolve(np.ones(4), np.ones((1, 1))), "image has shape"),
        (lambda: conv.cross_correlate([[1, np.nan]], [[1]]), "image of shape"),
        (lambda: conv.output_size(2, 3), "covers"),
        (lambda: conv.pixel_use(2, 3), "covers"),
        (lambda: conv.Linear(3, 2).forward(np.ones((2, 4))), r"x has shape \(2, 4\), weight \(3, 2\)"),
        (lambda: conv.Conv2d(3, 2, 3).forward(X), r"weight has shape \(2, 3, 3, 3\), x \(2, 4, 6, 5\)"),
        (lambda: conv.Conv2d(4, 2, 3).forward(X[0]), r"x has shape \(4, 6, 5\)"),
        (lambda: conv.digit_cnn().outputs(NAN), "x of shape"),
        (lambda: conv.Linear(3, 2).forward(np.ones((2, 3, 3))), r"x has shape \(2, 3, 3\)"),
        (lambda: conv.MaxPool2d(2).forward(X[0]), r"x has shape \(4, 6, 5\)"),
        (lambda: conv.AvgPool2d(2).forward(X[0]), r"x has shape \(4, 6, 5\)"),
        (lambda: conv.MaxPool2d(2).forward(X[:0]), "x is empty"),
        (lambda: conv.ReLU().forward(X.astype(str)), "x has dtype"),
        (lambda: conv.Flatten().forward(X.astype(complex)), "x has dtype"),
    ],
)
def test_more_bad_arrays(call, said):
    with pytest.raises(BadShape, match=said):
        call()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: conv.output_size(0, 1), "size is"),
        (lambda: conv.output_size((2, 3), 1), r"size is \(2, 3\)"),
        (lambda: conv.output_size(4, 2, padding=True), "padding is True"),
        (lambda: conv.transposed_size((2, 3), 3), r"size is \(2, 3\)"),
        (lambda: conv.transposed_size(2, 3, (2, 2)), r"stride is \(2, 2\)"),
        (lambda: conv.transposed_size(2, 3, 2, (1, 1)), r"padding is \(1, 1\)"),
        (lambda: conv.receptive_field([(3, 5)]), r"kernel is \(3, 5\)"),
        (lambda: conv.receptive_field(3), "kernels is 3; give a list"),
        (lambda: conv.receptive_field([3], 2), "strides is 2; give a list"),
        (lambda: conv.receptive_field([3], [1], [0]), "dilation is 0"),
        (lambda: conv.Conv2d(4, 4, 3, groups=(2, 2)), r"groups is \(2, 2\)"),
        (lambda: conv.Conv2d(4, 4, 3, groups=0), "groups is 0"),
        (lambda: conv.window_step(np.ones((3, 3)), np.ones((2, 2)), True), "step is True"),
        (lambda: conv.move_right(X, 6), "x has 5 columns"),
        (lambda: conv.move_right(X, -1), "pixels is -1"),
        (lambda: conv.output_size(4, 2, stride=-2), "stride is"),
        (lambda: conv.transposed_size(4, 2, output_padding=1), "output_padding is 1"),
        (lambda: conv.transposed_size(4, 2, 2, output_padding=-1), "output_padding is -1"),
        (lambda: conv.conv_transpose2d(X, T, stride=0), "stride is 0"),
        (lambda: conv.max_pool2d(X, 2, padding=2), "half of the window"),
        (lambda: conv.max_pool2d(X, 0), "kernel is 0"),
        (lambda: conv.max_pool2d(X, 2, stride=0), "stride is 0"),
        (lambda: conv.avg_pool2d(X, 2, padding=2), "half of the window"),
        (lambda: conv.receptive_field([3, 3], [1]), "strides 1"),
        (lambda: conv.receptive_field([]), "kernels has 0"),
        (lambda: conv.Conv2d(4, 6, 3, groups=3), "groups is 3"),
        (lambda: conv.Conv2d(0, 6, 3), "channels, filters is"),
        (lambda: conv.Linear(4, 0), "inputs, units is"),
        (lambda: conv.MaxPool2d(2, padding=2), "half of the window"),
        (lambda: conv.window_step(np.ones((3, 3)), np.ones((2, 2)), 9), "from 0 to 3"),
        (lambda: conv.window_step(np.ones((3, 3)), np.ones((2, 2)), -1), "from 0 to 3"),
    ],
)
def test_more_bad_settings(call, said):
    with pytest.raises(BadWindow, match=said):
        call()


# --- layers and networks --------------------------------------------------------------------------------------------


def small_network() -> conv.Sequential:
    rng = np.random.default_rng(0)
    layers = [
        conv.Conv2d(2, 4, 3, stride=(2, 1), padding=1, groups=2, rng=rng, dtype=np.float64),
        conv.ReLU(),
        conv.MaxPool2d(2, 1),
        conv.Conv2d(4, 3, 2, dilation=(1, 2), rng=rng, dtype=np.float64),
        conv.ReLU(),
        conv.AvgPool2d(2, 1, padding=1),
        conv.Flatten(),
        conv.Linear(3 * 3 * 4, 5, rng, np.float64),
    ]
    return conv.Sequential(layers)


def test_gradients_of_a_whole_network():
    network, rng = small_network(), np.random.default_rng(1)
    x, y = rng.normal(size=(3, 2, 7, 6)), np.array([0, 4, 2])
    _, found = network.loss_and_gradients(x, y)
    assert [g.shape for g in found] == [w.shape for w in network.weights]
    for weights, gradient in zip(network.weights, found, strict=True):
        error = net.gradient_check(lambda _: network.loss(network.outputs(x), y)[0], weights, gradient)
        assert error < 1e-6


def test_gradient_by_the_input_of_a_whole_network():
    network, x = small_network(), np.random.default_rng(2).normal(size=(2, 2, 7, 6))
    out = network.forward(x, training=True)
    sensitivity = np.cos(np.arange(out.size)).reshape(out.shape)
    back, _ = network.backward(sensitivity)
    error = net.gradient_check(lambda a: float((network.forward(a) * sensitivity).sum()), x, back)
    assert error < 1e-6


def test_a_network_is_a_model_for_train():
    """Its weights are those of its layers, changed in place; it learns; two runs are bit-identical, and a third seed differs."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    x = rng.normal(size=(80, 1, 6, 6)) * 0.3 + np.where(y[:, None, None, None] > 0, np.eye(6), np.eye(6)[::-1])

    def trained(seed: int) -> tuple[conv.Sequential, pd.DataFrame]:
        layers = [conv.Conv2d(1, 3, 3, rng=np.random.default_rng(seed)), conv.ReLU(), conv.MaxPool2d(2), conv.Flatten()]
        network = conv.Sequential([*layers, conv.Linear(12, 2, np.random.default_rng(seed))])
        kept = [w for layer in network.layers for w in layer.weights]
        history = net.train(network, x, y, epochs=8, batch_size=10, learning_rate=0.1, momentum=0.9, valid=(x, y), seed=seed)
        assert all(a is b for a, b in zip(kept, network.weights, strict=True))
        return network, history

    (first, history), (again, _), (other, _) = trained(0), trained(0), trained(1)
    assert history.valid_accuracy.iloc[-1] > 0.95 and history.train_loss.iloc[-1] < history.train_loss.iloc[0] / 2
    assert all(np.array_equal(a, b) for a, b in zip(first.weights, again.weights, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first.weights[::2], other.weights[::2], strict=True))
    assert first.outputs(x).dtype == np.float32


LAYERS: dict[str, tuple[Callable[[], conv.Layer], np.ndarray]] = {
    "Conv2d": (lambda: conv.Conv2d(4, 2, 3, groups=2), X),
    "MaxPool2d": (lambda: conv.MaxPool2d(2), X),
    "AvgPool2d": (lambda: conv.AvgPool2d(2), X),
    "ReLU": (conv.ReLU, X),
    "Flatten": (conv.Flatten, X),
    "Linear": (lambda: conv.Linear(5, 3), X[0, 0]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_whole_numbers(name):
    """-5 in bytes: the padding of minus infinity, the products and the means must not be made in bytes."""
    make, x = LAYERS[name]
    numbers = np.random.default_rng(0).integers(-9, -4, x.shape, dtype=np.int8)
    found, wanted = make().forward(numbers), make().forward(numbers.astype(np.float64))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    if name == "MaxPool2d":
        assert found.max() < 0


@pytest.mark.parametrize("name", LAYERS)
def test_layers_way_back_is_checked(name):
    make, x = LAYERS[name]
    layer = make()
    with pytest.raises(BadSetting, match=rf"{name} has kept nothing.*training=True first"):
        layer.backward(x)
    out = layer.forward(x)
    with pytest.raises(BadSetting, match="training=True first"):
        layer.backward(out)
    layer.forward(x, training=True)
    for wrong in (out[:1], out[:, :1], np.concatenate([out, out], axis=1)):
        with pytest.raises(BadShape, match="sensitivity has shape"):
            layer.backward(wrong)
    back, found = layer.backward(np.ones(out.shape, np.int64))
    assert back.shape == x.shape and [g.shape for g in found] == [w.shape for w in layer.weights]


def test_layers_compute_in_the_type_of_their_weights():
    for name in ("Conv2d", "Linear"):
        make, x = LAYERS[name]
        assert make().forward(x.astype(np.float64)).dtype == make().forward(x.astype(np.int64)).dtype == np.float32
    for bad in (int, bool, np.uint8, complex):
        for make in (lambda dtype: conv.Conv2d(4, 2, 3, dtype=dtype), lambda dtype: conv.Linear(4, 2, dtype=dtype)):
            with pytest.raises(BadSetting, match=r"dtype is .*; give np\.float32"):
                make(bad)


def test_a_training_that_goes_astray_says_so():
    """NaN passes through the layers to the loss, where `train` finds it."""
    assert np.isnan(conv.MaxPool2d(2).forward(NAN)).all() and np.isnan(conv.Conv2d(4, 2, 3).forward(NAN)).all()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 64)
    with pytest.raises(net.Diverged):
        net.train(conv.digit_cnn(), x, y, epochs=20, batch_size=8, learning_rate=1e12)


def test_layers_leave_their_input_alone():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
    kept = x.copy()
    for layer in (conv.Conv2d(4, 2, 3), conv.MaxPool2d(2), conv.AvgPool2d(2), conv.ReLU(), conv.Flatten()):
        out = layer.forward(x, training=True)
        sensitivity = np.ones_like(out)
        layer.backward(sensitivity)
        assert np.array_equal(x, kept) and (sensitivity == 1).all() and out.dtype == np.float32


def test_first_weights_have_he_s_variance():
    layer = conv.Conv2d(64, 256, 3)
    assert layer.weights[0].var() == pytest.approx(2 / (64 * 9), rel=0.02) and not layer.weights[1].any()


def test_the_digit_networks_are_about_as_large():
    sizes = [sum(w.size for w in network.weights) for network in (conv.digit_cnn(), conv.digit_dense())]
    assert sizes == [206_922, 203_530]
    digits = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    assert conv.digit_cnn().outputs(digits).shape == conv.digit_dense().outputs(digits).shape == (3, 10)


@pytest.mark.parametrize(
    "layers",
    [[(3, 1, 1), (3, 1, 1)], [(3, 2, 1), (3, 1, 1), (2, 2, 1)], [(3, 1, 2), (2, 2, 1), (3, 1, 2)], [(5, 3, 1), (3, 1, 1)]],
)
def test_receptive_field_is_as_far_as_a_gradient_reaches(layers):
    stack = conv.Sequential([conv.Conv2d(1, 1, k, stride=s, dilation=d, dtype=np.float64) for k, s, d in layers])
    for weight in stack.weights:
        weight[:] = 1
    side = conv.receptive_field(*zip(*layers, strict=True))
    out = stack.forward(np.ones((1, 1, side, side)), training=True)
    assert out.shape == (1, 1, 1, 1), "an image as large as the receptive field has room for one output"
    back, _ = stack.backward(np.ones(out.shape))
    assert back[0, 0, 0, 0] and back[0, 0, -1, -1]


def test_validation_digits_are_never_trained_on():
    parts, scattered = conv.digit_parts(200), conv.digit_parts(200, scattered=True)
    assert len(parts["train"][0]) == 180 and len(parts["valid"][0]) == 20
    seen = {image.tobytes() for image in parts["train"][0]}
    assert not any(image.tobytes() in seen for image in parts["valid"][0])
    for name, (x, y) in parts.items():
        mixed, same = scattered[name]
        assert np.array_equal(y, same) and not np.array_equal(x, mixed)
        np.testing.assert_array_equal(np.sort(x.reshape(len(x), -1)), np.sort(mixed.reshape(len(x), -1)))


@pytest.mark.parametrize("count", [0, 5, 9, -1, 10.0, True])
def test_too_few_digits_are_refused(count):
    with pytest.raises(BadSetting, match="at least 10 digits"):
        conv.digit_parts(count)


def test_no_ink_leaves_the_picture():
    """Moved digits keep all their ink; those that have no room take no part."""
    x = np.zeros((40, 1, 28, 28), np.float32)
    x[:, 0, 10:14, 18:22] = 1  # six empty columns behind it
    x[::4, 0, 5, 22] = 1  # one in four has five
    seen: list[np.ndarray] = []

    class Watching(conv.Sequential):
        def outputs(self, x: np.ndarray) -> np.ndarray:
            seen.append(x)
            return np.eye(10)[np.zeros(len(x), int)]

    assert conv.moved_accuracies(Watching([]), x, np.arange(40) % 4 - 1) == pytest.approx([1 / 3] * 7)
    assert [len(a) for a in seen] == [30] * 7 and {float(a.sum()) for a in seen} == {30 * 16.0}
    for before, after in pairwise(seen):
        np.testing.assert_array_equal(after, np.roll(before, 1, axis=3))


def test_stand_ins_without_room_are_moved_all_the_same():
    network, full = conv.digit_dense(), np.ones((12, 1, 28, 28), np.float32)
    assert len(conv.moved_accuracies(network, full, np.zeros(12, int))) == 7
    assert conv.move_right(full, 2)[..., :2].sum() == 0 and conv.move_right(full, 2).sum() == 12 * 28 * 26


def test_rate_is_chosen_on_validation_digits():
    moved = {f"moved_{n}": 1 - n / 10 for n in range(7)}
    rows = [
        {"network": n, "pixels": p, "learning_rate": r, "seed": s, "valid_accuracy": 1 - r, "train_seconds": 2.0}
        | {"accuracy": r if n == "cnn" else r + 0.3 * (s + 1)}
        | (moved if p == "in place" else {})
        for n in ("cnn", "dense")
        for p in ("in place", "scattered")
        for r in (0.1, 0.2)
        for s in (0, 1)
    ]
    found = conv.summarize(pd.DataFrame(rows))
    assert {found[f"{n}{end}_rate"]["mean"] for n in ("cnn", "dense") for end in ("", "_scattered")} == {0.1}
    assert found["cnn_accuracy"]["n"] == 2 and found["cnn_accuracy"]["mean"] == pytest.approx(0.1)
    assert found["dense_moved_4_accuracy"]["mean"] == pytest.approx(0.6) and "cnn_scattered_moved_4_accuracy" not in found
    ratio = found["error_ratio"]  # 0.9 / 0.6 and 0.9 / 0.3: seed by seed
    assert (ratio["min"], ratio["max"], ratio["n"]) == (pytest.approx(1.5), pytest.approx(3), 2)


def test_no_ratio_of_errors_where_there_are_none():
    rows = [
        {"network": n, "pixels": "in place", "learning_rate": 0.1, "seed": 0, "valid_accuracy": 1.0, "accuracy": 1.0}
        | {"train_seconds": 1.0}
        | {f"moved_{m}": 1.0 for m in range(7)}
        for n in ("cnn", "dense")
    ]
    assert "error_ratio" not in conv.summarize(pd.DataFrame(rows))


# --- the interactive ------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(pairs(1, 5), pairs(1, 3), pairs(1, 3), pairs(0, 2), pairs(1, 2), st.integers(0, 99))
def test_steps_together_are_the_convolution(size, kernel, stride, padding, dilation, seed):
    assume(all(s <= n + 2 * p for s, n, p in zip(spans(kernel, dilation), size, padding, strict=True)))
    rng = np.random.default_rng(seed)
    image, weights = rng.integers(-5, 6, size), rng.integers(-5, 6, kernel)
    whole = conv.conv2d(image[None, None], weights[None, None], None, stride, padding, dilation)[0, 0]
    for step in range(whole.size):
        seen = conv.window_step(image, weights, step, stride, padding, dilation)
        assert seen.is_under.sum() == weights.size
        assert seen.result[seen.cell] == (seen.image[seen.is_under] * weights.ravel()).sum() == whole[seen.cell]
        assert np.isnan(seen.result).sum() == whole.size - step - 1
    assert np.array_equal(seen.result, whole)
    assert not seen.image[seen.is_padding].any() and (~seen.is_padding).sum() == image.size


def test_explorer_draws_what_the_function_says():
    explorer = conv.window_explorer()
    for name, value in (("image", 5), ("kernel", 3), ("padding", 1), ("stride", 2), ("step", 4)):
        explorer.controls[name].value = value
    step = conv.window_step(np.arange(25).reshape(5, 5), np.arange(9).reshape(3, 3), 4, 2, 1)
    assert conv.describe_step(step) in explorer.html and "data:image/png" in explorer.html
    assert explorer.html.count(conv.describe_step(step)) == 1 and 'alt=""' in explorer.html, "a sentence is read once"
    explorer.controls["dilation"].value = 3
    explorer.controls["padding"].value = 0
    assert 'role="alert"' in explorer.html


def test_explorer_reaches_every_step_and_no_other():
    explorer = conv.window_explorer()
    step = explorer.controls["step"]
    assert step.max == 3, "2 x 2 places"
    for name, value in (("image", 8), ("kernel", 1), ("padding", 3)):
        explorer.controls[name].value = value
    assert step.max == 14 * 14 - 1
    step.value = step.max
    assert 'role="alert"' not in explorer.html and "Row 14, column 14" in explorer.html
    explorer.controls["stride"].value = 3
    assert step.max == step.value == 24 and 'role="alert"' not in explorer.html and "Row 5, column 5" in explorer.html


# --- the exercises' checkers: answers that were once accepted, or got no hint or a wrong one --------------------------------


def filtered_in_bytes(image, kernel, bias):
    rows, columns = (n - k + 1 for n, k in zip(image.shape, kernel.shape, strict=True))
    result = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            result[i, j] = (image[i : i + kernel.shape[0], j : j + kernel.shape[1]] * kernel).sum() + bias
    return result


def padded_in_int(image, kernel):
    result = np.zeros([n + k - 1 for n, k in zip(image.shape, kernel, strict=True)], int)
    top, left = ((k - 1) // 2 for k in kernel)
    result[top : top + image.shape[0], left : left + image.shape[1]] = image
    return result


def pooled_from_zero(maps, sensitivity):
    gradient = np.zeros(maps.shape)
    for (i, j), s in np.ndenumerate(sensitivity):
        best, place = 0, None
        for u in (2 * i, 2 * i + 1):
            for v in (2 * j, 2 * j + 1):
                if maps[u, v] > best:
                    best, place = maps[u, v], (u, v)
        if place:
            gradient[place] = s
    return gradient


def pooled_forward(maps, sensitivity):
    return maps.reshape(sensitivity.shape[0], 2, -1, 2).max(axis=(1, 3))


def pooled_without_sign(maps, sensitivity):
    return exercise_named("foundations/convolution.pool_gradient").solution(maps, abs(sensitivity))


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("filter_image", filtered_in_bytes, "Bytes wrap around"),
        ("pad_same", padded_in_int, "Zeros do not change the type"),
        ("pool_gradient", pooled_from_zero, "Start from the first number"),
        ("pool_gradient", pooled_forward, "shape"),
        ("pool_gradient", pooled_without_sign, ""),
    ],
)
def test_checkers_find_the_mistake(name, answer, said):
    result = examine(exercise_named(f"foundations/convolution.{name}"), answer)
    assert not result and said in result.hint
    assert result.failed > result.cases / 4, "it shows on many inputs"
    assert "zeros_like" not in result.hint


# --- the record and the bench -----------------------------------------------------------------------------------------


def test_the_record_meets_the_figures_to_meet():
    record = read_record("foundations/convolution", "laptop")
    if record is None or not record["data"]["complete"]:
        pytest.skip("no record of all digits")
    figures = record["figures"]
    assert figures["cnn_accuracy"]["min"] >= 0.985 and figures["cnn_seconds"]["max"] < 600
    for name, (bar, side) in bench().BARS.items():
        if name in figures:
            assert figures[name]["median"] >= bar if side == "at least" else figures[name]["median"] <= bar


def bench() -> ModuleType:
    path = Path(__file__).parent.parent / "bench" / "convolution.py"
    spec = importlib.util.spec_from_file_location("bench_convolution", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bench_judges(monkeypatch, capsys):
    module = bench()
    times = {"loop": 300.0, "ours": 1.0, "torch": 0.5, "ours, batch": 8.0, "torch, batch": 4.0}
    times |= {"ours, backward": 2.0, "torch, backward": 1.0}
    monkeypatch.setattr(module, "ways", lambda: {})
    monkeypatch.setattr(module, "check", lambda named: None)
    monkeypatch.setattr(sys, "argv", ["convolution.py", "--repeats", "1"])
    monkeypatch.setattr(module.torch, "set_num_threads", lambda n: None)  # of the whole process
    for loop, expected in ((300.0, 0), (100.0, 1)):
        now = {name: [t] for name, t in (times | {"loop": loop}).items()}
        monkeypatch.setattr(module, "measure", lambda named, repeats, now=now: now)
        assert module.main() == expected
        assert ("MISSED" in capsys.readouterr().out) == bool(expected)


def test_bench_tells_wrong_numbers():
    module, right = bench(), np.linspace(-1, 1, 9, dtype=np.float32)
    names = ("ours", "loop", "torch", "ours, batch", "torch, batch", "ours, backward", "torch, backward")
    named = {name: (lambda: right, 1) for name in names}
    module.check(named)
    with pytest.raises(AssertionError):
        module.check(named | {"torch": (lambda: right + 1e-4, 1)})


# --- the module -----------------------------------------------------------------------------------------------------


def test_importing_is_quick_and_light():
    heavy = {"torch", "fastai", "matplotlib", "pandas", "sklearn", "scipy", "ipywidgets"}
    code = f"import sys, pets_learn.foundations.convolution; print(*{heavy} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
