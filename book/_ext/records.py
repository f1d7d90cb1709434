"""The records of measured results and the figures of the seed documents, read and looked up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

Record = dict[str, Any]


class UnknownFigure(LookupError):
    """A record, a figure or a field that does not exist; the message says what there is."""


def load_records(folder: Path) -> dict[str, Record]:
    """Every record in the folder by its name, such as `pets-cnn.laptop`. Raises ValueError for a file that is none."""
    records = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path.name} is not JSON: {error}") from error
        missing = {"chapter", "scale", "figures"} - record.keys()
        if missing:
            raise ValueError(f"{path.name} lacks {', '.join(sorted(missing))}; write it with pets_learn.run.record")
        records[path.stem] = record
    return records


def load_seeds(path: Path) -> list[dict[str, Any]]:
    """The rows of seeds.yml: one system each, with the figures its seed document gives."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))["systems"]


def look_up(records: dict[str, Record], name: str, field: str) -> Any:
    """The value at `field` of record `name`: `accuracy.mean` for a figure, `data.items` or `seconds` for the run itself.

    Raises UnknownFigure where the record or the field is missing.
    """
    if name not in records:
        raise UnknownFigure(f"there is no record {name!r}; there are: {', '.join(sorted(records)) or 'none'}")
    record = records[name]
    owner, _, last = field.rpartition(".")
    if owner in record["figures"]:
        place: Any = record["figures"][owner]
    else:
        place = record
        for part in filter(None, owner.split(".")):
            place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        known = ", ".join(f"{figure}.mean" for figure in record["figures"])
        raise UnknownFigure(f"record {name!r} has no {field!r}; its figures are: {known or 'none'}")
    return place[last]


def formatted(value: Any, spec: str) -> str:
    """The value by a Python format spec; `1d` style specs for counts take whole floats too. Raises UnknownFigure if it cannot."""
    if isinstance(value, float) and value.is_integer() and spec.endswith("d"):
        value = int(value)
    try:
        return format(value, spec)
    except (ValueError, TypeError) as error:
        raise UnknownFigure(f"{value!r} cannot be written as {spec!r}: {error}") from error
