"""Siamese networks: the document's layers, one branch for both faces, losses equal to their references, lessons that repeat."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from pets_learn import data, toys
from pets_learn.exercises import exercise_problems
from pets_learn.experiments import planned
from pets_learn.faces import pairs as fp
from pets_learn.faces import siamese as fs
from pets_learn.run import BadSetting, read_json, seed_everything

pytestmark = pytest.mark.usefixtures("smoke")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    root = toys.make_faces(tmp_path_factory.mktemp("faces"), people=12, photos_per_person=3)
    folder = data.lfw(root.parent, pictures="lfw-125")
    store = fs.cut_faces(fp.face_store(folder, 48))
    return store, fp.read_pairs(folder, store, "train"), fp.read_pairs(folder, store, "test")


# --- the document's network -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm, parameters", [(False, 38_951_745), (True, 38_961_089)])
def test_parameters_and_shapes_of_the_document(batch_norm, parameters):
    network = fs.koch_network(batch_norm)
    assert sum(p.numel() for p in network.parameters()) == parameters
    shapes = []
    hooks = [layer.register_forward_hook(lambda *a: shapes.append(tuple(a[2].shape[1:]))) for layer in network.branch
             if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Linear)]
    with torch.no_grad():
        network.eval()(torch.rand(1, 2, 1, 105, 105))
    for hook in hooks:
        hook.remove()
    assert shapes[:8] == shapes[8:]
    sides = [(64, 96), (64, 48), (128, 42), (128, 21), (128, 18), (128, 9), (256, 6)]
    assert shapes[:8] == [*((channels, side, side) for channels, side in sides), (4096,)]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_both_branches_are_one(batch_norm):
    torch.manual_seed(0)
    network, pairs = fs.koch_network(batch_norm).eval(), torch.rand(2, 2, 1, 105, 105)
    with torch.no_grad():
        first, second = network.codes(pairs)
        swapped = network.codes(pairs.flip(1))
        torch.testing.assert_close((first, second), swapped[::-1])
        torch.testing.assert_close(network(pairs), network(pairs.flip(1)))
        by_hand = (first - second).abs() @ network.compare.weight.T + network.compare.bias
        torch.testing.assert_close(network(pairs), by_hand)


@pytest.mark.parametrize("shape, words", [((2, 2, 3, 105, 105), "gray and color"), ((2, 1, 105, 105), "give pairs"),
                                          ((2, 3, 1, 105, 105), "give pairs")])
def test_what_is_no_pair_of_gray_faces(shape, words):
    with pytest.raises(BadSetting, match=words):
        fs.koch_network()(torch.rand(shape))


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_out_of_range(dropout):
    with pytest.raises(BadSetting, match="below 1"):
        fs.koch_branch(dropout=dropout)


# --- losses ---------------------------------------------------------------------------------------------------------

SEEDS = st.integers(0, 10**6)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 9), st.floats(0.1, 3))
def test_contrastive_equals_pytorch_s_hinge(seed, count, margin):
    generator = torch.Generator().manual_seed(seed)
    distances, same = torch.rand(count, generator=generator) * 2, torch.randint(0, 2, (count,), generator=generator)
    hinge = F.hinge_embedding_loss(distances, -torch.ones(count), margin, reduction="none")
    expected = torch.where(same > 0, distances, hinge).square().mean()
    torch.testing.assert_close(fs.contrastive_loss(distances, same, margin), expected)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 9), st.integers(1, 6), st.floats(0.01, 2))
def test_triplet_equals_pytorch(seed, count, size, margin):
    a, p, n = torch.randn(3, count, size, generator=torch.Generator().manual_seed(seed))
    squared = nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: (x - y).square().sum(dim=1), margin=margin)
    torch.testing.assert_close(fs.triplet_loss(a, p, n, margin), squared(a, p, n))


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(2, 6), st.floats(0.05, 1))
def test_in_batch_is_cross_entropy_without_itself(seed, people, temperature):
    first, second = torch.randn(2, people, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    codes, total = [*first, *second], 0.0
    for i, code in enumerate(codes):
        others = [j for j in range(2 * people) if j != i]
        logits = torch.stack([F.cosine_similarity(code, codes[j], dim=0) for j in others]) / temperature
        total -= logits.log_softmax(dim=0)[others.index((i + people) % (2 * people))].item()
    assert fs.in_batch_loss(first, second, temperature).item() == pytest.approx(total / (2 * people), rel=1e-9)


def test_in_batch_gradient():
    first, second = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: fs.in_batch_loss(a, second, 0.3), first.requires_grad_())


# --- codes on a circle ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", list(fs.ALL_LOSSES))
def test_a_small_step_goes_down_and_codes_keep_their_length(loss):
    rng = np.random.default_rng(3)
    whose = [0, 1, 2, 0, 1, 2]
    for _ in range(5):
        path = torch.from_numpy(fs.descend(loss, rng.uniform(0, 360, 6), whose, 30, rate=0.01))
        costs = torch.stack([fs.ALL_LOSSES[loss](codes, torch.tensor(whose)) for codes in path])
        assert (costs.diff() <= 1e-6).all()
        torch.testing.assert_close(path.norm(dim=2), torch.ones(31, 6))


def test_all_pairs_and_triplets_are_those_of_loops():
    codes, whose = torch.nn.functional.normalize(torch.randn(6, 2), dim=1), torch.tensor([0, 1, 0, 2, 1, 2])
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    distances = torch.stack([(codes[i] - codes[j]).norm() for i, j in pairs])
    same = torch.tensor([int(whose[i] == whose[j]) for i, j in pairs])
    torch.testing.assert_close(fs.ALL_LOSSES["contrastive"](codes, whose), fs.contrastive_loss(distances, same))
    triplets = [(a, p, n) for a in range(6) for p in range(6) for n in range(6) if a != p and whose[a] == whose[p] != whose[n]]
    a, p, n = (codes[list(part)] for part in zip(*triplets, strict=True))
    torch.testing.assert_close(fs.ALL_LOSSES["triplet"](codes, whose), fs.triplet_loss(a, p, n))


@pytest.mark.parametrize("loss, angles, people", [("cosine", [0, 1, 2, 3], [0, 0, 1, 1]), ("triplet", [0, 1], [0, 0]),
                                                  ("triplet", [0, 1, 2, 3], [0, 0, 0, 1]), ("in_batch", [0, 1, 2], [0, 0, 1, 1]),
                                                  ("in_batch", [0, 1, 2, float("nan")], [0, 0, 1, 1])])
def test_codes_that_cannot_move(loss, angles, people):
    with pytest.raises(BadSetting, match="do not work"):
        fs.descend(loss, angles, people, 3)


def test_steps_and_rates_that_do_not_work():
    angles, people = [0, 10, 20, 30], ["Ann", "Ann", "Bob", "Bob"]
    for steps, rate in ((-1, 0.3), (2.5, 0.3), (3, float("nan"))):
        with pytest.raises(BadSetting, match="do not work"):
            fs.descend("triplet", angles, people, steps, rate)
    np.testing.assert_array_equal(fs.descend("triplet", angles, people, 3), fs.descend("triplet", angles, [5, 5, 9, 9], 3))
    with pytest.raises(BadSetting, match="no steps"):
        fs.loss_grid(())


def test_the_grid_shows_every_loss_at_every_step(monkeypatch):
    shown = []
    monkeypatch.setattr(fs, "display_figure", lambda drawing, alt: shown.append((drawing, alt)))
    fs.loss_grid((0, 7))
    (drawing, alt), = shown
    titles = [f"{loss.replace('_', ' ')}, {steps} steps" for loss in fs.ALL_LOSSES for steps in (0, 7)]
    assert [ax.get_title() for ax in drawing.axes] == titles
    assert alt.count("7 steps: partners up to") == 3


def test_the_slider_follows_the_loss():
    shown = fs.loss_slider()
    shown.controls["steps"].value = 200
    assert "contrastive, 200 steps" in shown.html
    shown.controls["loss"].value = "in_batch"
    assert "in batch, 200 steps: partners up to 0 degrees apart, others from 90 degrees" in shown.html


# --- the encoder and the answers ------------------------------------------------------------------------------------


def test_codes_have_length_one_and_groups_are_their_faces():
    torch.manual_seed(0)
    encoder = fs.FaceEncoder((8, 12), 16).eval()
    groups = torch.rand(3, 2, 1, 40, 37)
    with torch.no_grad():
        codes = encoder(groups)
        torch.testing.assert_close(codes.norm(dim=2), torch.ones(3, 2))
        torch.testing.assert_close(codes[:, 1], encoder(groups[:, 1]), atol=1e-5, rtol=0)
    bytes_of = (groups[:, 0] * 255).round().to(torch.uint8).numpy()
    plain = fs.embed(encoder, bytes_of, mirrored=False)
    with torch.no_grad():
        np.testing.assert_allclose(plain, encoder(torch.from_numpy(bytes_of).float() / 255).numpy(), atol=1e-5)


@pytest.mark.parametrize("options", [{"widths": ()}, {"widths": (4, 0)}, {"features": 0}, {"channels": 2}])
def test_an_encoder_that_cannot_be(options):
    with pytest.raises(BadSetting, match="do not work"):
        fs.FaceEncoder(**options)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=20))
def test_no_threshold_is_better(pairs):
    pairs = [*pairs, (0, True), (0, False)]  # both kinds
    scores, same = np.array([s for s, _ in pairs], float), np.array([y for _, y in pairs], int)
    right = [((scores >= t) == same).mean() for t in np.arange(-6, 7, 0.5)]
    assert ((scores >= fs.best_threshold(scores, same)) == same).mean() == max(right)


def test_the_threshold_does_not_know_the_test():
    rng = np.random.default_rng(0)
    valid, scores, same = (rng.normal(size=50), np.arange(50) % 2), rng.normal(size=40), np.arange(40) % 2
    one, other = (fs.verification_figures(valid, (scores, labels)) for labels in (same, 1 - same))
    assert one["threshold"] == other["threshold"] and one["accuracy"] == pytest.approx(1 - other["accuracy"])


# --- lessons --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(fs.LESSONS))
def test_a_lesson_repeats_itself_and_does_not_see_the_test(faces, name):
    store, train, test = faces
    kept, held = train.take(np.arange(len(train)) % 5 != 0), train.take(np.arange(len(train)) % 5 == 0)
    blind = fp.FaceStore(store.photos.copy(), store.paths)
    blind.photos[np.setdiff1d(np.arange(len(store)), np.unique(train.rows))] = 0  # the test's faces are gone
    scores = []
    for faces_seen in (store, blind):
        model, history = fs.teach(fs.LESSONS[name], faces_seen, kept, held, 60, 3, (8, 12))
        assert np.isfinite(history.valid_loss).all()
        scores.append(fs.pair_scores(model, store, test))
        assert scores[-1].shape == (len(test),) and np.isfinite(scores[-1]).all()
    np.testing.assert_array_equal(*scores)


def test_names_teach_something(faces):
    store, train, _ = faces
    seed_everything(0)
    untrained = fs.FaceEncoder((8, 12))
    model, _ = fs.teach(fs.LESSONS["everybody"], store, train, train, 2000, 0, (8, 12), 3e-3)
    apart = [fs.pair_scores(m, store, train, mirrored=False) for m in (untrained, model)]
    gaps = [(s[train.same == 1].mean() - s[train.same == 0].mean()) / s.std() for s in apart]
    assert gaps[1] > gaps[0] + 0.5


def test_an_unknown_loss(faces):
    store, train, _ = faces
    with pytest.raises(BadSetting, match="use one of"):
        fs.teach(fs.Lesson("cosine"), store, train, train, 10)


def test_nobody_with_two_photos():
    with pytest.raises(BadSetting, match="two photos"):
        fs.two_of_each(np.array([0, 1, 2]), np.random.default_rng(0))
    assert fs.two_of_each(np.array([0, 1, 2]), np.random.default_rng(0), alone=True).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_the_encoder_is_trained_where_it_is_missing_and_then_kept(tmp_path):
    one, again = fs.trained_encoder(0, tmp_path), fs.trained_encoder(0, tmp_path)
    assert not one.training
    for left, right in zip(one.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(left, right)
    (run,) = planned(fs.experiments()[1], 1, tmp_path)
    store, _, test = fs._faces(run.sizes.side)
    record = read_json(run.folder / "run.json")["figures"]
    assert roc_auc_score(test.same, fs.pair_scores(one, store, test)) == pytest.approx(record["auc"], abs=1e-6)
    with pytest.raises(BadSetting, match="0 or more"):
        fs.trained_encoder(-1, tmp_path)


@pytest.mark.parametrize("exercise", fs.EXERCISES, ids=lambda exercise: exercise.name)
def test_exercises(exercise):
    assert exercise_problems(exercise) == []


# --- whitening ------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(2, 6), st.sampled_from([0.0, 0.1, 1.0]))
def test_whitened_codes_scatter_alike(seed, size, shrinkage):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(60, size)) * rng.uniform(0.5, 2, size)
    pairs = fp.FacePairs(np.arange(60).reshape(-1, 2), np.ones(30, int))
    within = fs.within_class_covariance(codes, pairs)
    np.testing.assert_allclose(within, sum(np.outer(d, d) for d in codes[0::2] - codes[1::2]) / 60)
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / size * np.eye(size)
    white = fs.whitening(within, shrinkage)
    np.testing.assert_allclose(white.T @ shrunk @ white, np.eye(size), atol=1e-9)


def test_only_pairs_that_are_learned_from_and_decided_on_matter_to_whitening():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(80, 3))
    rows, same = np.arange(80).reshape(-1, 2), np.arange(40) % 2
    fit, valid = fp.FacePairs(rows[:20], same[:20]), fp.FacePairs(rows[20:30], same[20:30])
    one = fs.fit_whitening(codes, fit, valid)
    other = fs.fit_whitening(np.r_[codes[:60], codes[60:] * 5], fit, valid)
    np.testing.assert_array_equal(one(codes), other(codes))


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1])
def test_shrinkage_out_of_range(shrinkage):
    with pytest.raises(BadSetting, match="from 0 to 1"):
        fs.whitening(np.eye(2), shrinkage)


def test_no_spread_and_no_pairs():
    with pytest.raises(BadSetting, match="above 0"):
        fs.whitening(np.diag([1.0, 0.0]))
    with pytest.raises(BadSetting, match="no same pair"):
        fs.within_class_covariance(np.eye(4), fp.FacePairs(np.array([[0, 1]]), np.zeros(1, int)))
