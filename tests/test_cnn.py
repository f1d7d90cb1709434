"""The cat-or-dog network: its table, its repeatability, and that the test part decides nothing."""

import numpy as np
import pytest
import torch

from pets_learn import data, show, toys
from pets_learn.pets import cnn
from pets_learn.run import seed_everything

pytestmark = pytest.mark.usefixtures("smoke")

FIGURE_4 = [
    ((16, 148, 148), 448),
    ((16, 74, 74), 0),
    ((32, 72, 72), 4_640),
    ((32, 36, 36), 0),
    ((64, 34, 34), 18_496),
    ((64, 17, 17), 0),
    ((18_496,), 0),
    ((512,), 9_470_464),
    ((1,), 513),
]


def test_layer_table_equals_figure_4():
    table = show.layer_table(cnn.binary_cnn(), (3, 150, 150))
    rows = table[table.type != "ReLU"]
    assert list(zip(rows.output, rows.parameters, strict=True)) == FIGURE_4
    assert table.parameters.sum() == sum(p.numel() for p in cnn.binary_cnn().parameters()) == 9_494_561


@pytest.mark.parametrize("side", [22, 64, 97, 150])
def test_forward_and_backward(side):
    model = cnn.binary_cnn(side)
    logits = model(torch.rand(2, 3, side, side))
    assert logits.shape == (2, 1) and logits.dtype == torch.float32
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_initial_weights_have_glorot_s_variance():
    seed_everything(0)
    weight = cnn.binary_cnn()[10].weight
    assert weight.var().item() == pytest.approx(2 / (18_496 + 512), rel=0.01) and weight.mean().abs() < 1e-5


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = data.pets(toys.make_pets(tmp_path_factory.mktemp("drawn"), photos_per_breed=5))
    return cnn.species_parts(folder, side=40)


def weights(run: cnn.SpeciesRun) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in run.training.model.parameters()])


def test_two_runs_are_bit_identical_and_a_third_seed_differs(parts):
    first, again = (cnn.train_species(*parts, epochs=1) for _ in range(2))
    assert torch.equal(weights(first), weights(again)) and first.figures() == again.figures()
    assert not torch.equal(weights(first), weights(cnn.train_species(*parts, epochs=1, seed=1)))


def test_watching_the_test_part_changes_nothing(parts):
    watched = cnn.train_species(*parts, epochs=2)
    blind = cnn.train_species(*parts, epochs=2, watch_test=False)
    assert torch.equal(weights(watched), weights(blind)) and len(watched.test_history) == 2 and blind.test_history.empty


def test_labels_of_the_test_part_decide_nothing(parts):
    """Turn every test label round: training, chosen epoch and probabilities stay the same."""
    table, cache = parts
    turned = table.copy()
    test = turned.part == "test"
    turned.loc[test, "species"] = turned.loc[test, "species"].map({"cat": "dog", "dog": "cat"})
    honest, fooled = cnn.train_species(table, cache, epochs=2), cnn.train_species(turned, cache, epochs=2)
    assert torch.equal(weights(honest), weights(fooled)) and honest.training.best_epoch == fooled.training.best_epoch
    np.testing.assert_array_equal(honest.table.dog, fooled.table.dog)
    assert honest.test.accuracy == pytest.approx(1 - fooled.test.accuracy)


def test_parts_are_disjoint_and_twins_stay_together(parts):
    table, cache = parts
    assert len(table) == len(cache)
    assert table.index.is_unique and set(table.part) == {"train", "valid", "test"}
    assert table.groupby("group").part.nunique().eq(1).all()
