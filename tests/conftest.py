"""Fixtures and rules that all tests share."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent.parent
# What tests and notebooks at smoke scale compute is too small to share between threads: a second one only waits, busily,
# and doubles the processor time. Set before PyTorch is loaded; a test that wants two threads asks for them itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """With two processes, what is marked `alone` waits until the other one's test has ended, and lets none begin beside it.

    A neighbor on the machine takes a part of the memory's speed and of the caches, and processor time grows with it.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if fcntl is None or run is None:
        return (yield)
    with (Path(tempfile.gettempdir()) / f"pets_learn-tests-{run}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def real_pets() -> Path:
    """The folder of the real photos; tests that want it are skipped where it is absent."""
    folder = Path(os.environ.get("PETS_LEARN_HOME", "")) / "oxford-iiit-pet"
    if not os.environ.get("PETS_LEARN_HOME") or not (folder / "images").is_dir():
        pytest.skip("the real photos are not here: set PETS_LEARN_HOME")
    return folder


@pytest.fixture
def smoke(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run at smoke scale: generated data, no network."""
    monkeypatch.setenv("PETS_LEARN_SCALE", "smoke")


@pytest.fixture(scope="session")
def small_photos(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Drawn stand-ins for the pets, eight photos of each breed at 48 pixels, as `pet_photos` gives them."""
    from pets_learn.data import stand_in_pets
    from pets_learn.start.classifier import pet_photos

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PETS_LEARN_SCALE", "smoke")
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return pet_photos(folder=stand_in_pets(photos_per_breed=8), size=48)


@pytest.fixture(scope="session")
def start_browser() -> Iterator[Callable[..., Any]]:
    """Starts headless Chromium with more flags. One driver serves all tests: a process can hold only one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="checks in a browser need playwright: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    where = os.environ.get("CHROMIUM") or next((found for name in names if (found := shutil.which(name))), None)
    if where is None:
        pytest.skip("checks in a browser need Chromium, which is not on this machine: apt-get install chromium")
    with playwright.sync_playwright() as running:

        def start(*flags: str) -> Any:
            return running.chromium.launch(executable_path=where, args=["--no-sandbox", "--disable-gpu", *flags])

        yield start
