"""Pictures in notebook outputs and the words that stand for them."""

from __future__ import annotations

import re
from typing import Any

KINDS = ("image/png", "image/jpeg", "image/svg+xml", "image/gif", "image/webp")
TAG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)


def images_of(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """The outputs of a cell that carry a picture, in order."""
    return [o for o in cell.get("outputs", []) if any(kind in o.get("data", {}) for kind in KINDS)]


def own_alt(output: dict[str, Any]) -> str:
    """The alt text in an output's own metadata, `{"image/png": {"alt": "..."}}` or `{"alt": "..."}`; "" where it has none."""
    metadata = output.get("metadata", {})
    places = [metadata.get(kind) for kind in KINDS] + [metadata]
    texts = [place["alt"] for place in places if isinstance(place, dict) and isinstance(place.get("alt"), str)]
    return texts[0].strip() if texts else ""


def alt_texts(cell: dict[str, Any]) -> list[str]:
    """One text for each picture of the cell: its own, else the cell's `mystnb.image.alt`; "" where neither is given."""
    of_cell = cell.get("metadata", {}).get("mystnb", {}).get("image", {}).get("alt", "").strip()
    return [own_alt(output) or of_cell for output in images_of(cell)]


def tags_without_alt(html: str) -> list[str]:
    """The `<img>` tags of a piece of HTML that have no alt text or an empty one."""
    return [tag for tag in TAG.findall(html) if not any(part.strip() for match in ALT.findall(tag) for part in match)]


def pictures_without_alt(cell: dict[str, Any]) -> list[str]:
    """What is wrong with the cell's pictures, one sentence each; none when all is well."""
    problems = [
        f"picture {i + 1} of the cell has no alt text: show it with `show.display_figure(fig, alt=...)` "
        "or set the cell's metadata mystnb.image.alt"
        for i, alt in enumerate(alt_texts(cell))
        if not alt
    ]
    for output in cell.get("outputs", []):
        html = output.get("data", {}).get("text/html", "")
        html = html if isinstance(html, str) else "".join(html)
        problems += [f"an HTML output has a picture without alt text: {tag[:80]}" for tag in tags_without_alt(html)]
    return problems
