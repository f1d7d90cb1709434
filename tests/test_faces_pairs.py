"""Pairs of faces: read as published, split without people on both sides, drawn as promised, fed as stored."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pets_learn import data, toys
from pets_learn.batches import Augmentation, BatchLoader, dataloaders
from pets_learn.exercises import exercise_problems
from pets_learn.faces import pairs as fp
from pets_learn.pets.dataset import close_pairs, perceptual_hashes
from pets_learn.run import BadSetting


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = toys.make_faces(tmp_path_factory.mktemp("faces"), people=16, photos_per_person=3, pairs=20)
    return data.lfw(root.parent, pictures="lfw-125")


@pytest.fixture(scope="module")
def store(folder):
    return fp.face_store(folder, 40)


# --- the store ------------------------------------------------------------------------------------------------------


def test_each_face_is_kept_once(folder, store):
    named = {path for split in ("train", "test") for pair in folder.pairs(split)[0] for path in pair[:2]}
    assert set(store.paths) == named and len(store) == len(named)
    assert store.photos.shape == (len(named), 1, 40, 40) and store.photos.dtype == np.uint8
    assert [store.names[i] for i in store.people] == [path.parent.name for path in store.paths]


def test_color_and_gray_agree(folder, store):
    color = fp.face_store(folder, 40, gray=False)
    assert color.photos.shape[1] == 3 and np.array_equal(fp.to_gray(np.array(color.photos)), store.photos)


def test_an_unreadable_photo_is_listed_and_its_pairs_are_left_out(tmp_path):
    root = toys.make_faces(tmp_path, people=6, photos_per_person=3)
    found = data.lfw(root.parent, pictures="lfw-125")
    broken = found.pairs("train")[0][0][0]
    broken.write_bytes(b"no photo")
    store = fp.face_store(found, 32)
    assert [path for path, _ in store.skipped] == [broken] and broken not in store.row_of
    pairs = fp.read_pairs(found, store)
    touched = sum(broken in pair[:2] for pair in found.pairs("train")[0])
    assert touched >= 1 and len(pairs) == len(found.pairs("train")[0]) - touched
    assert len(pairs.left_out) == touched and all(broken.name in line for line in pairs.left_out)


def test_gray_photos_among_color_ones_are_read_as_the_others(tmp_path):
    root = toys.make_faces(tmp_path, people=4, photos_per_person=2)
    found = data.lfw(root.parent, pictures="lfw-125")
    gray = found.pairs("train")[0][0][0]
    Image.open(gray).convert("L").save(gray)
    store = fp.face_store(found, 32, gray=False)
    photo = store.photos[store.row_of[gray]]
    assert not store.skipped and np.array_equal(photo[0], photo[1])


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 4, 4), (3, 4, 4)])
def test_to_gray_wants_color(shape):
    with pytest.raises(BadSetting, match="color"):
        fp.to_gray(np.zeros(shape, np.uint8))


# --- the lists ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line, why", [
    ("A\t1\t2\t3\t4", "5 fields"), ("A", "1 fields"), ("A\tx\t2", "'x' is no number of a photo"),
    ("Nobody\t1\t2", "photo 1 of Nobody is not here"), ("../etc\t1\t2", "strange name"), ("A\t1\tNobody\t2", "is not here")])
def test_a_line_that_is_no_pair_is_listed(folder, store, tmp_path, line, why):
    first = folder.pairs("train")[0][0][0]
    good = f"{first.parent.name}\t1\t2"
    (tmp_path / "pairsDevTrain.txt").write_text(f"1\n{good}\n{line}\n")
    pairs = fp.read_pairs(replace(folder, lists=tmp_path), store)
    assert len(pairs) == 1 and len(pairs.left_out) == 1 and why in pairs.left_out[0] and "line 3" in pairs.left_out[0]


def test_no_pair_at_all_is_an_error(folder, store, tmp_path):
    (tmp_path / "pairsDevTrain.txt").write_text("0\n")
    with pytest.raises(data.MissingData):
        fp.read_pairs(replace(folder, lists=tmp_path), store)


def test_tight_crops_alone_do_not_serve(tmp_path, monkeypatch):
    root = toys.make_faces(tmp_path, people=4, photos_per_person=2)
    shutil.rmtree(root / "lfw-125")
    monkeypatch.setenv("PETS_LEARN_HOME", str(tmp_path))
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    with pytest.raises(data.MissingData, match="crops of 64 pixels"):
        fp.whole_faces()


def test_the_original_pictures_serve_as_well(tmp_path, monkeypatch):
    root = toys.make_faces(tmp_path, people=4, photos_per_person=2)
    shutil.rmtree(root / "lfw-py" / "lfw")
    shutil.move(root / "lfw-125", root / "lfw-py" / "lfw")
    monkeypatch.setenv("PETS_LEARN_HOME", str(tmp_path))
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    assert fp.whole_faces().root == root / "lfw-py" / "lfw"


# --- splits ---------------------------------------------------------------------------------------------------------


def made_up(people: np.ndarray) -> fp.FaceStore:
    paths = tuple(Path(f"P{person:03d}/P{person:03d}_{i:04d}.jpg") for i, person in enumerate(people))
    return fp.FaceStore(np.zeros((len(people), 1, 2, 2), np.uint8), paths)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 30), st.integers(3, 40))
def test_islands_are_those_of_a_search(seed, people, count):
    rng = np.random.default_rng(seed)
    store = made_up(np.arange(people))
    rows = rng.integers(0, people, (count, 2))
    found = fp.identity_groups(fp.FacePairs(rows, np.ones(count, int)), store)
    for i in range(count):  # follow the links from pair i until nothing new comes
        reached = set(store.people[rows[i]])
        while more := {p for a, b in store.people[rows] if a in reached or b in reached for p in (a, b)} - reached:
            reached |= more
        assert np.array_equal(found == found[i], [a in reached for a, _ in store.people[rows]])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_by_person_nobody_is_on_both_sides(seed):
    store = made_up(np.repeat(np.arange(60), 2))
    same = np.array([[2 * i, 2 * i + 1] for i in range(60)])
    other = np.array([[2 * i, 2 * i + 2] for i in range(0, 58, 2)])
    pairs = fp.FacePairs(np.concatenate([same, other]), np.repeat([1, 0], [60, len(other)]))
    one, two = fp.split_pairs(pairs, store, seed=seed)
    assert fp.overlap(one, two, store) == {"person": 0, "photo": 0}
    assert sorted(map(tuple, np.concatenate([one.rows, two.rows]))) == sorted(map(tuple, pairs.rows))
    again = fp.split_pairs(pairs, store, seed=seed)
    assert np.array_equal(one.rows, again[0].rows)


def test_bad_splits(folder, store):
    pairs = fp.read_pairs(folder, store)
    with pytest.raises(BadSetting, match="person or pair"):
        fp.split_pairs(pairs, store, "name")
    for by in ("pair", "person"):
        with pytest.raises(BadSetting, match="at least 5 of each"):
            fp.split_pairs(pairs.take(np.flatnonzero(pairs.same)[:8]), store, by)
    with pytest.raises(BadSetting, match="0 or more"):
        fp.split_pairs(pairs, store, seed=-1)


def test_parts_that_do_not_fit(store):
    with pytest.raises(BadSetting, match="two rows and one answer"):
        fp.FacePairs(np.zeros((3, 2), int), np.zeros(2, int))
    with pytest.raises(BadSetting, match="one file for each photo"):
        fp.FaceStore(store.photos, store.paths[:1])


# --- drawn pairs ----------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=20), st.integers(1, 30), st.integers(0, 10**6))
def test_drawn_pairs_are_what_they_say(people, count, seed):
    people = np.array(people)
    rng = np.random.default_rng(seed)
    if len(set(people)) < 2 or max(np.bincount(people)) < 2:
        with pytest.raises(BadSetting):
            fp.draw_pairs(people, count, rng)
        return
    pairs = fp.draw_pairs(people, count, rng)
    assert pairs.protocol == "unrestricted" and pairs.same.sum() == count // 2
    assert np.array_equal(people[pairs.rows[:, 0]] == people[pairs.rows[:, 1]], pairs.same == 1)
    assert (pairs.rows[:, 0] != pairs.rows[:, 1]).all()


@pytest.mark.parametrize("people, words", [([1, 2, 3], "one photo only"), ([1, 1], "two people"), ([], "two people")])
def test_faces_that_make_no_pair(people, words):
    with pytest.raises(BadSetting, match=words):
        fp.draw_triplets(np.array(people, dtype=int), 3, np.random.default_rng(0))


# --- batches --------------------------------------------------------------------------------------------------------


def test_a_loader_gives_the_faces_of_each_pair(folder, store):
    pairs = fp.read_pairs(folder, store)
    loader = BatchLoader(pairs.photos(store), pairs.same, batch_size=7)
    x, y = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert torch.equal((x * 255).round().to(torch.uint8), torch.from_numpy(store.photos[pairs.rows]))
    assert y.tolist() == pairs.same.tolist()
    shuffled = torch.cat([y for _, y in loader.new(shuffle=True)])
    assert shuffled.tolist() != y.tolist() and shuffled.sum() == y.sum()


def test_fastai_loaders_of_pairs(folder, store):
    pairs = fp.read_pairs(folder, store)
    dls = dataloaders(pairs.photos(store), pairs.same, range(20), range(20, 30), targets="binary", batch_size=4,
                      augmentation=Augmentation(flip=True, brightness=0.2))
    x, y = dls.train.one_batch()
    assert x.shape == (4, 2, 1, 40, 40) and y.shape == (4, 1) and x.min() >= 0 and x.max() <= 1
    assert torch.cat([y for _, y in dls[1]])[:, 0].tolist() == pairs.same[20:30].tolist()


def test_parts_of_a_batch_of_pairs_are_those_of_the_whole(folder, store):
    pairs = fp.read_pairs(folder, store)
    change = Augmentation(rotation=10, flip=True, contrast=0.3)
    whole = BatchLoader(pairs.photos(store), pairs.same, batch_size=6, shuffle=True, augmentation=change, seed=2)
    parts = [whole.new().shard(rank, 2) for rank in range(2)]
    for (x, y), *two in zip(whole.batches(3), *(part.batches(3) for part in parts), strict=True):
        torch.testing.assert_close(torch.cat([part[0] for part in two]), x)
        assert torch.equal(torch.cat([part[1] for part in two]), y)


# --- real data ------------------------------------------------------------------------------------------------------


def test_the_counts_of_the_seed_document():
    try:
        folder = data.lfw(data.home() / "lfw", pictures="lfw-125", download=False)
    except data.MissingData:
        pytest.skip("LFW is not here")
    store = fp.face_store(folder, 105)
    train, test = fp.read_pairs(folder, store, "train"), fp.read_pairs(folder, store, "test")
    assert (len(train), train.same.sum(), len(test), test.same.sum()) == (2200, 1100, 1000, 500)
    assert not train.left_out and not test.left_out and not store.skipped
    assert fp.overlap(train, test, store) == {"person": 0, "photo": 0}
    assert [len(part) for part in fp.split_pairs(train, store, "pair")] == [1760, 440]
    kept, held = fp.split_pairs(train, store)
    assert fp.overlap(kept, held, store) == {"person": 0, "photo": 0}
    for seed in range(4):
        held = fp.split_pairs(train, store, seed=seed)[1]
        assert abs(len(held) - 440) <= 5 and abs(held.same.mean() - 0.5) < 0.02
    small = fp.face_store(folder, 64, gray=False)
    near = close_pairs(perceptual_hashes(small.photos), 40)
    assert len(near) == 1, "the one photo that is filed under two names, once in each list"


@pytest.mark.parametrize("exercise", fp.EXERCISES, ids=lambda exercise: exercise.name)
def test_exercises(exercise):
    assert exercise_problems(exercise) == []
