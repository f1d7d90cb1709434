"""A notebook as nbdev wrote it, turned into the notebook that myst-nb should render. Pure: dictionaries in, dictionaries out."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from definitions import PACKAGE, definitions_in
from nbdev_cells import (
    INTERACTIVE,
    default_module,
    display_tags,
    export_target,
    is_hidden,
    mended_markdown,
    only_checks,
    split_directives,
    text_of,
    without_widgets,
)
from pictures import alt_texts, pictures_without_alt

TESTS = {"code_prompt_show": "Show the tests", "code_prompt_hide": "Hide the tests"}
NOTE = "course"  # cell metadata by which the doctree stage knows the module of a library cell and its pictures' texts


def markdown_cell(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def card_cell(names: list[str]) -> dict[str, Any]:
    """A cell that shows the API cards of these full names."""
    return markdown_cell("\n\n".join(f"```{{api-card}} {name}\n```" for name in names))


def shown_code_cell(cell: dict[str, Any], module: str | None, page: str) -> list[dict[str, Any]]:
    """What becomes of a code cell: nothing, itself, or itself with the cards of the names it exports and a widget's note."""
    directives, code = split_directives(text_of(cell))
    if is_hidden(directives) or not (code.strip() or cell.get("outputs")):
        return []
    outputs, had_widget = without_widgets(mended_markdown(cell.get("outputs", [])))
    shown = {**copy.deepcopy(cell), "source": code, "outputs": outputs}
    tags = [*cell.get("metadata", {}).get("tags", []), *display_tags(directives)]
    target = export_target(directives, module)
    full = f"{PACKAGE}.{target}" if target else None
    shown["metadata"] = {**cell.get("metadata", {}), NOTE: {"module": full, "id": cell.get("id", ""), "alt": alt_texts(shown)}}
    if not code.strip():
        tags.append("remove-input")
    if full:
        tags.append("library")
    elif only_checks(code, outputs):  # they are for the notebook and for CI; the page goes on with the story
        tags.append("hide-input")
        shown["metadata"]["mystnb"] = {**cell.get("metadata", {}).get("mystnb", {}), **TESTS}
    if tags:
        shown["metadata"]["tags"] = list(dict.fromkeys(tags))
    hidden_name = any(d.name == "exporti" for d in directives)
    names = [] if full is None or hidden_name else [d.full_name for d in definitions_in(code, full, page)]
    after = [card_cell(names)] if names else []
    return [shown, *([markdown_cell(INTERACTIVE)] if had_widget else []), *after]


def shown_notebook(
    notebook: dict[str, Any],
    page: str,
    prose: Callable[[str], str],
    report: Callable[[str], None],
) -> dict[str, Any]:
    """The notebook as the reader sees it.

    `prose` is applied to every Markdown cell; `report` is told of each picture without alt text.
    """
    module = default_module(notebook["cells"])
    cells: list[dict[str, Any]] = []
    for i, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            cells.append({**cell, "source": prose(text_of(cell))})
        elif cell["cell_type"] == "code":
            shown = shown_code_cell(cell, module, page)
            for problem in (p for c in shown if c["cell_type"] == "code" for p in pictures_without_alt(c)):
                report(f"cell {i}: {problem}")
            cells += shown
    metadata = {k: v for k, v in notebook["metadata"].items() if k != "widgets"}
    numbered = [{**cell, "id": f"cell-{i}"} for i, cell in enumerate(without_repeated_cards(cells))]
    return {**notebook, "metadata": metadata, "cells": numbered}


def with_plain_reading_list(text: str) -> str:
    """The text with its `{bibliography}` as a plain list: the labels that citations link to stand on the page of references."""
    return re.sub(r"(?m)^([`:]{3,}\{bibliography\}[^\n]*\n)(?!(?::[^\n]*\n)*:list:)", r"\1:list: bullet\n", text)


def without_repeated_cards(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells with one card for each name: where a chapter defines a name twice, the last one counts."""
    seen: set[str] = set()
    kept: list[dict[str, Any]] = []
    for cell in reversed(cells):
        text = cell["source"] if cell["cell_type"] == "markdown" else ""
        if text.startswith("```{api-card}"):
            names = [line.split()[-1] for line in text.splitlines() if line.startswith("```{api-card}")]
            names = [name for name in names if name not in seen]
            seen |= set(names)
            if names:
                kept.append(card_cell(names))
        else:
            kept.append(cell)
    return kept[::-1]
