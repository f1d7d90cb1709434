"""The classifier that comes with the package: whole, small, quick to start, honest."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pets_learn
from pets_learn.data import home, read_pets
from pets_learn.deploy import check_model, load_classifier
from pets_learn.pets import shipped
from pets_learn.pets.dataset import photo_table
from pets_learn.pets.explain import KINDS, strangers
from pets_learn.run import read_record

FOLDER = Path(pets_learn.__file__).parent / "shipped" / "breeds"
NOT_DRAWN = {"faces": "lfw/lfw-125", "digits": "mnist"}  # kinds of strangers that are no work of the library, and their folders


@pytest.fixture(scope="module")
def classifier():
    return load_classifier(FOLDER)


def test_it_is_whole_and_small():
    facts = check_model(FOLDER)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5_000_000
    assert len(facts["classes"]) == 37 and [len(facts["groups"][name]) for name in ("cat", "dog")] == [12, 25]
    assert facts["license"].startswith("CC BY-SA 4.0") and facts["provenance"]["generated stand-ins"] is False
    assert set(facts["thresholds"]) == {"probability", "familiarity"} and facts["compact"]["weights"] == "float16"
    assert facts["figures"]["accuracy"]["count"] == 3669
    assert "/" not in facts["provenance"]["started from"], "no path of the machine it was made on"


def test_it_gives_familiarity_and_evidence(classifier):
    size = classifier.preprocessing.size
    photos = np.random.default_rng(0).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
    names = ("probabilities", "familiarity", "evidence")
    said, familiar, evidence = classifier.run.named(classifier.preprocessing.to_input(photos), names)
    assert said.shape == (3, 37) and familiar.shape == (3,) and evidence.shape[:2] == (3, 37)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    without_bias = np.log(said) - evidence.mean(axis=(2, 3))  # what is left is the head's bias, up to one number for each photo
    bias = without_bias - without_bias.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(bias, np.broadcast_to(bias[:1], bias.shape), atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_pet_is_turned_away(classifier, kind):
    if kind in NOT_DRAWN and not (home() / NOT_DRAWN[kind]).is_dir():
        pytest.skip(f"there are no {kind} here")
    pictures = strangers(kind, 40, classifier.preprocessing.size)
    _, known = shipped.ask_file(classifier, pictures)
    assert len(known) == 40 and known.mean() <= 0.1, "at least nine of ten are turned away"


def test_pictures_that_are_no_pets_get_no_breed(classifier, tmp_path):
    rng = np.random.default_rng(0)
    for name, values in {"noise": rng.integers(0, 256, (300, 400, 3)), "gray": np.full((300, 400, 3), 128)}.items():
        Image.fromarray(values.astype(np.uint8)).save(tmp_path / f"{name}.png")
    assert [answer.verdict for answer in classifier.answer(sorted(tmp_path.iterdir()))] == ["unfamiliar"] * 2


def test_its_page_on_trust_says_what_was_recorded():
    page, figures = (FOLDER / "TRUST.md").read_text(encoding="utf-8"), read_record("pets/shipped", "laptop")["figures"]
    for kind in KINDS:
        assert f"- {kind}: {figures[f'refused_{kind}']['mean']:.1%}" in page and figures[f"refused_{kind}"]["mean"] >= 0.9
    for name in ("kept", "coverage", "kept_and_sure", "answered_accuracy", "ece", "error_least_pet_area"):
        assert f"{figures[name]['mean']:.1%}" in page, name
    assert figures["kept"]["mean"] >= 0.95 and "## Not for" in page and "| staffordshire_bull_terrier |" in page


def test_command_answers_with_it_and_imports_little(tmp_path):
    Image.new("RGB", (300, 200), "white").save(tmp_path / "white.png")
    code = (
        "import sys; from pets_learn.cli import main; code = main(['predict', 'white.png', '--jsonl'])\n"
        "slow = {'torch', 'fastai', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'onnx'} & set(sys.modules)\n"
        "print(sorted(slow)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    entry, slow = done.stdout.splitlines()
    assert slow == "[]" and json.loads(entry)["verdict"] == "unfamiliar" and done.stderr == ""


@pytest.mark.real
def test_it_is_as_good_as_its_card_says(real_pets, classifier):
    """A tenth of the official test photos: within four standard errors of the recorded accuracy, and nine in ten kept."""
    table = photo_table(read_pets(real_pets)).query("official == 'test'").iloc[::10]
    answers = list(classifier.answer(table.path))
    right = np.mean([answer.classes[0][0] == breed for answer, breed in zip(answers, table.breed, strict=True)])
    species = np.mean([answer.group == name for answer, name in zip(answers, table.species, strict=True)])
    expected = check_model(FOLDER)["figures"]["accuracy"]["value"]
    assert abs(right - expected) < 4 * (expected * (1 - expected) / len(table)) ** 0.5 and species > 0.98
    assert np.mean([answer.verdict != "unfamiliar" for answer in answers]) > 0.9


def test_bench_takes_the_best_rival_of_each_repeat():
    spec = importlib.util.spec_from_file_location("bench_predict", Path(__file__).parent.parent / "bench" / "predict.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    speeds = {"predict": [10.0, 20.0], "torch, one": [5.0, 4.0], "torch, other": [2.0, 8.0]}
    assert bench.ratios(speeds) == [2.0, 2.5]


@pytest.mark.slow
def test_bench_without_the_trained_weights_measures_nothing():
    done = subprocess.run([sys.executable, "bench/predict.py"], capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0 and "nothing was measured" in done.stdout
