"""Filters: equal to OpenCV and SciPy over sizes, widths, directions and borders; laws that hold; bad input refused."""

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.ndimage as ndi
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from pets_learn import exercises as ex
from pets_learn.experiments import run_experiment
from pets_learn.foundations import filters as fl
from pets_learn.foundations.perceptron import BadShape
from pets_learn.run import BadSetting, PetsLearnError, environment

ROOT = Path(__file__).resolve().parent.parent
OPENCV = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}
SCIPY = {"constant": "constant", "edge": "nearest", "reflect": "mirror", "symmetric": "reflect", "wrap": "wrap"}
TORCH = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}

CALM = settings(max_examples=40, deadline=None)
borders = st.sampled_from(fl.BORDERS)
opencv_borders = st.sampled_from(sorted(OPENCV))
sides = st.integers(1, 5).map(lambda half: 2 * half + 1)
sigmas = st.floats(0.3, 5.0)
angles = st.floats(-7.0, 7.0)
seeds = st.integers(0, 2**32 - 1)


def picture(seed: int, least: int = 12, most: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=rng.integers(least, most, 2))


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == np.float64
    assert_allclose(ours, theirs, rtol=0, atol=1e-9)


# --- borders ---------------------------------------------------------------------------------------------------------


@CALM
@given(st.integers(1, 20), st.integers(-60, 60), opencv_borders)
def test_border_index_is_opencv_s(size, position, border):
    assert int(fl.border_index(position, size, border)) == cv2.borderInterpolate(position, size, OPENCV[border])


@CALM
@given(st.integers(1, 20), st.integers(-60, 60))
def test_wrap_is_the_remainder(size, position):
    assert int(fl.border_index(position, size, "wrap")) == position % size


@CALM
@given(seeds, st.integers(0, 5), st.integers(0, 5), borders)
def test_pad_border_is_numpy_s(seed, rows, columns, border):
    image = picture(seed)
    expected = np.pad(image, ((rows, rows), (columns, columns)), mode=border)
    assert_array_equal(fl.pad_border(image, rows, columns, border), expected)


@CALM
@given(seeds, st.integers(0, 5), st.sampled_from(sorted(TORCH)))
def test_border_names_of_torch(seed, width, border):
    image = picture(seed)
    theirs = torch.nn.functional.pad(torch.tensor(image)[None, None], [width] * 4, mode=TORCH[border])[0, 0].numpy()
    assert_array_equal(fl.pad_border(image, width, width, border), theirs)


@CALM
@given(hnp.arrays(np.uint8, st.tuples(st.integers(4, 9), st.integers(4, 9), st.just(3))), borders)
def test_pad_border_keeps_type_and_channels(image, border):
    padded = fl.pad_border(image, 2, 3, border)
    assert padded.dtype == np.uint8 and padded.shape == (image.shape[0] + 4, image.shape[1] + 6, 3)
    for c in range(3):
        assert_array_equal(padded[:, :, c], fl.pad_border(image[:, :, c], 2, 3, border))


@CALM
@given(st.sampled_from([np.uint8, np.int8, np.int32, np.uint64]), borders)
def test_border_index_of_any_whole_numbers(dtype, border):
    found = fl.border_index(np.arange(9, dtype=dtype), np.uint8(5), border)
    assert found.dtype == np.int64
    assert_array_equal(found, fl.border_index(np.arange(9), 5, border))


@pytest.mark.parametrize(("border", "room"), [("reflect", 3), ("symmetric", 4), ("wrap", 4)])
def test_border_has_only_so_much_room(border, room):
    image = np.ones((4, 9))
    assert fl.pad_border(image, room, 0, border).shape == (4 + 2 * room, 9)
    with pytest.raises(BadShape, match=rf"shape \(4, 9\).*{border!r} has {room} pixels"):
        fl.pad_border(image, room + 1, 0, border)
    with pytest.raises(BadSetting, match="rows is -1; give a whole number from 0 up"):
        fl.pad_border(image, -1, 0, border)


# --- correlation and convolution -------------------------------------------------------------------------------------


@CALM
@given(seeds, sides, sides, borders)
def test_correlate_and_convolve_are_scipy_s(seed, rows, columns, border):
    image, kernel = picture(seed), np.random.default_rng(seed).normal(size=(rows, columns))
    close(fl.correlate(image, kernel, border), ndi.correlate(image, kernel, mode=SCIPY[border]))
    close(fl.convolve(image, kernel, border), ndi.convolve(image, kernel, mode=SCIPY[border]))


@CALM
@given(seeds, sides, sides, opencv_borders)
def test_correlate_is_filter2d(seed, rows, columns, border):
    image, kernel = picture(seed), np.random.default_rng(seed).normal(size=(rows, columns))
    close(fl.correlate(image, kernel, border), cv2.filter2D(image, cv2.CV_64F, kernel, borderType=OPENCV[border]))


@pytest.mark.parametrize(("border", "side"), [("edge", 51), ("constant", 51), ("reflect", 9), ("symmetric", 11), ("wrap", 11)])
def test_kernels_larger_than_the_image(border, side):
    rng = np.random.default_rng(side)
    image, kernel = rng.normal(size=(5, 5)), rng.normal(size=(side, side))
    ours = fl.correlate(image, kernel, border)
    close(ours, ndi.correlate(image, kernel, mode=SCIPY[border]))
    if border in OPENCV:
        close(ours, cv2.filter2D(image, cv2.CV_64F, kernel, borderType=OPENCV[border]))


@pytest.mark.parametrize("side", [3, 5])
def test_wrap_in_opencv(side):
    """`blur` and `boxFilter` take it and agree with us, the other filters refuse it."""
    image, size, wrap = picture(side), (side, side), cv2.BORDER_WRAP
    ours = fl.correlate(image, fl.box_kernel(side), "wrap")
    close(ours, cv2.blur(image, size, borderType=wrap))
    close(ours, cv2.boxFilter(image, cv2.CV_64F, size, borderType=wrap))
    refusing = [
        lambda: cv2.filter2D(image, cv2.CV_64F, fl.box_kernel(side), borderType=wrap),
        lambda: cv2.sepFilter2D(image, cv2.CV_64F, np.ones(side), np.ones(side), borderType=wrap),
        lambda: cv2.Sobel(image, cv2.CV_64F, 1, 0, ksize=side, borderType=wrap),
        lambda: cv2.Scharr(image, cv2.CV_64F, 1, 0, borderType=wrap),
        lambda: cv2.Laplacian(image, cv2.CV_64F, borderType=wrap),
        lambda: cv2.GaussianBlur(image, size, 1.0, borderType=wrap),
    ]
    for call in refusing:
        with pytest.raises(cv2.error):
            call()


@CALM
@given(hnp.arrays(np.uint8, st.tuples(st.integers(4, 9), st.integers(4, 9), st.just(3))), opencv_borders)
def test_color_is_filter2d(image, border):
    kernel = np.arange(9.0).reshape(3, 3) - 3
    theirs = cv2.filter2D(image, cv2.CV_64F, kernel, borderType=OPENCV[border])
    close(fl.correlate(image, kernel, border), theirs)
    apart = fl.correlate_separable(image, [1, 2, 1], [-1, 0, 1], border)
    close(apart, cv2.Sobel(image, cv2.CV_64F, 1, 0, borderType=OPENCV[border]))


@CALM
@given(seeds, sides)
def test_correlate_is_torch_s_layer(seed, side):
    image, kernel = picture(seed), np.random.default_rng(seed).normal(size=(side, side))
    theirs = torch.nn.functional.conv2d(torch.tensor(image)[None, None], torch.tensor(kernel)[None, None], padding=side // 2)
    close(fl.correlate(image, kernel, "constant"), theirs[0, 0].numpy())


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.float32, bool])
@CALM
@given(seed=seeds)
def test_no_type_wraps_around(dtype, seed):
    image = np.random.default_rng(seed).integers(0, 256, (7, 8)).astype(np.uint8).astype(dtype)
    kernel = np.array([[-100.0, 0, 255], [1, 2, 3], [7, 7, 7]])
    close(fl.correlate(image, kernel), ndi.correlate(image.astype(np.float64), kernel, mode="mirror"))


@CALM
@given(seeds, borders, st.floats(-5, 5), st.floats(-5, 5))
def test_linear(seed, border, a, b):
    one = picture(seed)
    other, kernel = np.random.default_rng(seed).normal(size=one.shape), np.random.default_rng(seed + 1).normal(size=(5, 3))
    together = a * fl.correlate(one, kernel, border) + b * fl.correlate(other, kernel, border)
    close(fl.correlate(a * one + b * other, kernel, border), together)


@CALM
@given(seeds, st.integers(-40, 40), st.integers(-40, 40))
def test_shift_equivariant(seed, down, right):
    """Exactly with `wrap`; away from the border with any."""
    image, kernel = picture(seed), np.random.default_rng(seed).normal(size=(5, 3))
    moved = np.roll(image, (down, right), axis=(0, 1))
    close(fl.correlate(moved, kernel, "wrap"), np.roll(fl.correlate(image, kernel, "wrap"), (down, right), axis=(0, 1)))
    close(fl.correlate(image[1:], kernel, "edge")[3:-3], fl.correlate(image, kernel, "edge")[4:-3])


@CALM
@given(seeds)
def test_two_filters_are_one(seed):
    rng, image = np.random.default_rng(seed), picture(seed)
    a, b = rng.normal(size=(3, 3)), rng.normal(size=(3, 5))
    merged = fl.convolve(np.pad(a, ((1, 1), (2, 2))), b, "constant")
    close(fl.convolve(fl.convolve(image, a, "wrap"), b, "wrap"), fl.convolve(image, merged, "wrap"))


def test_one_bright_pixel_tells_which():
    dot, kernel = np.zeros((5, 5)), np.arange(9.0).reshape(3, 3)
    dot[2, 2] = 1
    assert_array_equal(fl.convolve(dot, kernel)[1:4, 1:4], kernel)
    assert_array_equal(fl.correlate(dot, kernel)[1:4, 1:4], kernel[::-1, ::-1])


@CALM
@given(seeds, sides, sides, borders)
def test_separable_is_the_same_for_less(seed, rows, columns, border):
    rng, image = np.random.default_rng(seed), picture(seed)
    column, row = rng.normal(size=rows), rng.normal(size=columns)
    close(fl.correlate_separable(image, column, row, border), fl.correlate(image, np.outer(column, row), border))
    if border in OPENCV:
        close(
            fl.correlate_separable(image, column, row, border),
            cv2.sepFilter2D(image, cv2.CV_64F, row, column, borderType=OPENCV[border]),
        )


@CALM
@given(seeds, sides, sides)
def test_separate_finds_the_factors(seed, rows, columns):
    rng = np.random.default_rng(seed)
    kernel = np.outer(rng.normal(size=rows), rng.normal(size=columns))
    column, row = fl.separate(kernel)
    assert column.shape == (rows,) and row.shape == (columns,)
    assert_allclose(np.outer(column, row), kernel, atol=1e-12)
    with pytest.raises(BadSetting, match="no product of a column and a row"):
        fl.separate(kernel + np.eye(rows, columns))


# --- pictures ---------------------------------------------------------------------------------------------------------


@CALM
@given(hnp.arrays(np.uint8, (8, 9)), hnp.arrays(np.int64, (3, 3), elements=st.integers(-9, 9)))
def test_saturated_bytes_are_opencv_s(image, kernel):
    theirs = cv2.filter2D(image, -1, kernel.astype(np.float32))
    assert_array_equal(fl.to_uint8(fl.correlate(image, kernel), saturate=True), theirs)


@pytest.mark.parametrize("values", [[-0.6, 3], [3, 255.6], [1e9], [-1]])
def test_bytes_never_wrap_around(values):
    with pytest.raises(BadSetting, match="would wrap around in uint8"):
        fl.to_uint8(np.array(values))
    assert_array_equal(fl.to_uint8(np.array(values), saturate=True), np.clip(np.rint(values), 0, 255))
    assert fl.to_uint8(np.array([-0.4, 255.4, 1.5])).tolist() == [0, 255, 2]


@CALM
@given(hnp.arrays(np.float64, (4, 4), elements=st.floats(-1e6, 1e6)))
def test_signed_picture_is_symmetric(values):
    shown = fl.signed_picture(values)
    assert ((shown > 128) <= (values > 0)).all() and ((shown < 127) <= (values < 0)).all()
    assert_array_equal(shown.astype(int)[values == 0], 128)
    assert np.abs(shown.astype(int) + fl.signed_picture(-values) - 255.5).max() <= 0.5


@CALM
@given(hnp.arrays(np.uint8, (5, 6, 3)))
def test_gray_is_opencv_s(photo):
    ours = fl.gray(photo)
    assert_allclose(ours, cv2.cvtColor(photo.astype(np.float32) / 255, cv2.COLOR_RGB2GRAY), atol=1e-6)
    assert_allclose(fl.gray(photo / 255), ours, atol=1e-12)
    assert ours.min() >= 0 and ours.max() <= 1


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "HSV"])
def test_gray_of_other_kinds_of_pictures(mode):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)).convert(mode)
    assert_array_equal(fl.gray(photo), fl.gray(np.asarray(photo.convert("RGB"))))
    assert fl.gray(photo).shape == (9, 8)


# --- smoothing --------------------------------------------------------------------------------------------------------


@CALM
@given(sides, sigmas)
def test_gaussian_window_is_opencv_s(size, sigma):
    assert_allclose(fl.gaussian_window(sigma, size), cv2.getGaussianKernel(size, sigma, cv2.CV_64F)[:, 0], atol=1e-12)
    assert_allclose(fl.gaussian_kernel(sigma, size).sum(), 1)


NARROW = {  # every kernel with small numbers: name -> (function, a size and a width as two arguments)
    "box": lambda size, width: fl.box_kernel(size),
    "window": lambda size, width: fl.gaussian_window(width, size),
    "slope window": lambda size, width: fl.gaussian_window(width, size, 1),
    "curved window": lambda size, width: fl.gaussian_window(width, size, 2),
    "window of its own size": lambda size, width: fl.gaussian_window(width),
    "Gaussian": lambda size, width: fl.gaussian_kernel(width, size),
    "LoG": lambda size, width: fl.log_kernel(width, size),
    "DoG": lambda size, width: fl.dog_kernel(width, width, size),
    "match": lambda size, width: fl.dog_match(width, width),
    "Gabor": lambda size, width: fl.gabor_kernel(size, width, width, width, width, width),
    "Gabor's width": lambda size, width: fl.gabor_sigma(width, width),
    "bank": lambda size, width: fl.gabor_bank([width], size, width, width)[0][-1],
}


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32])
@pytest.mark.parametrize("size", [13, 17, 81])
@pytest.mark.parametrize("kernel", NARROW.values(), ids=NARROW)
def test_small_numbers_do_not_wrap_around(kernel, size, dtype):
    width = dtype(20) if dtype is not np.float32 else dtype(1.1)
    narrow_size = size if dtype is np.float32 else dtype(size)
    assert_array_equal(kernel(narrow_size, width), kernel(size, float(width)))


def test_correlation_with_a_kernel_of_bytes():
    kernel = np.array([[-100, 3, 100]], np.int8)
    close(fl.correlate(np.full((3, 3), 200, np.uint8), kernel), np.full((3, 3), 600.0))
    assert fl.noise_gain(np.array([100, 100], np.uint8)) == pytest.approx(100 * 2**0.5)


@CALM
@given(seeds, st.floats(0.3, 2.5), st.sampled_from([0, 1, 2]), borders)
def test_gaussian_windows_are_scipy_s(seed, sigma, order, border):
    image, window = picture(seed), fl.gaussian_window(sigma, order=order)
    theirs = ndi.gaussian_filter1d(image, sigma, axis=1, order=order, mode=SCIPY[border])
    close(fl.correlate(image, window[None], border), theirs)
    close(fl.correlate(image, window[:, None], border), ndi.gaussian_filter1d(image, sigma, 0, order, mode=SCIPY[border]))


@CALM
@given(seeds, st.floats(0.3, 2.5), borders)
def test_gaussian_blur_is_scipy_s(seed, sigma, border):
    image = picture(seed)
    close(fl.gaussian_blur(image, sigma, border=border), ndi.gaussian_filter(image, sigma, mode=SCIPY[border]))


@CALM
@given(seeds, sigmas, sides, opencv_borders)
def test_gaussian_blur_is_opencv_s(seed, sigma, size, border):
    image = picture(seed)
    theirs = cv2.GaussianBlur(image, (size, size), sigma, borderType=OPENCV[border])
    close(fl.gaussian_blur(image, sigma, size, border), theirs)


@CALM
@given(seeds, sides, borders)
def test_box_is_opencv_s_and_scipy_s(seed, size, border):
    image, kernel = picture(seed), fl.box_kernel(size)
    close(fl.correlate(image, kernel, border), ndi.uniform_filter(image, size, mode=SCIPY[border]))
    if border in OPENCV:
        close(fl.correlate(image, kernel, border), cv2.blur(image, (size, size), borderType=OPENCV[border]))


@CALM
@given(st.floats(0.1, 9), sigmas, st.sampled_from(["edge", "reflect", "symmetric", "wrap"]))
def test_a_wall_stays_as_bright(level, sigma, border):
    wall = np.full((45, 50), level)
    close(fl.gaussian_blur(wall, sigma, border=border), wall)
    assert fl.gaussian_blur(wall, sigma, border="constant")[0, 0] < level


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(0.6, 3.0), st.sampled_from([0, 1, 2]))
def test_noise_gain_is_what_noise_does(seed, sigma, order):
    noise = np.random.default_rng(seed).normal(0, 2, (1, 60_000))
    window = fl.gaussian_window(sigma, order=order)
    measured = fl.correlate(noise, window[None], "wrap").std()
    assert_allclose(measured, 2 * fl.noise_gain(window), rtol=0.06)


def test_an_edge_stands_out_like_the_root_of_the_width():
    def clear(sigma):
        weights = fl.gaussian_window(sigma, order=1)
        return weights[len(weights) // 2 :].sum() / fl.noise_gain(weights)

    assert_allclose([clear(4 * s) / clear(s) for s in (3, 5, 8)], 2, rtol=0.02)

    def clear_in_a_photo(sigma):
        weights = np.outer(fl.gaussian_window(sigma), fl.gaussian_window(sigma, order=1))
        return weights[:, weights.shape[1] // 2 :].sum() / fl.noise_gain(weights)

    assert_allclose([clear_in_a_photo(4 * s) / clear_in_a_photo(s) for s in (3, 5)], 4, rtol=0.02)


def test_what_derivatives_measure():
    """On a ramp of 1 a pixel and a bowl whose Laplacian is 1: the factors that the text divides by."""
    y, x = np.mgrid[-5.0:6, -5.0:6]
    bowl, middle = (x**2 + y**2) / 4, (5, 5)
    factors = {"central": 2, "prewitt": 6, "sobel": 8, "scharr": 32}
    assert {name: fl.gradient(x, name).x[middle] for name in factors} == factors
    assert [fl.correlate(bowl, fl.laplacian_kernel(n))[middle] for n in (4, 8)] == [1, 3]
    assert cv2.Laplacian(bowl, cv2.CV_64F, ksize=3)[middle] == 4
    per_unit = [fl.noise_gain(fl.laplacian_kernel(4)), fl.noise_gain(fl.laplacian_kernel(8)) / 3]
    assert_allclose(np.array(per_unit) / (fl.noise_gain([-1, 0, 1]) / 2), [6.32, 4.0], atol=0.01)


# --- first derivatives and edges ----------------------------------------------------------------------------------------


@CALM
@given(seeds, st.sampled_from([(1, 0), (0, 1), (2, 0), (0, 2)]), opencv_borders)
def test_sobel_is_opencv_s(seed, orders, border):
    image, (dx, dy) = picture(seed), orders
    kernel = fl.derivative_kernel("sobel", "x" if dx else "y", dx + dy)
    close(fl.correlate(image, kernel, border), cv2.Sobel(image, cv2.CV_64F, dx, dy, borderType=OPENCV[border]))
    central = fl.correlate(image, fl.derivative_kernel("central", "x" if dx else "y", dx + dy), border)
    close(central, cv2.Sobel(image, cv2.CV_64F, dx, dy, ksize=1, borderType=OPENCV[border]))
    if dx + dy == 1:
        ours = fl.correlate(image, fl.derivative_kernel("scharr", "x" if dx else "y"), border)
        close(ours, cv2.Scharr(image, cv2.CV_64F, dx, dy, borderType=OPENCV[border]))


@CALM
@given(seeds, st.sampled_from(["prewitt", "scharr"]), st.sampled_from(["x", "y"]), opencv_borders)
def test_second_derivatives_of_prewitt_and_scharr(seed, name, axis, border):
    image, second = picture(seed), np.array([1.0, -2, 1])
    smooth = {"prewitt": np.ones(3), "scharr": np.array([3.0, 10, 3])}[name]
    row, column = (second, smooth) if axis == "x" else (smooth, second)
    theirs = cv2.sepFilter2D(image, cv2.CV_64F, row, column, borderType=OPENCV[border])
    close(fl.correlate(image, fl.derivative_kernel(name, axis, 2), border), theirs)


@CALM
@given(seeds, st.sampled_from(["sobel", "prewitt"]), st.sampled_from(["x", "y"]), borders)
def test_sobel_and_prewitt_are_scipy_s(seed, name, axis, border):
    image = picture(seed)
    theirs = getattr(ndi, name)(image, axis=1 if axis == "x" else 0, mode=SCIPY[border])
    close(fl.correlate(image, fl.derivative_kernel(name, axis), border), theirs)


@CALM
@given(seeds)
def test_the_printed_kernels_are_those_of_a_convolution(seed):
    """Document 002 prints plus on the left and on top: `filter2D` gives minus OpenCV's `Sobel`, a convolution gives it."""
    image = picture(seed)
    printed = {"x": [[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], "y": [[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]}
    for axis, kernel in printed.items():
        opencv = cv2.Sobel(image, cv2.CV_64F, int(axis == "x"), int(axis == "y"))
        close(fl.convolve(image, kernel), opencv)
        close(cv2.filter2D(image, cv2.CV_64F, np.array(kernel)), -opencv)
        prewitt = np.sign(np.array(kernel))
        close(fl.convolve(image, prewitt, "symmetric"), ndi.prewitt(image, axis=1 if axis == "x" else 0))


@CALM
@given(angles, st.floats(0.1, 10), st.sampled_from(sorted(fl.SMOOTHING)))
def test_gradient_of_a_ramp(angle, steepness, name):
    y, x = np.mgrid[0:7, 0:8]
    slopes = fl.gradient(steepness * (np.cos(angle) * x + np.sin(angle) * y), name)
    inner = (slice(1, -1), slice(1, -1))
    assert_allclose(slopes.magnitude[inner], 2 * sum(fl.SMOOTHING[name]) * steepness, rtol=1e-9)
    turned = (slopes.direction[inner] - angle + np.pi) % (2 * np.pi) - np.pi
    assert_allclose(turned, 0, atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 25), st.integers(1, 25))),
    st.integers(1, 64),
    st.floats(0, 400),
    st.floats(0, 400),
)
def test_canny_is_opencv_s(image, coarse, low, more):
    """Pixel for pixel, ties included: coarse gray levels make many."""
    image = image // coarse * coarse
    theirs = cv2.Canny(image, low, low + more, L2gradient=True) > 0
    assert_array_equal(fl.canny(image, low, low + more), theirs)


@CALM
@given(seeds, st.integers(1, 200), st.integers(0, 300))
def test_canny_is_opencv_s_on_shapes(seed, low, more):
    rng, image = np.random.default_rng(seed), np.zeros((40, 50), np.uint8)
    for _ in range(4):
        center = [int(v) for v in rng.integers(0, 50, 2)]
        cv2.circle(image, center, int(rng.integers(3, 15)), int(rng.integers(1, 255)), -1)
    image = cv2.GaussianBlur(image, (5, 5), 1)
    assert_array_equal(fl.canny(image, low, low + more), cv2.Canny(image, low, low + more, L2gradient=True) > 0)


@CALM
@given(hnp.arrays(np.float64, (12, 13), elements=st.integers(0, 9)), st.integers(0, 8), st.integers(0, 4))
def test_hysteresis_keeps_regions_with_a_strong_pixel(strength, low, more):
    weak = strength > low
    regions, _ = ndi.label(weak, np.ones((3, 3)))
    expected = weak & np.isin(regions, np.unique(regions[strength > low + more]))
    assert_array_equal(fl.hysteresis(strength, low, low + more), expected)


@CALM
@given(hnp.arrays(bool, (9, 9)), hnp.arrays(bool, (9, 9)))
def test_edge_f1(found, reference):
    score = fl.edge_f1(found, reference)
    assert 0 <= score <= 1 and score == fl.edge_f1(reference, found) and fl.edge_f1(found, found) == 1
    near = ndi.binary_dilation(reference, np.ones((3, 3)))
    if found.any() and reference.any():
        precision = (found & near).sum() / found.sum()
        recall = (reference & ndi.binary_dilation(found, np.ones((3, 3)))).sum() / reference.sum()
        assert_allclose(score, 2 * precision * recall / (precision + recall) if precision + recall else 0)
    else:
        assert score == (found.any() == reference.any())


def test_smoothing_helps_under_noise():
    y, x = np.mgrid[0:60, 0:60]
    disk = 0.2 + 0.6 * ((x - 30) ** 2 + (y - 30) ** 2 < 400)
    scores = fl.noisy_edges([disk] * 3, seed=0)
    kinds = ("", "clean_", "chance_", "coarse_")
    assert list(scores) == [f"edge_f1_{kind}sigma_{s}" for kind in kinds for s in (0, 1, 2, 4)]
    assert scores["edge_f1_sigma_2"] > scores["edge_f1_sigma_0"] + 0.1
    assert scores["edge_f1_clean_sigma_1"] == 1, "the reference is the clean photo at width 1"
    assert max(scores[f"edge_f1_chance_sigma_{s}"] for s in (0, 1, 2, 4)) < scores["edge_f1_sigma_2"]
    assert scores == fl.noisy_edges([disk] * 3, seed=0) and scores != fl.noisy_edges([disk] * 3, seed=1)


def test_noisy_edges_are_what_the_text_says():
    """Each score by its definition, for one photo."""
    photo = np.random.default_rng(5).random((30, 31))
    photo = fl.gaussian_blur(photo, 2.0)
    grain = np.random.default_rng(7).normal(0, fl.NOISE, photo.shape)
    fine, coarse = fl.find_edges(photo, 1), fl.find_edges(photo, 4)
    scores = fl.noisy_edges([photo], seed=7)
    for s in fl.WIDTHS:
        found = {"": photo + grain, "clean_": photo, "chance_": grain}
        for kind, picture_ in found.items():
            assert scores[f"edge_f1_{kind}sigma_{s}"] == fl.edge_f1(fl.find_edges(picture_, s), fine)
        assert scores[f"edge_f1_coarse_sigma_{s}"] == fl.edge_f1(fl.find_edges(photo + grain, s), coarse)


def test_find_edges_lets_a_share_through():
    image = picture(3, 30, 40)
    magnitude = fl.gradient(image, border="edge").magnitude
    high = np.quantile(magnitude, 0.7)
    assert_array_equal(fl.find_edges(image, 0, 0.3), fl.canny(image, 0.4 * high, high))
    assert_array_equal(fl.find_edges(image, np.float32(0), 0.3), fl.find_edges(image, 0, 0.3))


# --- second derivatives -------------------------------------------------------------------------------------------------


@CALM
@given(seeds, borders)
def test_laplacian_is_opencv_s_and_scipy_s(seed, border):
    image = picture(seed)
    ours = fl.correlate(image, fl.laplacian_kernel(), border)
    close(ours, ndi.laplace(image, mode=SCIPY[border]))
    printed = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    close(fl.correlate(image, printed, border), -ours)  # document 002's sign
    if border in OPENCV:
        close(ours, cv2.Laplacian(image, cv2.CV_64F, borderType=OPENCV[border]))
        wide = fl.derivative_kernel("sobel", "x", 2) + fl.derivative_kernel("sobel", "y", 2)
        close(fl.correlate(image, wide, border), cv2.Laplacian(image, cv2.CV_64F, ksize=3, borderType=OPENCV[border]))
        eight = cv2.filter2D(image, cv2.CV_64F, np.array([[1.0, 1, 1], [1, -8, 1], [1, 1, 1]]), borderType=OPENCV[border])
        close(fl.correlate(image, fl.laplacian_kernel(8), border), eight)


@CALM
@given(seeds, st.floats(0.4, 2.5), borders)
def test_log_is_scipy_s(seed, sigma, border):
    image = picture(seed)
    close(fl.correlate(image, fl.log_kernel(sigma), border), ndi.gaussian_laplace(image, sigma, mode=SCIPY[border]))


@CALM
@given(st.floats(1.5, 6))
def test_log_is_the_formula_of_two_dimensions(sigma):
    half = int(4 * sigma + 0.5)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    square = x**2 + y**2
    formula = (square / sigma**4 - 2 / sigma**2) * np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    assert_allclose(fl.log_kernel(sigma), formula, rtol=2e-3, atol=1e-9)
    x = np.arange(-half, half + 1)
    line = (x**2 / sigma**4 - 1 / sigma**2) * np.exp(-(x**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    assert_allclose(fl.gaussian_window(sigma, order=2), line, rtol=2e-3, atol=1e-9)  # what document 002 prints


@CALM
@given(seeds, st.floats(0.4, 2.0), st.floats(1.1, 3.0), opencv_borders)
def test_dog_is_a_difference_of_blurs(seed, sigma, ratio, border):
    image = picture(seed, 40, 60)
    size = fl.gaussian_window(ratio * sigma).size
    wide, narrow = (cv2.GaussianBlur(image, (size, size), s, borderType=OPENCV[border]) for s in (ratio * sigma, sigma))
    close(fl.correlate(image, fl.dog_kernel(sigma, ratio), border), wide - narrow)


@CALM
@given(st.floats(2.0, 5.0), st.floats(1.001, 1.05))
def test_dog_tends_to_log(sigma, ratio):
    """With the equation of heat, and on the circle where both are zero."""
    size = 2 * int(5 * sigma) + 1
    dog, log = fl.dog_kernel(sigma, ratio, size), fl.log_kernel(fl.dog_match(sigma, ratio), size)
    assert_allclose(dog, (ratio - 1) * sigma**2 * fl.log_kernel(sigma, size), atol=3 * (ratio - 1) * np.abs(dog).max())
    cosine = (dog * log).sum() / np.linalg.norm(dog) / np.linalg.norm(log)
    assert cosine > 0.9999
    wide = fl.dog_kernel(10.0, ratio, 101)[50]
    crossing = np.interp(0, wide[50:75], np.arange(25.0))
    assert_allclose(crossing, np.sqrt(2) * fl.dog_match(10.0, ratio), rtol=0.01)


def by_the_words(values: np.ndarray, least: float) -> np.ndarray:
    """Pixel by pixel: the next one has the other sign, or this one is 0 and its two neighbors have opposite signs."""
    found = np.zeros(values.shape, bool)
    for line, mark in [*zip(values, found, strict=True), *zip(values.T, found.T, strict=True)]:
        for i in range(len(line)):
            if i + 1 < len(line) and line[i] * line[i + 1] < 0 and abs(line[i] - line[i + 1]) > least:
                mark[i] = True
            if 0 < i < len(line) - 1 and line[i] == 0 and line[i - 1] * line[i + 1] < 0:
                mark[i] |= abs(line[i - 1] - line[i + 1]) > least
    return found


@CALM
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.integers(-3, 3)), st.floats(0, 6))
def test_zero_crossings_by_loops(values, least):
    found = fl.zero_crossings(values, least)
    assert_array_equal(found, by_the_words(values, least))
    assert_array_equal(found, fl.zero_crossings(-values, least))
    assert_array_equal(found.T, fl.zero_crossings(values.T, least))


def test_the_edge_on_paper_is_found_once():
    second = np.array([[0.0, 0, 3, 0, -3, 0, 0]])
    for values in (second, -second):
        assert np.flatnonzero(fl.zero_crossings(values)).tolist() == [3]
        assert not fl.zero_crossings(values, 6).any()
        assert fl.zero_crossings(values.T, 5.9).sum() == 1


# --- Gabor --------------------------------------------------------------------------------------------------------------


@CALM
@given(sides, sigmas, angles, st.floats(1, 20), st.floats(0.2, 3), angles)
def test_gabor_kernel_is_opencv_s(size, sigma, theta, wavelength, aspect, phase):
    theirs = cv2.getGaborKernel((size, size), sigma, theta, wavelength, aspect, phase, cv2.CV_64F)
    assert_allclose(fl.gabor_kernel(size, sigma, theta, wavelength, aspect, phase), theirs, atol=1e-9)


@CALM
@given(seeds, sides, sigmas, angles, st.floats(2, 20), angles, opencv_borders)
def test_gabor_answers_are_opencv_s(seed, size, sigma, theta, wavelength, phase, border):
    image = picture(seed)
    kernel = cv2.getGaborKernel((size, size), sigma, theta, wavelength, 0.7, phase, cv2.CV_64F)
    ours = fl.correlate(image, fl.gabor_kernel(size, sigma, theta, wavelength, 0.7, phase), border)
    close(ours, cv2.filter2D(image, cv2.CV_64F, kernel, borderType=OPENCV[border]))


@CALM
@given(seeds, sigmas, angles, st.floats(2, 20), angles)
def test_the_printed_gabor_after_the_mapping(seed, sigma, omega, wavelength, phi):
    """Document 002: a sine, divided by 2 pi sigma^2, first index down, in a convolution."""
    m, n = np.mgrid[-5:6, -5:6]
    hill = np.exp(-(m**2 + n**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    printed = hill * np.sin(2 * np.pi * (np.cos(omega) * m + np.sin(omega) * n) / wavelength + phi)
    ours = fl.gabor_kernel(11, sigma, np.pi / 2 - omega, wavelength, 1.0, phi - np.pi / 2) / (2 * np.pi * sigma**2)
    image = picture(seed)
    close(fl.convolve(image, printed), fl.correlate(image, ours))


@CALM
@given(st.floats(0, np.pi), st.floats(5, 9), st.floats(0, 20))
def test_gabor_energy_does_not_see_the_phase(theta, wavelength, shift):
    y, x = np.mgrid[0:61, 0:61]
    along = x * np.cos(theta) + y * np.sin(theta)
    energies = [
        fl.gabor_energy(np.cos(2 * np.pi * (along - s) / wavelength), wavelength, theta, border="constant")[30, 30]
        for s in (0, shift)
    ]
    assert_allclose(energies[1], energies[0], rtol=0.02)
    across = np.cos(2 * np.pi * (x * -np.sin(theta) + y * np.cos(theta)) / wavelength)
    assert fl.gabor_energy(across, wavelength, theta)[30, 30] < 0.1 * energies[0]


@CALM
@given(st.floats(8, 16), st.floats(0.8, 2.0))
def test_bandwidth_in_octaves(wavelength, bandwidth):
    size = 2 * int(4 * fl.gabor_sigma(wavelength, bandwidth)) + 1
    middle = fl.gabor_kernel(size, fl.gabor_sigma(wavelength, bandwidth), 0.0, wavelength)[size // 2]
    heights = np.abs(np.fft.fft(middle, 2**14))[: 2**13]
    lower, *_, upper = np.flatnonzero(heights > heights.max() / 2)
    assert_allclose(np.log2(upper / lower), bandwidth, atol=0.12)


def test_gabor_bank():
    bank = fl.gabor_bank((4, 8), orientations=3, phase=0.5)
    assert [len(row) for row in bank] == [3, 3] and bank[1][0].shape[0] > bank[0][0].shape[0]
    even = fl.gabor_bank((6, 10))
    assert all(abs(kernel.sum()) < 0.01 * np.abs(kernel).sum() for row in even for kernel in row), "no answer to brightness"
    sigma = fl.gabor_sigma(8)
    assert_array_equal(bank[1][2], fl.gabor_kernel(bank[1][2].shape[0], sigma, 2 * np.pi / 3, 8, 1.0, 0.5))


# --- what a network begins with -------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.floats(1.2, 2.5), st.floats(0, 3.1), st.floats(3, 7), st.floats(0.6, 1.6), st.floats(0, 6), st.floats(0.01, 100))
def test_fit_finds_a_gabor_again(sigma, theta, wavelength, aspect, phase, height):
    known = height * fl.gabor_kernel(7, sigma, theta, wavelength, aspect, phase)
    found = fl.fit_gabor(known)
    assert found.explained > 0.99
    left = ((known - found.kernel) ** 2).sum() / (known**2).sum()
    assert_allclose(1 - left, found.explained, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_explained_is_the_share_it_says(seed):
    pattern = np.random.default_rng(seed).normal(size=(7, 7))
    found = fl.fit_gabor(pattern, starts=1)
    assert_allclose(1 - ((pattern - found.kernel) ** 2).sum() / (pattern**2).sum(), found.explained, atol=1e-6)
    assert 0 < found.explained < 0.9 and found.kernel.shape == (7, 7)
    assert fl.fit_gabor(pattern, starts=3).explained >= found.explained - 1e-9
    assert_allclose(fl.fit_gabor(7 * pattern, starts=1).explained, found.explained, atol=1e-3)


@CALM
@given(seeds)
def test_color_pattern_is_the_best_product(seed):
    weights = np.random.default_rng(seed).normal(size=(3, 5, 5))
    part = fl.color_pattern(weights)
    product = part.color[:, None, None] * part.pattern
    assert_allclose(((weights - product) ** 2).sum() / (weights**2).sum(), 1 - part.share, atol=1e-9)
    other = np.random.default_rng(seed + 1).normal(size=(5, 5))
    other /= np.linalg.norm(other)
    assert ((weights * other).sum(axis=(1, 2)) ** 2).sum() <= part.share * (weights**2).sum() + 1e-9


@CALM
@given(seeds)
def test_scrambled_keeps_the_spectrum(seed):
    patterns = np.random.default_rng(seed).normal(size=(4, 7, 7))
    mixed = fl.scrambled_patterns(patterns, np.random.default_rng(seed + 1))
    assert mixed.dtype == np.float64
    assert_allclose(np.abs(np.fft.fft2(mixed)), np.abs(np.fft.fft2(patterns)), atol=1e-9)
    assert_allclose((mixed**2).sum(axis=(1, 2)), (patterns**2).sum(axis=(1, 2)))


def test_dead_filters_are_left_out():
    filters = np.random.default_rng(0).normal(size=(5, 3, 3, 3))
    filters[[1, 3]] = 0
    patterns, shares = fl.patterns_of(filters)
    parts = [fl.color_pattern(filters[i]) for i in (0, 2, 4)]
    assert_array_equal(patterns, [part.pattern for part in parts])
    assert_array_equal(shares, [part.share for part in parts])
    assert_array_equal(fl.patterns_of(filters, 2)[0], patterns[:2])


def test_share_of_the_whole_filter():
    """What a Gabor filter in one color explains of all three colors, and whether its wave fits in."""
    short, long = fl.gabor_kernel(7, 2.0, 0.3, 4.0), fl.gabor_kernel(7, 2.0, 0.3, 30.0)
    other = np.random.default_rng(0).normal(size=(7, 7))
    other -= (other * short).sum() / (short**2).sum() * short
    other *= np.linalg.norm(short) / np.linalg.norm(other) / 3
    filters = np.array([[short, short, short], [long, long, long], [short + other, short - other, short]])
    found = fl.compare_with_gabor(filters, seed=0)
    assert list(found) == ["network", "random", "scrambled", "whole", "wave"]
    assert_allclose(found["network"], 1, atol=1e-3)
    assert_allclose(found["whole"], [1, 1, 3 / (3 + 2 / 9)], atol=1e-3)
    assert found["wave"].tolist() == [1, 0, 1]


@pytest.mark.slow
def test_experiment_at_smoke_scale(smoke, tmp_path):
    results = run_experiment(fl.experiments(), seeds=2, folder=tmp_path, quiet=True)
    table = results.table
    assert len(table) == 2 and all(run["data"]["generated"] for run in results.runs)
    assert table.gabor_share_explained.nunique() == 1, "the network's own filters do not depend on the seed"
    assert table.gabor_share_explained_random.nunique() == 2 and table.edge_f1_sigma_0.nunique() == 2
    entries = fl.summarize(table)
    assert set(entries) == set(table.columns) - {"seed", "seconds"}
    assert all(entry["unit"] == "share" and entry["n"] == 2 for entry in entries.values())


def test_figures_have_the_names_that_the_text_uses():
    kinds = ("network", "random", "scrambled", "whole", "wave")
    shares = {
        name: {kind: np.array([0.05, 0.15]) * (1 + i + 5 * j) / 2 for i, kind in enumerate(kinds)}
        for j, name in enumerate(fl.NETWORKS)
    }
    names = ("share_explained", "share_explained_random", "share_explained_scrambled", "share_of_whole_filter", "wave_inside")
    expected = [f"{network}_{name}" for network in ("gabor", "mobilenet_v2") for name in names]
    figures = fl.gabor_figures(shares)
    assert list(figures) == expected
    assert_allclose(list(figures.values()), np.arange(1, 11) * 0.05)


@pytest.mark.real
def test_trained_filters_are_more_gabor_than_their_controls():
    layer = fl.first_layer("squeezenet1_0")
    if layer.generated:
        pytest.skip("the weights are not here")
    shares = fl.compare_with_gabor(layer.filters, seed=0, most=12, starts=1)
    assert shares["network"].mean() > shares["scrambled"].mean() + 0.1 > shares["random"].mean() + 0.2


def test_stand_ins_are_announced(capsys):
    with environment(PETS_LEARN_SCALE="smoke"):
        layer = fl.first_layer("mobilenet_v2")
    assert layer.generated and layer.filters.shape == (32, 3, 3, 3)
    assert fl.color_pattern(layer.filters[0]).share > 0.5


# --- the playground -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", fl.FILTERS)
@pytest.mark.parametrize("shape", [(40, 44), (40, 44, 3)])
def test_every_filter_gives_a_picture(name, shape):
    photo = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    shown = fl.filtered_picture(photo, name, sigma=1.5, theta=0.5, wavelength=5.0, border="edge")
    assert shown.shape == (40, 44) and shown.dtype == np.uint8 and np.ptp(shown) > 0


def test_own_kernels():
    photo = np.random.default_rng(0).random((9, 9))
    expected = fl.to_uint8(255 * fl.correlate(photo, fl.box_kernel(3)))
    assert_array_equal(fl.filtered_picture(photo, np.full((3, 3), 1 / 9)), expected)
    assert_array_equal(fl.filtered_picture(photo, [[-1, 0, 1]]), fl.signed_picture(fl.correlate(photo, [[-1, 0, 1]])))


def shown_picture(html: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', html)[1]))).convert("L"))


def test_gabor_pictures_take_their_width_from_the_wavelength():
    photo = np.random.default_rng(0).random((40, 44))
    sigma = fl.gabor_sigma(6.0)
    size = 2 * int(3 * sigma + 0.5) + 1
    kernel = fl.gabor_kernel(size, sigma, 0.4, 6.0)
    shown = fl.filtered_picture(photo, "Gabor even", 5.0, 0.4, 6.0)
    assert_array_equal(shown, fl.signed_picture(fl.correlate(photo, kernel)))
    sharper = fl.to_uint8(255 * (2 * photo - fl.gaussian_blur(photo, 1.5)), saturate=True)
    assert_array_equal(fl.filtered_picture(photo, "sharpened", 1.5), sharper)


def test_playground_moves_and_says_what_is_wrong():
    photo = np.random.default_rng(0).random((30, 32))
    playground = fl.filter_playground(photo)
    seen = {playground.html}
    for name, value in {"sigma": 3.0, "filter": "Gabor even", "theta": 45.0, "wavelength": 5.0, "border": "edge"}.items():
        playground.controls[name].value = value
        assert playground.html not in seen and "data:image/png" in playground.html, name
        seen.add(playground.html)
    words = "The photo after Gabor even, with sigma 3.0, theta 45.0 degrees, wavelength 5.0, border edge"
    assert playground.html.count(words) == 1 and "degrees" in playground.controls["theta"].description
    expected = fl.filtered_picture(photo, "Gabor even", theta=np.pi / 4, wavelength=5.0, border="edge")
    assert_array_equal(shown_picture(playground.html), expected)
    playground.controls["filter"].value = "own kernel"
    playground.controls["kernel"].value = "1 2\n3 x"
    assert 'role="alert"' in playground.html and "no number" in playground.html
    playground.controls["kernel"].value = "<b>"
    assert "<b>&" not in playground.html and "&lt;b&gt;" in playground.html
    playground.controls["kernel"].value = "0 1 0; 1 -4 1; 0 1 0"
    assert 'role="alert"' not in playground.html


def test_without_ipywidgets_the_playground_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(PetsLearnError, match="pip install ipywidgets"):
        fl.filter_playground(GOOD)


@CALM
@given(hnp.arrays(np.float64, st.tuples(sides, sides), elements=st.floats(-9, 9)))
def test_parse_kernel_reads_what_one_writes(kernel):
    text = "\n".join(" ".join(repr(float(v)) for v in row) for row in kernel)
    assert_array_equal(fl.parse_kernel(text), kernel)
    assert_array_equal(fl.parse_kernel(text.replace("\n", ";").replace(" ", ", ")), kernel)


# --- bad input ------------------------------------------------------------------------------------------------------------

GOOD, KERNEL = np.ones((9, 9)), np.ones((3, 3))
BAD_SHAPES = {
    "even kernel": (lambda: fl.correlate(GOOD, np.ones((2, 3))), r"kernel has shape \(2, 3\); both sides must be odd"),
    "kernel of one dimension": (lambda: fl.correlate(GOOD, np.ones(3)), r"kernel has shape \(3,\)"),
    "NaN in the image": (lambda: fl.correlate(np.full((9, 9), np.nan), KERNEL), "image of shape .* holds NaN"),
    "infinity in the kernel": (lambda: fl.convolve(GOOD, np.full((3, 3), np.inf)), "kernel of shape .* holds NaN or infinity"),
    "empty image": (lambda: fl.correlate(np.zeros((0, 9)), KERNEL), r"image is empty, its shape is \(0, 9\)"),
    "text": (lambda: fl.correlate([["a"]], KERNEL), "image has dtype"),
    "channels first": (lambda: fl.correlate(np.ones((3, 9, 9)), KERNEL), r"image has shape \(3, 9, 9\).*transpose\(1, 2, 0\)"),
    "kernel too large": (
        lambda: fl.correlate(GOOD, np.ones((19, 3))),
        r"kernel has shape \(19, 3\), image \(9, 9\): it reaches 9 pixels out, but border='reflect' has 8; use a smaller",
    ),
    "blur too wide": (lambda: fl.gaussian_blur(GOOD, 9.0), r"kernel has shape \(73, 73\), image \(9, 9\)"),
    "sums beyond float64": (lambda: fl.correlate(np.full((3, 3), 1e308), 9 * KERNEL), "leave the range of float64"),
    "products beyond float64": (lambda: fl.correlate_separable(np.full((3, 3), 1e308), [9.0], [1.0]), "leave the range"),
    "positions between": (lambda: fl.border_index([0.5], 4, "edge"), "positions has dtype float64"),
    "array for a gradient": (lambda: fl.non_maximum_suppression(GOOD), "slopes is of type ndarray; give the Gradient"),
    "unequal slopes": (
        lambda: fl.non_maximum_suppression(fl.Gradient(GOOD, GOOD[1:])),
        r"slopes.x has shape \(9, 9\), slopes.y \(8, 9\)",
    ),
    "NaN slopes": (lambda: fl.non_maximum_suppression(fl.Gradient(GOOD, GOOD * np.nan)), "slopes.y of shape .* holds NaN"),
    "no photos": (lambda: fl.noisy_edges([], 0), "there are no photos"),
    "pattern of one pixel": (lambda: fl.fit_gabor(np.ones((1, 1))), r"pattern has shape \(1, 1\); give a square of 3 by 3"),
    "dead layer": (lambda: fl.patterns_of(np.zeros((4, 3, 3, 3))), r"all filters of shape \(4, 3, 3, 3\) are zero"),
    "one filter for a layer": (lambda: fl.patterns_of(np.ones((3, 3, 3))), r"filters has shape \(3, 3, 3\)"),
    "color gradient": (lambda: fl.gradient(np.ones((9, 9, 3))), r"\(9, 9, 3\), a color photo.*gray\(image\)"),
    "color canny": (lambda: fl.canny(np.ones((9, 9, 3)), 1, 2), "a color photo"),
    "color energy": (lambda: fl.gabor_energy(np.ones((9, 9, 3)), 4, 0), "a color photo"),
    "even column": (lambda: fl.correlate_separable(GOOD, [1, 1], [1]), "must be odd"),
    "column of two dimensions": (lambda: fl.correlate_separable(GOOD, KERNEL, [1]), r"column has shape \(3, 3\)"),
    "RGBA to gray": (lambda: fl.gray(np.ones((9, 9, 4))), r"photo has shape \(9, 9, 4\)"),
    "edges of other shapes": (lambda: fl.edge_f1(np.ones((2, 2), bool), np.ones((2, 3), bool)), r"\(2, 2\), reference \(2, 3\)"),
    "edges that are numbers": (lambda: fl.edge_f1(np.ones((2, 2)), np.ones((2, 2), bool)), "found has dtype float64"),
    "hysteresis of a row": (lambda: fl.hysteresis(np.ones(5), 1, 2), r"strength has shape \(5,\)"),
    "NaN to bytes": (lambda: fl.to_uint8([np.nan]), "values of shape .* holds NaN"),
    "zero filter": (lambda: fl.color_pattern(np.zeros((3, 7, 7))), r"\(3, 7, 7\) are all zero"),
    "flat pattern": (lambda: fl.fit_gabor(np.zeros((7, 7))), "not all zero"),
    "ragged kernel": (lambda: fl.parse_kernel("1 2 3\n4 5"), r"\[3, 2\] numbers"),
    "no kernel": (lambda: fl.parse_kernel("  "), "same number"),
}
BAD_SETTINGS = {
    "even size": (lambda: fl.box_kernel(4), "size is 4; give an odd whole number"),
    "negative size": (lambda: fl.gaussian_kernel(1.0, -3), "size is -3"),
    "size of text": (lambda: fl.gabor_kernel("9", 1, 0, 4), "size is '9'"),
    "sigma 0": (lambda: fl.gaussian_window(0), "sigma is 0; give a positive number"),
    "negative sigma": (lambda: fl.gaussian_blur(GOOD, -1.0), r"sigma is -1\.0"),
    "sigma NaN": (lambda: fl.log_kernel(float("nan")), "sigma is nan"),
    "infinite sigma": (lambda: fl.dog_kernel(float("inf")), "sigma is inf"),
    "order 3": (lambda: fl.gaussian_window(1.0, order=3), "order is 3; use 0, 1 or 2"),
    "ratio 1": (lambda: fl.dog_kernel(1.0, 1.0), r"ratio is 1\.0"),
    "ratio below 1": (lambda: fl.dog_match(1.0, 0.5), r"ratio is 0\.5"),
    "unknown border": (lambda: fl.correlate(GOOD, KERNEL, "mirror"), "border is 'mirror'; use one of constant, edge"),
    "unknown derivative": (lambda: fl.derivative_kernel("roberts"), "name is 'roberts'; use one of central"),
    "unknown axis": (lambda: fl.derivative_kernel(axis="z"), "axis is 'z'"),
    "derivative of order 0": (lambda: fl.derivative_kernel(order=0), "order is 0"),
    "five neighbors": (lambda: fl.laplacian_kernel(5), "neighbors is 5; use 4 or 8"),
    "sigma near 0": (lambda: fl.gaussian_window(1e-200), "sigma is 1e-200; give a positive number, from 1e-60"),
    "sigma near 0 as float32": (lambda: fl.gaussian_window(np.float32(0)), "sigma is .*; give a positive number"),
    "huge sigma": (lambda: fl.gaussian_kernel(1e200, 3), r"sigma is 1e\+200"),
    "sigma of hundreds of digits": (lambda: fl.log_kernel(10**400, 3), "give a positive number"),
    "sigma of text": (lambda: fl.gaussian_blur(GOOD, "1"), "sigma is '1'"),
    "order 1.0": (lambda: fl.gaussian_window(1.0, order=1.0), r"order is 1\.0"),
    "size of an image": (lambda: fl.border_index([0], 0, "edge"), "size is 0; give a whole number from 1 up"),
    "half a row": (lambda: fl.pad_border(GOOD, 1.5, 0), r"rows is 1\.5"),
    "negative columns": (lambda: fl.pad_border(GOOD, 0, -1), "columns is -1"),
    "border that is no text": (lambda: fl.pad_border(GOOD, 1, 1, ["edge"]), "border is"),
    "name that is no text": (lambda: fl.derivative_kernel([]), "name is"),
    "threshold of text": (lambda: fl.hysteresis(GOOD, "1", 2), "low is 1, high is 2"),
    "share of text": (lambda: fl.find_edges(GOOD, 1.0, "half"), "share is 'half'"),
    "jump of text": (lambda: fl.zero_crossings(GOOD, "1"), "least is '1'"),
    "ratio of text": (lambda: fl.dog_kernel(1.0, "2"), "ratio is '2'"),
    "ratio NaN": (lambda: fl.dog_match(1.0, float("nan")), "ratio is nan"),
    "theta of text": (lambda: fl.gabor_kernel(9, 1, "up", 4), "theta is 'up'; give a finite number"),
    "one wavelength": (lambda: fl.gabor_bank(8), "wavelengths is 8; give several"),
    "half an orientation": (lambda: fl.gabor_bank((8,), 1.5), r"orientations is 1\.5"),
    "no filters": (lambda: fl.patterns_of(np.ones((2, 3, 3, 3)), 0), "most is 0"),
    "top of text": (lambda: fl.signed_picture(GOOD, "1"), "largest is '1'"),
    "thresholds in disorder": (lambda: fl.canny(GOOD, 3, 2), "low is 3, high is 2"),
    "negative threshold": (lambda: fl.hysteresis(GOOD, -1, 2), "low is -1"),
    "NaN threshold": (lambda: fl.hysteresis(GOOD, float("nan"), 2), "low is nan"),
    "share 0": (lambda: fl.find_edges(GOOD, 1.0, 0), "share is 0"),
    "negative jump": (lambda: fl.zero_crossings(GOOD, -1), "least is -1"),
    "wavelength 0": (lambda: fl.gabor_kernel(9, 1, 0, 0), "wavelength is 0"),
    "negative aspect": (lambda: fl.gabor_kernel(9, 1, 0, 4, -1), "aspect is -1"),
    "phase NaN": (lambda: fl.gabor_kernel(9, 1, 0, 4, 1, float("nan")), "phase is nan"),
    "bandwidth 0": (lambda: fl.gabor_sigma(4, 0), "bandwidth is 0"),
    "no orientations": (lambda: fl.gabor_bank((4,), 0), "orientations is 0"),
    "gray levels as float": (lambda: fl.gray(np.array([[0.0, 200.0]])), "give uint8, or float from 0 to 1"),
    "unknown filter": (lambda: fl.filtered_picture(GOOD, "median"), "filter is 'median'"),
    "unknown network": (lambda: fl.first_layer("resnet18"), "name is 'resnet18'; use one of squeezenet1_0"),
    "no starts": (lambda: fl.fit_gabor(KERNEL, 0), "starts is 0"),
    "not rank 1": (lambda: fl.separate(np.eye(3)), r"shape \(3, 3\) has a second singular value of 1 times"),
    "negative top": (lambda: fl.signed_picture(GOOD, -1), "largest is -1"),
}


@pytest.mark.parametrize("case", BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_bad_shapes_are_refused(case):
    call, words = case
    with pytest.raises(BadShape, match=words) as caught:
        call()
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, PetsLearnError)


@pytest.mark.parametrize("case", BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_are_refused(case):
    call, words = case
    with pytest.raises(BadSetting, match=words):
        call()


# --- the module and its exercises -------------------------------------------------------------------------------------------


def test_import_is_light():
    code = (
        "import sys, pets_learn.foundations.filters; print(*{'torch', 'fastai', 'matplotlib', 'scipy', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


@CALM
@given(sigmas, sides)
def test_exercise_gaussian_weights_is_opencv_s(sigma, size):
    solution = ex.exercise_named("foundations/filters.gaussian_weights").solution
    assert_allclose(solution(sigma, size // 2), cv2.getGaussianKernel(size, sigma, cv2.CV_64F)[:, 0], atol=1e-12)


def test_other_exercises_are_the_libraries():
    convolve = ex.exercise_named("foundations/filters.convolve_photo")
    for photo, kernel in ex.cases_of(convolve, 30):
        assert_allclose(convolve.solution(photo, kernel), ndi.convolve(photo.astype(float), kernel, mode="nearest"), atol=1e-9)
    sharpen = ex.exercise_named("foundations/filters.sharpened")
    for photo, amount in ex.cases_of(sharpen, 30):
        sharp = photo - amount * cv2.Laplacian(photo.astype(float), cv2.CV_64F, borderType=cv2.BORDER_REPLICATE)
        assert_array_equal(sharpen.solution(photo, amount), cv2.convertScaleAbs(np.clip(sharp, 0, 255)))
        assert (np.abs(sharp % 1 - 0.5) > 1e-3).all(), "no value lies between two gray levels: every way to round is right"
    for whole in (lambda v: np.floor(v + 0.5), np.round):  # other ways to round must pass

        def other(photo, amount, whole=whole):
            kernel = np.pad([[1.0]], 1) - amount * fl.laplacian_kernel()
            return np.clip(whole(fl.correlate(photo, kernel, "edge")), 0, 255).astype(np.uint8)

        assert ex.examine(sharpen, other), ex.examine(sharpen, other)
    linked = ex.exercise_named("foundations/filters.linked_edges")
    for strength, low, high in ex.cases_of(linked, 30):
        assert_array_equal(linked.solution(strength, low, high), fl.hysteresis(strength[None], low, high)[0])
