"""The pieces of pets/explain: maps that add up to logits, distances that are SciPy's, a network that says more and ships."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.testing import assert_close

from pets_learn.deploy import Preprocessing, load_model, save_model
from pets_learn.pets import explain
from pets_learn.run import BadSetting, seed_everything
from pets_learn.start.classifier import image_classifier


def tiny(merge: list[list[int]] | None = None) -> tuple[nn.Module, torch.Tensor, explain.Familiarity]:
    """A small network with random weights, photos, and a familiarity fitted on their features."""
    seed_everything(0)
    model = image_classifier(3, "small", merge).eval()
    photos = torch.rand(12, 3, 64, 64)
    with torch.inference_mode():
        features = model.pooled(photos).numpy()
    return model, photos, explain.fit_familiarity(features, np.arange(12) % 3, 3, features, kept=0.8, directions=3)


class Everything(nn.Module):
    """All outputs as a tuple, as an exporter wants them."""

    def __init__(self, network: explain.ExplainedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.network.outputs(photos).values())


@pytest.mark.parametrize("merge", [None, [[0, 2], [1]]])
def test_an_explained_network_runs_in_onnx_runtime(merge, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, photos, familiarity = tiny(merge)
    network = Everything(explain.explained(model, familiarity, 0.5)).eval()
    count = torch.export.Dim("count", min=1)
    program = torch.onnx.export(
        network, (photos[:2],), dynamo=True, verbose=False, dynamic_shapes=({0: count},), opset_version=18
    )
    program.save(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: photos.numpy()})
    with torch.inference_mode():
        expected = network(photos)
    for ours, theirs in zip(found, expected, strict=True):
        assert_allclose(ours, theirs.numpy(), atol=1e-4 * max(1, float(theirs.abs().max())))


def test_an_explained_network_is_saved_and_loaded(tmp_path):
    model, photos, familiarity = tiny()
    network = explain.explained(model, familiarity, 0.5)
    save_model(network, tmp_path / "model", builder="pets_learn.pets.explain:explained_classifier", task="breeds", figures={},
               arguments={"classes": 3, "network": "small", "directions": len(familiarity.axes)}, classes=["a", "b", "c"],
               preprocessing=Preprocessing(64, "crop"), provenance={}, license="none", onnx=False)
    loaded = load_model(tmp_path / "model").model
    assert isinstance(loaded, explain.ExplainedNetwork)
    assert_close(loaded.state_dict(), network.state_dict(), rtol=0, atol=0)
    with torch.inference_mode():
        for name, value in loaded.outputs(photos).items():
            assert_close(value, network.outputs(photos)[name])
        assert_allclose(loaded.outputs(photos)["familiarity"], familiarity.scores(model.pooled(photos).numpy()), atol=1e-3)
    assert float(loaded.least_probability) == 0.5


def test_the_limit_keeps_the_share_that_was_asked_for():
    rng = np.random.default_rng(0)
    labels, features = np.arange(400) % 4, rng.normal(size=(400, 10))
    unseen = rng.normal(size=(1000, 10))
    for kept in (0.5, 0.9, 0.99):
        fitted = explain.fit_familiarity(features, labels, 4, unseen, kept=kept, directions=4)
        assert abs((fitted.scores(unseen) >= 0).mean() - kept) < 2e-3
    moved = explain.fit_familiarity(features + 50, labels, 4, unseen + 50, directions=4)
    assert_allclose(moved.scores(unseen + 50), explain.fit_familiarity(features, labels, 4, unseen, directions=4).scores(unseen))


@pytest.mark.parametrize("kind", explain.KINDS[1:] + explain.KNOWN_KINDS)
def test_strangers_are_pictures_and_the_same_each_time(kind, monkeypatch):
    monkeypatch.setenv("PETS_LEARN_SCALE", "smoke")
    one = explain.strangers(kind, 3, 40, seed=5)
    assert one.shape == (3, 3, 40, 40) and one.dtype == np.uint8
    assert (one == explain.strangers(kind, 3, 40, seed=5)).all()


def test_the_least_probability_is_the_lowest_that_keeps_the_promise():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows = rng.dirichlet(np.ones(3), 40).round(1)
        rows[:, 2] = 1 - rows[:, 0] - rows[:, 1]
        labels = rng.integers(0, 3, 40)
        sure, right = rows.max(1), rows.argmax(1) == labels
        shares = {t: right[sure >= t].mean() for t in np.unique(sure)}
        good = [t for t, share in shares.items() if share >= 0.6]
        if good:
            assert explain.choose_least_probability(rows, labels, 0.6) == min(good)
        else:
            with pytest.raises(BadSetting):
                explain.choose_least_probability(rows, labels, 0.6)
