"""The Scoreboard's lines: for each system of the seed documents its figures, ours, their ratio, and what else was recorded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from records import Record

TIMES = "\u00d7"
SCALES = ("gpu", "laptop")  # the first that has a figure is shown first


@dataclass(frozen=True)
class Ours:
    """One recorded figure and the run it is from."""

    name: str
    figure: dict[str, Any]
    record: str
    chapter: str
    scale: str
    complete: bool = True
    data: str = ""


@dataclass(frozen=True)
class Line:
    """One figure of a system: the seed's, or ours, or both side by side."""

    name: str
    seed: dict[str, Any] | None
    ours: tuple[Ours, ...]


@dataclass(frozen=True)
class System:
    """One row of seeds.yml with its lines."""

    row: dict[str, Any]
    lines: tuple[Line, ...]

    @property
    def measured(self) -> bool:
        return any(line.ours for line in self.lines)


def all_figures(records: dict[str, Record]) -> list[Ours]:
    """Every figure of every record, larger scales first."""
    order = {scale: i for i, scale in enumerate(SCALES)}
    found = [
        Ours(
            name,
            figure,
            record,
            content["chapter"],
            content["scale"],
            content.get("data", {}).get("complete", True),
            content.get("data", {}).get("name", ""),
        )
        for record, content in records.items()
        for name, figure in content["figures"].items()
    ]
    return sorted(found, key=lambda o: (order.get(o.scale, len(order)), o.record))


def belongs(ours: Ours, seed: dict[str, Any]) -> bool:
    """Whether a recorded figure is the seed's own one measured again: it has its id, or its value and unit."""
    if ours.name == seed["id"]:
        return True
    named, value = ours.figure.get("seed_figure"), seed.get("value")
    if named is None or value is None:
        return False
    return math.isclose(named, value, rel_tol=1e-9) and (ours.figure.get("unit") or "") == (seed.get("unit") or "")


def lines_of(row: dict[str, Any], ours: list[Ours]) -> tuple[Line, ...]:
    """A line for each figure of the seed, then one for each other figure that we recorded for this row."""
    left, lines = list(ours), []
    for seed in row.get("figures", []):
        mine = [o for o in left if o.name == seed["id"]] or [o for o in left if belongs(o, seed)]
        left = [o for o in left if o not in mine]
        lines.append(Line(seed["name"], seed, tuple(mine)))
    for name in dict.fromkeys(o.name for o in left):
        lines.append(Line(in_words(name), None, tuple(o for o in left if o.name == name)))
    return tuple(lines) or (Line("any figure", None, ()),)


def systems(seeds: Iterable[dict[str, Any]], records: dict[str, Record]) -> list[System]:
    """All systems in order, each with its lines. Raises ValueError for a record that names a row that does not exist."""
    rows, figures = list(seeds), all_figures(records)
    numbers = {row["number"] for row in rows}
    for o in figures:
        if o.figure.get("seed_row") not in numbers | {None}:
            raise ValueError(f"{o.record}: figure {o.name!r} names row {o.figure['seed_row']}, which seeds.yml does not have")
    return [System(row, lines_of(row, [o for o in figures if o.figure.get("seed_row") == row["number"]])) for row in rows]


def other_figures(records: dict[str, Record]) -> list[Ours]:
    """The recorded figures that belong to no row of the seed documents."""
    return [o for o in all_figures(records) if o.figure.get("seed_row") is None]


def in_words(name: str) -> str:
    """A figure's name as words: `balanced_accuracy` -> `balanced accuracy`."""
    return re.sub(r"[_-]+", " ", name)


def number_in_words(value: float, unit: str) -> str:
    """A value with its unit as one reads it: shares in percent, counts with commas, four figures at most otherwise."""
    if unit == "share":
        return f"{100 * value:.1f} %" if abs(round(1000 * value) - 1000 * value) < 1e-6 else f"{100 * value:.2f} %"
    if float(value).is_integer():
        text = f"{int(value):,}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    if unit == "ratio":
        return f"{text} {TIMES}" if not float(value).is_integer() else text
    return f"{text} {unit}".strip()


def unit_beside(name: str, unit: str) -> str:
    """The unit, or "" where the figure's name already says it: 9,494,561 in a line called parameters."""
    head = name.split(",")[0]
    return "" if unit and (unit == head or unit in head.split()) else unit


def ratio_in_words(value: float) -> str:
    """A ratio with two decimals, three where two would hide which side of 1 it is on."""
    return f"{value:.3f} {TIMES}" if 0.995 <= value < 1.005 else f"{value:.2f} {TIMES}"


def mean_in_words(figure: dict[str, Any], name: str = "") -> str:
    """The mean of a figure, shares to a tenth of a percent."""
    unit, mean = unit_beside(name, figure.get("unit") or ""), figure["mean"]
    if unit == "share":
        return f"{100 * mean:.1f} %"
    if unit == "ratio":
        return f"{mean:.2f} {TIMES}"
    return number_in_words(mean, unit)


def range_in_words(figure: dict[str, Any]) -> str:
    """Smallest to largest value and the number of runs, or "" for a single run or an exact count."""
    if figure.get("n", 1) <= 1:
        return ""
    runs = f"{figure['n']} runs"
    if figure["min"] == figure["max"]:
        return f"all {runs}"
    unit = figure.get("unit") or ""
    if unit == "share":
        return f"{100 * figure['min']:.1f} to {100 * figure['max']:.1f}, {runs}"
    return f"{number_in_words(figure['min'], '')} to {number_in_words(figure['max'], '')}, {runs}"


def ratio(ours: dict[str, Any], seed: dict[str, Any]) -> float | None:
    """Ours divided by theirs; None where theirs is zero or no number, or the units differ."""
    value = seed.get("value")
    if not isinstance(value, int | float) or value == 0:
        return None
    return ours["mean"] / value if (ours.get("unit") or "") == (seed.get("unit") or "") else None


def verdict(ours: dict[str, Any], seed: dict[str, Any]) -> str:
    """`better`, `worse`, `equal` or "" for ours beside theirs, by the direction in which the figure is better."""
    found = ratio(ours, seed)
    if found is None:
        return ""
    if math.isclose(found, 1, rel_tol=1e-9):
        return "equal"
    if seed.get("better") == "equal":
        return ""
    return "better" if (found > 1) == (seed.get("better", "higher") == "higher") else "worse"


def coverage(found: list[System]) -> str:
    """One sentence: how many systems have a recorded figure."""
    done = sum(system.measured for system in found)
    return f"{done} of {len(found)} systems have at least one recorded figure."


def page_of(chapter: str, pages: Iterable[str]) -> str | None:
    """The page of a chapter such as `pets/cnn`: `pets/02_cnn`. None where it is not written yet."""
    for page in pages:
        folder, _, name = page.rpartition("/")
        if f"{folder}/{re.sub(r'^[0-9]+_', '', name)}" == chapter or page == chapter:
            return page
    return None
