"""Transfer learning: the seed document's pipeline against torchvision, fine-tuning that touches what it should, bad input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from torch import nn
from torch.testing import assert_close
from torchvision.models import inception_v3
from torchvision.models.feature_extraction import create_feature_extractor

from pets_learn.deploy import load_classifier, load_model
from pets_learn.exercises import exercise_problems
from pets_learn.experiments import run_experiment
from pets_learn.pets import transfer
from pets_learn.pets.architectures import copy_weights, enliven
from pets_learn.pets.architectures import inception_v3 as our_inception
from pets_learn.run import BadSetting, PetsLearnError, seed_everything
from pets_learn.start.classifier import image_classifier, layer_groups, merged, save_classifier, species_outputs

pytestmark = pytest.mark.usefixtures("smoke")


@pytest.fixture(scope="module")
def photos(small_photos):
    return small_photos


def test_mixed7_is_torchvisions_mixed_6e():
    theirs, whole = inception_v3(aux_logits=False, init_weights=False).eval(), our_inception().eval()
    enliven(theirs, torch.rand(4, 3, 150, 150) * 2 - 1)
    copy_weights(theirs, whole)
    inputs = torch.rand(2, 3, 150, 150) * 2 - 1
    with torch.inference_mode():
        expected = create_feature_extractor(theirs, {"Mixed_6e": "mixed7"})(inputs)["mixed7"]
        found = whole[: len(transfer.mixed7_layers())](inputs)
    assert found.shape == (2, 768, 7, 7) and expected.std() > 0
    assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_seed_head_counts():
    with torch.device("meta"):
        head = transfer.seed_head()
    assert sum(p.numel() for p in head[1].parameters()) == 38_536_192
    assert [type(layer).__name__ for layer in head] == ["Flatten", "Linear", "ReLU", "BatchNorm1d", "Dropout", "Linear"]


def test_penalty_and_its_gradient():
    weight = torch.tensor([[0.5, -2.0], [3.0, 0.25]], requires_grad=True)
    transfer.elastic_penalty(weight, 0.1, 0.01).backward()
    assert_close(weight.grad, 0.1 * weight.detach().sign() + 0.02 * weight.detach())


def test_random_weights_are_told(monkeypatch, capsys):
    layers, name = transfer.pretrained_mixed7()
    maps = transfer.feature_maps(layers, np.random.default_rng(0).integers(0, 256, (2, 3, 150, 150), dtype=np.uint8))
    assert name is None and maps.shape == (2, 768, 7, 7) and maps.dtype == torch.float16
    assert (maps[0] - maps[1]).abs().max() > 0, "the maps depend on the photo"


def test_all_layers_move_and_statistics_stay(photos):
    model = image_classifier(len(photos.classes), "small")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    transfer.fine_tune_layers(model, photos, 1)
    after = model.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {name for name, _ in model.named_parameters()}


def test_head_only(photos):
    model = image_classifier(len(photos.classes), "small")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    transfer.fine_tune_layers(model, photos, 1, 1e-2, freeze_to=-1)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"} and len(layer_groups(model)) == 2


def test_views_are_averaged(photos):
    model = image_classifier(len(photos.classes), "small").eval()
    some = np.array(photos.cache.photos[:5])
    one, other = (transfer.predict_views(model, some, [view]) for view in ((48, False), (40, True)))
    both = transfer.predict_views(model, some, [(48, False), (40, True)], batch_size=2)
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)
    mirrored = transfer.predict_views(model, np.ascontiguousarray(some[..., ::-1]), [(48, False)])
    np.testing.assert_allclose(transfer.predict_views(model, some, [(48, True)]), mirrored, atol=1e-6)
    with pytest.raises(BadSetting, match="no views"):
        transfer.predict_views(model, some, [])


def test_training_is_repeatable_and_keeps_its_choices(photos):
    one, other = (transfer.train_transfer(photos, 1, seed=3, decide=False) for _ in range(2))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert one.choices["share"] == transfer.SHARE and one.choices["refit"] is True
    decided = transfer.train_transfer(photos, 1, seed=3)
    assert 0 <= decided.choices["share"] <= 1 and "share" in decided.tables


def test_every_kind_of_classifier_tells_clear_classes_apart(photos):
    """The chapter leaves the forest out at smoke scale."""
    labels = photos.labels
    features = np.random.default_rng(0).normal(size=(len(labels), 40)) + 6 * np.eye(len(photos.classes), 40)[labels]
    compared = transfer.compare_classifiers(features.astype(np.float32), photos)
    assert len(compared) == 5 and "random forest" in compared.index
    assert (compared.test > 0.8).all() and (compared.valid > 0.8).all(), compared


def test_document_is_a_recipe_whose_model_is_saved_for_species(photos, tmp_path):
    trained = transfer.train_document(photos, 1, checkpoint=tmp_path / "stopped", network="mobilenet_v2", penalty=False)
    assert trained.weights is None and trained.arguments["network"] == "small" and len(trained.history) == 1
    folder = save_classifier(trained, tmp_path / "species", "species")
    asked = trained.photos.cache.photos[trained.tested[:6]]
    expected = merged(trained.probabilities[:6], species_outputs(trained.photos.classes))
    np.testing.assert_allclose(load_classifier(folder).probabilities(asked), expected, atol=1e-4)
    with torch.inference_mode():
        again = load_model(folder).model(torch.from_numpy(np.array(asked)) / 255).softmax(1)
    np.testing.assert_allclose(again, expected, atol=1e-4)


def test_document_with_inception_tunes_its_last_block(photos):
    seed_everything(0)
    before, _ = transfer.pretrained_mixed7()  # the random layers that the next line begins with
    trained = transfer.train_document(photos, 1, seed=0)
    for number, (old, new) in enumerate(zip(before, trained.model.layers, strict=True)):
        same = all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
        assert same == (number < 14 or not list(old.parameters())), f"layer {number}"
    assert trained.arguments == {"network": "inception_v3", "channels": 768, "positions": 3, "classes": 37}
    assert len(trained.history) == 2 and trained.probabilities.shape == (len(trained.tested), 37)
    assert not any(layer.training for layer in trained.model.modules())
    fresh = transfer.document_network(**trained.arguments)
    fresh.load_state_dict(trained.model.state_dict())
    photo = torch.rand(2, 3, 75, 75)
    with torch.inference_mode():
        assert_close(fresh.eval()(photo), trained.model(photo))


class Stop(Callback):
    """Breaks off once, before the second epoch of the training with this number, from 0."""

    def __init__(self, number: int) -> None:
        self.left: int | None = number  # not under its own name, which would make it one of the settings

    def state(self) -> dict[str, Any]:
        """Nothing: where it breaks off is no part of the training."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass

    def before_fit(self) -> None:
        if self.left is not None:
            self.left -= 1

    def before_epoch(self) -> None:
        if self.left == -1 and self.epoch == 1:
            self.left = None
            raise KeyboardInterrupt


@pytest.fixture
def stop_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Gives every training from now on one and the same `Stop`."""
    from pets_learn import training

    fit = training.fit

    def stop(number: int) -> None:
        stopper = Stop(number)
        monkeypatch.setattr(
            training, "fit", lambda *given, **more: fit(*given, callbacks=[*more.pop("callbacks", []), stopper], **more)
        )

    return stop


@pytest.mark.parametrize("stopped", [0, 1])
def test_the_document_s_recipe_goes_on_where_it_was_stopped(photos, stop_training, tmp_path, capsys, stopped):
    whole = transfer.train_document(photos, 2, seed=1)
    stop_training(stopped)
    with pytest.raises(KeyboardInterrupt):
        transfer.train_document(photos, 2, seed=1, checkpoint=tmp_path)
    capsys.readouterr()
    resumed = transfer.train_document(photos, 2, seed=1, checkpoint=tmp_path)
    assert "going on after epoch 1" in capsys.readouterr().out
    np.testing.assert_array_equal(resumed.probabilities, whole.probabilities)
    assert len(resumed.history) == 4


def test_a_way_goes_on_where_it_was_stopped(photos, stop_training, tmp_path, capsys):
    whole = transfer.train_way(photos, 2, seed=1, way="last layers")
    stop_training(0)
    with pytest.raises(KeyboardInterrupt):
        transfer.train_way(photos, 2, seed=1, checkpoint=tmp_path, way="last layers")
    capsys.readouterr()
    resumed = transfer.train_way(photos, 2, seed=1, checkpoint=tmp_path, way="last layers")
    assert "going on after epoch 1" in capsys.readouterr().out
    np.testing.assert_array_equal(resumed.probabilities, whole.probabilities)


def test_a_checkpoint_with_the_penalty_is_not_taken_for_one_without(tmp_path):
    maps, labels = torch.rand(8, 2, 3, 3).half(), np.arange(8) % 2

    def train(penalty: bool) -> None:
        seed_everything(0)
        head = transfer.seed_head(2, 3, 2)
        weight = head[1].weight if penalty else None
        transfer.train_on_maps(head, maps, labels, range(6), [6, 7], 1, weight, checkpoint=tmp_path)

    train(True)
    train(True)
    with pytest.raises(PetsLearnError, match="another training"):
        train(False)


@pytest.mark.parametrize("way", ["gradual unfreezing", "head only"])
def test_ways_are_a_recipe(photos, way, tmp_path):
    trained = transfer.train_way(photos, 1, seed=2, checkpoint=tmp_path, way=way)
    again = transfer.train_way(photos, 1, seed=2, way=way)
    np.testing.assert_array_equal(trained.probabilities, again.probabilities)
    rows = 3 if way == "gradual unfreezing" else 1  # head, late layers, all
    assert trained.choices == {"way": way, "epochs": rows}
    assert trained.history.index.tolist() == list(range(rows)) and trained.history.notna().all(axis=None)
    with pytest.raises(BadSetting, match="no way 'sideways'"):
        transfer.train_way(photos, 1, way="sideways")


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_experiments_run_at_smoke_scale(number, tmp_path):
    experiment = transfer.experiments()[number]
    results = run_experiment(experiment, seeds=1, folder=tmp_path, quiet=True)
    figures = experiment.summarize(results.table)
    assert figures and all(np.isfinite(entry["mean"]) for entry in figures.values())


def test_bad_settings(photos):
    features = np.zeros((len(photos.cache), 4))
    with pytest.raises(BadSetting, match="no classifier 'tree'"):
        transfer.compare_classifiers(features, photos, ["tree"])
    with pytest.raises(BadSetting, match="at least 1 photo"):
        transfer.few_photos(features, photos, 0)
    with pytest.raises(BadSetting, match="1 photos to learn from and 2 to watch"):
        transfer.train_on_maps(nn.Flatten(), torch.zeros(3, 1, 2, 2), np.zeros(3, int), [0], [1, 2], 1)
    with pytest.raises(BadSetting, match="no shift 'rain'"):
        transfer.shifted(np.zeros((1, 3, 8, 8), np.uint8), "rain")


@pytest.mark.parametrize("name", list(transfer.SHIFTS))
def test_shifts_keep_shape_and_type_and_change_nothing_in_place(name):
    photos = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    before = photos.copy()
    found = transfer.shifted(photos, name)
    assert found.shape == photos.shape and found.dtype == np.uint8
    np.testing.assert_array_equal(photos, before)
    assert (name == "none") == np.array_equal(found, photos)


@pytest.mark.parametrize("exercise", transfer.EXERCISES, ids=lambda exercise: exercise.name)
def test_exercises(exercise):
    assert not exercise_problems(exercise)
