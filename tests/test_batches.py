"""Batches: what a cache survives, geometry against SciPy, balance against scikit-learn, loaders inside fastai."""
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy import ndimage
from sklearn.utils.class_weight import compute_class_weight
from torch.testing import assert_close
from torchvision.transforms.v2 import functional as reference

import pets_learn.batches as batches
import pets_learn.data as data
from pets_learn.batches import (
    FILLS,
    Augmentation,
    BatchLoader,
    affine_matrices,
    augment,
    class_weights,
    content_key,
    dataloaders,
    make_targets,
    photo_cache,
    recolor,
    sampling_weights,
    warp,
)
from pets_learn.data import METHODS, MissingData, fit_photo, read_photo
from pets_learn.run import BadSetting, PetsLearnError

COURSE = Augmentation(rotation=30, shift=0.2, shear=0.2, zoom=0.2, flip=True, brightness=0.2, contrast=0.2, saturation=0.2)


def picture(seed: int, width: int = 24, height: int = 18) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def make_photos(folder: Path, count: int = 6) -> list[Path]:
    "Shorter side below 16: too small for draft mode at the sizes used here."
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder/f"pet_{i}.jpg" for i in range(count)]
    for i, path in enumerate(paths): picture(i, 12 + i % 6, 15 - i % 6).save(path, quality=95)
    return paths


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]: return make_photos(tmp_path/"photos")


@pytest.fixture
def place(tmp_path: Path) -> Path: return tmp_path/"cache"


def seeded(seed: int = 0) -> torch.Generator: return torch.Generator().manual_seed(seed)


def expected_row(path: Path, size: int, method: str = "squash") -> np.ndarray:
    return np.asarray(fit_photo(read_photo(path), size, method)).transpose(2, 0, 1)


def files_in(place: Path) -> list[str]:
    "What lies there, unfinished files included, without the index of hashes (which photos that are two seconds old get)."
    return sorted(path.name for path in place.iterdir() if path.name != batches._INDEX)


# ---- the cache

@pytest.mark.parametrize("method", METHODS)
def test_cache_holds_the_decoded_photos(photos: list[Path], place: Path, method: str) -> None:
    cache = photo_cache(photos, 8, method, folder=place)
    assert cache.photos.shape == (6, 3, 8, 8) and cache.photos.dtype == np.uint8 and not cache.photos.flags.writeable
    assert_array_equal(cache.photos, np.stack([expected_row(path, 8, method) for path in photos]))
    assert_array_equal(np.load(cache.file), cache.photos)  # any program can open it
    assert cache[2].flags.writeable and cache[[4, 1]].shape == (2, 3, 8, 8)
    assert [name.rpartition(".")[2] for name in files_in(place)] == ["json", "npy"]


def test_cache_is_used_again_and_decodes_nothing(photos: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = photo_cache(photos, 8, folder=place)
    stamp = first.file.stat().st_mtime_ns
    monkeypatch.setattr(batches, "decode_photo", lambda *_: pytest.fail("decoded again"))
    assert photo_cache(photos, 8, folder=place).file.stat().st_mtime_ns == stamp


def test_key_follows_the_content(photos: list[Path]) -> None:
    key = content_key(photos, 8)
    changed = {content_key(photos, 9), content_key(photos, 8, "crop"), content_key(photos[::-1], 8), content_key(photos[:-1], 8)}
    os.utime(photos[0], (1, 1))
    assert content_key(photos, 8) == key                     # a date is not content
    data = photos[0].read_bytes()
    photos[0].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # same length
    changed.add(content_key(photos, 8))
    photos[0].unlink()
    changed.add(content_key(photos, 8))
    assert len(changed) == 6 and key not in changed


def test_changed_photo_gives_a_new_cache(photos: list[Path], place: Path) -> None:
    old = photo_cache(photos, 8, folder=place)
    Image.new("RGB", (10, 10), "red").save(photos[3])
    new = photo_cache(photos, 8, folder=place)
    assert new.file != old.file
    assert_array_equal(new.photos[3], expected_row(photos[3], 8))


def cut(array: Path, notes: Path) -> None: array.write_bytes(array.read_bytes()[:-50])
def flip_a_bit(array: Path, notes: Path) -> None:
    data = bytearray(array.read_bytes())
    data[-7] ^= 4
    array.write_bytes(data)
def empty_array(array: Path, notes: Path) -> None: array.write_bytes(b"")
def no_array(array: Path, notes: Path) -> None: array.unlink()
def no_notes(array: Path, notes: Path) -> None: notes.unlink()
def half_notes(array: Path, notes: Path) -> None: notes.write_bytes(notes.read_bytes()[:40])
def binary_notes(array: Path, notes: Path) -> None: notes.write_bytes(bytes(range(256)))
def other_notes(array: Path, notes: Path) -> None: notes.write_text("[1, 2]")
def header(array: Path, notes: Path) -> None:
    data = array.read_bytes()
    array.write_bytes(data.replace(b"(6, 3, 8, 8)", b"(3, 6, 8, 8)"))
def pickled(array: Path, notes: Path) -> None: np.save(array, np.array([{"a": 1}], dtype=object), allow_pickle=True)
def wrong_rows(array: Path, notes: Path) -> None:
    entry = json.loads(notes.read_text())
    notes.write_text(json.dumps(entry | {"kept": [0, 1, 2, 3, 4, 99]}))
def wrong_key(array: Path, notes: Path) -> None:
    notes.write_text(json.dumps(json.loads(notes.read_text()) | {"key": "0" * 64}))


def longer(array: Path, notes: Path) -> None: array.write_bytes(array.read_bytes() + b"!")
def other_order(array: Path, notes: Path) -> None: np.save(array, np.asfortranarray(np.load(array)))
def archive(array: Path, notes: Path) -> None:
    with array.open("wb") as file: np.savez(file, np.zeros(3))


@pytest.mark.parametrize("damage", [cut, longer, other_order, archive, empty_array, no_array, no_notes, half_notes,
                                    binary_notes, other_notes, header, pickled, wrong_rows, wrong_key])
def test_damaged_cache_is_built_again(photos: list[Path], place: Path, damage: Callable[[Path, Path], None]) -> None:
    cache = photo_cache(photos, 8, folder=place)
    good, expected, notes = cache.file.read_bytes(), np.array(cache.photos), cache.file.with_suffix(".json")
    said = notes.read_bytes()
    del cache
    damage(place/notes.with_suffix(".npy").name, notes)
    again = photo_cache(photos, 8, folder=place)
    assert_array_equal(again.photos, expected)
    assert (again.file.read_bytes(), notes.read_bytes()) == (good, said)
    assert len(files_in(place)) == 2


def test_flipped_bit_is_found_by_verify(photos: list[Path], place: Path) -> None:
    cache = photo_cache(photos, 8, folder=place)
    file, good = cache.file, cache.file.read_bytes()
    flip_a_bit(file, file)
    assert photo_cache(photos, 8, folder=place).file.read_bytes() != good  # lengths and header are right: trusted
    assert photo_cache(photos, 8, folder=place, verify=True).file.read_bytes() == good


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    "Photos count as settled at once, where a user waits two seconds."
    monkeypatch.setattr(batches, "_SETTLED", -1)


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_fingerprint", lambda path, **_: pytest.fail(f"{path.name} was read"))
    monkeypatch.setattr(batches, "_try_decoding", lambda path, *_, **__: pytest.fail(f"{path.name} was decoded"))
    monkeypatch.setattr(batches.zlib, "crc32", lambda *_: pytest.fail("the array was read"))


@pytest.mark.usefixtures("settled")
def test_unchanged_folder_costs_no_reading(photos: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo_cache(photos[:4], 8, folder=place)
    whole = photo_cache(photos, 8, folder=place)
    monkeypatch.chdir(photos[0].parent)
    no_reading(monkeypatch)
    assert photo_cache(photos, 8, folder=place).file == whole.file
    assert len(photo_cache([path.name for path in photos[:4]], 8, folder=place)) == 4  # a relative path is the same file


@pytest.mark.usefixtures("settled")
def test_replaced_photo_of_equal_length_and_date_is_noticed(photos: list[Path], place: Path) -> None:
    old, before = photo_cache(photos, 8, folder=place), photos[2].stat()
    other = photos[2].with_name("new")
    data = photos[2].read_bytes()
    other.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    other.replace(photos[2])
    os.utime(photos[2], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (photos[2].stat().st_size, photos[2].stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    if os.name == "posix": assert photo_cache(photos, 8, folder=place).file != old.file
    assert photo_cache(photos, 8, folder=place, verify=True).file != old.file


@pytest.mark.usefixtures("settled")
def test_copied_photos_find_the_cache(photos: list[Path], place: Path, tmp_path: Path) -> None:
    first = photo_cache(photos, 8, folder=place)
    copies = [tmp_path/"copies"/path.name for path in photos]
    copies[0].parent.mkdir()
    for path, copy in zip(photos, copies, strict=True): copy.write_bytes(path.read_bytes())
    assert photo_cache(copies, 8, folder=place).file == first.file
    index = json.loads((place/batches._INDEX).read_text())
    assert set(index) == {str(path) for path in (*photos, *copies)}
    for path in photos: path.unlink()
    copies[0].touch()
    photo_cache(copies, 8, folder=place)
    assert set(json.loads((place/batches._INDEX).read_text())) == {str(path) for path in copies}  # what is gone is left out


def test_photo_that_just_changed_is_not_trusted(photos: list[Path], place: Path) -> None:
    photo_cache(photos, 8, folder=place)
    assert not any(str(path) in batches._read_index([place]) for path in photos)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", [b"", b"{", b"[[1, 2]]", b"7", b"null", bytes(range(256)), b'{"%s": 3}', b'{"%s": [1]}',
                                     b'{"%s": null}', b'{"%s": []}'])
def test_damaged_index_is_read_anew(photos: list[Path], place: Path, content: bytes) -> None:
    cache = photo_cache(photos, 8, folder=place)
    (place/batches._INDEX).write_bytes(content.replace(b"%s", os.fsencode(photos[0])))
    assert photo_cache(photos, 8, folder=place).file == cache.file
    assert len(json.loads((place/batches._INDEX).read_text())) == 6


@pytest.mark.usefixtures("settled")
def test_index_that_cannot_be_written_is_no_error(photos: list[Path], place: Path) -> None:
    (place/batches._INDEX).mkdir(parents=True)
    assert photo_cache(photos, 8, folder=place).file == photo_cache(photos, 8, folder=place).file
    assert len(files_in(place)) == 2


def test_no_progress_bar_without_a_terminal(tmp_path: Path, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photo_cache(make_photos(tmp_path/"photos", 2) * 150, 8, folder=place)
    assert capfd.readouterr() == ("", "")
    assert "ipywidgets" not in Path(batches.__file__).read_text() and batches.tqdm.__module__ == "tqdm.std"


BUILD = """
import sys, time
from pathlib import Path
import numpy as np
from pets_learn.batches import photo_cache
ready, go, place = map(Path, sys.argv[1:4])
ready.touch()
while not go.exists(): time.sleep(0.001)
print(int(np.asarray(photo_cache(sys.argv[4:], 64, folder=place).photos).sum(dtype=np.int64)))
"""


def test_processes_build_one_cache_at_once(tmp_path: Path) -> None:
    photos = make_photos(tmp_path/"photos", 40)
    place, go = tmp_path/"cache", tmp_path/"go"
    ready = [tmp_path/f"ready{i}" for i in range(3)]
    def start(mark: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BUILD, mark, go, place, *photos]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    workers = [start(mark) for mark in ready]
    while not all(r.exists() for r in ready):
        assert all(worker.poll() is None for worker in workers), [worker.communicate() for worker in workers]
        time.sleep(0.01)
    go.touch()
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], outputs
    assert {int(out) for out, _ in outputs} == {int(sum(expected_row(p, 64).sum(dtype=np.int64) for p in photos))}
    assert len(files_in(place)) == 2


def test_threads_build_one_cache_at_once(photos: list[Path], place: Path) -> None:
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(photo_cache(photos, 8, folder=place).photos)) for _ in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(results) == 6 and all(np.array_equal(r, results[0]) for r in results)
    assert len(files_in(place)) == 2


FULL = """
import resource, signal, sys
from pets_learn.batches import photo_cache
from pets_learn.run import PetsLearnError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try: photo_cache(sys.argv[2:], 64, folder=sys.argv[1])
except PetsLearnError as error: print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs file size limits")
def test_write_that_fails_midway_leaves_nothing(photos: list[Path], place: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, place, *photos], capture_output=True, text=True, check=True, timeout=120)
    assert "was not written" in done.stdout and "Free some space" in done.stdout, done
    assert list(place.iterdir()) == []


def test_full_disk_is_noticed_before_decoding(photos: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 100})()
    monkeypatch.setattr(batches.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(batches, "_try_decoding", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(PetsLearnError, match="free some space"): photo_cache(photos, 64, folder=place)
    assert list(place.iterdir()) == []


def test_stopped_build_leaves_nothing(photos: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(path: Path, **_: object) -> np.ndarray:
        if path == photos[3]: raise KeyboardInterrupt
        return np.zeros((3, 8, 8), dtype=np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(batches, "_try_decoding", stop)
        with pytest.raises(KeyboardInterrupt): photo_cache(photos, 8, folder=place)
    assert list(place.iterdir()) == []
    assert len(photo_cache(photos, 8, folder=place)) == 6


def test_build_that_loses_a_race_takes_the_winners(photos: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = batches._build
    def lose(*args: object) -> None:
        build(*args)  # type: ignore[arg-type]
        raise PetsLearnError("the file is in use")
    monkeypatch.setattr(batches, "_build", lose)
    assert len(photo_cache(photos, 8, folder=place)) == 6


def test_read_only_data_folder_sends_caches_to_the_user(
        photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, user = tmp_path/"home", tmp_path/"user"
    home.mkdir()
    monkeypatch.setenv("PETS_LEARN_HOME", str(home))
    monkeypatch.setattr(batches, "user_cache_path", lambda *_, **options: user if options == {"appauthor": False} else None)
    assert photo_cache(photos, 8).file.parent == home/"cache"
    home.chmod(0o555)
    try:
        (home/"cache").chmod(0o555)
        assert photo_cache(photos, 8).file.parent == home/"cache"  # found, though nothing may be written there
        assert photo_cache(photos, 9).file.parent == user/"cache"
        user.chmod(0o555)
        (user/"cache").chmod(0o555)
        with pytest.raises(PetsLearnError, match="PETS_LEARN_HOME"): photo_cache(photos, 10)
    finally:
        for folder in (home, home/"cache", user, user/"cache"): folder.chmod(0o755)


def test_folder_that_is_a_file(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path/"file").write_text("x")
    with pytest.raises(PetsLearnError, match=r"written|used"): photo_cache(photos, 8, folder=tmp_path/"file")
    with pytest.raises(PetsLearnError, match=r"written|used"): photo_cache(photos, 8, folder=tmp_path/"file"/"below")


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b""))


def test_bad_photos_are_listed_and_skipped(photos: list[Path], place: Path, tmp_path: Path) -> None:
    bad = {"text.jpg": b"Dear cat,", "empty.jpg": b"", "half.jpg": photos[0].read_bytes()[:300],
           "bomb.jpg": png_that_claims(20_000, 20_000), "mat.mat": b"MATLAB 5.0 MAT-file"}
    for name, content in bad.items(): (tmp_path/name).write_bytes(content)
    others = [tmp_path/name for name in [*bad, "absent.jpg"]]
    mixed = [others[0], *photos[:3], *others[1:], tmp_path, *photos[3:]]
    cache = photo_cache(mixed, 8, folder=place)
    assert cache.paths == tuple(photos) and [mixed[i] for i in cache.kept] == photos
    assert [path for path, _ in cache.skipped] == [path for path in mixed if path not in photos]
    assert all(reason for _, reason in cache.skipped) and "\n" not in "".join(reason for _, reason in cache.skipped)
    assert str(tmp_path) not in cache.describe() and cache.describe().count("skipped") == 7
    again = photo_cache(mixed, 8, folder=place)
    assert (again.paths, again.skipped, again.kept.tolist()) == (cache.paths, cache.skipped, cache.kept.tolist())
    with pytest.raises(MissingData, match="none of the 2 photos"): photo_cache(mixed[:1] * 2, 8, folder=place)
    assert len(files_in(place)) == 2


def test_odd_but_good_photos(place: Path, tmp_path: Path) -> None:
    cat = picture(0)
    odd = {"gif": (cat.convert("P"), "GIF"), "png": (cat, "PNG"), "cmyk": (cat.convert("CMYK"), "JPEG"),
           "grey": (cat.convert("L"), "JPEG"), "alpha": (cat.convert("RGBA"), "PNG"), "dot": (Image.new("RGB", (1, 1)), "JPEG"),
           "thread": (Image.new("RGB", (2000, 1)), "PNG")}
    for name, (image, kind) in odd.items(): image.save(tmp_path/f"{name}.jpg", kind)
    for method in METHODS:
        cache = photo_cache([tmp_path/f"{name}.jpg" for name in odd], 16, method, folder=place)
        assert len(cache) == len(odd) and not cache.skipped


def test_draft_mode_keeps_photos_upright_and_close(place: Path, tmp_path: Path) -> None:
    note = Image.Exif()
    note[0x0112] = 6  # turned by 90 degrees
    large = picture(1, 400, 300)
    large.save(tmp_path/"plain.jpg", quality=95)
    large.save(tmp_path/"turned.jpg", quality=95, exif=note)
    large.convert("CMYK").save(tmp_path/"cmyk.jpg", quality=95)
    paths = [tmp_path/f"{name}.jpg" for name in ("plain", "turned", "cmyk")]
    assert [data._read_near(path, 32).size for path in paths] == [(50, 38), (300, 400), (400, 300)]
    rows = photo_cache(paths, 32, folder=place).photos.astype(float)
    assert max(abs(rows[i] - expected_row(path, 32)).mean() for i, path in enumerate(paths)) < 4
    assert_array_equal(rows[1], expected_row(paths[1], 32))


@pytest.mark.parametrize(("size", "method"), [(0, "squash"), (-3, "squash"), (2.5, "squash"), (5000, "squash"), ("8", "pad"),
                                              (8, "stretch")])
def test_wrong_size_or_method(photos: list[Path], place: Path, size: int, method: str) -> None:
    with pytest.raises(BadSetting): photo_cache(photos, size, method, folder=place)
    assert not place.exists()


def test_nothing_to_decode(place: Path) -> None:
    with pytest.raises(BadSetting, match="no photos"): photo_cache([], 8, folder=place)


def test_more_photos_than_one_block(tmp_path: Path, place: Path) -> None:
    photos = make_photos(tmp_path/"photos", 2) * 150
    photos[260] = tmp_path/"absent.jpg"
    cache = photo_cache(photos, 8, folder=place)
    assert len(cache) == 299 and cache.kept[260] == 261
    assert_array_equal(cache.photos[259], expected_row(photos[259], 8))


# ---- geometry and color

def keras(photo: np.ndarray, change: dict[str, float], mode: str) -> np.ndarray:
    "Keras's own matrices (row before column) and SciPy's sampling, independent of the code under test."
    turn, tilt = np.deg2rad(change["rotation"]), np.deg2rad(change["shear"])
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    shift = np.array([[1, 0, change["shift_y"]], [0, 1, change["shift_x"]], [0, 0, 1]])
    shear = np.array([[1, -np.sin(tilt), 0], [0, np.cos(tilt), 0], [0, 0, 1]])
    zoom = np.diag([change["zoom_y"], change["zoom_x"], 1])
    matrix = rotation @ shift @ shear @ zoom
    center = (np.array(photo.shape[1:]) - 1) / 2
    offset = matrix[:2, :2] @ -center + matrix[:2, 2] + center
    moved = np.stack([ndimage.affine_transform(c, matrix[:2, :2], offset, order=1, mode=mode) for c in photo])
    return moved[:, :, ::-1] if change["flip"] else moved


def matrix_of(change: dict[str, float]) -> torch.Tensor:
    return affine_matrices(**{name: torch.tensor([value], dtype=torch.float64) for name, value in change.items()})


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({"rotation": st.floats(-180, 180), "shift_x": st.floats(-20, 20), "shift_y": st.floats(-20, 20),
                              "shear": st.floats(-45, 45), "zoom_x": st.floats(0.3, 2), "zoom_y": st.floats(0.3, 2),
                              "flip": st.sampled_from([0, 1])}),
       st.sampled_from(["nearest", "reflect", "zeros"]), st.integers(5, 20), st.integers(5, 20))
def test_warp_equals_keras(change: dict[str, float], fill: str, height: int, width: int) -> None:
    photo = torch.rand(1, 3, height, width, generator=seeded(height * width), dtype=torch.float64)
    mode = {"nearest": "nearest", "reflect": "reflect", "zeros": "grid-constant"}[fill]
    ours = warp(photo, matrix_of(change), fill)
    assert_allclose(ours[0].numpy(), keras(photo[0].numpy(), change, mode), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 180), st.integers(-8, 8), st.integers(-8, 8), st.floats(0.5, 2))
def test_warp_equals_torchvision(angle: float, x: int, y: int, zoom: float) -> None:
    photo = torch.rand(1, 3, 17, 24, generator=seeded(1))
    change = {"rotation": angle, "shift_x": 0.0, "shift_y": 0.0, "shear": 0.0, "zoom_x": 1 / zoom, "zoom_y": 1 / zoom,
              "flip": 0.0}
    bilinear = reference.InterpolationMode.BILINEAR
    turned = reference.affine(photo, angle, [0, 0], zoom, [0.0, 0.0], interpolation=bilinear)
    assert_close(warp(photo, matrix_of(change).float(), "zeros"), turned, atol=2e-4, rtol=0)
    moved = reference.affine(photo, 0.0, [x, y], 1.0, [0.0, 0.0], interpolation=bilinear)
    shift = change | {"rotation": 0.0, "zoom_x": 1.0, "zoom_y": 1.0, "shift_x": -x, "shift_y": -y}
    assert_close(warp(photo, matrix_of(shift).float(), "zeros"), moved, atol=1e-4, rtol=0)


def test_each_photo_has_its_own_matrix() -> None:
    photos = torch.rand(3, 3, 6, 6, generator=seeded())
    flip = torch.tensor([0.0, 1.0, 0.0])
    still = torch.zeros(3)
    moved = warp(photos, affine_matrices(still, still, still, still, still + 1, still + 1, flip))
    assert_close(moved, torch.stack([photos[0], photos[1].flip(-1), photos[2]]), atol=1e-6, rtol=0)


def test_memory_format_does_not_change_the_result() -> None:
    photos = torch.rand(4, 3, 20, 20, generator=seeded())
    plain = augment(photos, COURSE, seeded(5))
    assert_close(augment(photos.contiguous(memory_format=torch.channels_last), COURSE, seeded(5)), plain, atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.7, 1.3), st.floats(0.5, 1.3), st.floats(0, 1.5))
def test_recolor_equals_torchvision_where_nothing_is_cut(brightness: float, contrast: float, saturation: float) -> None:
    photos = 0.35 + 0.2 * torch.rand(1, 3, 5, 7, generator=seeded())
    steps = reference.adjust_contrast(reference.adjust_brightness(photos, brightness), contrast)
    expected = reference.adjust_saturation(steps, saturation)
    ours = recolor(photos, *(torch.tensor([v]) for v in (brightness, contrast, saturation)))
    assert_close(ours, expected, atol=1e-3, rtol=0)


def test_recolor_extremes() -> None:
    photos = torch.rand(2, 3, 5, 5, generator=seeded())
    one, zero = torch.ones(2), torch.zeros(2)
    assert recolor(photos, zero, one, one).abs().max() == 0
    flat = recolor(photos, one, zero, one)
    assert_close(flat.amax(dim=(1, 2, 3)), flat.amin(dim=(1, 2, 3)), atol=1e-6, rtol=0)
    gray = recolor(photos, one, one, zero)
    assert_close(gray[:, 0], gray[:, 2], atol=1e-6, rtol=0)
    assert recolor(photos, 9 * one, one, one).max() == 1
    assert not torch.equal(photos, recolor(photos, 0.5 * one, one, one))


# ---- augmentation

def test_no_range_is_the_identity_bit_for_bit() -> None:
    photos = torch.rand(3, 3, 9, 9)
    assert augment(photos, Augmentation(), seeded()) is photos


@pytest.mark.parametrize("ranges", [{"rotation": 20}, {"shift": 0.3}, {"shear": 20}, {"zoom": 0.4}, {"flip": True},
                                    {"brightness": 0.4}, {"contrast": 0.5}, {"saturation": 0.9}])
@pytest.mark.parametrize("fill", FILLS)
def test_each_range_changes_photos_and_is_repeatable(ranges: dict[str, float], fill: str) -> None:
    photos = torch.rand(8, 3, 16, 12, generator=seeded())
    before = photos.clone()
    changed = augment(photos, Augmentation(fill=fill, **ranges), seeded(1))
    assert torch.equal(photos, before) and changed.shape == photos.shape and changed.dtype == photos.dtype
    assert not torch.equal(changed, photos) and changed.min() >= 0 and changed.max() <= 1
    assert torch.equal(changed, augment(photos, Augmentation(fill=fill, **ranges), seeded(1)))
    assert not torch.equal(changed, augment(photos, Augmentation(fill=fill, **ranges), seeded(2)))


def test_white_does_not_get_whiter() -> None:
    """The four weights of a pixel, each rounded, may add up to a little more than 1."""
    turned = augment(torch.ones(16, 3, 33, 33), Augmentation(rotation=30), seeded())
    assert turned.max() == 1


def test_constant_photo_stays_constant_unless_filled_with_zeros() -> None:
    white = torch.ones(6, 3, 10, 10)
    for fill in ("nearest", "reflect"):
        moved = augment(white, Augmentation(rotation=90, shift=0.5, zoom=0.5, fill=fill), seeded())
        assert_close(moved, white, atol=1e-5, rtol=0)
    assert augment(white, Augmentation(shift=0.5, fill="zeros"), seeded()).min() == 0
    dark = augment(white, Augmentation(shift=0.9, brightness=0.5, contrast=0.5, fill="zeros"), seeded())
    assert dark.min() == 0  # color first: the fill stays black


def test_every_augmentation_takes_the_same_number_of_draws() -> None:
    photos = torch.rand(5, 3, 8, 8)
    after = []
    for ranges in (Augmentation(), Augmentation(flip=True), COURSE):
        generator = seeded(3)
        augment(photos, ranges, generator)
        after.append(torch.rand(1, generator=generator).item())
    assert len(set(after)) == 1


def test_color_leaves_geometry_alone() -> None:
    photos = torch.rand(5, 3, 8, 8, generator=seeded())
    turned = augment(photos, Augmentation(rotation=40, flip=True), seeded(3))
    both = augment(photos, Augmentation(rotation=40, flip=True, brightness=1e-9), seeded(3))
    assert_close(turned, both, atol=1e-5, rtol=0)


def test_flip_is_exact_and_half_of_the_time() -> None:
    photos = torch.rand(2000, 1, 1, 2, generator=seeded())
    flipped = augment(photos, Augmentation(flip=True), seeded(1))
    mirrored = (flipped == photos.flip(-1)).all(dim=(1)).all(dim=(1, 2))
    assert torch.equal(torch.where(mirrored[:, None, None, None], photos.flip(-1), photos), flipped)
    assert 0.45 < mirrored.float().mean() < 0.55


@pytest.mark.parametrize("ranges", [{"rotation": -1}, {"rotation": 181}, {"shift": 1.1}, {"zoom": 1}, {"shear": 90},
                                    {"brightness": 2}, {"rotation": float("nan")}, {"fill": "wrap"}])
def test_wrong_ranges(ranges: dict[str, float]) -> None:
    with pytest.raises(BadSetting): Augmentation(**ranges)  # type: ignore[arg-type]


# ---- labels and balance

@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_class_weights_equal_scikit_learn(classes: int, more: int, seed: int) -> None:
    labels = np.concatenate([np.arange(classes), np.random.default_rng(seed).integers(0, classes, more)])
    expected = compute_class_weight("balanced", classes=np.arange(classes), y=labels)
    assert_allclose(class_weights(labels).numpy(), expected, rtol=1e-6)
    assert_allclose(class_weights(labels)[labels].sum(), len(labels), rtol=1e-5)  # photos weigh N together
    chances = sampling_weights(labels)
    assert_allclose(chances.sum(), 1)
    assert_allclose(np.bincount(labels, weights=chances.numpy()), np.full(classes, 1 / classes))


def test_class_weights_errors() -> None:
    with pytest.raises(BadSetting, match="no photo has class 1"): class_weights([0, 2])
    with pytest.raises(BadSetting, match="no photo has class 2, 3"): class_weights([0, 1], classes=4)
    with pytest.raises(BadSetting, match="does not fit"): class_weights([0, 1, 2], classes=2)
    for labels in ([], [[0], [1]], [-1, 0], [0.0, 1.0], [float("nan")]):
        with pytest.raises(BadSetting): class_weights(labels)
        with pytest.raises(BadSetting): sampling_weights(labels)


def test_read_only_labels_bring_no_warning() -> None:
    labels = np.array([0, 1, 1, 0])
    labels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert make_targets(labels).tolist() == make_targets(pd.Series(labels)).tolist() == [0, 1, 1, 0]
        assert make_targets(labels[::-1][1:]).tolist() == [1, 1, 0]
        class_weights(labels)
        chances = sampling_weights(labels).numpy()
        chances.flags.writeable = False
        loader = BatchLoader(numbered(4), labels, weights=chances)
        loader.one_batch()
        dataloaders(numbered(4), pd.Series(labels), [0, 1], [2, 3], balanced=True)
    assert loader.labels is not None
    loader.labels[0] = 5
    assert labels[0] == 0


def test_labels_that_are_words() -> None:
    for labels in (["cat", "dog"], np.array(["cat"], dtype=object), [None]):
        with pytest.raises(BadSetting, match="class indices"): make_targets(labels)


def test_targets() -> None:
    assert make_targets(np.array([1, 0], dtype=np.uint8)).dtype == torch.int64
    assert make_targets(torch.tensor([1, 0]), "one_hot", 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert make_targets([False, True], "binary").tolist() == [[0], [1]]
    with pytest.raises(BadSetting, match="kind"): make_targets([0], "soft")
    with pytest.raises(BadSetting, match="two classes"): make_targets([0, 1], "binary", classes=3)


# ---- the loader

def numbered(count: int = 10, side: int = 4) -> np.ndarray:
    "Photo i is filled with the value i."
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 3, side, side)).copy()


def numbers(batch: torch.Tensor) -> list[int]: return (batch[:, 0, 0, 0] * 255).round().int().tolist()


def test_plain_loader_is_in_order_and_exact() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 6), dtype=np.uint8)
    got = list(BatchLoader(photos, np.arange(7), batch_size=3))
    assert [len(x) for x, _ in got] == [3, 3, 1] and torch.cat([y for _, y in got]).tolist() == list(range(7))
    assert torch.equal(torch.cat([x for x, _ in got]), torch.from_numpy(photos).float() / 255)
    assert all(x.is_contiguous() for x, _ in got)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 6), st.booleans(), st.booleans(), st.integers(0, 3))
def test_loader_covers_its_rows(rows: list[int], size: int, shuffle: bool, drop: bool, prefetch: int) -> None:
    if drop and len(rows) < size:
        with pytest.raises(BadSetting, match="no full batch"):
            BatchLoader(numbered(), indices=rows, batch_size=size, drop_last=True)
        return
    loader = BatchLoader(numbered(), np.arange(10), rows, size, shuffle, drop, prefetch=prefetch)
    got = list(loader)
    seen = [n for x, y in got for n in numbers(x)]
    assert seen == [int(n) for _, y in got for n in y] and len(got) == len(loader)
    if not drop: assert sorted(seen) == sorted(rows) and (shuffle or seen == rows)
    else: assert all(len(x) == size for x, _ in got)


def test_epochs_differ_and_can_be_repeated() -> None:
    loader = BatchLoader(numbered(40), batch_size=8, shuffle=True, augmentation=COURSE, seed=1)
    epochs = [torch.cat([x for (x,) in loader]) for _ in range(3)]
    assert loader.epoch == 3 and not torch.equal(epochs[0], epochs[1])
    loader.epoch = 1
    loader.one_batch()  # a look does not count
    assert torch.equal(torch.cat([x for (x,) in loader]), epochs[1])
    assert torch.equal(torch.cat([x for (x,) in loader.batches(0)]), epochs[0]) and loader.epoch == 2
    other = BatchLoader(numbered(40), batch_size=8, shuffle=True, augmentation=COURSE, seed=2)
    assert not torch.equal(torch.cat([x for (x,) in other]), epochs[0])
    torch.manual_seed(5)  # the global generator has no say
    again = BatchLoader(numbered(40), batch_size=8, shuffle=True, augmentation=COURSE, seed=1, prefetch=2)
    assert torch.equal(torch.cat([x for (x,) in again]), epochs[0])


def test_prefetch_stops_and_reports() -> None:
    loader = BatchLoader(numbered(), batch_size=1, prefetch=2)
    threads = threading.active_count()
    for batch in loader:
        assert numbers(*batch) == [0]
        break
    iterator = iter(loader)
    next(iterator)
    del iterator, batch
    assert threading.active_count() <= threads + 1
    loader.normalize = ([0, 0], [1, 1])  # two channels do not fit three
    with pytest.raises(RuntimeError): list(loader)


def test_weights_draw_with_replacement() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    rows = np.arange(5, 100)
    loader = BatchLoader(numbered(100), labels, rows, 20, weights=sampling_weights(labels[rows]), seed=3)
    drawn = np.concatenate([np.concatenate([y.numpy() for _, y in loader]) for _ in range(20)])
    assert len(drawn) == 20 * 95 and 0.45 < drawn.mean() < 0.55
    for weights in ([1] * 94, [0] * 95, [-1] + [1] * 94, [float("nan")] * 95):
        with pytest.raises(BadSetting, match="weights"): BatchLoader(numbered(100), labels, rows, weights=weights)


def test_normalize_and_memory_format() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    (x,) = BatchLoader(photos, normalize=(mean, deviation), channels_last=True).one_batch()
    assert x.is_contiguous(memory_format=torch.channels_last) and x.shape == (4, 3, 8, 8)
    assert_close(x, reference.normalize(torch.from_numpy(photos) / 255, list(mean), list(deviation)))


def test_rows_as_mask_and_wrong_rows() -> None:
    mask = np.zeros(10, dtype=bool)
    mask[[2, 7]] = True
    assert BatchLoader(numbered(), indices=mask).indices.tolist() == [2, 7]
    for rows in ([], [10], [-1], [0.5], [[1]], mask[:5]):
        with pytest.raises(BadSetting, match="indices"): BatchLoader(numbered(), indices=rows)
    for wrong in ({"batch_size": 0}, {"labels": [1]}, {"prefetch": -1}, {"seed": -1}):
        with pytest.raises(BadSetting): BatchLoader(numbered(), **wrong)  # type: ignore[arg-type]


def test_copy_for_predictions_is_plain() -> None:
    loader = BatchLoader(numbered(), np.arange(10), batch_size=4, weights=np.ones(10), augmentation=COURSE, drop_last=True,
                         vocab=["a"] * 10)
    plain = loader.new(shuffle=False, drop_last=False)
    assert [n for x, _ in plain for n in numbers(x)] == list(range(10)) and plain.vocab == loader.vocab
    assert loader.new(batch_size=2).augmentation is COURSE
    assert loader.augmentation is COURSE and loader.drop_last


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 13), st.integers(1, 6), st.integers(1, 6), st.booleans(), st.booleans())
def test_parts_of_all_processes_make_the_batch(count: int, size: int, processes: int, shuffle: bool, weighted: bool) -> None:
    "Bit by bit, for parts of any size, empty ones included."
    def make() -> BatchLoader:
        return BatchLoader(PARTS[:count], np.arange(count), batch_size=size, shuffle=shuffle, augmentation=COURSE, seed=1,
                           weights=np.ones(count) if weighted else None)
    if processes > size:
        with pytest.raises(BadSetting, match="start fewer"): make().shard(0, processes)
        return
    whole, parts = make(), [make().shard(rank, processes) for rank in range(processes)]
    for epoch in range(2):
        for i, ((x, y), *shares) in enumerate(zip(whole, *parts, strict=True)):
            assert torch.equal(torch.cat([part for part, _ in shares]), x)
            assert torch.equal(torch.cat([part for _, part in shares]), y)
            lengths = [len(part) for part, _ in shares]
            assert lengths == sorted(lengths, reverse=True) and lengths[0] - lengths[-1] <= 1
            assert sum(lengths) == whole.batch_length(i) == parts[0].batch_length(i)
        assert {part.epoch for part in parts} == {epoch + 1}


PARTS = np.random.default_rng(0).integers(0, 256, (13, 3, 6, 5), dtype=np.uint8)


def test_part_reads_only_its_own_photos() -> None:
    class Counted(np.ndarray):
        def __getitem__(self, rows: object) -> np.ndarray:
            if isinstance(rows, np.ndarray): asked.extend(rows.tolist())
            return np.asarray(self)[rows]  # type: ignore[index]
    asked: list[int] = []
    loader = BatchLoader(numbered(9).view(Counted), np.arange(9), batch_size=4, augmentation=COURSE).shard(1, 2)
    assert [y.tolist() for _, y in loader] == [[2, 3], [6, 7], []] and asked == [2, 3, 6, 7]
    assert [len(y) for _, y in loader.new(shuffle=False)] == [4, 4, 1]  # a copy is whole again
    assert [len(y) for _, y in loader.shard()] == [4, 4, 1]
    for rank, processes in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(BadSetting, match="count from 0"): loader.shard(rank, processes)


# ---- inside fastai

@pytest.fixture(scope="module")
def striped() -> tuple[np.ndarray, np.ndarray]:
    "60 photos of two classes that a network can tell apart: bright above or bright below."
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    photos = rng.integers(0, 128, (60, 3, 12, 12), dtype=np.uint8)
    for photo, label in zip(photos, labels, strict=True): photo[:, 6 * label:6 * label + 6] += 120
    return photos, labels


def small_network(outputs: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(432, 16), torch.nn.ReLU(), torch.nn.Linear(16, outputs))


LOSSES = {"index": torch.nn.CrossEntropyLoss(), "one_hot": torch.nn.CrossEntropyLoss(), "binary": torch.nn.BCEWithLogitsLoss()}


@pytest.mark.parametrize("targets", ["index", "one_hot", "binary"])
def test_fastai_learner(striped: tuple[np.ndarray, np.ndarray], targets: str, tmp_path: Path) -> None:
    from fastai.callback.schedule import Learner
    photos, labels = striped
    def make() -> Learner:
        dls = dataloaders(photos, labels, range(30), range(30, 45), range(45, 60), targets=targets, vocab=["up", "down"],
                          batch_size=8, augmentation=Augmentation(shift=0.05, brightness=0.1), seed=2,
                          balanced=targets == "index")
        assert dls.c == (1 if targets == "binary" else 2) and dls.vocab == ["up", "down"] and len(dls.train_ds) == 30
        assert dls.one_batch()[0].shape == (8, 3, 12, 12) and dls.n_inp == 1
        learner = Learner(dls, small_network(dls.c), loss_func=LOSSES[targets], path=tmp_path)
        learner.logger = lambda *_: None
        return learner
    learner, again = make(), make()
    learner.fit(6, 1e-2)
    again.fit(6, 1e-2)
    assert learner.recorder.values == again.recorder.values  # bit-identical
    for i, rows in enumerate((range(30), range(30, 45), range(45, 60))):
        predictions, truth = learner.get_preds(ds_idx=i)
        assert torch.equal(truth, make_targets(labels, targets)[list(rows)])  # all rows, in order
        x = torch.from_numpy(photos[list(rows)]).float() / 255                # without augmentation
        assert_close(predictions, learner.model.eval()(x).detach(), atol=1e-5, rtol=1e-4)
    assert learner.validate(ds_idx=2)[0] == pytest.approx(float(LOSSES[targets](predictions, truth)), rel=1e-4)
    answer = predictions.flatten() > 0 if targets == "binary" else predictions.argmax(dim=1)
    assert (answer.long() == torch.from_numpy(labels[45:60])).float().mean() > 0.8
    assert learner.lr_find(num_it=12, show_plot=False).valley > 0


def test_vocab_of_unnamed_classes_and_unlabeled_photos(striped: tuple[np.ndarray, np.ndarray]) -> None:
    photos, labels = striped
    dls = dataloaders(photos, labels, range(30), range(30, 60))
    assert dls.vocab == ["0", "1"] and len(dls.loaders) == 2 and dls.valid.bs == 64
    assert [len(batch) for batch in BatchLoader(photos)] == [1, 1]
    with pytest.raises(BadSetting, match="no labels"): _ = BatchLoader(photos).c


def test_parts_must_not_share_photos(striped: tuple[np.ndarray, np.ndarray]) -> None:
    photos, labels = striped
    with pytest.raises(BadSetting, match="share photos"): dataloaders(photos, labels, range(30), range(29, 60))
    with pytest.raises(BadSetting, match="share photos"): dataloaders(photos, labels, range(30), range(30, 60), [59])
    dataloaders(photos, labels, [0, 0, 1], [2])  # a row may come twice within one part


def test_import_brings_no_fastai_and_no_figures() -> None:
    code = "import sys, pets_learn.batches; print([m for m in ('fastai', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_device_does_not_change_the_augmentation() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (20, 3, 24, 24), dtype=np.uint8)
    parts = [BatchLoader(photos, batch_size=8, shuffle=True, augmentation=COURSE, device=device) for device in ("cpu", "cuda")]
    for (a,), (b,) in zip(*parts, strict=True):
        assert b.is_cuda
        assert_close(a, b.cpu(), atol=1e-4, rtol=0)


@pytest.mark.real
def test_real_pets(place: Path) -> None:
    folder = Path(os.environ.get("PETS_LEARN_HOME", "absent"))/"oxford-iiit-pet"/"images"
    if not folder.is_dir(): pytest.skip("PETS_LEARN_HOME has no pets")
    photos = sorted(folder.glob("*.jpg"))[::100]
    cache = photo_cache(photos, 96, folder=place)
    assert not cache.skipped and cache.paths == tuple(photos)
    assert 60 < cache.photos.mean() < 190 and cache.photos.std() > 40  # photos, neither black nor noise
