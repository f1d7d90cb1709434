"""The 37-way networks: the seed document's table, what a residual block starts as, mixing, schedules, species, bad input."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision.transforms import v2

from pets_learn import show
from pets_learn.deploy import load_classifier, load_model
from pets_learn.experiments import run_experiment
from pets_learn.pets import breeds
from pets_learn.run import BadSetting, seed_everything
from pets_learn.start.classifier import merged, save_classifier, species_outputs

FIGURE_8 = [  # output, parameters; ReLU is counted as a part of its convolution
    ("Conv2d", (32, 148, 148), 896), ("MaxPool2d", (32, 74, 74), 0),
    ("Conv2d", (64, 72, 72), 18_496), ("MaxPool2d", (64, 36, 36), 0), ("Dropout", (64, 36, 36), 0),
    ("Conv2d", (128, 34, 34), 73_856), ("MaxPool2d", (128, 17, 17), 0), ("Dropout", (128, 17, 17), 0),
    ("Flatten", (36_992,), 0), ("Linear", (512,), 18_940_416), ("Dropout", (512,), 0), ("Linear", (37,), 18_981),
]  # fmt: skip

pytestmark = pytest.mark.usefixtures("smoke")


@pytest.fixture(scope="module")
def photos(small_photos):
    return small_photos


# --- the networks ---------------------------------------------------------------------------------------------------


def test_layer_table_equals_figure_8():
    table = show.layer_table(breeds.breed_cnn(), (3, 150, 150))
    rows = table[table.type != "ReLU"]
    assert list(zip(rows.type, rows.output, rows.parameters, strict=True)) == FIGURE_8
    assert table.parameters.sum() == sum(p.numel() for p in breeds.breed_cnn().parameters()) == 19_052_645


def test_dropout_is_where_the_document_puts_it_and_can_be_left_out():
    with_it, without = breeds.breed_cnn(22), breeds.breed_cnn(22, dropout=False)
    assert [(i, layer.p) for i, layer in enumerate(with_it) if isinstance(layer, nn.Dropout)] == [(6, 0.3), (10, 0.3), (14, 0.4)]
    x = torch.rand(2, 3, 22, 22)
    without.train()
    assert_close(without(x), without(x))
    weights = [p for p in with_it.parameters()]
    assert [p.shape for p in without.parameters()] == [p.shape for p in weights]


def test_same_seed_same_network():
    seed_everything(3)
    one = breeds.breed_cnn(22)
    seed_everything(3)
    other = breeds.breed_cnn(22)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("before", "after", "stride"), [(8, 8, 1), (8, 12, 1), (8, 16, 2), (8, 8, 2)])
def test_a_quiet_block_starts_as_its_shortcut(before, after, stride):
    block = breeds.quiet_block(before, after, stride).eval()
    maps = torch.rand(2, before, 7, 6)
    way_around = maps if (before, stride) == (after, 1) else block.shortcut(maps)
    assert_close(block(maps), way_around.relu())
    assert block(maps).shape == (2, after, -(-7 // stride), -(-6 // stride))


def test_all_weights_of_a_quiet_block_learn():
    """Zero weights at its end stop the path's gradient for one step only."""
    block = breeds.quiet_block(4, 4, 1)
    optimizer = torch.optim.SGD(block.parameters(), 0.1)
    torch.manual_seed(0)
    maps, wanted = torch.rand(8, 4, 5, 5), torch.rand(8, 4, 5, 5)
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(block(maps), wanted).backward()
        optimizer.step()
    assert all(p.grad.abs().sum() > 0 for p in block.parameters())


@pytest.mark.parametrize("side", [32, 64, 97])
def test_residual_network_takes_any_side(side):
    assert breeds.breed_resnet(7, (8, 8, 8), (1, 2, 1)).eval()(torch.rand(2, 3, side, side)).shape == (2, 7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((1,), "two"), ((5, (8,), (1, 1)), "do not fit"), ((5, (), ()), "do not fit"), ((5, (8, 0), (1, 1)), "do not fit")],
)
def test_networks_that_cannot_be(arguments, words):
    with pytest.raises(BadSetting, match=words):
        breeds.breed_resnet(*arguments)


def test_small_photos_are_refused():
    with pytest.raises(BadSetting, match="at least 22"):
        breeds.breed_cnn(21)
    with pytest.raises(BadSetting, match="at least two"):
        breeds.breed_cnn(classes=1)


# --- mixing ---------------------------------------------------------------------------------------------------------


def batch(count: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    targets = F.one_hot(torch.randint(classes, (count,), generator=draw), classes).float()
    return torch.rand(count, 3, 9, 12, generator=draw), targets, torch.randperm(count, generator=draw)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(2, 5), st.floats(0, 1), st.integers(0, 1000))
def test_mixtures_are_between_their_photos_and_targets_sum_to_one(count, classes, share, seed):
    x, t, order = batch(count, classes, seed)
    mixed, targets = breeds.mixup(x, t, order, share)
    assert_close(targets.sum(dim=1), torch.ones(count))
    assert (mixed <= torch.maximum(x, x[order]) + 1e-6).all() and (mixed >= torch.minimum(x, x[order]) - 1e-6).all()
    assert_close(mixed.mean(), x.mean())  # nothing is lost: each photo is the partner of one


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 12), st.integers(0, 12), st.integers(0, 1000))
def test_targets_of_a_cut_count_pixels(a, b, c, d, seed):
    x, t, order = batch(4, 3, seed)
    (top, bottom), (left, right) = sorted((a, b)), sorted((c, d))
    pasted, targets = breeds.cutmix(x, t, order, (top, left, bottom, right))
    area = (bottom - top) * (right - left) / (9 * 12)
    assert_close(targets, (1 - area) * t + area * t[order])
    inside = torch.zeros(9, 12, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    assert torch.equal(pasted, torch.where(inside, x[order], x))


def test_mixup_is_torchvisions():
    x, t, _ = batch(5, 4, 0)
    ours = breeds.mixup(x, t, torch.tensor([4, 0, 1, 2, 3]), 0.3)
    theirs = v2.MixUp(num_classes=4).transform(x, {"labels": t, "batch_size": 5, "lam": 0.3})
    assert_close(ours[0], theirs)


def test_cutmix_is_torchvisions():
    x, t, _ = batch(5, 4, 0)
    transform = v2.CutMix(num_classes=4)
    torch.manual_seed(1)
    params = transform.make_params([x]) | {"labels": t, "batch_size": 5}
    left, top, right, bottom = params["box"]
    pasted, targets = breeds.cutmix(x, t, torch.tensor([4, 0, 1, 2, 3]), (top, left, bottom, right))
    assert_close(pasted, transform.transform(x, params))
    assert_close(targets[0], t[0] * params["lam_adjusted"] + t[4] * (1 - params["lam_adjusted"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("box", [(-1, 0, 3, 3), (0, 0, 10, 3), (3, 0, 2, 3), (0, 5, 3, 13)])
def test_windows_outside_the_photo_are_refused(box):
    with pytest.raises(BadSetting, match="not inside"):
        breeds.cutmix(*batch(2, 2, 0), box)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_that_are_none_are_refused(share):
    with pytest.raises(BadSetting, match="from 0 to 1"):
        breeds.mixup(*batch(2, 2, 0), share)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_random_windows_fit(height, width, share):
    top, left, bottom, right = breeds._window((height, width), share)
    assert 0 <= top <= bottom <= height and 0 <= left <= right <= width


@pytest.mark.parametrize(("alpha", "cut"), [(-0.1, 0.5), (0.2, 1.5), (0.2, -1)])
def test_mixing_that_cannot_be(alpha, cut):
    with pytest.raises(BadSetting, match="alpha >= 0"):
        breeds.Mixing(alpha, cut)


# --- sides ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(16, 128), st.integers(16, 256), st.integers(1, 30))
def test_sides_only_grow_and_end_full(start, full, epochs):
    sides = [breeds.GrowingSide(start).side(epoch, epochs, full) for epoch in range(epochs)]
    assert sides == sorted(sides) or start > full
    assert max(sides) <= full and (epochs < 4 or sides[-1] == full)


@pytest.mark.parametrize(("start", "share"), [(0, 0.5), (64, 0), (64, 1.1)])
def test_sides_that_cannot_be(start, share):
    with pytest.raises(BadSetting, match="start >= 1"):
        breeds.GrowingSide(start, share)


def test_validation_photos_keep_their_side_and_training_photos_grow(photos):
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            seen.append((self.training, x.shape[-1]))
            return self.scale * x.mean(dim=(1, 2, 3))[:, None].expand(-1, len(photos.classes))

    recipe = breeds.replace(breeds.today(48, 16), mixing=0.2)
    breeds.train_breeds(Spy(), photos, recipe, 4 * len(photos.rows("train")))
    sides = [side for training, side in seen if training]
    assert {side for training, side in seen if not training} == {48}
    assert sides[0] == 16 and sides[-1] == 48 and sides == sorted(sides)


# --- training -------------------------------------------------------------------------------------------------------


def test_training_is_repeatable_and_resumes(photos, tmp_path):
    def trained(seen, checkpoint=None):
        seed_everything(5)
        model = breeds.breed_resnet(len(photos.classes), (8,), (1,))
        training, seconds = breeds.train_breeds(model, photos, breeds.today(48, 32), seen, 5, checkpoint)
        return training.model.state_dict(), len(training.history), seconds

    count = len(photos.rows("train"))
    one, epochs, seconds = trained(2 * count, tmp_path / "c")
    again, _, remembered = trained(2 * count, tmp_path / "c")  # finished: comes from its checkpoint
    fresh, _, _ = trained(2 * count)
    assert epochs == 2 and seconds > 0 and remembered == pytest.approx(seconds)
    for other in (again, fresh):
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert trained(1)[1] == 1  # at least one epoch


def test_a_run_of_each_network(tmp_path, monkeypatch):
    monkeypatch.delenv("PETS_LEARN_HOME", raising=False)
    official, _, bare = breeds.experiments()
    results = run_experiment(official, seeds=1, folder=tmp_path, quiet=True)
    table = results.table.set_index("network")
    assert table.parameters["document"] == 19_052_645
    share = [name for name in table if name.endswith("accuracy")]
    assert ((table[share] >= 0) & (table[share] <= 1)).all(axis=None)
    (folder,) = (tmp_path / "pets-breeds" / "smoke" / "official").glob("*today*")
    with np.load(folder / "answers.npz") as kept:
        np.testing.assert_allclose(kept["probabilities"].sum(axis=1), 1, atol=1e-5)
        network = load_model(folder / "model").model
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, kept["probabilities"].shape[1])
    assert run_experiment(bare, seeds=1, folder=tmp_path, quiet=True).table.network.tolist() == ["bare"]
    figures = breeds.summarize(results.table)
    assert figures["parameters"]["seed_figure"] == 19_052_645 and figures["training_accuracy"]["seed_row"] == 5


def test_unknown_network_is_refused():
    with pytest.raises(BadSetting, match="choose from"):
        breeds.run_breeds(None, "official", "resnet")


def test_ratios_are_those_of_each_seed():
    rows = [("today", 0, 0.6, 10.0), ("document", 0, 0.2, 10.0), ("today", 1, 0.5, 9.0), ("document", 1, 0.25, 10.0)]
    table = pd.DataFrame(rows, columns=["network", "seed", "accuracy", "training_seconds"]).assign(
        split="official", training_accuracy=0.3, parameters=19_052_645.0
    )
    figures = breeds.summarize(table)
    assert figures["official_ratio"]["mean"] == pytest.approx(2.5) and figures["official_ratio"]["n"] == 2
    assert figures["official_time_ratio"]["min"] == pytest.approx(0.9)
    assert "official_ratio" not in breeds.summarize(table[table.network == "today"])


def test_recipe_is_saved_for_species(photos, tmp_path):
    """Its builder knows nothing of merging outputs."""
    today, *_ = breeds.recipes()
    trained = today.train(photos, seen=40, seed=0, checkpoint=None)
    folder = save_classifier(trained, tmp_path / "species", "species")
    asked = trained.photos.cache.photos[trained.tested[:6]]
    expected = merged(trained.probabilities[:6], species_outputs(trained.photos.classes))
    np.testing.assert_allclose(load_classifier(folder).probabilities(asked), expected, atol=1e-4)
    assert list(load_classifier(folder).classes) == ["cat", "dog"]


def test_the_bare_recipe_trains_on_the_photos_as_they_are(photos, monkeypatch):
    """No dropout, no augmentation: otherwise the document's."""
    plans, train = [], breeds.train_breeds

    def noted(model, photos, plan, *rest):
        plans.append(plan)
        return train(model, photos, plan, *rest)

    monkeypatch.setattr(breeds, "train_breeds", noted)
    bare = next(recipe for recipe in breeds.recipes() if recipe.name == "breeds_bare")
    network = bare.train(photos, seen=20, seed=0, checkpoint=None).model
    assert not any(isinstance(part, nn.Dropout) for part in network.modules())
    assert plans == [replace(breeds.DOCUMENT, augmentation=None)] and breeds.DOCUMENT.augmentation


# --- species first --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(2, 6), st.integers(1, 5), st.integers(0, 1000))
def test_species_first_answers_a_breed_of_the_likelier_species(count, classes, cats, seed):
    cats = min(cats, classes - 1)
    p = np.random.default_rng(seed).dirichlet(np.ones(classes), count)
    outputs = [list(range(cats)), list(range(cats, classes))]
    answers, within = breeds.species_first(p, outputs)
    is_cat = p[:, :cats].sum(axis=1) >= p[:, cats:].sum(axis=1)
    np.testing.assert_array_equal(answers < cats, is_cat)
    for group in outputs:
        np.testing.assert_allclose(within[:, group].sum(axis=1), 1)
    total = np.where(np.arange(classes) < cats, p[:, :cats].sum(axis=1)[:, None], p[:, cats:].sum(axis=1)[:, None])
    np.testing.assert_allclose(within * total, p)


def test_one_species_alone_changes_nothing():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 20)
    np.testing.assert_array_equal(breeds.species_first(p, [[0, 1, 2, 3]])[0], p.argmax(axis=1))


@pytest.mark.parametrize("outputs", [[[0, 1]], [[0, 1], [1, 2]], [[0, 1], [2, 3]]])
def test_species_must_name_each_class_once(outputs):
    with pytest.raises(BadSetting, match="name each"):
        breeds.species_first(np.full((2, 3), 1 / 3), outputs)


def test_telling_the_species_never_hurts(photos):
    outputs = species_outputs(photos.classes)
    p = np.random.default_rng(1).dirichlet(np.ones(len(photos.classes)) / 3, 500)
    labels = np.random.default_rng(2).integers(0, len(photos.classes), 500)
    shares = breeds.hierarchy(p, labels, outputs)
    assert shares["species_told_accuracy"] >= max(shares["accuracy"], shares["species_first_accuracy"])
    assert shares["species_accuracy"] >= shares["species_first_accuracy"]
