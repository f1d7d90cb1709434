"""The command line as a person meets it: exit codes, clear sentences, nothing lost, nothing done twice."""

import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pets_learn
from pets_learn import cli
from pets_learn.deploy import save_compact
from pets_learn.experiments import all_recipes
from pets_learn.start.classifier import pet_photos

PROGRAM = [sys.executable, "-c", "import sys; from pets_learn.cli import main; sys.exit(main())"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A cache folder of its own, shared by the tests of this file."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path, cache, monkeypatch) -> Path:
    """An empty working folder at smoke scale."""
    monkeypatch.setenv("PETS_LEARN_SCALE", "smoke")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("PETS_LEARN_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(folder: Path, color: tuple[int, int, int], count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for i in range(count):
        noisy = np.clip(np.array(color) + random.integers(-40, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).resize((64, 48)).save(folder / f"{seed}-{i}.jpg")


@pytest.fixture
def colors(place) -> Path:
    draw(place / "colors" / "blue", (40, 60, 200), 10)
    draw(place / "colors" / "red", (210, 40, 50), 10)
    return place / "colors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache) -> Path:
    """A model of two colors, trained once: the folder `model` and the photos in `colors`."""
    folder = tmp_path_factory.mktemp("trained")
    draw(folder / "colors" / "blue", (40, 60, 200), 10)
    draw(folder / "colors" / "red", (210, 40, 50), 10)
    environment = os.environ | {"PETS_LEARN_SCALE": "smoke", "XDG_CACHE_HOME": str(cache)}
    command = [*PROGRAM, "train", "colors", "--model", "model", "--epochs", "2"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "epoch   2/2" in done.stdout and "\r" not in done.stdout + done.stderr, "no progress bars outside a terminal"
    return folder


def run(capsys, *words) -> tuple[int, str, str]:
    try:
        code = cli.main([*map(str, words)])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def test_course_trains_once(place, capsys):
    code, out, _ = run(capsys, "course")
    assert code == 0 and "SMALLER NETWORK" in out
    for words in ("GENERATED STAND-INS", "37 classes", "95 % interval", "balanced", "one photo", "models/breeds"):
        assert words in out
    weights = place / "models" / "breeds" / "model.safetensors"
    stamp = weights.stat().st_mtime_ns
    _, again, _ = run(capsys, "course")
    assert "Training" not in again and again.strip() == out[out.index("A classifier of breeds") :].strip()
    code, text, _ = run(capsys, "course", "--json")
    facts = json.loads(text)
    assert len(facts["classes"]) == 37 and facts["provenance"]["generated stand-ins"] is True
    assert weights.stat().st_mtime_ns == stamp
    assert not list((place / "models").glob(".*")), "no checkpoint is left"


def test_course_keeps_the_better_classifier_of_the_same_photos(place, capsys):
    assert run(capsys, "course")[0] == 0
    photos = pet_photos(folder=cli.photos_or_stand_ins(), per_breed=4)
    cli.train(photos, "breeds", place / "models" / "breeds", epochs=2)
    capsys.readouterr()
    before = (place / "models" / "breeds" / "model.json").read_bytes()
    code, out, _ = run(capsys, "course")
    assert code == 0 and "epoch" not in out and (place / "models" / "breeds" / "model.json").read_bytes() == before
    code, out, _ = run(capsys, "course", "--fresh")
    assert code == 0 and "epoch" in out and (place / "models" / "breeds" / "model.json").read_bytes() != before


def test_species_come_from_breeds(place, capsys):
    code, out, _ = run(capsys, "train", "species", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["classes"] == ["cat", "dog"] and facts["arguments"]["classes"] == 37
    photo = place / "cat.png"
    Image.new("RGB", (50, 40), "orange").save(photo)
    code, out, _ = run(capsys, "predict", photo, "--json")
    (entry,) = json.loads(out)
    assert code == 0 and {answer["class"] for answer in entry["answers"]} == {"cat", "dog"}
    assert abs(sum(answer["probability"] for answer in entry["answers"]) - 1) < 1e-4
    code, out, _ = run(capsys, "evaluate", "models/species", "--json")
    judged = json.loads(out)
    assert code == 0 and judged["left_out"] == 0 and len(judged["confusion"]) == 2


def test_recipes_are_listed(place, capsys):
    code, out, _ = run(capsys, "recipes")
    assert code == 0 and "first_hour" in out and "binary_cnn" in out and "learning_rate = 0.001" in out
    starts = {line.split()[0] for line in out.splitlines() if line.strip() and not line.startswith(" ")}
    assert starts == set(all_recipes()), "a name stands by itself"
    found = {entry["name"]: entry for entry in json.loads(run(capsys, "recipes", "--json")[1])}
    assert found["binary_cnn"]["tasks"] == ["species"] and found["first_hour"]["defaults"] == {"epochs": None, "refit": True}
    assert found["transfer"]["tasks"] == ["breeds", "species", "folder"]


def test_a_recipe_with_a_network_and_photos_of_its_own(place, capsys, monkeypatch):
    from pets_learn.start import classifier

    (place / "train.toml").write_text('recipe = "binary_cnn"\nepochs = 1\nseed = 3\nbatch_size = 16\n')
    words = ("train", "species", "--config", "train.toml", "--json")

    def full(*_, **__):
        raise cli.PetsLearnError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "save_classifier", full)
        assert run(capsys, *words)[0] == 2
    code, out, err = run(capsys, *words)
    facts = json.loads(out)
    assert code == 0 and "checkpoint" in err, "what was trained before the failure is not trained again"
    assert (facts["builder"], facts["arguments"]) == ("pets_learn.pets.cnn:binary_cnn", {"side": 150})
    assert (facts["preprocessing"]["size"], facts["preprocessing"]["method"]) == (150, "squash")
    assert facts["classes"] == ["cat", "dog"] and facts["provenance"]["choices"]["batch_size"] == 16
    assert facts["extra"]["recipe"] == facts["extra"]["order"]["recipe"] == "binary_cnn" and facts["provenance"]["seed"] == 3
    assert facts["figures"]["accuracy"]["count"] == len(pet_photos(per_breed=4).rows("test")), "the published test photos"
    stamp = (place / "models" / "species" / "model.json").stat().st_mtime_ns
    code, out, err = run(capsys, *words)
    assert code == 0 and "Training" not in err and (place / "models" / "species" / "model.json").stat().st_mtime_ns == stamp
    Image.new("RGB", (50, 40), "orange").save(place / "cat.png")
    code, out, _ = run(capsys, "predict", "cat.png", "--json")
    (entry,) = json.loads(out)
    assert code == 0 and entry["answers"][0]["class"] in ("cat", "dog") and len(entry["answers"]) == 2
    code, out, _ = run(capsys, "evaluate", "models/species", "--json")
    judged = json.loads(out)
    assert code == 0 and judged["left_out"] == 0 and len(judged["confusion"]) == 2
    (place / "train.toml").write_text('recipe = "binary_cnn"\nepochs = 1\nseed = 3\nbatch_size = 8\n')
    assert "Training species by the recipe binary_cnn" in run(capsys, *words)[2], "another setting is another training"
    assert not list((place / "models").glob(".*")), "no checkpoint is left"


def test_the_recipe_of_cures_against_overfitting(place, capsys):
    (place / "train.toml").write_text('recipe = "cures"\nepochs = 1\ncure = "dropout"\nside = 48\n')
    code, out, _ = run(capsys, "train", "species", "--config", "train.toml", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["builder"] == "pets_learn.pets.overfitting:regularized_cnn"
    assert facts["arguments"] == {"side": 48, "dropout": 0.5, "batch_norm": False}
    Image.new("RGB", (50, 40), "orange").save(place / "cat.png")
    code, out, _ = run(capsys, "predict", "cat.png", "--json")
    assert code == 0 and {answer["class"] for answer in json.loads(out)[0]["answers"]} == {"cat", "dog"}
    (place / "train.toml").write_text('recipe = "cures"\nepochs = 1\ncure = "prayer"\nside = 48\n')
    code, _, err = run(capsys, "train", "species", "--config", "train.toml")
    assert code == 2 and "no cure 'prayer'" in err and "Traceback" not in err


def test_the_linear_recipe_takes_a_folder_and_learns_it(place, colors, capsys):
    code, out, _ = run(capsys, "train", "colors", "--recipe", "linear", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["classes"] == ["blue", "red"] and facts["extra"]["recipe"] == "linear"
    assert facts["figures"]["accuracy"]["value"] > 0.8 and facts["provenance"]["choices"]["strength"] > 0
    assert run(capsys, "predict", colors / "red", "--model", "models/colors")[0] == 0


@pytest.mark.parametrize(
    ("recipe", "builder", "dropout"),
    [("breeds_today", "breed_resnet", None), ("breeds_document", "breed_cnn", True), ("breeds_bare", "breed_cnn", False)],
)
def test_recipes_of_breeds_from_scratch_take_a_folder(place, colors, capsys, recipe, builder, dropout):
    (place / "train.toml").write_text(f'recipe = "{recipe}"\nseen = 16\n')
    code, out, _ = run(capsys, "train", str(colors), "--config", "train.toml", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["builder"] == f"pets_learn.pets.breeds:{builder}" and facts["classes"] == ["blue", "red"]
    assert facts["arguments"].get("dropout") is dropout
    assert facts["extra"]["recipe"] == recipe


@pytest.mark.parametrize(("recipe", "setting"), [("transfer_document", "penalty = false"), ("transfer_way", 'way = "head only"')])
def test_other_recipes_of_transfer_learning_take_a_small_folder(place, colors, capsys, recipe, setting):
    (place / "train.toml").write_text(f'recipe = "{recipe}"\nepochs = 1\n{setting}\n')
    code, out, _ = run(capsys, "train", str(colors), "--config", "train.toml", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["extra"]["recipe"] == recipe and facts["classes"] == ["blue", "red"]
    assert run(capsys, "predict", colors / "red", "--model", "models/colors")[0] == 0


def test_a_model_is_not_the_same_once_its_weights_have_come(place, colors, monkeypatch, capsys):
    """The weights are those of the network that the recipe trains."""
    asked = []
    monkeypatch.setattr(cli, "_weights_name", lambda network="mobilenet_v2": asked.append(network) or f"{network}.pth")
    (place / "train.toml").write_text('recipe = "transfer_document"\nepochs = 1\n')
    code, out, _ = run(capsys, "train", str(colors), "--config", "train.toml", "--json")
    assert code == 0 and asked == ["inception_v3"]
    assert json.loads(out)["extra"]["order"]["weights"] == "inception_v3.pth"


def test_the_recipe_of_transfer_learning_takes_a_folder(place, colors, capsys):
    (place / "train.toml").write_text('recipe = "transfer"\ndecide = false\nepochs = 1\n')
    code, out, _ = run(capsys, "train", "colors", "--config", "train.toml", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["classes"] == ["blue", "red"] and facts["extra"]["recipe"] == "transfer"
    choices = facts["provenance"]["choices"]
    assert (choices["share"], choices["temperature"], choices["epochs"]) == (0.5, 0.62, 1), "those of the chapter"
    assert run(capsys, "predict", colors / "red", "--model", "models/colors")[0] == 0


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("", "--recipe nothing", "no recipe 'nothing'; choose from"),
        ("", "--recipe binary_cnn", "trains species, not breeds"),
        ("recipe = 'nothing'", "", "choose from"),
        ("epoch = 3", "", "no setting 'epoch'; it has epochs, refit"),
        ("refit = 'yes'", "", "type bool"),
        ("seed = 1.5", "", "whole number"),
        ("epochs = -1", "", "whole number"),
        ("recipe = 3", "", "give a name"),
        ("[first_hour]", "", "without a table"),
        ("epochs =", "", "is no TOML file"),
    ],
)
def test_settings_that_no_recipe_has(place, capsys, text, words, message):
    (place / "train.toml").write_text(text)
    code, out, err = run(capsys, "train", "breeds", "--config", "train.toml", *words.split())
    assert code == 2 and message in err and not out and not (place / "models").exists()


def test_the_command_line_counts_more_than_the_file(place, colors, capsys):
    (place / "train.toml").write_text("epochs = 3\nseed = 5\nrefit = false\n")
    code, out, _ = run(capsys, "train", "colors", "--config", "train.toml", "--epochs", 1, "--json")
    order = json.loads(out)["extra"]["order"]
    assert code == 0 and (order["epochs"], order["seed"], order["refit"]) == (1, 5, False) and "recipe" not in order


def test_help_of_train_loads_no_recipe():
    code = (
        "import sys; from pets_learn.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: print(sorted({'torch', 'fastai', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--recipe" in done.stdout and done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train flowrs", "breeds, species, or a folder"),
        ("train colors/red", "it has none"),
        ("train colors --epochs 0", "at least 1 epoch"),
        ("train colors --model .", "a folder of its own"),
        ("train colors --model ../..", "a folder of its own"),
        ("train colors --model colors/red/0-0.jpg", "is a file"),
        ("data cats", "choose from pets, mnist, lfw, weights"),
        ("evaluate nothing", "nothing"),
        ("predict photo.jpg --model models/none", "there is no model"),
        ("export nothing", "nothing"),
        ("reproduce pets/nothing", "no chapter 'pets/nothing'"),
        ("reproduce pets/dataset", "declares no experiment"),
        ("reproduce pets/cnn --seeds 0", "at least one"),
        ("reproduce pets/cnn --threads 0", "at least one"),
        ("reproduce pets/cnn --only other", "no experiment 'other'"),
    ],
)
def test_wrong_arguments_get_a_sentence_and_exit_code_2(place, colors, capsys, words, message):
    code, out, err = run(capsys, *words.split())
    assert code == 2 and message in err and not out.startswith("{")
    assert not (place / "models").exists() or not list((place / "models").rglob("*.safetensors"))


WRONG_USAGE = ["", "fly", "train", "train breeds --epochs -1", "predict", "data cats", "train breeds --seed x"]


@pytest.mark.parametrize("words", WRONG_USAGE)
def test_wrong_usage_is_explained_by_argparse(place, capsys, words):
    code, _, err = run(capsys, *words.split())
    assert code == 2 and "usage: pets-learn" in err


def test_classes_that_cannot_work(place, capsys):
    draw(place / "one" / "red", (200, 0, 0), 6)
    assert "only one, red" in run(capsys, "train", "one")[2]
    (place / "one" / "blue").mkdir()
    assert "blue has no files" in run(capsys, "train", "one")[2]
    (place / "one" / "blue" / "letter.jpg").write_text("Dear cat,")
    code, _, err = run(capsys, "train", "one")
    assert code == 2 and "blue has 0 photos" in err and "letter.jpg" in err
    draw(place / "one" / "blue", (0, 0, 200), 4)
    assert "blue has 4 photos" in run(capsys, "train", "one")[2]
    assert not (place / "models").exists()


def test_wrong_scale_is_explained(place, capsys, monkeypatch):
    monkeypatch.setenv("PETS_LEARN_SCALE", "huge")
    code, _, err = run(capsys, "course")
    assert code == 2 and "smoke, laptop, gpu" in err


def test_models_folder_that_is_a_file(place, colors, capsys):
    (place / "models").write_text("")
    code, _, err = run(capsys, "train", "colors", "--epochs", 1)
    assert code == 2 and "pets-learn: " in err
    assert (place / "models").read_text() == ""


def test_unreadable_photo_is_named_and_the_others_are_trained_on(place, colors, capsys):
    (colors / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    code, out, err = run(capsys, "train", "colors", "--epochs", 1, "--json")
    assert code == 0 and "broken.jpg" in err
    assert json.loads(out)["extra"]["skipped"] == 1


def test_answers_and_exit_codes_of_predict(trained, capsys):
    photo, absent = trained / "colors" / "red" / "0-0.jpg", trained / "absent.jpg"
    code, out, err = run(capsys, "predict", photo, absent, "--model", trained / "model", "--top", 1)
    assert code == 1 and out.count("\n") == 1 and "0-0.jpg: " in out and "absent.jpg" in err
    code, out, err = run(capsys, "predict", photo, absent, "--model", trained / "model", "--json")
    good, bad = json.loads(out)
    assert code == 1 and len(good["answers"]) == 2 and "no such file" in bad["error"]
    code, _, err = run(capsys, "predict", photo, "--model", trained / "model", "--top", 0)
    assert code == 2 and "at least 1" in err


def test_predict_imports_no_torch(trained):
    code = (
        "import sys; from pets_learn.cli import main\n"
        f"code = main(['predict', {str(trained / 'colors' / 'red' / '0-0.jpg')!r}, '--model', {str(trained / 'model')!r}])\n"
        "slow = {'torch', 'fastai', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'onnx', 'tqdm'} & set(sys.modules)\n"
        "print(sorted(slow)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_evaluate_leaves_out_what_was_trained_on(trained, place, capsys):
    model = trained / "model"
    copied = shutil.copytree(trained / "colors", place / "copied")
    for path in list(copied.rglob("*.jpg")):
        path.rename(path.with_name("renamed-" + path.name))
    code, out, _ = run(capsys, "evaluate", model, copied, "--json")
    known = json.loads(out)
    assert code == 0 and known["left_out"] == 16 and known["photos"] == 4, "60 % to train, 20 % to decide, 20 % to test, of 20"
    draw(copied / "red", (210, 40, 50), 5, seed=9)
    assert json.loads(run(capsys, "evaluate", model, copied, "--json")[1])["photos"] == 9
    seen = set(json.loads((model / "model.json").read_text())["extra"]["seen"])
    for path in list(copied.rglob("*.jpg")):
        if cli.content_marks([path])[0] not in seen:
            path.unlink()
    code, _, err = run(capsys, "evaluate", model, copied)
    assert code == 2 and "every one of these 16 photos" in err
    (copied / "red").rename(copied / "crimson")
    code, _, err = run(capsys, "evaluate", model, copied)
    assert code == 2 and "no class 'crimson'" in err and "blue, red" in err


def test_evaluate_asks_for_what_it_needs(trained, place, capsys):
    assert run(capsys, "export", trained / "model", place / "alone.onnx")[0] == 0
    code, _, err = run(capsys, "evaluate", place / "alone.onnx", trained / "colors")
    assert code == 2 and "cannot be judged fairly" in err, "it does not know what it was trained on"
    code, _, err = run(capsys, "evaluate", trained / "model", place / "nowhere")
    assert code == 2 and "there is no folder" in err
    draw(place / "more" / "red", (210, 40, 50), 3, seed=7)
    (place / "more" / "red" / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    code, out, _ = run(capsys, "evaluate", trained / "model", place / "more")
    assert code == 1 and "1 unreadable" in out


def test_own_breeds_do_not_replace_the_course_s(place, trained, capsys):
    shutil.copytree(trained / "colors", place / "breeds")
    code, _, err = run(capsys, "train", "./breeds", "--epochs", 1)
    assert code == 2 and "--model" in err and not (place / "models").exists()
    code, out, _ = run(capsys, "train", "./breeds", "--epochs", 1, "--model", "mine", "--json")
    assert code == 0 and json.loads(out)["task"] == "own breeds"
    code, _, err = run(capsys, "evaluate", "mine")
    assert code == 2 and "give a folder" in err


def test_which_model_answers(trained, place, capsys, monkeypatch):
    photo = trained / "colors" / "red" / "0-0.jpg"
    monkeypatch.setattr(pets_learn, "__file__", str(place / "package" / "__init__.py"))
    code, _, err = run(capsys, "predict", photo)
    assert code == 2 and "pets-learn train breeds" in err
    save_compact(trained / "model", place / "package" / "shipped" / "breeds")
    code, out, err = run(capsys, "predict", photo)
    assert (code, err) == (0, "") and "red" in out, "the shipped model answers, and nothing is said on standard error"
    shutil.copytree(trained / "model", place / "models" / "species")
    assert cli.default_model() == Path("models/species")
    shutil.copytree(trained / "model", place / "models" / "breeds")
    assert cli.default_model() == Path("models/breeds")
    assert run(capsys, "predict", photo, "--model", place / "nothing")[0] == 2, "--model wins"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices")
def test_what_is_no_photo_file(trained, place, capsys):
    os.mkfifo(place / "pipe.jpg")
    code, _, err = run(capsys, "predict", place / "pipe.jpg", place, "--model", trained / "model")
    assert code == 1 and "no such file" in err and "holds no photos" in err


def bad_photo(kind, path, good):
    """Write what is no photo, or an odd one, to `path`."""
    image = Image.open(good).convert("RGB").resize((40, 40))
    if kind == "text":
        path.write_text("Dear shelter, my cat is gray.")
    elif kind == "empty":
        path.touch()
    elif kind == "cut short":
        path.write_bytes(good.read_bytes()[:200])
    elif kind == "huge":
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + header
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
            + struct.pack(">I", 10) + b"IDAT" + bytes(14)
        )  # fmt: skip
    elif kind == "animated":
        image.save(path, "GIF", save_all=True, append_images=[image.rotate(90)])
    elif kind == "16 bits":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path, "PNG")
    elif kind == "transparent":
        image.putalpha(128)
        image.save(path, "PNG")


BAD = {"text": "not a JPEG", "empty": "the file is empty", "cut short": "cut short or damaged", "huge": "not decoded"}


@pytest.mark.parametrize("kind", [*BAD, "animated", "16 bits", "transparent"])
def test_odd_photos_leave_the_rest_answered(trained, place, capsys, kind):
    good, odd = trained / "colors" / "red" / "0-0.jpg", place / "odd.png"
    bad_photo(kind, odd, good)
    code, out, err = run(capsys, "predict", odd, good, place / "absent.jpg", good, "--model", trained / "model", "--jsonl")
    entries = [json.loads(line) for line in out.splitlines()]
    assert [entry["photo"] for entry in entries] == [str(odd), str(good), str(place / "absent.jpg"), str(good)]
    assert code == 1 and "Traceback" not in err and "error" in entries[2] and entries[1]["answers"] == entries[3]["answers"]
    if kind in BAD:
        assert BAD[kind] in entries[0]["error"] and "\n" not in entries[0]["error"]
        code, out, err = run(capsys, "predict", odd, good, "--model", trained / "model")
        assert code == 1 and out.startswith(f"{good}: ") and err.count("\n") == 1 and "odd.png" in err
    else:
        assert 0 < entries[0]["answers"][0]["probability"] <= 1


def test_sixteen_bits_and_transparency_mean_what_they_show(trained, place, capsys):
    """A 16-bit gray photo answers as its 8-bit twin, and a transparent one as on white paper."""
    gray = Image.open(trained / "colors" / "red" / "0-0.jpg").convert("L")
    gray.save(place / "8.png")
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 257).save(place / "16.png")
    Image.new("RGBA", gray.size, (200, 0, 0, 0)).save(place / "clear.png")
    Image.new("RGB", gray.size, "white").save(place / "white.png")
    names = [place / name for name in ("8.png", "16.png", "clear.png", "white.png")]
    code, out, _ = run(capsys, "predict", *names, "--model", trained / "model", "--json")
    found = [entry["answers"] for entry in json.loads(out)]
    assert code == 0 and found[0] == found[1] and found[2] == found[3] != found[0]


def test_first_frames_palettes_and_half_transparency(trained, place, capsys):
    """An animation answers as its first frame, a half transparent photo as on white, whatever the file is called."""
    red, blue = Image.new("RGB", (64, 48), (210, 40, 50)), Image.new("RGB", (64, 48), (40, 60, 200))
    red.save(place / "red.png")
    for name in ("animated.gif", "animated.webp"):
        red.save(place / name, save_all=True, append_images=[blue], lossless=True)
    red.convert("P", palette=Image.Palette.ADAPTIVE).save(place / "palette.gif")
    red.save(place / "called.png", "BMP")
    for name in ("animated.gif", "animated.webp", "palette.gif", "called.png"):
        code, out, err = run(capsys, "predict", place / name, place / "red.png", "--model", trained / "model", "--jsonl")
        one, other = (json.loads(line)["answers"] for line in out.splitlines())
        assert (code, err) == (0, "") and one[0]["class"] == other[0]["class"] == "red"
        assert abs(one[0]["probability"] - other[0]["probability"]) < 0.02, name
    Image.new("RGBA", (64, 48), (0, 0, 0, 51)).save(place / "half.png")
    Image.new("RGB", (64, 48), (204, 204, 204)).save(place / "gray.png")
    out = run(capsys, "predict", place / "half.png", place / "gray.png", "--model", trained / "model", "--jsonl")[1]
    one, other = (json.loads(line)["answers"] for line in out.splitlines())
    assert abs(one[0]["probability"] - other[0]["probability"]) < 0.02


def test_folders_patterns_and_standard_input(trained, place, capsys, monkeypatch):
    colors = trained / "colors"
    count = len(list(colors.rglob("*.jpg")))
    code, out, _ = run(capsys, "predict", colors, "--model", trained / "model", "--json")
    assert code == 0 and [entry["photo"] for entry in json.loads(out)] == sorted(map(str, colors.rglob("*.jpg")))
    code, out, _ = run(capsys, "predict", f"{colors}/**/*.jpg", "--model", trained / "model", "--jsonl")
    assert code == 0 and out.count("\n") == count
    code, _, err = run(capsys, "predict", f"{colors}/*.bmp", "--model", trained / "model")
    assert code == 1 and "no file fits" in err
    photo = colors / "red" / "0-0.jpg"
    expected = json.loads(run(capsys, "predict", photo, "--model", trained / "model", "--json")[1])[0]["answers"]
    for content in (f"{photo}\n{photo}\n".encode(), photo.read_bytes()):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        code, out, _ = run(capsys, "predict", "-", "--model", trained / "model", "--json")
        assert code == 0 and all(entry["answers"] == expected for entry in json.loads(out))
    assert json.loads(out)[0]["photo"] == "standard input"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\x00\xff\xfe")))
    code, _, err = run(capsys, "predict", "-", "--model", trained / "model")
    assert code == 1 and "neither paths" in err


def test_name_with_a_line_break_stays_on_one_line(trained, place, capsys):
    odd = place / "two\nlines \u00e9.jpg"
    shutil.copyfile(trained / "colors" / "red" / "0-0.jpg", odd)
    code, out, _ = run(capsys, "predict", odd, "--model", trained / "model", "--jsonl")
    assert code == 0 and json.loads(out)["photo"] == str(odd)
    code, out, _ = run(capsys, "predict", odd, "--model", trained / "model")
    assert code == 0 and out.count("\n") == 1


def test_names_that_stand_for_nothing_leave_the_rest_answered(trained, place, capsys):
    good = trained / "colors" / "red" / "0-0.jpg"
    (place / "letters").mkdir()
    (place / "letters" / "letter.txt").write_text("Dear cat,")
    (place / "clear\x1b[2J.jpg").write_text("no photo")
    names = {
        "x" * 300 + ".jpg": "cannot be opened (File name too long)",
        "nothing-*.jpg": "no file fits",
        "a**b": "no file fits" if sys.version_info < (3, 13) else "",
        "letters": "holds no photos",
        "clear\x1b[2J.jpg": "clear\\x1b[2J.jpg cannot be used",
    }
    for name, words in names.items():
        code, out, err = run(capsys, "predict", good, name, good, "--model", trained / "model")
        assert code == 1 and out.count(f"{good}: red") == 2 and err.count("\n") == 1, name
        assert err.startswith("pets-learn: ") and words in err and "\x1b" not in err
    secret = place / "secret.jpg"
    shutil.copyfile(good, secret)
    secret.chmod(0)
    if not os.access(secret, os.R_OK):
        assert "Permission denied" in run(capsys, "predict", secret, "--model", trained / "model")[2]
    code, _, err = run(capsys, "predict", good, "--json", "--jsonl", "--model", trained / "model")
    assert code == 2 and "either --json or --jsonl" in err


def test_links_that_lead_in_circles(trained, place, capsys):
    shutil.copytree(trained / "colors", place / "colors")
    (place / "colors" / "circle").symlink_to(place / "colors")
    (place / "colors" / "red" / ".hidden.jpg").write_text("no photo")
    words = ("--model", trained / "model", "--jsonl")
    assert run(capsys, "predict", "colors", *words)[1].count("\n") == 20
    for pattern in ("colors/*/0-1.jpg", str(place / "**" / "0-1.jpg"), "**/0-1.jpg"):
        code, out, _ = run(capsys, "predict", pattern, *words)
        found = [Path(json.loads(line)["photo"]).parent.name for line in out.splitlines()]
        assert code == 0 and found == ["blue", "red"], pattern
    assert run(capsys, "predict", "colors/red/*", *words)[1].count("\n") == 10
    assert "cannot be used" in run(capsys, "predict", "colors/red/.h*", *words)[1], "named, so meant"


class Pipe:
    """Standard input that holds these bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_lists_on_standard_input(trained, place, capsys, monkeypatch):
    good = trained / "colors" / "red" / "0-0.jpg"
    for name in ("two\nlines.jpg", "BMW.jpg", "RIFFRAFF.jpg"):
        shutil.copyfile(good, place / name)
    lists = [
        (b"BMW.jpg\n\nabsent.png\r\nBMW.jpg", ["BMW.jpg", "absent.png", "BMW.jpg"]),
        (b"two\nlines.jpg\0BMW.jpg\0absent.png\0", ["two\nlines.jpg", "BMW.jpg", "absent.png"]),
        (b"RIFFRAFF.jpg\nabsent.png", ["RIFFRAFF.jpg", "absent.png"]),
        (b"absent \xff.png\nBMW.jpg", [os.fsdecode(b"absent \xff.png"), "BMW.jpg"]),
    ]
    for content, names in lists:
        monkeypatch.setattr(sys, "stdin", Pipe(content))
        code, out, _ = run(capsys, "predict", "-", "--model", trained / "model", "--jsonl")
        entries = [json.loads(line) for line in out.splitlines()]
        assert code == 1 and [entry["photo"] for entry in entries] == names
        assert ["error" in entry for entry in entries] == [name.startswith("absent") for name in names]
    for content in (b"", b"\n\n", b"\0\0\0\x18ftypheic" + bytes(99)):
        monkeypatch.setattr(sys, "stdin", Pipe(content))
        code, out, err = run(capsys, "predict", good, "-", "--model", trained / "model")
        assert code == 1 and out.count("\n") == 1 and "neither paths" in err


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_photo_of_each_kind_on_standard_input(trained, place, capsys, monkeypatch, kind):
    Image.new("RGB", (64, 48), (210, 40, 50)).save(place / "photo", kind)
    monkeypatch.setattr(sys, "stdin", Pipe((place / "photo").read_bytes()))
    code, out, err = run(capsys, "predict", "-", "--model", trained / "model")
    assert (code, err) == (0, "") and out.startswith("standard input: red ")
    monkeypatch.setattr(sys, "stdin", Pipe((place / "photo").read_bytes()[:60]))
    assert run(capsys, "predict", "-", "--model", trained / "model")[:2] == (1, "")


def test_a_photo_too_large_for_the_memory_does_not_stop_the_others(trained, place, capsys, monkeypatch):
    from pets_learn import deploy

    for name in ("a.jpg", "large.jpg", "z.jpg"):
        shutil.copyfile(trained / "colors" / "red" / "0-0.jpg", place / name)
    real = deploy.decode_photo

    def decode(path, *rest):
        if Path(path).name == "large.jpg":
            raise MemoryError
        return real(path, *rest)

    monkeypatch.setattr(deploy, "decode_photo", decode)
    code, out, err = run(capsys, "predict", place, "--model", trained / "model")
    assert code == 1 and out.count("red") == 2 and "large.jpg cannot be used as a photo: there is not enough memory" in err


def test_a_bar_is_for_terminals_only(trained, place, capsys, monkeypatch):
    red = trained / "colors" / "red"
    assert run(capsys, "predict", red, "--model", trained / "model")[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "photos" in run(capsys, "predict", red, "--model", trained / "model")[2]
    assert run(capsys, "predict", red / "0-0.jpg", "--model", trained / "model")[2] == "", "one photo needs no bar"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_output_that_cannot_be_written(trained):
    command = [*PROGRAM, "predict", str(trained / "colors" / "red" / "0-0.jpg"), "--model", str(trained / "model")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "No space left" in done.stderr and "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_narrow_terminal(trained, place):
    shutil.copytree(trained / "colors", place / "colors")
    command = [*PROGRAM, "train", "colors", "--epochs", "1", "--model", "model"]
    done = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_export(trained, place, capsys):
    code, out, _ = run(capsys, "export", trained / "model", place / "colors.onnx", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["largest_difference"] < 1e-4 and facts["bytes"] == (place / "colors.onnx").stat().st_size
    photo = trained / "colors" / "red" / "0-0.jpg"
    folder = run(capsys, "predict", photo, "--model", trained / "model", "--json")[1]
    assert run(capsys, "predict", photo, "--model", place / "colors.onnx", "--json")[1] == folder
    code, _, err = run(capsys, "export", trained / "model", place / "colors.onnx" / "inside.onnx")
    assert code == 2 and "was not written" in err


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_altered_model_is_refused(trained, place, capsys, name):
    model = shutil.copytree(trained / "model", place / "model")
    content = bytearray((model / name).read_bytes())
    content[len(content) // 2] ^= 1
    (model / name).write_bytes(content)
    code, out, err = run(capsys, "predict", trained / "colors" / "red" / "0-0.jpg", "--model", model)
    assert code == 2 and not out and name in err


def test_altered_model_is_trained_again(trained, place, capsys):
    shutil.copytree(trained / "colors", place / "colors")
    model = shutil.copytree(trained / "model", place / "model")
    words = ("train", "colors", "--model", "model", "--epochs", 2)
    assert "Training" not in run(capsys, *words)[1]
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[:-1])
    code, out, _ = run(capsys, *words)
    assert code == 0 and "Training" in out
    assert (model / "model.safetensors").read_bytes() == whole, "the same photos, seed and epochs give the same weights"


def test_new_photos_are_a_new_training(trained, place, capsys):
    shutil.copytree(trained / "colors", place / "colors")
    shutil.copytree(trained / "model", place / "model")
    draw(place / "colors" / "red", (210, 40, 50), 2, seed=5)
    code, out, _ = run(capsys, "train", "colors", "--model", "model", "--epochs", 1)
    assert code == 0 and "Training colors on 22 photos" in out


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_training_goes_on_and_ends_the_same(trained, place, capsys, sent):
    shutil.copytree(trained / "colors", place / "colors")
    words = ["train", "colors", "--epochs", "30", "--model", "model"]
    with subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert any(line.startswith("epoch   3/") for line in process.stdout), "the training has begun"
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    assert not list(place.rglob("model.json")) and not list(place.rglob("*.safetensors.*"))
    if sent == signal.SIGINT:
        assert process.returncode == 130 and "goes on" in errors and "Traceback" not in errors
    code, out, _ = run(capsys, *words)
    assert code == 0 and "checkpoint: going on after epoch" in out
    resumed = (place / "model" / "model.safetensors").read_bytes()
    code, out, _ = run(capsys, *words, "--fresh")
    assert code == 0 and "checkpoint" not in out
    assert (place / "model" / "model.safetensors").read_bytes() == resumed


def test_a_training_leaves_those_of_others_alone(trained, place, capsys):
    from pets_learn.checkpoints import only_user

    shutil.copytree(trained / "colors", place / "colors")
    other = place / ".model.v2.0123abcd.checkpoint"
    other.mkdir()
    (other / "kept").write_text("x")
    words = ["train", "colors", "--epochs", "1", "--model", "model"]
    assert run(capsys, *words)[0] == 0 and (other / "kept").exists()
    order = json.loads((place / "model" / "model.json").read_text())["extra"]["order"]
    key = cli.hashlib.sha256(json.dumps(order).encode()).hexdigest()[:8]
    with only_user(place / f".model.{key}.checkpoint" / "model"):
        code, _, err = run(capsys, *words, "--fresh")
        assert code == 2 and "another process is training" in err


def test_export_makes_a_lost_graph_anew(trained, place, capsys):
    model = shutil.copytree(trained / "model", place / "model")
    (model / "model.onnx").unlink()
    code, _, _ = run(capsys, "export", model)
    photo = trained / "colors" / "red" / "0-0.jpg"
    assert code == 0 and run(capsys, "predict", photo, "--model", model)[0] == 0


def test_full_disk_leaves_the_old_model(trained, place, capsys, monkeypatch):
    model = shutil.copytree(trained / "model", place / "model")
    shutil.copytree(trained / "colors", place / "colors")
    before = {path.name: path.read_bytes() for path in model.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run(capsys, "train", "colors", "--model", "model", "--epochs", 1, "--seed", 1)
    assert code == 2 and ("No space left" in err or "disk is full" in err)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_data_says_what_is_missing(place, capsys, monkeypatch):
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    monkeypatch.setenv("PETS_LEARN_HOME", str(place / "nothing"))
    monkeypatch.setenv("TORCH_HOME", str(place / "torch"))
    code, out, _ = run(capsys, "data", "--json")
    rows = json.loads(out)
    assert code == 0 and [row["there"] for row in rows] == [False] * 4 and all("PETS_LEARN_HOME" in row["words"] for row in rows)
    code, out, _ = run(capsys, "data", "mnist")
    assert code == 1 and "MISSING" in out


def test_help_of_every_command_has_an_example(capsys):
    for command in ("course", "train", "recipes", "evaluate", "predict", "export", "reproduce", "data"):
        code, out, _ = run(capsys, command, "--help")
        assert code == 0 and f"example: pets-learn {command}" in out and "--json" in out


def test_reader_that_goes_away_is_no_error(trained):
    photo = str(trained / "colors" / "red" / "0-0.jpg")
    command = [*PROGRAM, "predict", *[photo] * 3000, "--model", str(trained / "model")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert "Traceback" not in errors and "BrokenPipe" not in errors


@pytest.mark.real
def test_three_classes_of_thirty_real_photos(real_pets, place, capsys, monkeypatch):
    """The user's own folder: a useful model within three minutes, with an interval."""
    if not list((real_pets.parent / "weights").glob("mobilenet_v2*.pth")):
        pytest.skip("the ImageNet weights are not here")
    monkeypatch.setenv("PETS_LEARN_HOME", str(real_pets.parent))
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    for breed in ("Birman", "pug", "samoyed"):
        (place / "mine" / breed).mkdir(parents=True)
        for path in sorted((real_pets / "images").glob(f"{breed}_*.jpg"))[:30]:
            shutil.copyfile(path, place / "mine" / breed / path.name)
    started = time.perf_counter()
    code, out, _ = run(capsys, "train", "mine", "--json")
    seconds = time.perf_counter() - started
    facts = json.loads(out)
    figure = facts["figures"]["accuracy"]
    assert code == 0 and facts["provenance"]["judged by"] == "5-fold cross-validation" and figure["count"] == 90
    assert figure["value"] > 0.9 and figure["interval"][0] > 0.8 and figure["interval"][0] < figure["value"] < 1.0001
    assert seconds < 180
    other = sorted((real_pets / "images").glob("pug_*.jpg"))[40]
    code, out, _ = run(capsys, "predict", other, "--model", "models/mine", "--top", 1)
    assert code == 0 and "pug" in out.split(": ", 1)[1]
