"""A saved classifier: what goes in comes out, altered files are noticed, nothing foreign runs, no moment is a bad one."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pets_learn import deploy
from pets_learn.batches import photo_cache
from pets_learn.data import BadPhoto
from pets_learn.deploy import BadModel, Preprocessing, check_model, load_classifier, load_model, model_facts, save_model
from pets_learn.run import BadSetting, PetsLearnError, seed_everything

pytestmark = pytest.mark.usefixtures("smoke")
TINY = "pets_learn.deploy:tiny_cnn"
SIZE = 32
NAMES = ["Maine_Coon", "Ängström-Hund", "猫"]


def trained(outputs: int = 3, seed: int = 0) -> nn.Module:
    """A network whose answers differ between photos: random weights, and statistics as after a training."""
    seed_everything(seed)
    network = deploy.build(TINY, {"outputs": outputs})
    network.train()
    for _ in range(3):
        network(torch.rand(8, 3, SIZE, SIZE))
    network[-1].weight.data *= 5
    return network.eval()


def save(model: nn.Module, folder: Path, **changes) -> Path:
    outputs = model[-1].out_features if isinstance(model, nn.Sequential) else 3
    usual = {"builder": TINY, "arguments": {"outputs": outputs}, "classes": NAMES, "preprocessing": Preprocessing(SIZE)}
    usual |= {"task": "breeds", "figures": {"accuracy": {"value": 0.9, "interval": [0.8, 0.95], "count": 40, "unit": "share"}}}
    return save_model(model, folder, **(usual | {"provenance": {"data": "noise"}, "license": "CC BY-SA 4.0"} | changes))


def photos(count: int, size: int = SIZE) -> np.ndarray:
    """Noise, each photo in a color of its own, so that a network tells them apart."""
    generator = np.random.default_rng(1)
    return (generator.integers(0, 256, (count, 3, size, size)) * generator.random((count, 3, 1, 1))).astype(np.uint8)


def answers(model: nn.Module, bytes_: np.ndarray) -> np.ndarray:
    """What the network says, computed without the module under test."""
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(bytes_).float() / 255)
    if logits.shape[1] == 1:
        yes = logits.sigmoid()
        return torch.cat([1 - yes, yes], dim=1).numpy()
    return logits.softmax(dim=1).numpy()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return trained()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    return save(model, tmp_path_factory.mktemp("saved") / "breeds")


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    """A copy of the saved model that a test may spoil."""
    (tmp_path / "copy").mkdir()
    for file in saved.iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    return tmp_path / "copy"


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    return path


# What goes in comes out


@pytest.mark.parametrize("count", [1, 2, 5, 33])
def test_answers_are_the_same_with_and_without_torch(model, saved, count):
    expected = answers(model, photos(count))
    assert np.ptp(expected, axis=0).max() > 0.01 or count == 1, "the network must tell these photos apart"
    np.testing.assert_allclose(load_model(saved).classifier().probabilities(photos(count)), expected, atol=1e-6)
    np.testing.assert_allclose(load_classifier(saved).probabilities(photos(count)), expected, atol=1e-4)


def test_weights_come_back_bit_for_bit(model, saved):
    loaded = load_model(saved)
    assert not any(layer.training for layer in loaded.model.modules())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], value, rtol=0, atol=0)


def test_facts_say_everything(model, saved):
    facts = check_model(saved)
    assert facts == load_model(saved).facts == model_facts(saved) == load_classifier(saved).facts
    assert facts["classes"] == NAMES and facts["license"] == "CC BY-SA 4.0" and facts["builder"] == TINY
    assert (facts["preprocessing"]["size"], facts["preprocessing"]["method"]) == (SIZE, "squash")
    assert facts["figures"]["accuracy"]["interval"] == [0.8, 0.95] and facts["provenance"] == {"data": "noise"}
    assert facts["parameters"] == sum(p.numel() for p in model.parameters()) and facts["onnx"]["opset"] == 18
    assert 0 <= facts["onnx"]["largest_difference"] <= 1e-4
    assert sorted(facts["files"]) == ["model.onnx", "model.safetensors"]


def test_onnx_file_stands_alone(saved, tmp_path):
    alone = tmp_path / "anything.onnx"
    alone.write_bytes((saved / "model.onnx").read_bytes())
    classifier = load_classifier(alone)
    facts = check_model(saved)
    for key in ("task", "classes", "preprocessing", "figures", "provenance", "license"):
        assert classifier.facts[key] == facts[key]
    assert classifier.facts["weights_sha256"] == facts["files"]["model.safetensors"]["sha256"]
    np.testing.assert_array_equal(classifier.probabilities(photos(3)), load_classifier(saved).probabilities(photos(3)))


def test_onnx_file_is_sound_and_says_nothing_of_the_machine(saved):
    import onnx

    graph = onnx.load(saved / "model.onnx", load_external_data=False)
    onnx.checker.check_model(graph, full_check=True)
    assert [entry.version for entry in graph.opset_import if entry.domain == ""] == [18]
    assert not any(tensor.external_data for tensor in graph.graph.initializer), "one file holds everything"
    content = (saved / "model.onnx").read_bytes()
    assert str(Path(deploy.__file__).parent).encode() not in content and b"site-packages" not in content


def test_two_classes_from_one_logit(tmp_path):
    model = trained(outputs=1)
    folder = save(model, tmp_path / "m", classes=["cat", "dog"])
    classifier = load_classifier(folder)
    np.testing.assert_allclose(classifier.probabilities(photos(5)), answers(model, photos(5)), atol=1e-4)
    np.testing.assert_allclose(classifier.probabilities(photos(5)).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_torchvision_networks(name, tmp_path):
    seed_everything(0)
    arguments = {"num_classes": 3}
    model = deploy.build(f"torchvision:{name}", arguments).train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.rand(4, 3, SIZE, SIZE))
    folder = save(model, tmp_path / "m", builder=f"torchvision:{name}", arguments=arguments)
    np.testing.assert_allclose(load_classifier(folder).probabilities(photos(2)), answers(model, photos(2)), atol=1e-4)
    np.testing.assert_allclose(load_model(folder).classifier().probabilities(photos(2)), answers(model, photos(2)), atol=1e-6)


def test_channels_last_and_training_mode(tmp_path):
    model = trained().to(memory_format=torch.channels_last).train()
    folder = save(model, tmp_path / "m", onnx=False)
    assert model.training and model[0].training, "saving leaves the network's mode as it was"
    model.eval()
    np.testing.assert_allclose(load_model(folder).classifier().probabilities(photos(4)), answers(model, photos(4)), atol=1e-6)


def test_weights_that_share_memory(tmp_path):
    model = trained()
    model[0].bias.data = model[1].bias.data  # both have 16 numbers; safetensors by itself refuses this
    folder = save(model, tmp_path / "m", onnx=False)
    np.testing.assert_allclose(load_model(folder).classifier().probabilities(photos(2)), answers(model, photos(2)), atol=1e-6)


def test_half_precision_is_kept_in_the_file(tmp_path):
    model = trained().half()
    folder = save(model, tmp_path / "m", onnx=False)
    assert (folder / "model.safetensors").stat().st_size < 0.7 * sum(4 * p.numel() for p in model.parameters())
    assert load_model(folder).model[0].weight.dtype == torch.float32


def test_saving_draws_no_random_numbers(model, tmp_path):
    seed_everything(3)
    expected = torch.rand(4)
    seed_everything(3)
    load_model(save(model, tmp_path / "m", onnx=False))
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)


def test_preprocessing_gives_the_bytes_of_training(photo):
    for method in ("squash", "crop", "pad"):
        np.testing.assert_array_equal(Preprocessing(SIZE, method)(photo), photo_cache([photo], SIZE, method).photos[0])
    bytes_ = photos(2)
    expected = torch.from_numpy(bytes_).float().div_(255).numpy()  # as BatchLoader does it
    np.testing.assert_array_equal(Preprocessing(SIZE).to_input(bytes_), expected)


def test_exported_by_hand(model, tmp_path):
    difference = deploy.export_onnx(model, tmp_path / "a.onnx", Preprocessing(SIZE), NAMES, task="breeds", license="CC BY-SA 4.0")
    assert 0 <= difference <= 1e-4
    classifier = load_classifier(tmp_path / "a.onnx")
    assert classifier.classes == NAMES and classifier.facts["license"] == "CC BY-SA 4.0"
    np.testing.assert_allclose(classifier.probabilities(photos(2)), answers(model, photos(2)), atol=1e-4)


def test_exporter_is_quiet(model, tmp_path, capfd, recwarn):
    deploy.export_onnx(model, tmp_path / "a.onnx", Preprocessing(SIZE), NAMES)
    assert capfd.readouterr() == ("", "") and not list(recwarn)


def test_onnx_can_be_added_later(model, tmp_path):
    folder = save(model, tmp_path / "m", onnx=False, extra={"order": 7})
    assert check_model(folder)["onnx"] is None and not (folder / "model.onnx").exists()
    with pytest.raises(BadModel, match=r"pets-learn export .*m makes it"):
        load_classifier(folder)
    before = load_model(folder).facts
    assert deploy.add_onnx(folder) == folder / "model.onnx"
    np.testing.assert_allclose(load_classifier(folder).probabilities(photos(2)), answers(model, photos(2)), atol=1e-4)
    after = check_model(folder)
    assert {k: v for k, v in after.items() if k not in ("onnx", "files", "sha256")} == {
        k: v for k, v in before.items() if k not in ("onnx", "files", "sha256")
    }


def test_an_answer_that_differs_is_not_exported(model, tmp_path, monkeypatch):
    monkeypatch.setattr(deploy, "TOLERANCE", -1.0)
    with pytest.raises(PetsLearnError, match="answers otherwise"):
        save(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


# More outputs than one


class Outspoken(nn.Module):
    """Also says how bright a photo is, as its familiarity, and shows its first maps as the evidence."""

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.head = nn.Conv2d(3, 3, 3, stride=4), nn.Linear(3, 3)

    def outputs(self, photos: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.maps(photos)
        logits, brightness = 9 * self.head(maps.mean(dim=(2, 3))), photos.mean(dim=(1, 2, 3))
        return {"evidence": maps, "logits": logits, "familiarity": brightness - 0.25}

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return self.outputs(photos)["logits"]


@pytest.fixture
def outspoken(monkeypatch) -> Outspoken:
    """Such a network, whose class is registered as a builder while the test runs."""

    def builder() -> Outspoken:
        return Outspoken()

    builder.__dict__["architecture"] = "pets_learn.deploy:outspoken"
    monkeypatch.setattr(deploy, "_registered", lambda name: builder)
    seed_everything(0)
    return Outspoken().eval()


GROUPS = {"cat": ["Maine_Coon", "猫"], "dog": ["Ängström-Hund"]}
TOLD = {"builder": "pets_learn.deploy:outspoken", "arguments": {}, "groups": GROUPS}


def test_all_outputs_come_through_the_file(outspoken, tmp_path):
    run = load_classifier(save(outspoken, tmp_path / "m", **TOLD)).run
    inputs = photos(5).astype(np.float32) / 255
    with torch.no_grad():
        expected = outspoken.outputs(torch.from_numpy(inputs))
    assert run.outputs[0] == "probabilities" and set(run.outputs) == {"probabilities", "evidence", "familiarity"}
    for name in ("familiarity", "evidence"):
        (found,) = run.named(inputs, [name])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[name].numpy(), atol=1e-5)
    np.testing.assert_allclose(run(inputs), expected["logits"].softmax(dim=1).numpy(), atol=1e-5)


def test_verdicts_and_groups(outspoken, tmp_path):
    dark, gray = tmp_path / "dark.png", tmp_path / "gray.png"
    Image.new("RGB", (SIZE, SIZE), (20, 20, 20)).save(dark)
    Image.new("RGB", (SIZE, SIZE), (128, 128, 128)).save(gray)
    for probability, verdict in ((0.0, "sure"), (1.0, "unsure")):
        folder = save(outspoken, tmp_path / "m", **TOLD, thresholds={"familiarity": 0.0, "probability": probability})
        (tmp_path / "alone.onnx").write_bytes((folder / "model.onnx").read_bytes())
        asked = [dark, tmp_path / "absent.png", gray]
        both = [list(load_classifier(source).answer(asked, top=3)) for source in (folder, tmp_path / "alone.onnx")]
        assert both[0][0] == both[1][0] and both[0][2] == both[1][2], "the file alone answers as the folder does"
        first, absent, second = both[0]
        assert isinstance(absent, BadPhoto) and first.verdict == "unfamiliar" and second.verdict == verdict
        np.testing.assert_allclose([first.familiarity, second.familiarity], [20 / 255 - 0.25, 128 / 255 - 0.25], atol=1e-5)
        shares = dict(second.classes)
        groups = {name: sum(shares[member] for member in GROUPS[name]) for name in GROUPS}
        assert second.group == max(groups, key=groups.get) and second.group_probability == pytest.approx(groups[second.group])


def test_a_model_that_says_nothing_of_doubt_is_always_sure(saved, photo):
    (answer,) = load_classifier(saved).answer(photo, top=1)
    assert (answer.verdict, answer.group, answer.group_probability, answer.familiarity) == ("sure", None, None, None)
    assert list(answer.classes) == load_classifier(saved).predict(photo, top=1)[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"thresholds": {"certainty": 0.5}}, "no threshold 'certainty'"), ({"thresholds": {"probability": 1.5}}, "from 0 to 1"),
        ({"thresholds": {"probability": "high"}}, "give a number"), ({"thresholds": {"familiarity": 0.0}}, "gives none"),
        ({"thresholds": {"familiarity": float("nan")}}, "give a number"),
        ({"groups": {"cat": NAMES[:2]}}, "belongs to one group: 猫"), ({"groups": {"cat": NAMES, "dog": NAMES[2:]}}, "twice"),
        ({"groups": {"cat": [*NAMES, "pug"]}}, "pug"), ({"groups": {"cat": NAMES, "dog": []}}, "dog has no class"),
    ],
)  # fmt: skip
def test_doubt_and_groups_that_make_no_sense(model, tmp_path, changes, words):
    with pytest.raises(BadSetting, match=words):
        save(model, tmp_path / "m", **changes)
    assert not (tmp_path / "m").exists()


def test_facts_with_senseless_doubt_are_refused(copy):
    for changes in ({"thresholds": {"probability": 7}}, {"thresholds": [1]}, {"groups": {"cat": ["Maine_Coon"]}},
                    {"groups": "cat"}):  # fmt: skip
        rewrite(copy, **changes)
        with pytest.raises(BadModel):
            load_classifier(copy)


@pytest.mark.parametrize(
    "outputs",
    [
        lambda said: said["logits"],
        lambda said: {"probabilities": said["logits"]},
        lambda said: said | {"familiarity": said["logits"]},
        lambda said: said | {"evidence": said["evidence"][:1]},
        lambda said: said | {"evidence": said["evidence"] / 0},
        lambda said: said | {"logits": said["logits"][:, :2]},
    ],
)
def test_outputs_that_make_no_sense(outspoken, tmp_path, monkeypatch, outputs):
    real = Outspoken.outputs
    monkeypatch.setattr(Outspoken, "outputs", lambda self, x: outputs(real(self, x)))
    monkeypatch.setattr(Outspoken, "forward", lambda self, x: real(self, x)["logits"])
    for write in (
        lambda: save(outspoken, tmp_path / "m", **TOLD),
        lambda: deploy.export_onnx(outspoken, tmp_path / "a.onnx", Preprocessing(SIZE), NAMES),
    ):
        with pytest.raises(PetsLearnError):
            write()
    assert not list(tmp_path.iterdir())


def test_right_logits_but_other_evidence(outspoken, tmp_path):
    other = Outspoken().eval()
    other.load_state_dict(outspoken.state_dict())
    other.outputs = lambda x: Outspoken.outputs(other, x) | {"evidence": Outspoken.outputs(other, x)["evidence"] * 2}
    with pytest.raises(BadSetting, match="evidence"):
        save(other, tmp_path / "m", **TOLD)


# A copy for answers only


def test_compact_copy_answers_alike(model, saved, tmp_path):
    small = deploy.save_compact(saved, tmp_path / "small")
    assert sorted(path.name for path in small.iterdir()) == ["README.md", "model.json", "model.onnx"]
    assert model_facts(small) == check_model(small) == load_classifier(small).facts
    same = ("classes", "preprocessing", "figures", "builder", "license", "parameters")
    assert all(check_model(small)[key] == check_model(saved)[key] for key in same)
    np.testing.assert_allclose(load_classifier(small).probabilities(photos(9)), answers(model, photos(9)), atol=0.01)
    card = (small / "README.md").read_text(encoding="utf-8")
    assert "load_classifier" in card and "load_model" not in card
    for work in (load_model, deploy.add_onnx):
        with pytest.raises(BadModel, match=r"model\.safetensors"):
            work(small)


def test_compact_file_has_half_the_bytes(tmp_path):
    model = deploy.build("torchvision:squeezenet1_1", {"num_classes": 3})
    folder = save(model, tmp_path / "m", builder="torchvision:squeezenet1_1", arguments={"num_classes": 3})
    small = deploy.save_compact(folder, tmp_path / "small")
    assert (small / "model.onnx").stat().st_size < 0.55 * (folder / "model.onnx").stat().st_size


def test_weights_that_half_precision_cannot_hold_stay_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(deploy, "SMALLEST", 1)
    model = trained()
    with torch.no_grad():
        model[0].weight *= 1e6  # the batch normalization behind it takes the factor away again
        model[1].running_mean *= 1e6
        model[1].running_var *= 1e12
        model[0].bias *= 1e6
    folder = save(model, tmp_path / "m")
    np.testing.assert_allclose(load_classifier(deploy.save_compact(folder, tmp_path / "small")).probabilities(photos(5)),
                               answers(model, photos(5)), atol=0.02)  # fmt: skip


def test_a_compact_copy_does_not_replace_its_model(saved):
    before = contents(saved)
    with pytest.raises(BadSetting, match="another folder"):
        deploy.save_compact(saved, saved / ".." / saved.name)
    assert contents(saved) == before


# A process that has nothing loaded


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_classifier_needs_no_torch(model, saved, photo):
    code = f"""
import sys, json
from pets_learn.deploy import load_classifier
answer = load_classifier({str(saved)!r}).predict([{str(photo)!r}], top=1)[0]
print(json.dumps(answer), *sorted({{"torch", "fastai", "pandas", "matplotlib", "scipy", "sklearn", "onnx"}} & sys.modules.keys()))
"""
    words = in_a_fresh_process(code).strip()
    assert words.endswith("]]"), f"heavy modules were imported: {words}"
    expected = answers(model, Preprocessing(SIZE)(photo)[None])[0]
    ((name, probability),) = json.loads(words)
    assert name == NAMES[expected.argmax()] and probability == pytest.approx(expected.max(), abs=1e-4)


def test_network_needs_no_fastai(saved):
    code = f"""
import sys
from pets_learn.deploy import load_model
name = type(load_model({str(saved)!r}).model).__name__
print(name, *sorted({{"fastai", "pets_learn.training", "pandas"}} & sys.modules.keys()))
"""
    assert in_a_fresh_process(code).split() == ["Sequential"]


def test_missing_onnxruntime_is_told(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PetsLearnError, match="pip install onnxruntime"):
        load_classifier(saved)


# Altered and mixed files


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.json"])
def test_every_altered_byte_is_noticed(copy, name):
    content = (copy / name).read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 8):
        spoiled = bytearray(content)
        spoiled[place] ^= 0x11
        (copy / name).write_bytes(bytes(spoiled))
        with pytest.raises(BadModel, match=name.replace(".", r"\.")):
            check_model(copy)
        assert model_facts(copy) is None
    (copy / name).write_bytes(content)
    check_model(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "folder"])
def test_damaged_files_are_noticed(copy, name, damage):
    content = (copy / name).read_bytes()
    (copy / name).unlink()
    if damage == "folder":
        (copy / name).mkdir()
    elif damage != "missing":
        (copy / name).write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    load = load_classifier if name == "model.onnx" else load_model
    with pytest.raises(BadModel, match=name.replace(".", r"\.")):
        load(copy)


def test_files_of_two_models_are_noticed(copy, tmp_path):
    other = save(trained(seed=1), tmp_path / "other", onnx=False)
    (copy / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(BadModel, match="belongs to another model"):
        load_model(copy)


def test_onnx_file_beside_its_facts_is_checked(copy):
    content = bytearray((copy / "model.onnx").read_bytes())
    content[-5] ^= 1
    (copy / "model.onnx").write_bytes(bytes(content))
    with pytest.raises(BadModel, match="altered"):
        load_classifier(copy / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"no graph", pickle.dumps({"a": 1}), b"\x08\x08" * 500])
def test_files_that_are_no_onnx(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(BadModel, match=r"a\.onnx"):
        load_classifier(tmp_path / "a.onnx")


def test_onnx_of_someone_else(tmp_path):
    from onnx import TensorProto, helper

    def graph(photos, answer, shape, properties):
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (photos, answer)]
        made = helper.make_graph([helper.make_node("Relu", [photos], [answer])], "g", values[:1], values[1:])
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        helper.set_model_props(model, properties)
        (tmp_path / "a.onnx").write_bytes(model.SerializeToString())

    facts = {"classes": '["a", "b"]', "preprocessing": '{"size": 8, "method": "squash"}', "figures": "{}", "provenance": "{}"}
    for arguments, words in [
        (("x", "y", ["n", 3, 8, 8], facts), "takes 'x' and gives 'y'"),
        (("photos", "probabilities", ["n", 3, 8, 8], {}), "does not say"),
        (("photos", "probabilities", ["n", 3, 8, 8], facts | {"classes": "[1"}), "damaged facts"),
        (("photos", "probabilities", ["n", 3, 8, 8], facts | {"classes": '["a"]'}), "two names"),
        (("photos", "probabilities", ["n", 3, 9, 9], facts), "but the facts say"),
    ]:
        graph(*arguments)
        with pytest.raises(BadModel, match=words):
            load_classifier(tmp_path / "a.onnx")


def test_no_model_at_all(tmp_path):
    for load in (load_model, load_classifier, check_model, deploy.add_onnx):
        with pytest.raises(BadModel, match=r"there is no model in .*model\.json is missing"):
            load(tmp_path / "nothing")
    with pytest.raises(BadModel, match=r"there is no file .*a\.onnx"):
        load_classifier(tmp_path / "a.onnx")
    assert model_facts(tmp_path / "nothing") is None and not (tmp_path / "nothing").exists()


# Hostile files


def rewrite(folder: Path, **changes) -> None:
    """Alter model.json as someone would who knows how it is sealed."""
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8")) | changes
    facts["sha256"] = deploy._seal(facts)
    (folder / "model.json").write_text(json.dumps(facts), encoding="utf-8")


HOSTILE = [
    "os:system", "builtins:exec", "subprocess:run", "pets_learn.deploy:save_model", "pets_learn.run:write_atomically",
    "pets_learn.deploy:os.system", "pets_learn.deploy:_from_torchvision", "pets_learn.deploy:nn", "pets_learn.__main__:x",
    "pets_learn.deploy:build", "pets_learn/../evil:run", "pets_learn.no_such_chapter:run", "tests.test_deploy:evil", "", ":", "x",
    "torchvision:../../evil", "torchvision:get_model", "torchvision:raft_large", "torchvision:", "pets_learn.deploy:tiny_cnn\n",
]  # fmt: skip


@pytest.mark.parametrize("builder", HOSTILE)
def test_only_registered_builders_are_called(copy, tmp_path, builder):
    rewrite(copy, builder=builder, arguments={"command": f"touch {tmp_path}/ran", "file": f"{tmp_path}/ran"})
    with pytest.raises(BadModel):
        load_model(copy)
    assert not (tmp_path / "ran").exists()


def test_no_module_outside_the_library_is_imported(copy, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for builder in ("evil:run", ".evil:run", "pets_learn..evil:run"):
        rewrite(copy, builder=builder)
        with pytest.raises(BadModel, match="is no builder"):
            load_model(copy)
    assert not (tmp_path / "ran").exists() and "evil" not in sys.modules


@pytest.mark.parametrize(
    "arguments", [{"weights": "DEFAULT"}, {"pretrained": True}, {"weights_backbone": "DEFAULT"}, {"nothing": 1}, {"name": "x"}]
)
def test_torchvision_builder_loads_nothing(copy, arguments, monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *a, **k: pytest.fail("it downloads"))
    rewrite(copy, builder="torchvision:squeezenet1_1", arguments=arguments)
    with pytest.raises(BadModel):
        load_model(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"builder": 7}, {"arguments": [1]}, {"arguments": None}, {"arguments": {"outputs": "many"}},
        {"arguments": {"outputs": 4}},
        {"classes": "ab"}, {"classes": ["a"]}, {"classes": ["a", "a"]}, {"classes": [1, 2]}, {"classes": {"a": 1, "b": 2}},
        {"classes": ["a", "b\x1b[2J"]}, {"preprocessing": {}}, {"preprocessing": {"size": 10**9, "method": "squash"}},
        {"preprocessing": {"size": 8, "method": "stretch"}}, {"preprocessing": [8]}, {"files": None},
        {"files": {"model.onnx": 1}},
        {"files": {"../../etc/passwd": {"sha256": "0"}}}, {"figures": 1}, {"provenance": []}, {"format": 99}, {"format": None},
    ],
)  # fmt: skip
def test_facts_that_make_no_sense(copy, changes):
    rewrite(copy, **changes)
    with pytest.raises(BadModel):
        load_model(copy)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000, '{"format": 1}', "\ud800"])
def test_json_that_is_none(copy, text):
    (copy / "model.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadModel, match=r"model\.json"):
        load_classifier(copy)


def test_pickle_in_place_of_weights_is_not_opened(copy, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    content = pickle.dumps(Evil())
    (copy / "model.safetensors").write_bytes(content)
    files = json.loads((copy / "model.json").read_text())["files"]
    files["model.safetensors"]["sha256"] = deploy._sha256(content)
    rewrite(copy, files=files)
    with pytest.raises(BadModel, match="do not fit"):
        load_model(copy)
    assert not (tmp_path / "ran").exists()


# Settings that do not fit


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ["cat"]}, "at least two"), ({"classes": "cat"}, "at least two"),
        ({"classes": ["a", "b", "a"]}, "occurs twice"),
        ({"classes": ["a", "b", ""]}, "cannot be the name"), ({"classes": ["a", "b", "c\nd"]}, "cannot be the name"),
        ({"classes": ["a", "b", 3]}, "cannot be the name"), ({"classes": ["a", "b"]}, "there are 2 classes"),
        ({"classes": ["a", "b", "c", "d"]}, "there are 4 classes"), ({"task": " "}, "say both in words"),
        ({"license": ""}, "say both in words"), ({"figures": {"accuracy": np.float32(1)}}, "figures cannot be written as JSON"),
        ({"figures": {"loss": float("nan")}}, "figures cannot"), ({"extra": {"x": object()}}, "extra cannot"),
        ({"provenance": {"file": Path("x")}}, "provenance cannot"), ({"arguments": {"outputs": 4}}, "weights do not fit"),
        ({"arguments": {"output": 3}}, "cannot be built"), ({"builder": "torchvision:squeezenet1_1"}, "cannot be built"),
        ({"builder": "os:system"}, "no builder"), ({"preprocessing": Preprocessing(1)}, "does not take photos of 1 pixels"),
    ],
)  # fmt: skip
def test_bad_settings_are_told_and_write_nothing(model, tmp_path, changes, words):
    with pytest.raises(PetsLearnError, match=words):
        save(model, tmp_path / "m", **changes)
    assert not (tmp_path / "m").exists()


def test_right_shapes_but_another_network(tmp_path):
    """All weights fit, yet the network is not the same: one lacks its activation."""
    model = trained()
    model[2] = nn.Identity()
    with pytest.raises(BadSetting, match="answers otherwise"):
        save(model, tmp_path / "m", onnx=False)


def test_a_network_gone_wrong_is_not_saved(tmp_path):
    model = trained()
    model[-1].bias.data[0] = float("nan")
    with pytest.raises(BadSetting, match="not finite"):
        save(model, tmp_path / "m")


@pytest.mark.parametrize(("size", "method"), [(0, "squash"), (-1, "squash"), (5000, "squash"), (8.0, "squash"), (True, "squash"),
                                              (8, "zoom"), (8, None)])  # fmt: skip
def test_bad_preprocessing(size, method):
    with pytest.raises(BadSetting):
        Preprocessing(size, method)


def test_inner_functions_are_no_builders():
    with pytest.raises(BadSetting, match="top of its module"):

        @deploy.architecture
        def inner():
            return nn.Linear(1, 1)


def test_class_names_are_never_paths(model, tmp_path):
    names = ["../../evil", "/etc/passwd", "C:\\x"]
    folder = save(model, tmp_path / "in" / "m", classes=names, onnx=False)
    assert load_model(folder).facts["classes"] == names
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["README.md", "model.json", "model.safetensors"]


def test_card_is_for_people_and_nobodys_own_page_is_replaced(model, tmp_path):
    folder = save(model, tmp_path / "m", onnx=False, classes=["a|b", "<script>", "c"], figures={"accuracy": 0.5, "matrix": [[1]]})
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "a\\|b" in card and "<script>" not in card and "CC BY-SA 4.0" in card and "load_classifier" in card
    save(model, folder, onnx=False, task="second task")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "second task" in card and "90.0%" in card and "80.0% to 95.0% (95 % interval)" in card
    (folder / "README.md").write_text("# My project\n")
    save(model, folder, onnx=False)
    assert (folder / "README.md").read_text() == "# My project\n"


# Every moment of an overwrite


def contents(folder: Path) -> tuple[dict, dict[str, bytes]]:
    facts = check_model(folder)
    files = {name: (folder / name).read_bytes() for name in facts["files"]}
    return {key: value for key, value in facts.items() if key not in ("files", "sha256")}, files


def leftovers(folder: Path) -> list[str]:
    return sorted({p.name for p in folder.iterdir()} - {"model.json", "model.safetensors", "model.onnx", "README.md"})


def in_a_fork(work) -> int:
    """Run `work` in a child process and return its exit status (negative: the signal that ended it)."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("onnx_is_new", [True, False])
def test_killed_at_any_step_leaves_the_old_or_the_new(saved, tmp_path, onnx_is_new):
    """The child is killed before the first access to a file, then before the second, and so on, until it gets through."""
    plain = save(trained(seed=1), tmp_path / "plain", onnx=False)
    pair = [contents(saved), contents(plain)]
    (old_facts, old_files), (new_facts, new_files) = pair[::-1] if onnx_is_new else pair
    seen = set()
    for step in range(1, 500):
        folder = tmp_path / f"step{step}"
        deploy._write_model(folder, old_facts, old_files)

        def overwrite(step=step, folder=folder):
            left = [step]

            def hook(event, arguments):
                if event in ("open", "os.rename", "os.remove", "os.chmod", "os.mkdir"):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            deploy._write_model(folder, new_facts, new_files)

        status = in_a_fork(overwrite)
        facts = check_model(folder)
        is_new = facts["files"].keys() == new_files.keys() and facts["task"] == new_facts["task"]
        assert all(facts["files"][name]["sha256"] == deploy._sha256(content) for name, content in
                   (new_files if is_new else old_files).items())  # fmt: skip
        load_model(folder)
        seen.add((status, is_new))
        deploy._write_model(folder, old_facts, old_files)  # the next save works and clears up
        assert contents(folder) == (old_facts, old_files) and not leftovers(folder)
        if status == 0:
            break
    assert step > 10 and seen == {(-signal.SIGKILL, False), (-signal.SIGKILL, True), (0, True)}


def test_full_disk_at_any_file_keeps_the_old_model(model, copy, monkeypatch):
    before = contents(copy)
    real = deploy.write_atomically
    for refused in ("model.safetensors.next", "model.onnx.next", "model.json"):

        def full(path, mode="wb", refused=refused):
            if Path(path).name == refused:
                raise PetsLearnError("the disk is full")
            return real(path, mode)

        with monkeypatch.context() as patch:
            patch.setattr(deploy, "write_atomically", full)
            patch.setattr(deploy, "_files", lambda *a: ({"model.safetensors": b"new", "model.onnx": b"new"}, {"opset": 18}))
            with pytest.raises(PetsLearnError, match="disk is full"):
                save(model, copy)
        assert contents(copy) == before and not leftovers(copy)


def test_failed_first_save_leaves_nothing(model, tmp_path, monkeypatch):
    def full(path, mode="wb"):
        raise PetsLearnError("the disk is full")

    monkeypatch.setattr(deploy, "write_atomically", full)
    with pytest.raises(PetsLearnError, match="disk is full"):
        save(model, tmp_path / "m", onnx=False)
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_readers_never_meet_a_mixture(saved, tmp_path):
    folder, plain = tmp_path / "m", save(trained(seed=1), tmp_path / "plain", onnx=False)
    pair = [contents(saved), contents(plain)]
    deploy._write_model(folder, *pair[0])
    child = os.fork()
    if child == 0:
        for turn in range(60):
            deploy._write_model(folder, *pair[(turn + 1) % 2])
        os._exit(0)
    seen, end = set(), time.monotonic() + 30
    while os.waitpid(child, os.WNOHANG)[0] == 0 and time.monotonic() < end:
        seen.add(len(check_model(folder)["files"]))
    assert seen == {1, 2}, "the reader saw both models, and never a broken one"


def test_a_model_without_onnx_replaces_one_with_it(copy):
    save(trained(seed=1), copy, onnx=False)
    assert sorted(p.name for p in copy.iterdir()) == ["README.md", "model.json", "model.safetensors"]


@pytest.mark.parametrize("text", ["{", "[]", '{"weights_sha256": "0", "classes": ["cat", "dog"]}'])
def test_a_damaged_or_foreign_model_is_replaced(model, copy, text):
    (copy / "model.json").write_text(text)
    (copy / "model.onnx.next").write_bytes(b"left behind")
    save(model, copy, onnx=False)
    assert check_model(copy)["task"] == "breeds" and "model.onnx.next" not in leftovers(copy)


# Answers


def test_one_unreadable_photo_among_good_ones(saved, photo, tmp_path):
    broken, empty = tmp_path / "broken.jpg", tmp_path / "empty.jpg"
    broken.write_bytes(photo.read_bytes()[:300])
    empty.write_bytes(b"")
    paths = [photo, broken, photo, empty, tmp_path / "absent.jpg", tmp_path]
    found = load_classifier(saved).predict(paths, top=2)
    assert [isinstance(answer, BadPhoto) for answer in found] == [False, True, False, True, True, True]
    assert found[0] == found[2] and len(found[0]) == 2 and found[0][0][1] >= found[0][1][1]
    for path, answer in zip(paths, found, strict=True):
        assert not isinstance(answer, BadPhoto) or path.name in str(answer)
    with pytest.raises(BadPhoto, match=r"broken\.jpg"):
        load_classifier(saved).probabilities(paths)


def test_predict_takes_one_or_many_and_ranks_them(model, saved, photo):
    classifier = load_classifier(saved, threads=1)
    expected = answers(model, Preprocessing(SIZE)(photo)[None])[0]
    (answer,) = classifier.predict(str(photo), top=99)
    assert [name for name, _ in answer] == [NAMES[i] for i in np.argsort(-expected)]
    assert sum(p for _, p in answer) == pytest.approx(1)
    assert all(type(p) is float for _, p in answer)
    assert classifier.predict(photo, top=1) == [answer[:1]] and classifier.predict([]) == []
    assert len(classifier.predict([photo] * 70)) == 70
    assert classifier.probabilities([]).shape == (0, 3) and classifier.probabilities(photos(0)).shape == (0, 3)


@pytest.mark.parametrize("wrong", [np.zeros((1, 3, 8, 8), np.uint8), np.zeros((1, 3, SIZE, SIZE), np.float32),
                                   np.zeros((3, SIZE, SIZE), np.uint8), np.zeros((1, SIZE, SIZE, 3), np.uint8)])  # fmt: skip
def test_wrong_arrays_are_told(saved, wrong):
    with pytest.raises(BadSetting, match="photos have shape"):
        load_classifier(saved).probabilities(wrong)


def test_bad_questions_are_told(saved, photo):
    with pytest.raises(BadSetting, match="top is 0"):
        load_classifier(saved).predict(photo, top=0)
    with pytest.raises(BadSetting, match="threads is 0"):
        load_classifier(saved, threads=0)
