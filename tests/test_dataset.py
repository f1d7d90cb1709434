"""The chapter on the data set: names, twins, splits and layouts, on drawn and on real photos."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from pets_learn import data
from pets_learn.batches import photo_cache
from pets_learn.pets import dataset
from pets_learn.run import BadSetting, PetsLearnError


def a_table(sizes: list[int], groups: int = 0) -> pd.DataFrame:
    """A table of invented photos; every `groups`-th photo of a breed is a twin of the one before."""
    names = [f"breed{b}_{i}" for b, size in enumerate(sizes) for i in range(1, size + 1)]
    table = pd.DataFrame({"breed": [n.rsplit("_", 1)[0] for n in names]}, index=pd.Index(names, name="stem"))
    if groups:
        table["group"] = [i - (i % groups == groups - 1) for i in range(len(names))]
    return table


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(3, 60), min_size=1, max_size=5), st.floats(0.4, 0.8), st.integers(0, 1000))
def test_split_is_stratified_to_within_one_photo(sizes, share, seed):
    table = a_table(sizes)
    parts = dataset.split_photos(table, {"train": share, "valid": 1 - share}, seed)
    taken = parts.eq("train").groupby(table.breed).sum()
    for breed, size in table.breed.value_counts().items():
        assert abs(taken[breed] - share * size) <= 0.5 + 1e-9


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(12, 40), min_size=1, max_size=4), st.integers(2, 5), st.integers(0, 1000))
def test_split_keeps_groups_together_and_ignores_the_order(sizes, groups, seed):
    table = a_table(sizes, groups)
    parts = dataset.split_photos(table, dataset.THREE_PARTS, seed)
    assert parts.groupby(table.group).nunique().eq(1).all()
    shuffled = table.sample(frac=1, random_state=seed)
    pd.testing.assert_series_equal(dataset.split_photos(shuffled, dataset.THREE_PARTS, seed).sort_index(), parts.sort_index())


def test_split_belongs_to_the_names():
    """The split of a name is pinned: a change of library, machine or version must not move photos between parts."""
    parts = dataset.split_photos(a_table([10]), {"train": 0.7, "valid": 0.3})
    order = sorted(parts.index, key=lambda stem: hashlib.sha256(f"0/{stem}".encode()).hexdigest())
    assert sorted(parts[parts == "valid"].index) == sorted(order[7:])


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.2, "valid": -0.2}, {"train": 0.5, "valid": 0.6}])
def test_shares_that_do_not_add_up_are_refused(shares):
    with pytest.raises(BadSetting, match="add up to 1"):
        dataset.split_photos(a_table([10]), shares)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> data.PetsFolder:
    from pets_learn import toys

    return data.pets(toys.make_pets(tmp_path_factory.mktemp("drawn"), photos_per_breed=6))


def test_table_of_drawn_pets_survives_the_quirks(drawn):
    table = dataset.photo_table(drawn)
    assert table.breed.nunique() == 37 and set(table.path.map(lambda p: p.suffix)) == {".jpg"}
    assert drawn.skipped, "the drawn folder has quirks on purpose"


def variants(photo: Image.Image) -> dict[str, Image.Image]:
    width, height = photo.size
    return {
        "smaller": photo.resize((width * 2 // 3, height * 2 // 3)),
        "darker": ImageEnhance.Brightness(photo).enhance(0.8),
        "gray": photo.convert("L").convert("RGB"),
        "squeezed": photo.resize((160, 160)),
        "trimmed": photo.crop((width // 50, height // 50, width - width // 50, height - height // 50)),
    }


@pytest.mark.parametrize("kind", ["smaller", "darker", "gray", "squeezed", "trimmed"])
def test_changed_copies_are_found(real_pets, tmp_path, kind):
    photos = sorted((real_pets / "images").glob("*.jpg"))[::700]
    copies = []
    for path in photos:
        copies.append(tmp_path / path.name)
        variants(data.read_photo(path))[kind].save(copies[-1], quality=60)
    groups = dataset.near_duplicates(dataset.perceptual_hashes(photo_cache([*photos, *copies], 150, folder=tmp_path).photos))
    np.testing.assert_array_equal(groups[: len(photos)], groups[len(photos) :])
    assert len(set(groups)) == len(photos), "different photos stay apart"


@pytest.mark.real
def test_the_real_copy(real_pets):
    folder = data.pets(real_pets.parent)
    table = dataset.photo_table(folder)
    assert len(table) == 7390 and table.breed.nunique() == 37
    assert table.official.value_counts().to_dict() == {"trainval": 3680, "test": 3669, "none": 41}
    same = dataset.identical_photos(list(table.path))
    assert len(same) == 25
    for group in same:  # the authors' own repair: of each set of identical files at most one is listed
        assert sum(table.official[p.stem] != "none" for p in group) <= 1
    table["group"] = dataset.near_duplicates(dataset.perceptual_hashes(photo_cache(table.path, 150).photos))
    for group in same:
        assert table.group[[p.stem for p in group]].nunique() == 1, "identical photos are near twins too"
    for seed in range(3):
        parts = dataset.split_photos(table, dataset.THREE_PARTS, seed)
        assert parts.groupby(table.group).nunique().eq(1).all()
        np.testing.assert_allclose(parts.value_counts(normalize=True)[list(dataset.THREE_PARTS)], [0.6, 0.1, 0.3], atol=0.005)


def test_layout_reports_what_it_cannot_do(drawn, tmp_path):
    table = dataset.photo_table(drawn).iloc[:8]
    parts = pd.Series("train", index=table.index)
    (tmp_path / "file").write_text("")
    with pytest.raises(PetsLearnError, match="choose another folder"):
        dataset.make_layout(table, parts, tmp_path / "file" / "layout")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.jpg").write_text("keep me")
    with pytest.raises(PetsLearnError, match="something else"):
        dataset.make_layout(table, parts, tmp_path / "mine")
    assert (tmp_path / "mine" / "holiday.jpg").read_text() == "keep me"


def test_layout_that_breaks_off_leaves_nothing(drawn, tmp_path, monkeypatch):
    table = dataset.photo_table(drawn).iloc[:8]
    calls = []

    def full(source, target):
        calls.append(target)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        Path(target).write_bytes(b"")

    monkeypatch.setattr(dataset.shutil, "copyfile", full)
    with pytest.raises(PetsLearnError, match="free some space"):
        dataset.make_layout(table, pd.Series("train", index=table.index), tmp_path / "layout", copy=True)
    assert len(calls) == 4 and not list(tmp_path.iterdir())


def test_two_processes_make_one_whole_layout(drawn, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    table = dataset.photo_table(drawn)
    parts = pd.Series("train", index=table.index)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: dataset.make_layout(table, parts, tmp_path / "layout"), range(4)))
    assert set(made) == {tmp_path / "layout"} and len(list((tmp_path / "layout").rglob("*.jpg"))) == len(table)
    assert [p.name for p in tmp_path.iterdir()] == ["layout"]


def test_layout_with_dead_links_is_not_taken_for_whole(drawn, tmp_path):
    table = dataset.photo_table(drawn).iloc[:3]
    parts = pd.Series("train", index=table.index)
    layout = dataset.make_layout(table, parts, tmp_path / "layout")
    link = next(layout.rglob("*.jpg"))
    link.unlink()
    link.symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(PetsLearnError, match="something else"):
        dataset.make_layout(table, parts, layout)
