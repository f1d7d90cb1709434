"""From photos to a judged classifier: parts, pretrained features, heads, merging, temperature, saving."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from torchvision.models import mobilenet_v2

from pets_learn.data import stand_in_pets
from pets_learn.run import BadSetting, evaluation_mode
from pets_learn.start import classifier
from pets_learn.start.classifier import LabeledPhotos, image_classifier, train_classifier
from pets_learn.training import judge


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def weights_home(tmp_path_factory) -> Path:
    """A data folder that holds MobileNetV2 weights, though random ones."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("home") / "weights"
    folder.mkdir()
    torch.save(mobilenet_v2().state_dict(), folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    (folder / "new.pth").rename(folder / f"mobilenet_v2_random-{digest[:8]}.pth")
    return folder.parent


@pytest.fixture
def with_weights(weights_home, monkeypatch) -> Path:
    monkeypatch.setenv("PETS_LEARN_HOME", str(weights_home))
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    return weights_home


def draw(folder: Path, color: tuple[int, int, int], count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for i in range(count):
        noisy = np.clip(np.array(color) + random.integers(-40, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).resize((64, 48)).save(folder / f"{i}.png")


@pytest.fixture
def colors(tmp_path) -> LabeledPhotos:
    for name, color in {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 40, 50)}.items():
        draw(tmp_path / "colors" / name, color, 8)
    return classifier.folder_photos(tmp_path / "colors", size=64)


def test_parts_of_a_folder_are_fixed_and_separate(colors, tmp_path):
    again = classifier.folder_photos(tmp_path / "colors", size=64)
    assert (again.parts == colors.parts).all() and (again.labels == colors.labels).all()
    assert colors.classes == ("blue", "green", "red") and set(colors.parts) == {"train", "valid", "test"}
    counts = {part: len(colors.rows(part)) for part in classifier.PARTS}
    assert sum(counts.values()) == 24 and len(colors.rows("train", "valid")) == counts["train"] + counts["valid"]
    other = classifier.folder_photos(tmp_path / "colors", size=64, seed=1)
    assert (other.parts != colors.parts).any()


def test_copies_of_a_photo_share_a_part(tmp_path):
    for name, color in {"blue": (40, 60, 200), "red": (210, 40, 50)}.items():
        draw(tmp_path / "mine" / name, color, 10)
    for i in range(10):
        Image.open(tmp_path / "mine" / "red" / f"{i}.png").save(tmp_path / "mine" / "red" / f"copy-{i}.jpg", quality=80)
    photos = classifier.folder_photos(tmp_path / "mine")
    part = {path.name: part for path, part in zip(photos.cache.paths, photos.parts, strict=True) if path.parent.name == "red"}
    assert all(part[f"{i}.png"] == part[f"copy-{i}.jpg"] for i in range(10))


def test_hidden_files_and_deeper_folders(tmp_path):
    for name in ("blue", "red"):
        draw(tmp_path / "mine" / name / "deeper", (40, 60, 200) if name == "blue" else (210, 40, 50), 6)
        (tmp_path / "mine" / name / ".DS_Store").write_text("x")
    (tmp_path / "mine" / ".git").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    photos = classifier.folder_photos(tmp_path / "mine", size=32)
    assert photos.classes == ("blue", "red") and len(photos.cache) == 12 and not photos.cache.skipped


def test_official_split_keeps_the_published_test_list(smoke):
    folder = stand_in_pets(photos_per_breed=6)
    photos = classifier.pet_photos(folder=folder, size=32)
    test = {photos.cache.paths[row].stem for row in photos.rows("test")}
    assert test == set(folder.lists["test"])
    assert {photos.cache.paths[row].stem for row in photos.rows("train", "valid")} == set(folder.lists["trainval"])
    three = classifier.pet_photos("three_parts", folder=folder, size=32)
    for group in np.unique(three.groups):
        assert len(set(three.parts[three.groups == group])) == 1, "near twins stay together"


def test_features_are_those_of_torchvision(with_weights):
    """Normalization, layers and pooling together, against torchvision's own network."""
    model, name = classifier.pretrained_classifier(5)
    assert name.startswith("mobilenet_v2_random-")
    rival = mobilenet_v2()
    rival.load_state_dict(torch.load(with_weights / "weights" / name, weights_only=True))
    rival.classifier = torch.nn.Identity()
    photos = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (torch.from_numpy(photos) / 255 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with evaluation_mode(rival), torch.no_grad():
        expected = rival(x).numpy()
    found = classifier.pooled_features(model, photos, batch_size=2)
    assert_allclose(found, expected, atol=1e-4 * abs(expected).max(), rtol=1e-3)


def test_without_weights_a_small_network_is_announced(smoke, capsys):
    model, name = classifier.starting_network(4)
    assert name is None and "SMALLER NETWORK" in capsys.readouterr().out
    assert sum(p.numel() for p in model.parameters()) < 1_500_000


def test_fine_tuning_leaves_the_early_layers_alone(with_weights, colors):
    model, _ = classifier.pretrained_classifier(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    classifier.fine_tune(model, colors, 1, (1e-3, 1e-3))
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    early = {name for name in before if name.startswith("features.") and int(name.split(".")[1]) < model.early}
    assert early and not moved & early, "weights and statistics of batch normalization stay"
    assert {"head.weight", "features.18.0.weight", "features.7.conv.0.0.weight"} <= moved
    assert all(parameter.requires_grad for parameter in model.parameters()), "freezing ends with the training"


def test_few_photos_are_all_judged_once_and_by_others(with_weights, colors, capsys):
    trained = train_classifier(colors)
    assert trained.judged_by == "5-fold cross-validation" and trained.test.count == 24 and trained.training is None
    assert trained.test.accuracy > 0.9, "colors survive even random features"
    own = judge(classifier._probabilities(trained.model, colors, trained.tested), colors.labels)
    assert own.accuracy >= trained.test.accuracy


def test_labels_without_meaning_are_not_learned(with_weights, tmp_path):
    """Cross-validation must not leak: on shuffled labels it finds nothing."""
    for name, seed in (("one", 1), ("other", 2)):
        draw(tmp_path / "same" / name, (120, 120, 120), 40, seed)
    trained = train_classifier(classifier.folder_photos(tmp_path / "same", size=32))
    assert 0.25 < trained.test.accuracy < 0.75


def test_transfer_keeps_its_promises(with_weights, colors, monkeypatch):
    monkeypatch.setattr(classifier, "FEW", 10)
    trained = train_classifier(colors, epochs=1)
    assert trained.judged_by == "test part" and trained.linear_test is not None
    assert list(trained.tested) == list(colors.rows("test")) and len(trained.training.history) == 1
    linear_only = train_classifier(colors, epochs=0)
    assert linear_only.training is None and linear_only.test.count == len(colors.rows("test"))
    again = train_classifier(colors, epochs=1)
    assert_allclose(again.probabilities, trained.probabilities, atol=0), "the same seed, the same bits"
    assert abs(train_classifier(colors, epochs=1, seed=1).probabilities - trained.probabilities).max() > 0


def test_from_scratch_needs_an_epoch(smoke, colors):
    with pytest.raises(BadSetting, match="at least 1 epoch"):
        train_classifier(colors, epochs=0)


def test_temperature_does_not_change_answers():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(6), size=300)
    for temperature in (0.2, 0.7, 1.0, 3.0):
        tempered = classifier.temper(probabilities, temperature)
        assert_allclose(tempered.sum(axis=1), 1)
        assert (tempered.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    assert_allclose(classifier.temper(probabilities, 1.0), probabilities, atol=1e-12)
    certain = np.eye(3)[[0, 1, 2, 0]]
    assert np.isfinite(classifier.temper(certain, 0.2)).all()
    assert classifier.best_temperature(certain, np.array([1, 1, 2, 0])) > 4, "sure and wrong: as warm as it gets"


def test_merging_commutes_with_softmax():
    torch.manual_seed(0)
    fine = image_classifier(5, "small").eval()
    coarse = image_classifier(5, "small", merge=[[0, 3], [1], [2, 4]]).eval()
    coarse.load_state_dict(fine.state_dict())
    photos = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        expected = classifier.merged(fine(photos).softmax(1).numpy(), [[0, 3], [1], [2, 4]])
        assert_allclose(coarse(photos).softmax(1).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("merge", [[[0], [1]], [[0, 1], [1, 2]], [[0, 1, 2, 3]], [[]]])
def test_merge_must_name_every_output_once(merge):
    with pytest.raises(BadSetting, match="once"):
        image_classifier(3, "small", merge=merge)


def test_head_for_two_classes_equals_scikit_learn():
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(60, 256)).astype(np.float32), np.arange(60) % 2
    head = classifier.linear_head(features, labels, 0.1)
    model = image_classifier(2, "small")
    classifier.set_head(model, head)
    found = torch.softmax(model.head(torch.from_numpy(features)), dim=1).detach().numpy()
    assert_allclose(found, head.predict_proba(features), atol=1e-5)


def test_head_that_missed_a_class_gives_it_nothing():
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(30, 8)), np.array([0, 2, 3] * 10)
    probabilities = classifier.head_probabilities(classifier.linear_head(features, labels, 1.0), features, 5)
    assert probabilities.shape == (30, 5) and (probabilities[:, [1, 4]] == 0).all()
    assert_allclose(probabilities.sum(axis=1), 1)


def test_confused_pairs_count_both_directions(colors):
    names = ["blue", "green", "red"]
    probabilities = np.eye(3)[[0, 1, 1, 0, 2, 0]]
    made = classifier.TrainedClassifier(
        image_classifier(3, "small"), colors, None, 0, 0.0, np.arange(6), probabilities, 1.0
    )
    truth = colors.labels[:6]
    expected = {}
    for true, answer in zip(truth, [0, 1, 1, 0, 2, 0], strict=True):
        if true != answer:
            pair = tuple(sorted((names[true], names[answer])))
            expected[pair] = expected.get(pair, 0) + 1
    found = {(row.one, row.other): row["count"] for _, row in classifier.confused_pairs(made).iterrows()}
    assert found == expected and sum(found.values()) == (~made.table().right).sum()


def test_saved_classifier_loads_without_the_training_code(smoke, colors, tmp_path):
    trained = train_classifier(colors, epochs=1)
    classifier.save_classifier(trained, tmp_path / "model", "colors")
    np.save(tmp_path / "photos.npy", colors.cache.photos[:5])
    code = f"""
import json, sys, numpy as np, torch
from pets_learn.deploy import load_model
loaded = load_model({str(tmp_path / "model")!r})
photos = torch.from_numpy(np.load({str(tmp_path / "photos.npy")!r})) / 255
with torch.no_grad(): answers = loaded.model(photos).softmax(1).tolist()
print(json.dumps([answers, sorted({{"fastai", "sklearn", "pets_learn.training"}} & set(sys.modules))]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    answers, training_code = json.loads(done.stdout)
    assert training_code == []
    assert_allclose(answers, classifier._probabilities(trained.model, colors, np.arange(5)), atol=1e-6)


def test_license_follows_the_photos(smoke, colors):
    trained = train_classifier(colors, epochs=1)
    assert "owner of the photos" in classifier.classifier_facts(trained, "colors")["license"]
    trained.photos = classifier.pet_photos(folder=stand_in_pets(photos_per_breed=6), size=32)
    assert "Apache-2.0" in classifier._license(trained.photos)
    real = LabeledPhotos(**(vars(trained.photos) | {"generated": False}))
    assert "CC BY-SA 4.0" in classifier._license(real)
