"""The command line as a person meets it: in a process of its own, with exit codes and clear sentences."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pets_learn import cli
from pets_learn.run import figure

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PETS_LEARN_HOME"} | {"PETS_LEARN_SCALE": "smoke"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Smoke scale with a cache folder of its own, shared by the tests of this file."""
    return ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


def pets_learn(words: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "import sys; from pets_learn.cli import main; sys.exit(main())", *words.split()]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def report(done: subprocess.CompletedProcess) -> str:
    """The report at the end of what was printed."""
    return done.stdout[done.stdout.index("Cat or dog?") :]


def test_course_trains_once(environment, tmp_path):
    first = pets_learn("course", environment, tmp_path)
    assert first.returncode == 0, first.stderr
    for words in ("GENERATED STAND-INS", "accuracy", "95 % interval", "called cat", "one photo", "model", "models/species"):
        assert words in first.stdout
    assert "epoch   1/1" in first.stdout and "\r" not in first.stdout
    stamp = (tmp_path / "models" / "species" / "model.safetensors").stat().st_mtime_ns
    second = pets_learn("course", environment, tmp_path)
    assert "Training" not in second.stdout and report(second) == report(first)
    assert (tmp_path / "models" / "species" / "model.safetensors").stat().st_mtime_ns == stamp
    other = pets_learn("course --seed 1", environment, tmp_path)
    assert "Training" in other.stdout, "another seed is another model"


def test_json_is_json_and_nothing_else(environment, tmp_path):
    done = pets_learn("course --json", environment, tmp_path)
    facts = json.loads(done.stdout)
    assert facts["generated"] is True and facts["classes"] == ["cat", "dog"] and 0 <= facts["accuracy"] <= 1
    assert "epoch" in done.stderr
    saved = json.loads((tmp_path / "models" / "species" / "model.json").read_text())
    assert saved == facts


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("reproduce pets/nothing", "no chapter 'pets/nothing'"),
        ("reproduce pets/dataset", "declares no experiment"),
        ("reproduce pets/cnn --seeds 0", "at least one"),
    ],
)
def test_wrong_arguments_get_a_sentence_and_exit_code_2(environment, tmp_path, words, message):
    done = pets_learn(words, environment, tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_wrong_scale_is_explained(environment, tmp_path):
    done = pets_learn("course", environment | {"PETS_LEARN_SCALE": "huge"}, tmp_path)
    assert done.returncode == 2 and "smoke, laptop, gpu" in done.stderr and "Traceback" not in done.stderr


def test_models_folder_that_is_a_file(environment, tmp_path):
    (tmp_path / "models").write_text("")
    done = pets_learn("course", environment, tmp_path)
    assert done.returncode == 2 and "was not written" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_leaves_nothing_half_written(environment, tmp_path):
    code = "import sys; from pets_learn.cli import main; sys.exit(main(['course']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert any(line.startswith("Training on") for line in process.stdout), "the training has begun"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped" in errors and "Traceback" not in errors
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.json"))


def test_damaged_model_is_trained_again(environment, tmp_path):
    assert pets_learn("course", environment, tmp_path).returncode == 0
    facts = tmp_path / "models" / "species" / "model.json"
    for damage in ("{", "[]", facts.read_text().replace("weights_sha256", "weights")):
        facts.write_text(damage)
        again = pets_learn("course", environment, tmp_path)
        assert again.returncode == 0 and "Training" in again.stdout, again.stderr


def test_reproduce_mixes_no_recipes_and_no_data(tmp_path, monkeypatch):
    from pets_learn.pets import cnn
    from pets_learn.run import BadSetting, Scale

    asked = []

    def one(seed: int):
        asked.append(seed)
        return {"name": "x", "items": 50 if len(asked) > 3 else 7390, "complete": True}, {"accuracy": 0.5}

    monkeypatch.setattr(cnn, "reproduce_one", one)
    monkeypatch.setattr(cnn, "summarize", lambda runs: {"accuracy": figure([run["accuracy"] for run in runs])})
    monkeypatch.setattr(cnn, "sizes", lambda: Scale(name="laptop", epochs=epochs))
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    monkeypatch.setenv("PETS_LEARN_RESULTS", str(tmp_path / "results"))
    epochs = 10
    cli.reproduce("pets/cnn", 1, tmp_path / "runs")
    epochs = 20
    cli.reproduce("pets/cnn", 1, tmp_path / "runs")
    assert asked == [0, 0], "another number of epochs is another experiment"
    cli.reproduce("pets/cnn", 2, tmp_path / "runs")
    with pytest.raises(BadSetting, match="different data"):
        cli.reproduce("pets/cnn", 3, tmp_path / "runs")


def test_reproduce_goes_on_where_it_stopped(tmp_path, monkeypatch):
    from pets_learn.pets import cnn

    asked = []

    def one(seed: int):
        asked.append(seed)
        if asked == [0, 1]:
            raise KeyboardInterrupt
        return {"name": "x", "items": 1, "complete": True}, {"accuracy": 0.5 + seed / 10}

    monkeypatch.setattr(cnn, "reproduce_one", one)
    monkeypatch.setattr(cnn, "summarize", lambda runs: {"accuracy": figure([run["accuracy"] for run in runs])})
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    monkeypatch.setenv("PETS_LEARN_RESULTS", str(tmp_path / "results"))
    with pytest.raises(KeyboardInterrupt):
        cli.reproduce("pets/cnn", 3, tmp_path / "runs")
    path = cli.reproduce("pets/cnn", 3, tmp_path / "runs")
    assert asked == [0, 1, 1, 2], "seed 0 had a result and was not run again"
    assert json.loads(path.read_text())["figures"]["accuracy"]["n"] == 3
