"""Verification: measures as scikit-learn and slow loops have them, thresholds that do not peek, a scorer without a network."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve

from pets_learn import data, toys
from pets_learn.exercises import exercise_problems
from pets_learn.faces import pairs as fp
from pets_learn.faces import siamese as fs
from pets_learn.faces import verification as fv
from pets_learn.run import BadSetting, read_record

drawn_scores = st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 1)), min_size=2, max_size=40)


def of_both_kinds(drawn):
    scores, same = np.array(drawn, dtype=float).T
    assume(0 < same.sum() < len(same))
    return scores / 4, same.astype(int)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = toys.make_faces(tmp_path_factory.mktemp("faces"), people=100, photos_per_person=2, pairs=30)
    folder = data.lfw(root.parent, pictures="lfw-125")
    store = fp.face_store(folder, 125)
    train, test = fp.read_pairs(folder, store), fp.read_pairs(folder, store, "test")
    return fv.FaceParts(store, *fp.split_pairs(train, store), test, True)


@pytest.fixture(autouse=True)
def smoke(monkeypatch):
    monkeypatch.setenv("PETS_LEARN_SCALE", "smoke")  # few components


# --- from scores to answers -----------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(drawn_scores)
def test_equal_error_rate_is_where_the_roc_crosses_the_diagonal(drawn):
    scores, same = of_both_kinds(drawn)
    false_accept, true_accept, _ = roc_curve(same, scores)
    found = fv.equal_error_rate(scores, same)
    # the curve's true accept rate at this false accept rate; where it is steep, the point lies on the vertical piece
    at = np.flatnonzero(false_accept <= found + 1e-12)[-1]
    before = np.interp(found, false_accept, true_accept) if found not in false_accept else true_accept[at]
    assert 0 <= found <= 1 and before >= 1 - found - 1e-9
    points = np.linspace(0, 1, 4001)  # a walk along the curve, with its vertical pieces
    length = np.r_[0, np.cumsum(np.hypot(np.diff(false_accept), np.diff(true_accept)))]
    walk = [np.interp(points * length[-1], length, values) for values in (false_accept, true_accept)]
    assert abs(walk[0][np.argmin(np.abs(1 - walk[1] - walk[0]))] - found) < 2e-3


@settings(max_examples=100, deadline=None)
@given(drawn_scores, st.floats(0.1, 10), st.floats(-5, 5))
def test_measures_of_order_ignore_how_scores_are_scaled(drawn, slope, shift):
    scores, same = of_both_kinds(drawn)
    scaled = np.round(scores * slope, 9) + shift
    assume(len(np.unique(scaled)) == len(np.unique(scores)))
    assert fv.equal_error_rate(scaled, same) == pytest.approx(fv.equal_error_rate(scores, same))
    assert fv.area_under_curve(scaled, same) == pytest.approx(roc_auc_score(same, scores))
    assert fv.true_accept_rate(scaled, same, 0.2) == fv.true_accept_rate(scores, same, 0.2)


@settings(max_examples=150, deadline=None)
@given(drawn_scores)
def test_best_threshold_is_the_best_of_all(drawn):
    scores, same = of_both_kinds(drawn)
    tried = [-np.inf, *scores, np.inf]
    best = max(accuracy_score(same, scores >= threshold) for threshold in tried)
    assert fv.accuracy_at(fv.best_threshold(scores, same), scores, same) == pytest.approx(best)


def test_best_threshold_between_neighboring_floats():
    low = np.nextafter(0.3, 0)
    assert fv.accuracy_at(fv.best_threshold([low, 0.3], [0, 1]), [low, 0.3], [0, 1]) == 1


@settings(max_examples=60, deadline=None)
@given(drawn_scores, st.floats(0, 1))
def test_true_accept_rate_against_every_threshold(drawn, allowed):
    scores, same = of_both_kinds(drawn)
    rates = [((scores >= t)[same == 0].mean(), (scores >= t)[same == 1].mean()) for t in [*scores, np.inf]]
    assert fv.true_accept_rate(scores, same, allowed) == max(right for wrong, right in rates if wrong <= allowed + 1e-12)


def test_platt_is_a_logistic_regression():
    rng = np.random.default_rng(0)
    same = rng.integers(0, 2, 400)
    scores = same * 0.1 + rng.normal(0, 0.1, 400)
    platt = fv.fit_platt(scores, same)
    reference = LogisticRegression(C=1e9).fit(scores[:, None], same)
    np.testing.assert_allclose(platt.probabilities(scores), reference.predict_proba(scores[:, None])[:, 1], atol=1e-3)
    assert platt.probabilities([platt.threshold])[0] == pytest.approx(0.5)
    scaled = fv.fit_platt(10 * scores + 3, same)
    np.testing.assert_allclose(scaled.probabilities(10 * scores + 3), platt.probabilities(scores), atol=1e-6)


@pytest.mark.parametrize("scores, same, words", [
    ([0.1, 0.2], [1, 1], "both kinds"), ([0.1], [1, 0], "one finite score"), ([0.1, np.inf], [0, 1], "one finite score"),
    ([[0.1], [0.2]], [0, 1], "one finite score"), ([0.1, 0.2], [0.0, 1.0], "whole numbers"),
    ([0.1, 0.2, 0.3], [0, 1, 2], "both kinds"), ([], [], "both kinds")])
def test_scores_that_do_not_fit(scores, same, words):
    for function in (fv.equal_error_rate, fv.best_threshold, fv.area_under_curve, fv.fit_platt):
        with pytest.raises(BadSetting, match=words):
            function(scores, same)


# --- local binary patterns ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 5), st.integers(0, 5))
def test_patterns_are_those_of_a_slow_loop(seed, radius, more_rows, more_columns):
    shape = (2 * radius + 1 + more_rows, 2 * radius + 1 + more_columns)
    photo = np.random.default_rng(seed).integers(0, 4, shape, dtype=np.uint8)
    found = fv.local_binary_patterns(photo, radius)
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            byte = 0
            for bit, (down, right) in enumerate(fv.NEIGHBORS):
                byte += 2**bit * (photo[y + radius + radius * down, x + radius + radius * right] >= photo[y + radius, x + radius])
            assert found[y, x] == byte


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 100))
def test_patterns_ignore_any_change_that_keeps_the_order(seed, brighter):
    photo = np.random.default_rng(seed).integers(0, 70, (2, 9, 8), dtype=np.uint8)
    assert np.array_equal(fv.local_binary_patterns(photo), fv.local_binary_patterns(2 * photo + np.uint8(brighter)))


def test_uniform_patterns_by_counting_changes():
    for byte, kind in enumerate(fv.uniform_kinds()):
        bits = f"{byte:08b}"
        assert (sum(a != b for a, b in zip(bits, bits[1:] + bits[0], strict=True)) <= 2) == (kind < 58)
    assert sorted(set(fv.uniform_kinds().tolist())) == list(range(59))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 5))
def test_histograms_count_each_pixel_once(seed, rows, columns):
    kinds = np.random.default_rng(seed).integers(0, 59, (3, 6, 5), dtype=np.uint8)
    found = fv.cell_histograms(kinds, (rows, columns)).reshape(3, rows * columns, 59)
    assert found.sum() == kinds.size
    for i in range(3):
        assert np.array_equal(found[i].sum(axis=0), np.bincount(kinds[i].ravel(), minlength=59))
    assert np.ptp(found.sum(axis=2)) <= 30 and (found.sum(axis=2) > 0).all()


def test_histograms_against_a_loop():
    kinds = np.random.default_rng(0).integers(0, 59, (1, 7, 9), dtype=np.uint8)
    expected = np.zeros((2, 3, 59))
    for y in range(7):
        for x in range(9):
            expected[y * 2 // 7, x * 3 // 9, kinds[0, y, x]] += 1
    assert np.array_equal(fv.cell_histograms(kinds, (2, 3))[0], expected.ravel())


@pytest.mark.parametrize("shape, radius", [((2, 5), 1), ((4, 4), 2), ((9, 9), 0)])
def test_photos_too_small_for_patterns(shape, radius):
    with pytest.raises(BadSetting, match="radius"):
        fv.local_binary_patterns(np.zeros(shape, np.uint8), radius)


# --- what same pairs teach ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0, 1))
def test_whitened_differences_have_no_direction(seed, size, shrinkage):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(400, size)) * rng.uniform(0.2, 5, size)
    pairs = fp.FacePairs(np.arange(400).reshape(-1, 2), np.ones(200, int))
    within = fv.within_class_covariance(codes, pairs)
    differences = codes[::2] - codes[1::2]
    np.testing.assert_allclose(within, sum(np.outer(d, d) for d in differences) / 400)
    matrix = fv.whitening(within, shrinkage)
    target = (1 - shrinkage) * within + shrinkage * np.eye(size) * np.trace(within) / size
    np.testing.assert_allclose(matrix.T @ target @ matrix, np.eye(size), atol=1e-8)


def test_different_pairs_do_not_enter():
    codes, rows = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20).reshape(-1, 2)
    some = fp.FacePairs(rows, np.repeat([1, 0], 5))
    assert np.array_equal(fv.within_class_covariance(codes, some), fv.within_class_covariance(codes, some.take(np.arange(5))))


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1])
def test_shrinkage_out_of_range(shrinkage):
    with pytest.raises(BadSetting, match="from 0 to 1"):
        fv.whitening(np.eye(2), shrinkage)


# --- no leak --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pixels", "eigenfaces_wccn", "lbp_wccn"])
def test_nothing_is_chosen_on_the_test(parts, method):
    rng = np.random.default_rng(0)
    shuffled = replace(parts, test=replace(parts.test, same=rng.permutation(parts.test.same)))
    scorer, tried = fv.choose_classical(parts, method)
    other, again = fv.choose_classical(shuffled, method)
    pd.testing.assert_frame_equal(tried, again)
    one, two = fv.judge(scorer, parts), fv.judge(other, shuffled)
    assert one.platt == two.platt and np.array_equal(one.probabilities, two.probabilities)
    assert fv.best_threshold(one.valid_scores, parts.valid.same) == fv.best_threshold(two.valid_scores, shuffled.valid.same)
    assert one.rates != two.rates


def test_only_the_training_part_is_fitted(parts):
    scorer, _ = fv.choose_classical(parts, "eigenfaces")
    known = np.unique(parts.fit.rows)
    np.testing.assert_allclose(scorer.mean, fv.face_features(parts.store, "pixels")[known].mean(axis=0), atol=1e-4)


def test_figures_agree_with_scikit_learn(parts):
    judged = fv.judge(fv.choose_classical(parts, "lbp_wccn")[0], parts)
    found, same = fv.figures_of(judged, 20), parts.test.same
    assert found["accuracy"] == pytest.approx(accuracy_score(same, judged.probabilities >= 0.5))
    assert found["auc"] == pytest.approx(roc_auc_score(same, judged.scores))
    assert sum(found[name] for name in ("true_positives", "false_positives", "true_negatives", "false_negatives")) == len(same)
    assert found["pretended"] >= found["accuracy"]


def test_scores_do_not_depend_on_the_side_or_the_mirror(parts):
    scorer, _ = fv.choose_classical(parts, "lbp_wccn")
    rows = parts.test.rows[:8]
    scores = scorer.scores(parts.store, rows)
    np.testing.assert_allclose(scorer.scores(parts.store, rows[:, ::-1]), scores, atol=1e-6)
    mirror = replace(parts.store, photos=np.ascontiguousarray(parts.store.photos[..., ::-1]))
    np.testing.assert_allclose(scorer.scores(mirror, rows), scores, atol=1e-4)
    assert (np.abs(scores) <= 1 + 1e-6).all()


def test_faces_of_another_size(parts):
    with pytest.raises(BadSetting, match="whole gray pictures"):
        fv.face_features(replace(parts.store, photos=parts.store.photos[..., :100]), "pixels")
    with pytest.raises(BadSetting, match="use one of"):
        fv.choose_classical(parts, "magic")


@dataclass(frozen=True, eq=False)
class Codes:
    codes: np.ndarray

    def scores(self, store, rows):
        return fv.cosines(self.codes, rows)


def test_fused_scores_are_sums_in_units_of_their_spread(parts):
    rng = np.random.default_rng(0)
    one, other = (Codes(rng.normal(size=(len(parts.store), size))) for size in (4, 7))
    fused = fv.fuse([one, other], parts).scores(parts.store, parts.test.rows)
    spread = [scorer.scores(parts.store, parts.valid.rows).std() for scorer in (one, other)]
    expected = sum(scorer.scores(parts.store, parts.test.rows) / s for scorer, s in zip((one, other), spread, strict=True))
    np.testing.assert_allclose(fused, expected)
    with pytest.raises(BadSetting, match="no scorer"):
        fv.fuse([], parts)


def test_the_network_s_whitening_does_not_know_the_test(parts, tmp_path):
    before = fv.network_scorer(parts, tmp_path)
    dark = parts.store.photos.copy()
    dark[np.setdiff1d(np.unique(parts.test.rows), np.unique(np.r_[parts.fit.rows, parts.valid.rows]))] = 0
    after = fv.network_scorer(replace(parts, store=replace(parts.store, photos=dark)), tmp_path)
    np.testing.assert_array_equal(before.whiten.matrix, after.whiten.matrix)
    np.testing.assert_array_equal(before.whiten.mean, after.whiten.mean)


def test_every_scorer_compares_photos_that_are_in_no_store(parts, tmp_path):
    network = fv.network_scorer(parts, tmp_path)
    texture = fv.choose_classical(parts, "lbp_wccn")[0]
    two = replace(parts.store, photos=parts.store.photos[[5, 2]], paths=(parts.store.paths[5], parts.store.paths[2]))
    for scorer in (network, texture, fv.fuse([network, texture], parts)):
        alone, among = scorer.scores(two, np.array([[0, 1]])), scorer.scores(parts.store, np.array([[5, 2]]))
        np.testing.assert_allclose(alone, among, atol=1e-4)


def test_small_stores_do_not_push_out_the_large_one(parts):
    fv.face_features(parts.store, "pixels")
    before = fv._kept_features.cache_info()
    for i in range(5):
        fv.face_features(replace(parts.store, photos=parts.store.photos[i:i + 2], paths=parts.store.paths[i:i + 2]), "pixels")
    fv.face_features(parts.store, "pixels")
    after = fv._kept_features.cache_info()
    assert after.misses == before.misses and after.hits == before.hits + 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_network_has_not_learned_from_the_people_who_decide(seed, monkeypatch):
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    try:
        data.lfw(data.home() / "lfw", pictures="lfw-125", download=False)
    except data.MissingData:
        pytest.skip("LFW is not here")
    store, train, _ = fs._faces(125)
    parts = fv.face_parts(seed)
    for mine, theirs in zip(fs._parts(train, store, seed), (parts.fit, parts.valid), strict=True):
        np.testing.assert_array_equal(mine.rows, theirs.rows)
    assert store.paths == parts.store.paths


# --- N-way ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=3, max_size=20), st.integers(2, 7), st.integers(0, 10**6))
def test_trials_are_what_they_say(people, ways, seed):
    people = np.array(people)
    if len(set(people)) < ways or max(np.bincount(people)) < 2:
        with pytest.raises(BadSetting):
            fv.draw_n_way(people, ways, 5, np.random.default_rng(seed))
        return
    drawn = fv.draw_n_way(people, ways, 5, np.random.default_rng(seed))
    assert drawn.shape == (5, 1 + ways)
    for query, *candidates in drawn:
        assert people[query] == people[candidates[0]] and query != candidates[0]
        assert len({people[candidate] for candidate in candidates}) == ways
    assert np.array_equal(drawn, fv.draw_n_way(people, ways, 5, np.random.default_rng(seed)))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 6))
def test_credit_by_brute_force(seed, trials, ways):
    scores = np.random.default_rng(seed).integers(0, 4, (trials, ways)) / 2
    for row, credit in zip(scores, fv.n_way_credit(scores), strict=True):
        winners = [i for i in range(ways) if all(row[i] >= other for other in row)]
        assert credit == (1 / len(winners) if 0 in winners else 0)


def test_n_way_table_by_brute_force(parts):
    scorer = fv.ClassicalScorer("pixels")
    table = fv.n_way_table(scorer, parts.store, parts.test, (3,), 40, 50, seed=4)
    faces, rng = np.unique(parts.test.rows), np.random.default_rng(4)
    codes = scorer.codes(parts.store)
    right = []
    for query, *candidates in faces[fv.draw_n_way(parts.store.people[faces], 3, 40, rng)]:
        cosine = [codes[query] @ codes[c] / np.linalg.norm(codes[query]) / np.linalg.norm(codes[c]) for c in candidates]
        right.append(int(np.argmax(cosine) == 0))
    assert table.accuracy[3] == pytest.approx(np.mean(right)) and table.chance[3] == 1 / 3
    assert table.low[3] <= table.accuracy[3] <= table.high[3]


def test_a_scorer_that_guesses_is_at_chance(parts):
    class Coin:
        def scores(self, store, rows): return np.random.default_rng(1).random(len(rows))
    table = fv.n_way_table(Coin(), parts.store, parts.test, (2, 10), 3000, 20)
    np.testing.assert_allclose(table.accuracy, table.chance, atol=0.03)


# --- reading the answers --------------------------------------------------------------------------------------------


def test_measures_say_what_was_done_to_a_photo(parts):
    photo = parts.store.photos[:1]
    dark, blurred = photo // 2, np.array(Image.fromarray(photo[0, 0]).resize((20, 20)).resize((125, 125)))[None, None]
    store = fp.FaceStore(np.concatenate([photo, photo, dark, blurred]), tuple(Path(f"a/a_000{i}.jpg") for i in range(4)))
    same, lamp, blur = fv.pair_measures(store, np.array([[0, 1], [0, 2], [0, 3]])).to_dict("records")
    assert same["brightness"] == same["contrast"] == same["turn"] == 0
    assert lamp["brightness"] > 0.05 and lamp["contrast"] > 0.02 and lamp["turn"] < 0.03
    assert blur["blur"] > same["blur"] and blur["brightness"] < lamp["brightness"]


def test_rank_tests_are_those_of_scipy():
    rng = np.random.default_rng(0)
    wrong, same = rng.random(300) < 0.3, rng.integers(0, 2, 300)
    measures = pd.DataFrame({"a": rng.normal(size=300) + wrong, "b": rng.normal(size=300)})
    table = fv.rank_tests(measures, wrong, same)
    for kind, value in (("same", 1), ("different", 0)):
        bad, good = (measures.a[(same == value) & chosen] for chosen in (wrong, ~wrong))
        assert table.loc[(kind, "a"), "p"] == pytest.approx(mannwhitneyu(bad, good).pvalue)
        assert table.loc[(kind, "a"), "larger"] == pytest.approx(np.mean([x > y for x in bad for y in good]))
    ordered = np.sort(table.p)  # Benjamini and Hochberg by hand
    by_hand = np.minimum.accumulate((ordered * len(table) / np.arange(1, len(table) + 1))[::-1])[::-1]
    np.testing.assert_allclose(np.sort(table.corrected), np.minimum(by_hand, 1))


def test_one_kind_without_mistakes_is_left_out():
    measures = pd.DataFrame({"a": np.arange(8.0)})
    table = fv.rank_tests(measures, np.array([1, 0, 1, 0, 0, 0, 0, 0], bool), np.repeat([1, 0], 4))
    assert set(table.index.get_level_values(0)) == {"same"}


# --- faces by name --------------------------------------------------------------------------------------------------


def test_faces_by_name_and_from_a_file(parts, tmp_path):
    store = parts.store
    name = store.names[0]
    assert np.array_equal(fv.read_face(f"{name} 2", store), fv.two_photos(name, store)[1])
    saved = tmp_path / "me.png"
    Image.fromarray(store.photos[3, 0]).save(saved)
    assert np.abs(fv.read_face(str(saved), store).astype(int) - store.photos[3]).max() <= 1


def test_faces_that_are_not_there(parts, tmp_path):
    store = parts.store
    with pytest.raises(BadSetting, match="did you mean"):
        fv.read_face(store.names[0] + "x", store)
    with pytest.raises(BadSetting, match="no photo 7"):
        fv.read_face(f"{store.names[0]} 7", store)
    for text in ("", "   ", "a b c", f"{store.names[0]} two"):
        with pytest.raises(BadSetting, match="names no face"):
            fv.read_face(text, store)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(data.BadPhoto, match=r"broken\.jpg"):
        fv.read_face(str(broken), store)
    single = replace(store, photos=store.photos[:1], paths=store.paths[:1])
    with pytest.raises(BadSetting, match="one photo here"):
        fv.two_photos(single.names[0], single)


def test_the_widget_says_what_is_wrong(parts):
    judged = fv.judge(scorer := fv.choose_classical(parts, "lbp_wccn")[0], parts)
    shown = fv.face_comparer(scorer, judged.platt, parts.store, parts.store.names[0])
    assert "More likely" in shown.html and "alert" not in shown.html
    absent = f"{parts.store.names[0]} 9"
    for text, words in (("<b>Nobody</b>", "nobody called"), ("missing.png", "no such file"), (absent, "no photo 9")):
        shown.controls["other"].value = text
        assert "alert" in shown.html and words in shown.html and "<b>Nobody" not in shown.html
    shown.controls["other"].value = f"{parts.store.names[1]} 1"
    assert "More likely" in shown.html


# --- the experiment -------------------------------------------------------------------------------------------------


def test_summary_names_the_seed_document():
    counts = dict.fromkeys(("true_positives", "false_positives", "true_negatives", "false_negatives"), 100)
    plain = {"accuracy": 0.8, "equal_error": 0.19, "auc": 0.9, "seconds": 1.0, "components": np.nan}
    rows = [{"method": method, "seed": seed} | plain | counts
            for method in ("pixels", "lbp_wccn") for seed in range(3)]
    found = fv.summarize(pd.DataFrame(rows))
    assert [found[name]["seed_figure"] for name in ("false_positives", "true_negatives")] == [168, 332]
    assert found["lbp_wccn_strangers"]["mean"] == pytest.approx(190) and "pixels_components" not in found


@pytest.mark.parametrize("exercise", fv.EXERCISES, ids=lambda exercise: exercise.name)
def test_exercises(exercise):
    assert exercise_problems(exercise) == []


def test_the_bar_on_real_faces():
    if not data.home().joinpath("lfw", "lfw-125").is_dir():
        pytest.skip("LFW is not here")
    folder = data.lfw(data.home() / "lfw", pictures="lfw-125", download=False)
    store = fp.face_store(folder, 125)
    train, test = fp.read_pairs(folder, store), fp.read_pairs(folder, store, "test")
    parts = fv.FaceParts(store, *fp.split_pairs(train, store), test, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fv, "sizes", lambda: fv.scale(components=((200,), (200,), (200,))))
        judged = fv.judge(fv.choose_classical(parts, "lbp_wccn")[0], parts)
    assert judged.rates.accuracy > 0.75 and fv.area_under_curve(judged.scores, test.same) > 0.87


def test_the_recorded_best_reaches_its_bar():
    figures = read_record("faces/verification", "laptop")["figures"]
    best, area, classical = (figures[name] for name in ("fused_accuracy", "fused_auc", "lbp_wccn_accuracy"))
    assert best["n"] == area["n"] == classical["n"] == 3, "three splits each"
    assert best["mean"] >= 0.82 and area["mean"] >= 0.89
    assert classical["mean"] >= 0.75 and best["mean"] - classical["mean"] >= 0.04
