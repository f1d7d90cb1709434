"""The page "Try it": its arithmetic is Pillow's, its answers are Python's, and it asks nobody else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image, ImageFilter

from pets_learn.data import BadPhoto, decode_photo, fit_photo
from pets_learn.deploy import Preprocessing, save_model, tiny_cnn
from pets_learn.toys import BREEDS, draw_pet

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]
pytest.importorskip("jupyter_book", reason="the site's tools are not installed: pip install -e .[course,dev]")

import build as builder  # noqa: E402
from shipped import bring_model  # noqa: E402

STATIC = ROOT / "book" / "_static"
VENDOR = STATIC / "vendor" / "onnxruntime-web"
SHIPPED = builder.SHIPPED
SIZE = 64  # of the tiny model
MOST_BYTES, MOST_SECONDS, FARTHEST = 12_000_000, 3.0, 0.02


# --- photos ---------------------------------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    note = Image.Exif()
    note[0x0112] = orientation
    return note


def drawing(number: int, size: tuple[int, int] = (192, 160)) -> Image.Image:
    return draw_pet(BREEDS[number % len(BREEDS)], np.random.default_rng(number), size)[0]


def with_alpha(image: Image.Image) -> Image.Image:
    """The picture fading from left to right."""
    alpha = np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1))
    image = image.copy()
    image.putalpha(Image.fromarray(alpha))
    return image


def modified(image: Image.Image) -> dict[str, bytes]:
    """The picture in the ways that photos come in."""
    large = image.resize((3000, round(3000 * image.height / image.width)), Image.Resampling.BICUBIC)
    return {
        **{f"turned-{n}.jpg": encoded(image, "JPEG", quality=92, exif=turned(n)) for n in (3, 6, 8)},
        "alpha.png": encoded(with_alpha(image), "PNG"),
        "large.jpg": encoded(large, "JPEG", quality=90),
        "gray.jpg": encoded(image.convert("L"), "JPEG", quality=92),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG", quality=92),
    }


def rarer(image: Image.Image) -> dict[str, bytes]:
    """Ways in which a photo comes now and then."""
    colors = image.convert("P", palette=Image.Palette.ADAPTIVE)
    return {
        **{f"turned-{n}.jpg": encoded(image, "JPEG", quality=92, exif=turned(n)) for n in (2, 4, 5, 7)},
        "turned.png": encoded(image, "PNG", exif=turned(6)),
        **{f"turned-{n}.webp": encoded(image, "WEBP", lossless=True, exif=turned(n)) for n in range(2, 9)},
        "alpha.webp": encoded(with_alpha(image), "WEBP", lossless=True),
        "lossy.webp": encoded(image, "WEBP", quality=80),
        "colors.gif": encoded(colors, "GIF", transparency=3),
        "moving.gif": encoded(image, "GIF", save_all=True, append_images=[image.rotate(180)]),
        "plain.bmp": encoded(image, "BMP"),
        "deep.png": encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"),
        "progressive.jpg": encoded(image, "JPEG", progressive=True, quality=88),
        "and-more-behind.jpg": encoded(image, "JPEG", quality=88) + b"a phone's film" * 99,
    }


def huge_png() -> bytes:
    """A small file that claims 2,500 million pixels."""
    content = bytearray(encoded(Image.new("RGB", (4, 4)), "PNG"))
    content[16:24] = struct.pack(">II", 50_000, 50_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


def unusable() -> dict[str, tuple[bytes, str]]:
    """Files that are no photos: content, and what the page must say."""
    jpeg, png = encoded(drawing(1), "JPEG"), encoded(drawing(1), "PNG")
    return {
        "letter.jpg": (b"Dear cat, " * 50, "not a JPEG, PNG, GIF, BMP or WebP"),
        "nothing.png": (b"", "empty"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "cut short or damaged"),
        "cut.png": (png[: len(png) // 2], "damaged"),
        "stump.jpg": (jpeg[:40], "cut short or damaged"),
        "huge.png": (huge_png(), "50,000 x 50,000 pixels"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 99, "HEIC"),
    }


# --- a tiny model and a server --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights that is sure of itself, saved as the library saves one."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = tiny_cnn(outputs=3, channels=4).eval()
        torch.nn.init.normal_(model[-1].weight, std=20.0)
        photos = [np.asarray(fit_photo(drawing(n), SIZE, "crop")).transpose(2, 0, 1) for n in range(8)]
        with torch.no_grad():  # around its own middle, so that it does not say the same to all
            model[-1].bias -= model(torch.from_numpy(np.stack(photos)).float() / 255).mean(0)
    return save_model(
        model,
        tmp_path_factory.mktemp("tiny") / "model",
        builder="pets_learn.deploy:tiny_cnn",
        arguments={"outputs": 3, "channels": 4},
        classes=["Red_Cat", "green_dog", "Blue_Cat"],
        preprocessing=Preprocessing(SIZE, "crop"),
        task="test",
        figures={},
        provenance={"data": "none"},
        license="none",
    )


@pytest.fixture(scope="session")
def complete(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with all that a shipped one may have: familiarity is the mean brightness, evidence the colors themselves."""
    folder = tmp_path_factory.mktemp("complete")
    model = onnx.load(tiny / "model.onnx")
    graph, photos = model.graph, model.graph.input[0].name
    graph.initializer.append(helper.make_tensor("all_axes", TensorProto.INT64, [3], [1, 2, 3]))
    graph.node.append(helper.make_node("ReduceMean", [photos, "all_axes"], ["familiarity"], keepdims=0))
    graph.node.append(helper.make_node("AveragePool", [photos], ["evidence"], kernel_shape=[16, 16], strides=[16, 16]))
    graph.output.append(helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, ["count"]))
    graph.output.append(helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["count", 3, 4, 4]))
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    facts = json.loads((tiny / "model.json").read_text(encoding="utf-8"))
    facts["thresholds"] = {"familiarity": 0.1, "probability": 0.2}
    facts["groups"] = {"cat": ["Red_Cat", "Blue_Cat"], "dog": ["green_dog"]}
    facts["figures"] = {"accuracy": {"value": 0.875, "interval": [0.85, 0.9], "count": 1000, "unit": "share"}}
    (folder / "model.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


class Server(SimpleHTTPRequestHandler):
    """Serves the site below /course/, with a model of the test's choice, and counts the bytes."""

    model: Path
    sent: dict[str, int]

    def translate_path(self, path: str) -> str:
        path = path.split("?")[0]
        name = path.removeprefix("/course/_static/model/")
        if name != path:
            return str(self.model / name)
        return super().translate_path(path.removeprefix("/course")) if path.startswith("/course/") else "/nowhere"

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        self.sent[self.path.split("?")[0]] = len(content)
        outputfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site; what is already built and fresh is taken as it is."""
    assert builder.build(ROOT / "nbs", ROOT / "book" / "_toc.yml", ROOT / "book" / "_build") == 0, "run: python book/build.py"
    return ROOT / "book" / "_build" / "html"


@pytest.fixture(scope="session")
def chromium(start_browser: Any) -> Iterator[Any]:
    started = start_browser("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    yield started
    started.close()


class Visit:
    """The page in a browser that can reach the test's own server only."""

    def __init__(self, chromium: Any, site: Path, model: Path, **options: Any) -> None:
        self.sent: dict[str, int] = {}
        handler = type("Handler", (Server,), {"model": model, "sent": self.sent})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(site)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.host = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.context = chromium.new_context(**({"viewport": {"width": 1300, "height": 900}} | options))
        self.page = self.context.new_page()
        self.foreign: list[str] = []
        self.errors: list[str] = []
        self.context.route("**/*", self.only_here)
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def only_here(self, route: Any) -> None:
        url = route.request.url
        if url.startswith((self.host, "data:", "blob:")):
            route.continue_()
        else:
            self.foreign.append(url)
            route.abort()

    def open(self) -> Any:
        self.page.goto(f"{self.host}/course/try_it.html")
        return self.page

    def ready(self) -> Any:
        self.open()
        self.page.wait_for_selector("[data-kind=good], [data-kind=bad]", timeout=60_000)
        return self.page

    def give(self, files: dict[str, bytes]) -> None:
        """Choose these files, and wait until each has its answer or its error."""
        chosen = [{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in files.items()]
        self.page.set_input_files("[data-part=file]", chosen)
        self.settled(len(files))

    def settled(self, count: int) -> None:
        done = "count => document.querySelectorAll('.try-card:not([data-state=waiting])').length === count"
        self.page.wait_for_function(done, arg=count, timeout=120_000)

    def cards(self) -> list[dict[str, Any]]:
        """What stands on the cards, from top to bottom."""
        return self.page.evaluate("""[...document.querySelectorAll('.try-card')].map(card => ({
            file: card.querySelector('.try-file').textContent, state: card.dataset.state,
            said: card.querySelector('.try-said').textContent,
            names: [...card.querySelectorAll('.try-name')].map(e => e.textContent),
            probabilities: card.answer && Array.from(card.answer.probabilities)}))""")

    def asked(self, module: str, expression: str, argument: Any = None) -> Any:
        """The value of an expression over a module of the page, `m`, and an argument, `a`."""
        empty = f"{self.host}/course/_static/vendor/README.md"
        if self.page.url != empty:
            self.page.goto(empty)
        return self.page.evaluate(
            f"async a => {{ const m = await import('/course/_static/try_it/{module}'); return {expression}; }}", argument
        )

    def close(self) -> None:
        self.context.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def visit(chromium: Any, site: Path, complete: Path) -> Iterator[Callable[..., Visit]]:
    """Opens visits to the page; the model is the complete tiny one, unless another folder is given."""
    visits: list[Visit] = []

    def begin(model: Path = complete, **options: Any) -> Visit:
        visits.append(Visit(chromium, site, model, **options))
        return visits[-1]

    yield begin
    for one in visits:
        one.close()


# --- without a browser ----------------------------------------------------------------------------------------------


def test_the_vendored_runtime_is_the_one_of_the_registry() -> None:
    told = re.findall(r"`([0-9a-f]{64})`", (STATIC / "vendor" / "README.md").read_text(encoding="utf-8"))
    program = (VENDOR / "ort.wasm.bundle.min.js").read_bytes()
    runtime = gzip.decompress((VENDOR / "ort-wasm-simd-threaded.wasm.gz").read_bytes())
    assert told == [hashlib.sha256(content).hexdigest() for content in (program, runtime)]


def test_the_model_is_brought_along_or_its_absence_is_told(tmp_path: Path, complete: Path) -> None:
    target = tmp_path / "model"
    assert bring_model(complete, target) is True
    assert (target / "model.onnx").read_bytes() == (complete / "model.onnx").read_bytes()
    assert bring_model(tmp_path / "nowhere", target) is False
    assert [path.name for path in target.iterdir()] == ["model.json"] and json.loads((target / "model.json").read_text()) == {}


def test_the_page_tells_what_to_do_where_its_program_cannot_run(site: Path) -> None:
    page = (site / "try_it.html").read_text(encoding="utf-8")
    assert "file://" in page and 'type="module"' in page
    assert not re.search(r"\son[a-z]+\s*=", page.split('id="pet-trial"')[1].split("</dialog>")[0]), "an inline event handler"
    loading = [path.name for path in site.rglob("*.html") if "try_it/try_it.js" in path.read_text(encoding="utf-8")]
    assert loading == ["try_it.html"], "other pages load the program for nothing"


# --- the arithmetic -------------------------------------------------------------------------------------------------


def packed(pixels: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()


def unpacked(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape).astype(int)


PACK = "(bytes => { let text = ''; for (const byte of bytes) text += String.fromCharCode(byte); return btoa(text); })"
UNPACK = "Uint8Array.from(atob(a.pixels), c => c.charCodeAt(0))"


@pytest.mark.browser
@pytest.mark.parametrize("method", ["crop", "squash", "pad"])
def test_resampling_is_pillows(visit: Callable[..., Visit], method: str) -> None:
    """Random pictures of odd sizes, made smaller and larger. Pillow 13 may take columns first, and then a byte differs by one."""
    here, rng = visit(), np.random.default_rng(0)
    cases = ((300, 200, 192), (191, 401, 192), (64, 64, 64), (33, 250, 31), (1001, 777, 97), (7, 5, 16), (1, 90, 8))
    for width, height, size in cases:
        rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = np.asarray(fit_photo(Image.fromarray(rgb), size, method)).astype(int)
        rgba = np.dstack([rgb, np.full((height, width), 255, np.uint8)])
        given = {"pixels": packed(rgba), "width": width, "height": height, "size": size, "method": method}
        made = here.asked("resample.js", f"{PACK}(m.fit(m.fromArray({UNPACK}, a.width, a.height), a.size, a.method))", given)
        farthest = np.abs(unpacked(made, size, size, 3) - expected).max()
        assert farthest <= (0 if method == "crop" and width >= height else 1), f"{width} x {height} to {size}: {farthest}"


@pytest.mark.browser
def test_reducing_is_the_mean_of_blocks(visit: Callable[..., Visit]) -> None:
    here, rng = visit(), np.random.default_rng(1)
    for width, height, factor in ((32, 16, 2), (37, 29, 4), (65, 9, 8)):
        rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = np.asarray(Image.fromarray(rgb).reduce(factor)).astype(int)
        rgba = np.dstack([rgb, np.full((height, width), 255, np.uint8)])
        given = {"pixels": packed(rgba), "width": width, "height": height, "factor": factor}
        source = f"m.reduced(m.fromArray({UNPACK}, a.width, a.height), a.factor)"
        made = here.asked("resample.js", f"(s => [s.width, s.height, Array.from(s.rows(0, s.height))])({source})", given)
        assert made[:2] == [expected.shape[1], expected.shape[0]]
        assert np.abs(np.array(made[2]).reshape(*expected.shape[:2], 4)[:, :, :3] - expected).max() <= 1
    sides = [[383, 999], [384, 400], [1600, 800], [9000, 9000]]
    assert here.asked("resample.js", "a.map(sides => m.draftFactor(...sides, 192))", sides) == [1, 2, 4, 8]


@pytest.mark.browser
def test_words_and_maps(visit: Callable[..., Visit]) -> None:
    here = visit()
    assert here.asked("answers.js", "a.map(m.readable)", ["basset_hound", "Bengal"]) == ["Basset Hound", "Bengal"]
    shares = [0, 0.001, 0.5, 0.999, 1]
    assert here.asked("answers.js", "a.map(m.percent)", shares) == ["0 %", "under 1 %", "50 %", "over 99 %", "100 %"]
    facts = {"classes": ["Birman", "pug"], "thresholds": {"familiarity": 2, "probability": 0.7}}
    facts["groups"] = {"cat": ["Birman"], "dog": ["pug"]}
    numbers = [{"probabilities": p, "familiarity": f} for p, f in (([0.9, 0.1], 3), ([0.6, 0.4], 3), ([0.9, 0.1], 1))]
    said = here.asked("answers.js", "a.numbers.map(numbers => m.verdict(numbers, a.facts))", {"numbers": numbers, "facts": facts})
    assert [one["kind"] for one in said] == ["answer", "unsure", "stranger"]
    assert said[0]["said"] == "Birman, a cat" and said[2]["said"] == "This does not look like a cat or a dog to me."
    assert said[1]["said"] == "Not sure: it may be a Birman, or a Pug."
    plain = {"numbers": {"probabilities": [0.2, 0.8]}, "facts": {"classes": ["Birman", "pug"]}}
    assert here.asked("answers.js", "m.verdict(a.numbers, a.facts)", plain)["said"] == "Pug"
    assert here.asked("answers.js", "m.spread([-1, -2, 0, -3], 2, 2, 4)") is None


@pytest.mark.browser
def test_a_map_is_enlarged_as_torch_enlarges_it(visit: Callable[..., Visit]) -> None:
    import torch

    field = np.random.default_rng(2).normal(size=(6, 5)).astype(np.float32)
    shares = torch.from_numpy(np.maximum(field, 0) / field.max())
    wanted = torch.nn.functional.interpolate(shares[None, None], (48, 48), mode="bilinear")
    made = visit().asked("answers.js", "Array.from(m.spread(a, 6, 5, 48))", field.ravel().tolist())
    np.testing.assert_allclose(np.array(made).reshape(48, 48), wanted[0, 0].numpy(), atol=1e-5)


@pytest.mark.browser
def test_photos_are_read_as_python_reads_them(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """Every kind of file, byte for byte but for what two JPEG decoders may differ in."""
    here, size = visit(), 96  # more than half of the drawings' sides: the decoder does not reduce them
    for name, content in (modified(drawing(4)) | rarer(drawing(5))).items():
        (tmp_path / name).write_bytes(content)
        expected = decode_photo(tmp_path / name, size, "crop").transpose(1, 2, 0).astype(int)
        given = {"pixels": base64.b64encode(content).decode(), "size": size}
        made = here.asked("classifier.js", f"{PACK}(await m.readPhoto(new Blob([{UNPACK}]), a.size, 'crop'))", given)
        difference = np.abs(unpacked(made, size, size, 3) - expected)
        assert difference.max() <= (3 if name.endswith(".jpg") else 1), f"{name}: {difference.max()}"


@pytest.mark.browser
def test_a_large_photo_is_reduced_as_pillows_decoder_reduces_it(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """Fine grain and saturated color, where the decoder's own shrinking shows most; a page that ignored it would be far off."""
    rng, here = np.random.default_rng(5), visit()
    large = np.asarray(drawing(6).resize((960, 800), Image.Resampling.BICUBIC).filter(ImageFilter.SHARPEN)).astype(float)
    grainy = Image.fromarray(np.clip(large + rng.normal(0, 25, large.shape[:2])[..., None], 0, 255).astype(np.uint8))
    (tmp_path / "grainy.jpg").write_bytes(encoded(grainy, "JPEG", quality=90))
    expected = decode_photo(tmp_path / "grainy.jpg", SIZE, "crop").transpose(1, 2, 0).astype(int)
    given = {"pixels": base64.b64encode((tmp_path / "grainy.jpg").read_bytes()).decode(), "size": SIZE}
    made = here.asked("classifier.js", f"{PACK}(await m.readPhoto(new Blob([{UNPACK}]), a.size, 'crop'))", given)
    difference = np.abs(unpacked(made, SIZE, SIZE, 3) - expected)
    assert difference.mean() < 0.6 and difference.max() <= 6, (difference.mean(), difference.max())


# --- the answers ----------------------------------------------------------------------------------------------------


def compare(here: Visit, model: Path, files: dict[str, bytes], folder: Path) -> None:
    """The same files to the page and to Python: equal first class, probabilities close, for every file."""
    facts = json.loads((model / "model.json").read_text(encoding="utf-8"))
    classes, size = facts["classes"], facts["preprocessing"]["size"]
    session = onnxruntime.InferenceSession(model / "model.onnx")
    here.ready()
    here.give(files)
    for shown, (name, content) in zip(here.cards(), files.items(), strict=True):
        (folder / name).write_bytes(content)
        photo = decode_photo(folder / name, size, "crop")[None].astype(np.float32) / np.float32(255)
        expected = session.run(["probabilities"], {session.get_inputs()[0].name: photo})[0][0]
        said = np.array(shown["probabilities"])
        assert shown["file"] == name
        assert said.argmax() == expected.argmax(), f"{name}: {classes[said.argmax()]}, Python {classes[expected.argmax()]}"
        assert np.abs(said - expected).max() < FARTHEST, f"{name}: differs by {np.abs(said - expected).max():.3f}"
        assert shown["names"][0].replace(" ", "_").lower() == classes[expected.argmax()].lower()


@pytest.mark.browser
def test_the_page_answers_as_python_does(visit: Callable[..., Visit], tiny: Path, tmp_path: Path) -> None:
    files = {f"drawing-{n}.jpg": encoded(drawing(n, (200 + 7 * n, 180)), "JPEG", quality=90) for n in range(8)}
    here = visit(tiny)
    compare(here, tiny, files | modified(drawing(9)), tmp_path)
    assert len({int(np.argmax(card["probabilities"])) for card in here.cards()}) > 1, "the tiny model always says the same"
    assert here.errors == [] and here.foreign == []
    assert here.page.locator(".try-toggle").count() == 0, "a model without evidence has nothing to lay over the photo"


@pytest.mark.browser
@pytest.mark.real
def test_the_shipped_model_answers_as_in_python(visit: Callable[..., Visit], real_pets: Path, tmp_path: Path) -> None:
    """Twenty real photos, eight of them as they are not in the data set."""
    if not (SHIPPED / "model.onnx").is_file():
        pytest.skip("no model is shipped yet in pets_learn/shipped/breeds")
    paths = sorted((real_pets / "images").glob("*.jpg"))[50::570]
    files = {path.name: path.read_bytes() for path in paths[:12]}
    files |= modified(Image.open(paths[12]).convert("RGB"))
    files["turned-and-large.jpg"] = encoded(Image.open(paths[0]).convert("RGB").resize((1500, 2000)), "JPEG", exif=turned(6))
    assert len(files) == 20
    compare(visit(SHIPPED), SHIPPED, files, tmp_path)


@pytest.mark.browser
def test_a_model_with_everything(visit: Callable[..., Visit]) -> None:
    """Verdicts, the sum over a species, what the model says of itself, and the evidence laid over the photo."""
    here = visit()
    page = here.ready()
    assert "named 87.5 % of 1,000 test photos right (95 % interval: 85.0 to 90.0 %)" in page.inner_text("[data-part=status]")
    dark = Image.new("RGB", (90, 90), (12, 9, 10))
    left = np.zeros((64, 64, 3), np.uint8)
    left[:, :20] = 255
    here.give({"night.png": encoded(dark, "PNG"), "left.png": encoded(Image.fromarray(left), "PNG")})
    night, one_sided = here.cards()
    assert night["state"] == "stranger" and night["said"] == "This does not look like a cat or a dog to me."
    assert one_sided["state"] == "answer" and re.fullmatch(r"(Red Cat|Blue Cat), a cat|Green Dog, a dog", one_sided["said"])
    assert "breeds together" in page.locator(".try-card").nth(1).inner_text()
    toggle, canvas = page.locator(".try-toggle input").nth(1), "document.querySelectorAll('.try-seen canvas')[1]"
    sample = f"[2, 60].map(x => {canvas}.getContext('2d').getImageData(x, 30, 1, 1).data[0])"
    assert page.evaluate(sample) == [255, 0]
    toggle.focus()
    page.keyboard.press("Space")
    assert page.evaluate(sample)[0] > 200 and "not why" in page.locator(".try-seen figcaption").nth(1).inner_text()
    page.keyboard.press("Space")
    assert page.evaluate(sample) == [255, 0]


@pytest.mark.browser
def test_what_is_no_photo_is_told_and_the_others_are_answered(visit: Callable[..., Visit], tmp_path: Path) -> None:
    here = visit()
    here.ready()
    bad = unusable()
    here.give({name: content for name, (content, _) in bad.items()} | {"good.jpg": encoded(drawing(2), "JPEG")})
    cards = here.cards()
    for card, (name, (content, reason)) in zip(cards, bad.items(), strict=False):
        assert card["state"] == "bad" and reason in card["said"], f"{name}: {card['said']}"
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadPhoto):
            decode_photo(tmp_path / name, SIZE, "crop")
    assert cards[-1]["file"] == "good.jpg" and cards[-1]["state"] != "bad"
    assert "good.jpg" in here.page.inner_text("[data-part=announce]"), "a screen reader hears nothing of it"
    assert here.errors == []


# --- the page -------------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_without_a_model_the_page_says_so(visit: Callable[..., Visit], tmp_path: Path) -> None:
    bring_model(tmp_path / "nowhere", tmp_path / "model")
    here = visit(tmp_path / "model")
    page = here.ready()
    assert "without the model" in page.inner_text("[data-part=status]")
    here.give({"good.jpg": encoded(drawing(2), "JPEG")})
    assert here.cards()[0]["said"] == "Not answered: there is no model."
    assert here.errors == [] and not any(path.endswith(".gz") for path in here.sent), "the runtime was loaded for nothing"


@pytest.mark.browser
def test_a_model_that_does_not_arrive_is_told(visit: Callable[..., Visit], complete: Path, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text((complete / "model.json").read_text(encoding="utf-8"), encoding="utf-8")
    here = visit(tmp_path)
    page = here.ready()
    assert "model.onnx could not be loaded (404)" in page.inner_text("[data-part=status]")


@pytest.mark.browser
def test_nothing_leaves_and_nothing_is_asked_after_loading(visit: Callable[..., Visit]) -> None:
    here = visit()
    page = here.ready()
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.startswith("http") else None)
    here.context.set_offline(True)
    here.give({"good.jpg": encoded(drawing(2), "JPEG"), "alpha.png": encoded(with_alpha(drawing(3)), "PNG")})
    page.locator(".try-drawing").first.click()
    here.settled(3)
    assert asked == [] and here.foreign == [] and here.errors == []
    assert [card["file"] for card in here.cards()] == ["Drawing of a Siamese cat", "good.jpg", "alpha.png"]


@pytest.mark.browser
def test_the_page_can_be_used_with_the_keyboard(visit: Callable[..., Visit], tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(encoded(drawing(2), "JPEG"))
    here = visit()
    chooser: list[Any] = []
    here.page.on("filechooser", lambda opened: chooser.append(opened))  # early: the driver needs a moment to get ready for it
    page = here.ready()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the main content
    for _ in range(15):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.part") == "choose":
            break
    assert page.evaluate("document.activeElement.dataset.part") == "choose", "the button cannot be reached"
    page.keyboard.press("Enter")
    for _ in range(100):
        if chooser:
            break
        page.wait_for_timeout(100)
    chooser[0].set_files(tmp_path / "good.jpg")
    here.settled(1)
    page.locator("[data-part=clear]").focus()
    page.keyboard.press("Enter")
    assert here.cards() == [] and page.evaluate("document.activeElement.dataset.part") == "choose"


MAKE_FILES = """const data = new DataTransfer();
    for (const name of ['one.png', 'two.png'])
        data.items.add(new File([Uint8Array.from(atob(picture), c => c.charCodeAt(0))], name, {type: 'image/png'}));"""


@pytest.mark.browser
@pytest.mark.parametrize("way", ["drop", "paste"])
def test_photos_can_be_dropped_and_pasted(visit: Callable[..., Visit], way: str) -> None:
    here = visit()
    page = here.ready()
    event = {
        "drop": "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})",
        "paste": "new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})",
    }[way]
    target = "document.querySelector('article h2')"  # beside the zone: it must not replace the page either
    picture = base64.b64encode(encoded(drawing(2), "PNG")).decode()
    assert page.evaluate(f"picture => {{ {MAKE_FILES} return {target}.dispatchEvent({event}); }}", picture) is False
    here.settled(2)
    assert [card["file"] for card in here.cards()] == ["one.png", "two.png"]


@pytest.mark.browser
def test_the_camera_takes_a_photo(visit: Callable[..., Visit]) -> None:
    here = visit()
    page = here.ready()
    page.click("[data-part=open-camera]")
    page.click("[data-part=shoot]:enabled")
    here.settled(1)
    assert here.cards()[0]["file"] == "photo from the camera" and here.errors == []
    assert page.evaluate("document.querySelector('[data-part=video]').srcObject") is None, "the camera is still on"
    page.click("[data-part=open-camera]")
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('[data-part=camera]').open")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_answer_fits_a_phone(visit: Callable[..., Visit], scheme: str) -> None:
    here = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = here.ready()
    here.give({"a-name-without-any-space-" * 6 + ".jpg": encoded(drawing(2), "JPEG"), "letter.txt": b"no photo"})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    ink, paper = (
        np.mean([float(part) for part in re.findall(r"[\d.]+", page.locator(place).first.evaluate(style))[:3]])
        for place, style in (
            (".try-said", "e => getComputedStyle(e).color"),
            (".try-card", "e => getComputedStyle(e).backgroundColor"),
        )
    )
    assert (ink > 180 and paper < 60) if scheme == "dark" else (ink < 90 and paper > 220), (ink, paper)


@pytest.mark.browser
def test_a_visit_is_small_and_quick(visit: Callable[..., Visit], complete: Path) -> None:
    """Bytes of everything, and seconds from the address to the first answer and from a photo to its answer; the best of three.

    The seconds are those of a machine that has nothing else to do: where others share it, they get their part.
    """
    model = SHIPPED if (SHIPPED / "model.onnx").is_file() else complete
    photo = encoded(drawing(2, (640, 480)), "JPEG")
    first, next_one = [], []
    for _ in range(3):
        here = visit(model)
        here.open()
        here.give({"first.jpg": photo})
        first.append(here.page.evaluate("performance.now()") / 1000)
        before = here.page.evaluate("performance.now()")
        here.page.locator(".try-drawing").first.click()
        here.settled(2)
        next_one.append((here.page.evaluate("performance.now()") - before) / 1000)
        here.page.wait_for_load_state("networkidle")
        total = sum(here.sent.values())
        largest = max((model / "model.onnx").stat().st_size, 5_000_000)  # a shipped model may have five megabytes
        assert total - (model / "model.onnx").stat().st_size + largest < MOST_BYTES, f"{total:,} bytes: {here.sent}"
        most = MOST_SECONDS * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
        if first[-1] < most:
            break
    print(f"{total:,} bytes; first answer after {min(first):.2f} s, the next after {min(next_one):.2f} s")
    assert min(first) < most, f"the first answer took {first} seconds"
    assert min(next_one) < most


@pytest.mark.browser
def test_opened_as_a_file_the_page_says_what_it_needs(chromium: Any, site: Path) -> None:
    page = chromium.new_page()
    page.goto((site / "try_it.html").as_uri())
    page.wait_for_timeout(300)
    assert "python book/serve.py" in page.inner_text("[data-part=status]")
    assert not page.locator("[data-part=choose]").is_visible(), "a button that does nothing"
    page.close()
