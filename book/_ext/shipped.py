"""The model that the package ships, put where the page "Try it" looks for it."""

from __future__ import annotations

import shutil
from pathlib import Path

FILES = ("model.onnx", "model.json", "README.md")


def bring_model(shipped: Path, target: Path) -> bool:
    """Copy the files of the model to `target`; where there is no model, leave a model.json that says so. Whether there is one."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if not all((shipped / name).is_file() for name in FILES[:2]):
        (target / "model.json").write_text("{}\n", encoding="utf-8")
        return False
    for name in FILES:
        if (shipped / name).is_file():
            shutil.copyfile(shipped / name, target / name)
    return True
