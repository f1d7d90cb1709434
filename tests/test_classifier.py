"""From photos to a judged classifier: parts, pretrained features, heads, merging, temperature, saving."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

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
    """A data folder that holds MobileNetV2 weights: random ones, with statistics of batch normalization that fit them.

    Without these the signal shrinks from layer to layer, and the features of all photos are zero but for 1e-9.
    """
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("home") / "weights"
    folder.mkdir()
    network = mobilenet_v2().train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # a plain mean over all batches, without the 0 and 1 that it starts with
    colors = torch.rand(24, 3, 1, 1) * torch.ones(24, 3, 64, 64)
    with torch.no_grad():
        for _ in range(5):
            network((colors + 0.2 * torch.rand(24, 3, 64, 64) - 0.5) / 0.25)
    torch.save(network.state_dict(), folder / "new.pth")
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
        noisy = np.clip(np.array(color) + random.integers(-12, 12, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).resize((64, 48)).save(folder / f"{i}.png")


@pytest.fixture
def colors(tmp_path) -> LabeledPhotos:
    for name, color in {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 40, 50)}.items():
        draw(tmp_path / "colors" / name, color, 15)
    return classifier.folder_photos(tmp_path / "colors", size=64)


def test_parts_of_a_folder_are_fixed_and_separate(colors, tmp_path):
    again = classifier.folder_photos(tmp_path / "colors", size=64)
    assert (again.parts == colors.parts).all() and (again.labels == colors.labels).all()
    assert colors.classes == ("blue", "green", "red") and set(colors.parts) == {"train", "valid", "test"}
    counts = {part: len(colors.rows(part)) for part in classifier.PARTS}
    assert sum(counts.values()) == 45 and len(colors.rows("train", "valid")) == counts["train"] + counts["valid"]
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
    broken = {path.stem for path, _ in photos.cache.skipped}
    learned = {photos.cache.paths[row].stem for row in photos.rows("train", "valid")}
    assert broken and learned == set(folder.lists["trainval"]) - broken, "all but those that cannot be read"
    apart = {part: set(photos.groups[photos.rows(part)]) for part in ("train", "valid")}
    assert not apart["train"] & apart["valid"], "near twins are not on both sides of a decision"
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
    assert trained.judged_by == "5-fold cross-validation" and trained.test.count == 45 and trained.history is None
    assert trained.test.accuracy > 0.9, "colors survive even random features"
    own = judge(classifier._probabilities(trained.model, colors, trained.tested), colors.labels)
    assert own.accuracy >= trained.test.accuracy


def test_twins_do_not_help_cross_validation(with_weights, tmp_path):
    """Each photo is there three times, and classes are drawn by lot: whoever lets a twin cross a fold gets all of them right."""
    random = np.random.default_rng(3)
    for i in range(30):
        blocks = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((64, 64), Image.Resampling.BICUBIC)
        folder = tmp_path / "same" / ("one" if random.random() < 0.5 else "other")
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(3):
            image.save(folder / f"{i}-{copy}.jpg", quality=95 - copy)
    photos = classifier.folder_photos(tmp_path / "same", size=64)
    assert len(np.unique(photos.groups)) == 30
    trained = train_classifier(photos)
    assert trained.test.accuracy < 0.75
    leaky = train_classifier(replace(photos, groups=np.arange(90)))
    assert leaky.test.accuracy > 0.85, "the test can tell"


def test_photos_of_one_scene_are_refused(tmp_path):
    draw(tmp_path / "mine" / "red", (210, 40, 50), 8)
    (tmp_path / "mine" / "burst").mkdir()
    Image.open(tmp_path / "mine" / "red" / "0.png").save(tmp_path / "mine" / "burst" / "0.png")
    for i in range(8):
        Image.open(tmp_path / "mine" / "red" / "1.png").save(tmp_path / "mine" / "burst" / f"{i}.jpg", quality=70 + 3 * i)
    with pytest.raises(BadSetting, match=r"class burst has only . photos that are not nearly the same.*at least 5"):
        classifier.folder_photos(tmp_path / "mine", size=32)


def test_transfer_keeps_its_promises(with_weights, colors, monkeypatch):
    monkeypatch.setattr(classifier, "FEW", 10)
    trained = train_classifier(colors, epochs=1)
    assert trained.judged_by == "test part" and trained.linear_test is not None
    assert list(trained.tested) == list(colors.rows("test")) and len(trained.history) == 1
    linear_only = train_classifier(colors, epochs=0)
    assert linear_only.history is None and linear_only.test.count == len(colors.rows("test"))
    np.testing.assert_allclose(linear_only.probabilities, linear_only.linear, atol=1e-3)
    again = train_classifier(colors, epochs=1)
    np.testing.assert_array_equal(again.probabilities, trained.probabilities, "the same seed, the same bits")


def told(monkeypatch) -> list[tuple[int, int, tuple[str, ...]]]:
    """Photos of the training and of the validation part of each fine-tuning from now on."""
    seen = []
    real = classifier.fine_tune

    def spy(model, photos, *rest, **options):
        seen.append((photos.rows("train"), photos.rows("valid")))
        return real(model, photos, *rest, **options)

    monkeypatch.setattr(classifier, "fine_tune", spy)
    return seen


def test_the_test_part_decides_nothing(with_weights, colors, monkeypatch):
    """Other test photos with other labels: the same network, bit for bit."""
    monkeypatch.setattr(classifier, "FEW", 10)
    monkeypatch.setattr(classifier, "SHARES", (0.5, 1.0))
    trained = train_classifier(colors, epochs=1)
    pixels, labels = np.array(colors.cache.photos), colors.labels.copy()
    test = colors.rows("test")
    pixels[test], labels[test] = 255 - pixels[test], (labels[test] + 1) % 3
    cache = replace(colors.cache, photos=pixels)
    other = train_classifier(replace(colors, cache=cache, labels=labels), epochs=1)
    assert other.choices == trained.choices
    for name, value in trained.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], value), name
    assert not np.array_equal(other.probabilities, trained.probabilities)


def test_refit_takes_the_validation_photos_in(with_weights, colors, monkeypatch):
    monkeypatch.setattr(classifier, "FEW", 10)
    monkeypatch.setattr(classifier, "SHARES", (0.5,))
    seen = told(monkeypatch)
    with_refit, without = train_classifier(colors, epochs=1), train_classifier(colors, epochs=1, refit=False)
    assert len(seen) == 3, "two trainings with it, one without"
    (first, held), (second, left), _ = seen
    assert set(first) < set(second) <= set(first) | set(held) and not set(second) & set(colors.rows("test"))
    assert len(left) == 3, "one of each class stays for the report"
    assert with_refit.choices | {"refit": False} == without.choices
    assert not torch.equal(with_refit.model.head.weight, without.model.head.weight)


def test_refit_keeps_the_share_of_the_mean_of_both_fine_tunings(with_weights, colors, monkeypatch):
    """The first training adds 1 to a weight, the second 3. Of one a quarter would be kept; of the mean it is 2/5."""
    monkeypatch.setattr(classifier, "FEW", 10)
    monkeypatch.setattr(classifier, "SHARES", (0.25,))
    added, starts = iter((1.0, 3.0)), []

    def pretend(model, *rest, **options):
        starts.append(model.features[-1][0].weight.detach().clone())
        with torch.no_grad():
            model.features[-1][0].weight += next(added)
        return SimpleNamespace(history=None)

    monkeypatch.setattr(classifier, "fine_tune", pretend)
    trained = train_classifier(colors, epochs=1)
    assert trained.choices["share"] == 0.25 and torch.equal(*starts), "both start from the pretrained features"
    torch.testing.assert_close(trained.model.features[-1][0].weight.detach(), starts[0] + 0.4 * (1 + 3) / 2)


def test_share_of_mean_is_what_least_squares_finds():
    """Signal and independent noise of many weights: the best shares of one and of the mean, by brute force."""
    rng = np.random.default_rng(0)
    signal, (one, other) = rng.normal(0, 0.8, 200_000), rng.normal(0, 1.0, (2, 200_000))
    shares = np.linspace(0, 1, 1001)

    def best(found: np.ndarray) -> float:
        return shares[np.argmin([np.square(share * found - signal).mean() for share in shares])]

    assert classifier.share_of_mean(best(signal + one)) == pytest.approx(best(signal + (one + other) / 2), abs=0.01)
    assert classifier.share_of_mean(0.0) == 0.0 and classifier.share_of_mean(1.0) == 1.0


def test_the_best_share_is_found_and_left_in_the_network(with_weights, colors):
    """A head that is right halfway between two that are wrong."""
    model, _ = classifier.pretrained_classifier(3)
    features = classifier.pooled_features(model, colors.cache.photos)
    classifier.set_head(model, classifier.linear_head(features, colors.labels, 1.0))
    good = {name: value.clone() for name, value in model.state_dict().items()}
    shift = 20 * torch.randn(3, 1280, generator=torch.Generator().manual_seed(0)) * good["head.weight"].abs().mean()
    before, after = (good | {"head.weight": good["head.weight"] + sign * shift} for sign in (-1, 1))
    share, table = classifier.choose_share(model, before, after, colors)
    assert share == 0.5 and table.accuracy[0.5] == 1.0 and table.loss.idxmin() == 0.5
    torch.testing.assert_close(model.head.weight.detach(), good["head.weight"], atol=1e-5, rtol=1e-4)


def test_the_network_says_what_the_temperature_promises(with_weights, colors, monkeypatch):
    monkeypatch.setattr(classifier, "FEW", 10)
    trained = train_classifier(colors, epochs=0, refit=False)
    temperature = trained.choices["temperature"]
    with torch.no_grad():
        for values in (trained.model.head.weight, trained.model.head.bias):
            values *= temperature
    raw = classifier._probabilities(trained.model, colors, trained.tested)
    assert_allclose(classifier.temper(raw, temperature), trained.probabilities, atol=1e-4)


def test_comparing_on_the_same_photos(with_weights, colors, monkeypatch):
    monkeypatch.setattr(classifier, "FEW", 10)
    trained = train_classifier(colors, epochs=0)
    truth = np.eye(3)[colors.labels[trained.tested]]
    fake = replace(trained, probabilities=truth, linear=np.roll(truth, 1, axis=1))
    assert classifier.compare_with_linear(fake).startswith(f"{len(truth)} photos only the fine-tuned classifier gets right, 0 ")
    assert not fake.table().linear_right.any() and fake.table().right.all()


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
        image_classifier(3, "small"), colors, None, 0, np.arange(6), probabilities, {"temperature": 1.0}
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
