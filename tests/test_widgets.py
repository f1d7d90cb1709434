"""Interactives without a mouse: functions against scikit-learn, controls moved from Python, hostile uploads, a camera page."""

import base64
import builtins
import io
import json
import struct
import zlib
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score

from pets_learn import show, widgets
from pets_learn.data import BadPhoto
from pets_learn.run import BadSetting, PetsLearnError

ipywidgets = pytest.importorskip("ipywidgets", reason="the interactives need ipywidgets")

PAPER = np.array([0.05, 0.20, 0.45, 0.65, 0.40, 0.60, 0.80, 0.95])
IS_DOG = np.array([0, 0, 0, 0, 1, 1, 1, 1])
NAMES = ["cat", "dog"]
GRAYS = [np.full((20, 30, 3), 5 * i, np.uint8) for i in range(40)]
SHARE = st.floats(0, 1, width=32)


@st.composite
def judged(draw, classes=None):
    """Probabilities and labels that fit; binary for None, else rows over so many classes."""
    count = draw(st.integers(1, 30))
    labels = np.array(draw(st.lists(st.integers(0, (classes or 2) - 1), min_size=count, max_size=count)))
    if classes is None:
        return np.array(draw(st.lists(SHARE, min_size=count, max_size=count)), np.float32), labels
    rows = np.array(
        draw(st.lists(st.lists(st.floats(0.01, 1), min_size=classes, max_size=classes), min_size=count, max_size=count))
    )
    return rows / rows.sum(axis=1, keepdims=True), labels


def light(photos: np.ndarray) -> np.ndarray:
    """The lighter the photo, the more probable is class 0."""
    mean = photos.reshape(len(photos), -1).mean(axis=1) / 255
    return np.stack([mean, 1 - mean], axis=1)


LIGHT = widgets.PixelClassifier(light, ["light", "dark"], size=8)


def encoded(picture: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def upload(*files: tuple[str, bytes]) -> list[dict]:
    """What ipywidgets 8 keeps for uploaded files."""
    return [{"name": name, "type": "image/png", "size": len(content), "content": memoryview(content),
             "last_modified": datetime.now(UTC)} for name, content in files]  # fmt: skip


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def images(self) -> list[dict]:
        return [attrs for tag, attrs in self.found if tag == "img"]


# --- thresholds -----------------------------------------------------------------------------------------------------


@given(judged(), SHARE)
def test_rates_agree_with_scikit_learn(items, threshold):
    probabilities, labels = items
    rates, answers = widgets.binary_rates(probabilities, labels, threshold), probabilities >= threshold
    (tn, fp), (fn, tp) = confusion_matrix(labels, answers, labels=[0, 1])
    assert rates == widgets.BinaryRates(tp, fp, tn, fn) and rates.total == len(labels)
    np.testing.assert_allclose(rates.precision, precision_score(labels, answers, zero_division=np.nan))
    np.testing.assert_allclose(rates.recall, recall_score(labels, answers, zero_division=np.nan))
    np.testing.assert_allclose(rates.accuracy, accuracy_score(labels, answers))


@given(judged(), SHARE, SHARE)
def test_a_higher_threshold_finds_no_more(items, one, other):
    low, high = (widgets.binary_rates(*items, t) for t in sorted((one, other)))
    assert high.true_positives <= low.true_positives and high.false_positives <= low.false_positives
    assert high.true_negatives >= low.true_negatives


@given(judged(classes=3), SHARE, SHARE)
def test_coverage_falls_with_the_threshold_and_right_answers_never_appear(items, one, other):
    probabilities, labels = items
    low, high = (widgets.coverage_and_accuracy(probabilities, labels, t) for t in sorted((one, other)))
    assert 0 <= high.coverage <= low.coverage <= 1
    right = [0 if result.coverage == 0 else result.coverage * result.accuracy for result in (low, high)]
    assert right[1] <= right[0] + 1e-12
    everything = widgets.coverage_and_accuracy(probabilities, labels, 0)
    assert everything == (1, pytest.approx((probabilities.argmax(1) == labels).mean()))


@given(judged(classes=3), SHARE)
def test_coverage_counts_what_a_loop_counts(items, threshold):
    probabilities, labels = items
    answered = [(row.argmax() == label) for row, label in zip(probabilities, labels, strict=True) if row.max() >= threshold]
    coverage, accuracy = widgets.coverage_and_accuracy(probabilities, labels, threshold)
    assert coverage == len(answered) / len(labels)
    np.testing.assert_equal(accuracy, np.mean(answered) if answered else np.nan)


@given(judged(), SHARE)
def test_wrong_side_holds_exactly_the_mistakes_farthest_first(items, threshold):
    probabilities, labels = items
    rates, wrong = widgets.binary_rates(*items, threshold), widgets.wrong_side(*items, threshold)
    assert len(wrong) == len(set(wrong)) == rates.false_positives + rates.false_negatives
    assert all((probabilities[wrong] >= threshold) != (labels[wrong] == 1))
    assert all(np.diff(np.abs(probabilities[wrong] - threshold)) <= 0)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
def test_a_probability_equal_to_the_threshold_reaches_it_in_every_type(kind, threshold):
    assert widgets.binary_rates(np.array([threshold], kind), [1], np.float64(threshold)).true_positives == 1


@pytest.mark.parametrize(
    ("probabilities", "labels", "threshold", "reason"),
    [
        ([0.5], [0, 1], 0.5, "do not fit"),
        ([], [], 0.5, "do not fit"),
        ([[0.5, 0.5]], [0], 0.5, "one probability for each"),
        ([1.5], [1], 0.5, "between 0 and 1"),
        ([-0.1], [1], 0.5, "between 0 and 1"),
        ([np.nan], [1], 0.5, "between 0 and 1"),
        (["0.5"], [1], 0.5, "between 0 and 1"),
        ([0.5], [2], 0.5, "from 0 to 1"),
        ([0.5], [0.5], 0.5, "from 0 to 1"),
        ([0.5], [1], np.nan, "threshold is nan"),
        ([0.5], [1], -0.1, "threshold is -0.1"),
    ],
)
def test_unusable_arrays_are_refused(probabilities, labels, threshold, reason):
    with pytest.raises(BadSetting, match=reason):
        widgets.binary_rates(probabilities, labels, threshold)


def test_almost_all_is_not_called_all():
    probabilities, labels = np.linspace(0, 1, 1000), np.ones(1000, int)
    assert "999 are found (recall >99%)" in widgets.describe_threshold(probabilities, labels, 0.0005, NAMES)
    assert "1 are found (recall <1%)" in widgets.describe_threshold(probabilities, labels, 1, NAMES)


def test_moving_the_slider_changes_sentence_picture_and_photos():
    slider = widgets.threshold_slider(PAPER, IS_DOG, NAMES, photos=GRAYS[:8])
    before = slider.html
    assert "4 with label dog, 3 are found (recall 75%)" in before
    assert [image["alt"] for image in Tags(before).images()][1:] == ["Photo: dog, is cat (0.65)", "Photo: cat, is dog (0.40)"]
    slider.controls["threshold"].value = 0.7
    assert "2 are found (recall 50%)" in slider.html and "(precision 100%)" in slider.html
    chart, *photos = Tags(slider.html).images()
    assert chart["alt"] == "" and chart["src"] != Tags(before).images()[0]["src"]
    words = widgets.describe_threshold(PAPER, IS_DOG, 0.7, NAMES)
    assert unescape(slider.html).count(words) == 1, "a sentence is read once"
    assert [image["alt"] for image in photos] == ["Photo: cat, is dog (0.40)", "Photo: cat, is dog (0.60)"]


def test_the_slider_answers_only_when_sure_for_rows_of_probabilities():
    slider = widgets.threshold_slider(np.stack([1 - PAPER, PAPER], 1), IS_DOG, NAMES, photos=GRAYS[:8])
    slider.controls["threshold"].value = 0.62
    assert "5 of 8 get an answer (coverage 62%). Of these answers 4 are right (accuracy 80%)" in slider.html
    slider.controls["threshold"].value = 1
    assert "0 of 8 get an answer (coverage 0%)" in slider.html and "no value" in slider.html


def test_the_slider_shows_no_more_photos_than_asked():
    slider = widgets.threshold_slider(np.full(40, 0.9), np.zeros(40, int), NAMES, photos=GRAYS, most=3)
    assert "worst first: 3 of 40" in slider.html and len(Tags(slider.html).images()) == 4


# --- classes --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 9), st.booleans(), st.randoms(use_true_random=False))
def test_the_pages_of_all_classes_hold_each_photo_once_in_order(labels, per_page, sort, random):
    scores = np.array([random.random() for _ in labels]) if sort else None
    seen = []
    for index in range(4):
        pages = max(1, -(-labels.count(index) // per_page))
        chosen = [widgets.photos_of_class(np.array(labels, int), index, page, per_page, scores) for page in range(pages)]
        assert all(len(page) == per_page for page in chosen[:-1])
        listed = [int(i) for page in chosen for i in page]
        assert listed == sorted(listed, key=None if scores is None else lambda i: scores[i])
        seen += listed
        with pytest.raises(BadSetting, match="there is no page"):
            widgets.photos_of_class(np.array(labels, int), index, pages, per_page, scores)
    assert sorted(seen) == list(range(len(labels)))


def test_browsing_by_buttons_field_and_menu():
    browser = widgets.class_browser(GRAYS, np.arange(40) % 2, ["even", "odd", "none"], per_page=12)
    go = browser.controls
    assert "Page 1 of 2" in browser.html and "even, photo 22<" in browser.html and "even, photo 24<" not in browser.html
    go["previous"].click()
    assert "Page 1 of 2" in browser.html, "there is nothing before the first page"
    go["next"].click()
    go["next"].click()
    assert "Page 2 of 2" in browser.html and len(Tags(browser.html).images()) == 8
    go["class"].value = 1
    assert "Page 1 of 2" in browser.html and "odd, photo 1<" in browser.html and "even" not in browser.html
    go["page"].value = 2
    go["class"].value = 2
    assert "There is no photo of none." in browser.html and go["page"].max == 1
    assert [name for name, _ in go["class"].options] == ["even (20)", "odd (20)", "none (0)"]


def test_the_browser_begins_with_the_lowest_scores():
    browser = widgets.class_browser(GRAYS, np.zeros(40, int), ["all"], scores=np.linspace(1, 0, 40), per_page=2)
    expected = ["Photo: all, photo 39, score 0.00", "Photo: all, photo 38, score 0.03"]
    assert [image["alt"] for image in Tags(browser.html).images()] == expected


def test_browsing_what_does_not_fit_is_refused_at_once():
    for photos, labels, names, options in (
        (GRAYS, np.zeros(3, int), ["a"], {}),
        (GRAYS, np.zeros(40, int), [], {}),
        (GRAYS, np.zeros(40, int), ["a"], {"scores": [1, 2]}),
        (GRAYS, np.zeros(40, int), ["a"], {"per_page": 0}),
    ):
        with pytest.raises(BadSetting):
            widgets.class_browser(photos, labels, names, **options)


# --- own photos -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=40), st.sampled_from([np.float32, np.float64]))
@example([0.5, 0.5000001], np.float64)  # the second is ahead by less than what is rounded away
def test_every_answer_gets_one_verdict_by_the_rules(weights, kind):
    p = (np.array(weights) / sum(weights)).astype(kind)
    second, first = np.sort(p.astype(float).round(6))[-2:]
    said = widgets.verdict(p, [f"class {i}" for i in range(len(p))])
    torn = round(first - second, 6) < 0.2 and round(first + second, 6) >= 0.6
    expected = "sure" if first >= 0.9 else "torn" if torn else "leaning" if first >= 0.5 else "unknown"
    assert said.kind == expected and f"class {p.argmax()}" in said.sentence


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("top", "expected"), [(0.5, "torn"), (0.59, "torn"), (0.6, "leaning"), (0.89, "leaning"), (0.9, "sure"), (1, "sure")]
)
def test_verdicts_at_their_limits(top, expected, kind):
    assert widgets.verdict(np.array([1 - top, top], kind), NAMES).kind == expected


@pytest.mark.parametrize("answer", [[1.0], [0.5, 0.5, 0.0], [0.5, 0.6], [np.nan, 1], [[0.5, 0.5]], [-0.5, 1.5]])
def test_what_is_no_answer_gets_no_verdict(answer):
    with pytest.raises(BadSetting, match="no answer for 2 classes"):
        widgets.verdict(answer, NAMES)


def bomb() -> bytes:
    """A PNG of a few bytes that claims 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GOOD = encoded(Image.new("RGB", (40, 30), "tan"))


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp"])
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_every_usual_format_arrives_whatever_holds_its_bytes(kind, wrap):
    photo = widgets.decode_upload("no ending", wrap(encoded(Image.new("RGB", (40, 30), (200, 100, 50)), kind)), size=8)
    assert photo.shape == (3, 8, 8) and photo.dtype == np.uint8
    np.testing.assert_allclose(photo.mean(axis=(1, 2)), [200, 100, 50], atol=8)


def test_a_turned_photo_is_put_upright():
    picture, exif = Image.new("RGB", (40, 40), "black"), Image.Exif()
    picture.paste("white", (0, 0, 40, 20))  # the upper half is white; turned by 90 degrees, a side is
    exif[0x0112] = 6
    photo = widgets.decode_upload("turned.jpg", encoded(picture, "jpeg", exif=exif), size=8)
    assert photo[:, :, -1].min() > 200 and photo[:, :, 0].max() < 50


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"MZ\x90\x00 a program", "not a JPEG, PNG"),
        (b"<svg onload=alert(1)>", "not a JPEG, PNG"),
        (GOOD[:60], "cut short or damaged"),
        (bomb(), "it was not decoded"),
        (bytes(widgets.MAX_BYTES + 1), "MB; give photos of at most"),
    ],
)
def test_hostile_bytes_become_a_sentence(content, reason):
    with pytest.raises(BadPhoto, match=reason) as caught:
        widgets.decode_upload("cat.jpg", content, size=8)
    assert str(caught.value).startswith("cat.jpg ") and "/" not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=80))
def test_no_bytes_and_no_name_raise_anything_else(content, name):
    with pytest.raises(BadPhoto):
        widgets.decode_upload(name, content, size=8)


def test_a_name_is_never_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outside = tmp_path / "victim.png"
    for name in (str(outside), "../victim.png", "..\\victim.png", "a/b/c.png", "\0.png", "x" * 9999):
        assert widgets.decode_upload(name, GOOD, size=8).shape == (3, 8, 8)
        with pytest.raises(BadPhoto) as caught:
            widgets.decode_upload(name, b"no", size=8)
        assert len(str(caught.value)) < 140
    assert list(tmp_path.iterdir()) == []


def test_several_photos_at_once_and_one_bad_one():
    trial = widgets.try_photo(LIGHT)
    assert "No photo yet" in trial.html
    white = encoded(Image.new("RGB", (9, 9), "white"))
    trial.controls["upload"].value = upload(("white.png", white), ("no.jpg", b"MZ"), ("tan.png", GOOD))
    assert [image["alt"] for image in Tags(trial.html).images()] == [
        f"Photo: {n}.png, as the network sees it" for n in ("white", "tan")
    ]
    assert "Sure: light (100%). It knows light, dark, and nothing else." in trial.html and "100.0%" in trial.html
    assert trial.html.count('role="alert"') == 1 and "no.jpg cannot be used as a photo" in trial.html
    trial.controls["upload"].value = upload(*[(f"{i}.png", GOOD) for i in range(14)])
    assert len(Tags(trial.html).images()) == 12 and "Only the first 12 of 14" in trial.html


def test_a_hostile_name_stays_text():
    attack = '"><img src=x onerror=alert(1)><script>alert(2)</script>.png'
    trial = widgets.try_photo(widgets.PixelClassifier(light, ["<b>light</b>", "dark"], 8))
    trial.controls["upload"].value = upload((attack, GOOD), (attack, b"no"))
    tags = Tags(trial.html).found
    assert not any("onerror" in attrs for _, attrs in tags) and {tag for tag, _ in tags}.isdisjoint({"script"})
    assert len([tag for tag, _ in tags if tag == "img"]) == 1 and "&lt;b&gt;light" in trial.html


def test_files_as_ipywidgets_7_keeps_them(monkeypatch):
    """Colab may have version 7: a dictionary by name."""
    trial = widgets.try_photo(LIGHT, camera=False)
    field = trial.controls["upload"]
    assert "camera" not in trial.controls
    files = {"old.png": {"metadata": {}, "content": GOOD}}
    field.notify_change({"name": "value", "owner": field, "type": "change", "old": (), "new": files})
    assert "old.png, as the network sees it" in trial.html


@pytest.mark.parametrize(
    "result", [np.ones(2), np.ones((1, 2)), np.ones((2, 2)) / 2, np.full((1, 2), np.nan), np.ones((1, 3)) / 3]
)
def test_a_classifier_that_answers_nonsense_is_named(result):
    trial = widgets.try_photo(widgets.PixelClassifier(lambda photos: result, NAMES, 8))
    trial.controls["upload"].value = upload(("tan.png", GOOD))
    assert 'role="alert"' in trial.html and "<img" not in trial.html


def test_a_classifier_that_fails_says_so_in_the_widget():
    def broken(photos):
        raise RuntimeError("out of <memory>")

    trial = widgets.try_photo(widgets.PixelClassifier(broken, NAMES, 8))
    trial.controls["upload"].value = upload(("tan.png", GOOD))
    assert "RuntimeError: out of &lt;memory&gt;" in trial.html


def test_the_classifier_gets_the_photo_as_it_was_trained_on(tmp_path):
    from pets_learn.data import decode_photo

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8))
    (tmp_path / "noise.jpg").write_bytes(encoded(noise, "jpeg"))
    seen = []
    for method in ("squash", "crop", "pad"):
        trial = widgets.try_photo(widgets.PixelClassifier(lambda photos: seen.append(photos) or light(photos), NAMES, 16, method))
        trial.controls["upload"].value = upload(("noise.jpg", (tmp_path / "noise.jpg").read_bytes()))
        np.testing.assert_array_equal(seen[-1], decode_photo(tmp_path / "noise.jpg", 16, method)[None])


def test_what_the_camera_sends_is_checked():
    trial = widgets.try_photo(LIGHT)
    code = base64.b64encode(encoded(Image.new("RGB", (64, 48), "white"), "jpeg")).decode()
    trial.controls["camera"].value = f"data:image/jpeg;base64,{code}"
    assert "camera, as the network sees it" in trial.html and "Sure: light" in trial.html
    for wrong in (f"data:text/html;base64,{code}", "data:image/jpeg;base64,%%%", "hello", "data:image/jpeg;base64,AAAA"):
        trial.controls["camera"].value = wrong
        assert 'role="alert"' in trial.html and "<img" not in trial.html


def camera_page(trial) -> tuple[str, str]:
    """The camera's part of the page, and the class by which it finds its field."""
    (output,) = trial.box.children[2].outputs
    (name,) = trial.controls["camera"]._dom_classes
    return output["data"]["text/html"], name


@pytest.mark.browser
def test_the_camera_page_takes_a_photo_in_a_real_browser(start_browser):
    """Chromium's pretended camera, and a plain text field in the place of the widget's."""
    trial = widgets.try_photo(LIGHT)
    html, name = camera_page(trial)
    page_text = f'<body><div class="{name}"><textarea></textarea></div>{html}</body>'
    pretend = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    for flags, works in ((pretend, True), ([], False)):
        browser = start_browser(*flags)
        page = browser.new_page()
        page.route("**/*", lambda route: route.fulfill(body=page_text, content_type="text/html"))
        page.goto("http://localhost/")
        page.get_by_role("button", name="Use the camera").click()
        if not works:
            page.get_by_text("There is no camera to use here. Upload a photo instead.").wait_for()
            browser.close()
            continue
        heard = "document.querySelector('textarea').addEventListener('input', event => window.heard = event.target.value)"
        page.evaluate(heard)
        page.get_by_role("button", name="Take the photo").click()
        page.wait_for_function("window.heard")
        trial.controls["camera"].value = page.evaluate("window.heard")
        assert (
            not page.locator("video").is_visible()
            and page.evaluate("document.querySelector('video').srcObject.active") is False
        )
        browser.close()
    assert "camera, as the network sees it" in trial.html, "the page's text is a photo to Python"


def test_two_cameras_on_one_page_do_not_mix():
    assert camera_page(widgets.try_photo(LIGHT))[1] != camera_page(widgets.try_photo(LIGHT))[1]


# --- stills, words, failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: widgets.threshold_slider_grid(PAPER, IS_DOG, NAMES, (0.5, 0.7)), ["(recall 75%)", "(recall 50%)"]),
        (lambda: widgets.threshold_slider_grid(np.stack([1 - PAPER, PAPER], 1), IS_DOG, NAMES, (0.7,)), ["coverage 50%"]),
        (lambda: widgets.class_browser_grid(GRAYS, np.arange(40) % 2, NAMES), ["6 of 20 photos of cat", "6 of 20 photos of dog"]),
        (lambda: widgets.try_photo_grid(LIGHT, GRAYS[:2], ["a", "b"]), ["a: Sure: dark (100%)", "b: Sure: dark (98%)"]),
    ],
)
def test_stills_say_what_they_show(draw, words, monkeypatch):
    caught = []
    monkeypatch.setattr(show, "display", caught.append)
    draw()
    (image,) = caught
    data, metadata = DisplayFormatter().format(image)
    (kind,) = metadata
    assert kind in data and all(text in metadata[kind]["alt"] for text in words)


@pytest.mark.parametrize(
    "build",
    [
        lambda: widgets.threshold_slider(PAPER, IS_DOG, NAMES),
        lambda: widgets.class_browser(GRAYS, np.arange(40) % 2, NAMES),
        lambda: widgets.try_photo(LIGHT),
    ],
)
def test_without_ipywidgets_a_sentence_says_what_to_install(build, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "ipywidgets":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PetsLearnError, match="pip install ipywidgets"):
        build()


@pytest.mark.parametrize("picture", [np.zeros((3, 4), np.uint8), np.ones((3, 4, 3)), "figure"])
def test_described_pictures_have_their_sentence_once_and_escaped(picture):
    html = widgets.described(show.new_figure()[0] if isinstance(picture, str) else picture, "a < b", "<p>key</p>")
    (image,) = Tags(html).images()
    assert image["alt"] == "" and html.startswith('<p role="status">a &lt; b</p><p>key</p><img')
    read = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))))
    if isinstance(picture, str):
        assert min(read.shape[:2]) > 100
    else:
        np.testing.assert_array_equal(read, np.full((3, 4, 3), 255 * picture.max()))


def test_what_an_interactive_draws_follows_its_controls_and_shows_its_errors():
    which = ipywidgets.IntText(value=2)
    live = widgets.interactive({"which": which}, lambda: str(10 // which.value), box=[])
    assert live.html == "5" and live.box.children == (live.shown,)
    which.value = 0
    assert 'role="alert"' in live.html and "ZeroDivisionError" in live.html
    which.value = 5
    assert live.html == "2", "an error does not end it"


def test_every_control_has_words_of_its_own():
    for live in (
        widgets.threshold_slider(PAPER, IS_DOG, NAMES),
        widgets.class_browser(GRAYS, np.arange(40) % 2, NAMES),
        widgets.try_photo(LIGHT, camera=False),
    ):
        assert all(control.description for control in live.controls.values())


def test_an_interactive_is_shown_as_its_box(monkeypatch):
    slider, shown = widgets.threshold_slider(PAPER, IS_DOG, NAMES), []
    monkeypatch.setattr(widgets, "display", shown.append)
    slider._ipython_display_()
    assert shown == [slider.box] and "application/vnd.jupyter.widget-view+json" in slider.box._repr_mimebundle_()


def test_keep_stills_touches_nothing_but_live_widgets(tmp_path):
    picture = {
        "output_type": "display_data",
        "data": {"image/png": "AA=="},
        "metadata": {"image/png": {"alt": "A line that rises."}},
    }
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "VBox()"}
    live = {"output_type": "execute_result", "execution_count": 3, "data": view, "metadata": {}}
    text = {"cell_type": "markdown", "metadata": {}, "source": "grün"}
    notebook = {"cells": [text, {"cell_type": "code", "outputs": [picture, live]}], "metadata": {"kernelspec": {}, "widgets": {}}}
    path = tmp_path / "chapter.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert widgets.keep_stills(path) == 1
    after = json.loads(path.read_text(encoding="utf-8"))
    assert after["cells"][0] == text and after["cells"][1]["outputs"][0] == picture and after["metadata"] == {"kernelspec": {}}
    assert after["cells"][1]["outputs"][1] == {**live, "data": {"text/markdown": widgets.STILL}}
    stamp = path.stat().st_mtime_ns
    assert widgets.keep_stills(path) == 0 and path.stat().st_mtime_ns == stamp


def test_no_notebook_keeps_a_widget_that_only_lived_while_it_ran(root):
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            kinds = {kind for cell in cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
            wrong = "application/vnd.jupyter.widget-view+json" in kinds
            assert not wrong, f"{path.name}: run pets_learn.widgets.keep_stills on it"
