"""Pictures: every form of input, alt text that arrives, tables that agree with the network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from IPython.core.formatters import DisplayFormatter
from PIL import Image
from torch import nn

from pets_learn import show
from pets_learn.run import BadSetting


@pytest.fixture
def shown(monkeypatch):
    """Call a drawing function and return the data and metadata that a notebook would store."""

    def call(function, *args, **options):
        caught = []
        monkeypatch.setattr(show, "display", caught.append)
        function(*args, **options)
        (image,) = caught
        return DisplayFormatter().format(image)

    return call


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_all_forms_of_a_picture_give_the_same_image(array):
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for form in (array, tensor, tensor.float() / 255, array / 255, Image.fromarray(array)):
        np.testing.assert_array_equal(np.asarray(show.as_image(form)), array)


@pytest.mark.parametrize("shape", [(3,), (2, 5, 5), (5, 5, 4), (1, 2, 3, 4)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(BadSetting, match="cannot be shown"):
        show.as_image(np.zeros(shape))


@pytest.mark.parametrize(
    "draw",
    [
        lambda alt: show.photo_grid([np.zeros((9, 9, 3))] * 3, alt=alt),
        lambda alt: show.confusion(np.eye(3), "abc", alt=alt),
        lambda alt: show.confusion(np.eye(37, dtype=int), [str(i) for i in range(37)], alt=alt),
    ],
)
def test_alt_text_arrives_beside_the_picture(draw, shown):
    data, metadata = shown(draw, "Four words at least, please.")
    (kind,) = metadata
    assert kind in data and metadata[kind]["alt"] == "Four words at least, please."


def test_photo_grids_stay_small(shown):
    noise = np.random.default_rng(0).random((37, 200, 300, 3))
    data, _ = shown(show.photo_grid, list(noise), alt="Thirty-seven pictures of pure noise.")
    assert len(data["image/jpeg"]) < 600_000, "even noise, which no JPEG can compress, stays small"


def test_layer_table_counts_every_parameter_of_any_network():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

        def forward(self, x):
            return self.left(x) + self.right(x)

    table = show.layer_table(Fork(), (3, 8, 8))
    assert list(table.layer) == ["left", "right.0", "right.1"] and table.parameters.sum() == sum(
        p.numel() for p in Fork().parameters()
    )


def test_layer_table_counts_shared_and_own_parameters_once():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(4))

        def forward(self, x):
            return self.shared(self.shared(x)) * self.scale

    table = show.layer_table(Odd(), (4,))
    assert table.parameters.sum() == 4 * 4 + 4 + 4


def test_layer_table_takes_recurrent_layers():
    assert show.layer_table(nn.LSTM(4, 3, batch_first=True), (5, 4)).output.tolist() == [(5, 3)]
