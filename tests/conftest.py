"""Fixtures and rules that all tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
