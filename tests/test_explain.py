"""The pieces of pets/explain: maps that add up to logits, distances that are SciPy's, a network that says more and ships."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.testing import assert_close

from PIL import Image
from torchvision.ops import box_iou

from pets_learn.data import fit_photo
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


def test_the_map_adds_up_and_grad_cam_is_its_positive_part():
    model, photos, _ = tiny()
    labels = torch.arange(12) % 3
    with torch.inference_mode():
        maps = model.features((photos - model.mean) / model.deviation)
        evidence, logits = explain.evidence_maps(maps, model.head.weight), model(photos)
    assert_close(evidence.mean(dim=(2, 3)) + model.head.bias, logits)
    own = evidence[torch.arange(12), labels]
    places = maps.shape[2] * maps.shape[3]
    assert_close(explain.grad_cam(model, photos, labels), own.relu() / places, rtol=1e-4, atol=1e-6)
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_saliency_is_the_gradient():
    model, photos, _ = tiny()
    x = photos[:2].clone().requires_grad_()
    model(x)[torch.arange(2), torch.tensor([2, 0])].sum().backward()
    assert x.grad is not None
    assert_close(explain.saliency(model, photos[:2], torch.tensor([2, 0])), x.grad.abs().amax(dim=1))
    smooth = explain.saliency(model, photos[:2], torch.tensor([2, 0]), samples=3)
    assert_close(smooth, explain.saliency(model, photos[:2], torch.tensor([2, 0]), samples=3), rtol=0, atol=0)


@pytest.mark.parametrize(("side", "patch", "stride"), [(12, 4, 4), (12, 5, 3), (10, 10, 1), (9, 4, 4)])
def test_occlusion_covers_every_pixel_and_is_the_mean_drop(side, patch, stride):
    seed_everything(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 4)).eval()
    photo = torch.rand(3, side, side)
    found = explain.occlusion_map(model, photo, 2, patch, stride, (0.1, 0.2, 0.3), batch_size=3)
    steps = sorted({*range(0, side - patch + 1, stride), side - patch})
    total, count = np.zeros((side, side)), np.zeros((side, side))
    with torch.inference_mode():
        whole = model(photo[None]).log_softmax(1)[0, 2]
        for top in steps:
            for left in steps:
                covered = photo.clone()
                covered[:, top : top + patch, left : left + patch] = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
                total[top : top + patch, left : left + patch] += float(whole - model(covered[None]).log_softmax(1)[0, 2])
                count[top : top + patch, left : left + patch] += 1
    assert count.min() >= (stride <= patch)
    assert_allclose(found, total / np.maximum(count, 1), atol=1e-5)


@pytest.mark.parametrize("size", [(150, 90), (90, 150), (120, 120), (191, 333)])
def test_boxes_go_through_the_same_crop_as_photos(size):
    rng = np.random.default_rng(0)
    for _ in range(20):
        (left, right), (top, bottom) = (np.sort(rng.choice(np.arange(5, side - 5), 2, replace=False)) for side in size)
        if min(right - left, bottom - top) < 12:
            continue
        photo = np.zeros((size[1], size[0], 3), np.uint8)
        photo[top:bottom, left:right] = 255
        seen = np.asarray(fit_photo(Image.fromarray(photo), 96, "crop"))[..., 0] > 127
        expected = explain.box_in_crop((left, top, right, bottom), size, 96)
        if (expected[2:] - expected[:2]).min() < 3:
            continue
        ys, xs = np.nonzero(seen)
        assert_allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], expected, atol=1.01)


def test_hiding_a_share_hides_where_the_map_is_highest():
    rng = np.random.default_rng(0)
    photo, heat = rng.integers(200, 256, (3, 12, 12)).astype(np.uint8), rng.normal(size=(12, 12))
    for pixels in range(0, 145, 16):
        covered = explain.hide(photo, heat, pixels / 144)[0] == 124
        assert covered.sum() == pixels
        assert not pixels or heat[covered].min() >= heat[~covered].max(initial=-np.inf)
    assert (explain.hide(photo, heat, 0) == photo).all()
    small = rng.normal(size=(3, 3))
    assert (explain.hide(photo, small) == explain.hide(photo, explain.stretched(small, (12, 12)))).all()


@pytest.mark.parametrize(("cells", "size"), [(6, 192), (7, 224), (7, 193), (3, 12)])
def test_a_map_is_stretched_around_the_centers_of_its_cells(cells, size):
    heat = np.random.default_rng(0).normal(size=(cells, cells)).astype(np.float32)
    large, centers = explain.stretched(heat, (size, size)), explain.cell_centers(cells, size)
    assert_allclose(large[np.ix_(centers, centers)], heat, atol=1e-5)
    assert (large[centers[-1]:, -1] == large[-1, -1]).all(), "constant beyond the last cell"


def test_calibration_error_of_known_gaps():
    sure = np.repeat([0.95, 0.85, 0.75, 0.65], 100)
    rows = np.stack([sure, 1 - sure], axis=1)
    right = np.concatenate([np.arange(100) < 100 * share for share in (0.9, 0.9, 0.7, 0.7)])
    assert_allclose(explain.calibration_error(rows, np.where(right, 0, 1), 4), 0.05)
    table = explain.reliability(rows, np.where(right, 0, 1), 4)
    assert ((table.low <= table.right) & (table.right <= table.high)).all() and table["count"].sum() == 400
    assert 0 < explain.honest_error(rows, 4, repeats=100) < 0.05


def test_neighbors_are_scikit_learn_s():
    neighbors = pytest.importorskip("sklearn.neighbors")
    rng = np.random.default_rng(0)
    bank, features = rng.normal(size=(60, 7)), rng.normal(size=(9, 7))
    distances, indices = neighbors.NearestNeighbors(n_neighbors=5, metric="cosine").fit(bank).kneighbors(features)
    order, similar = explain.nearest(features, bank, 5)
    assert (order == indices).all()
    assert_allclose(similar, 1 - distances, atol=1e-12)
    assert_allclose(explain.neighbor_similarity(features, bank, 5), similar[:, -1])


@pytest.mark.parametrize("lift", [3.0, 0.0, -3.0])
def test_the_box_of_a_map_holds_its_maximum(lift):
    """Also where all evidence speaks against the class, as in a network that has learned little."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        heat, level = rng.normal(lift, 1, (3, 4)), rng.uniform(0.05, 1)
        large = explain.stretched(heat, (24, 24))
        row, column = np.unravel_index(large.argmax(), large.shape)
        left, top, right, bottom = explain.map_box(heat, level, 24) * 24
        assert 0 <= left <= column < right <= 24 and 0 <= top <= row < bottom <= 24
        wider = explain.map_box(heat, level / 2, 24) * 24
        assert (wider[:2] <= [left, top]).all() and (wider[2:] >= [right, bottom]).all()


def test_iou_is_torchvision_s_and_symmetric():
    corners = np.sort(np.random.default_rng(1).random((2, 300, 2, 2)), axis=2).reshape(2, 300, 4)
    expected = box_iou(*(torch.from_numpy(side) for side in corners)).diagonal().numpy()
    assert_allclose(explain.iou(*corners), expected, atol=1e-12)
    assert_allclose(explain.iou(corners[1], corners[0]), expected, atol=1e-12)
    assert_allclose(explain.iou(corners[0], corners[0]), 1)


def test_a_head_finder_gives_boxes_and_the_same_ones_again():
    rng = np.random.default_rng(0)
    maps = rng.random((40, 4, 3, 3)).astype(np.float16)
    boxes = np.sort(rng.random((40, 2, 2)), axis=1).reshape(40, 4)
    one, other = (explain.find_heads(explain.train_head_finder(maps, boxes, 2, "smooth_l1", seed=3), maps) for _ in range(2))
    assert (one == other).all()
    assert ((one[:, 2:] - one[:, :2]) > 0).all() and one.shape == (40, 4)
