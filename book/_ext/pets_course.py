"""The Sphinx extension of the course's site: wires the pure parts beside it to Sphinx's events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cards
from claims import to_html
from definitions import Registry, module_path, read_registry
from docutils import nodes
from records import Record, UnknownFigure, load_records, load_seeds
from shipped import bring_model
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from transform import NOTE, shown_notebook, with_plain_reading_list

logger = logging.getLogger(__name__)


@dataclass
class Course:
    """What the whole build knows: exported names, records, the seed documents' systems."""

    registry: Registry
    records: dict[str, Record]
    seeds: list[dict[str, Any]]
    root: Path


def read_course(app: Sphinx) -> None:
    """Read names, records and seeds once for the build."""
    config = app.config.course
    root = Path(config["root"])
    app.course = Course(
        read_registry(Path(app.srcdir), root),
        load_records(Path(config["results"])),  # type: ignore[attr-defined]
        load_seeds(Path(config["seeds"])),
        root,
    )


def shared_state(course: Course) -> dict[str, Any]:
    """What pages take from outside their own file: where each name's card is."""
    return {"cards": {full: d.page for full, d in course.registry.names.items()}, "pages": dict(course.registry.pages)}


def pages_to_read_again(app: Sphinx, env: BuildEnvironment, *_: Any) -> list[str]:
    """Every page when cards have moved, because any page may link to them."""
    state = shared_state(app.course) | {"found": sorted(env.found_docs)}  # type: ignore[attr-defined]
    moved = getattr(env, "course_state", state) != state
    env.course_state = state  # type: ignore[attr-defined]
    return sorted(env.found_docs) if moved else []


def prepare_source(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn a source as it is written into one that myst-nb renders as the reader should see it."""
    course: Course = app.course  # type: ignore[attr-defined]

    def prose(text: str) -> str:
        if page != "references":
            text = with_plain_reading_list(text)
        try:
            return to_html(text, course.records, course.seeds)
        except UnknownFigure as error:
            logger.warning("%s", error, location=page, type="course", subtype="claim")
            return text

    def report(problem: str) -> None:
        logger.warning("%s", problem, location=page, type="course", subtype="alt")

    if "<!-- record" in source[0]:
        app.env.note_dependency(app.config.course["results"])
    for name in course.records:
        if f"record {name} " in source[0]:
            app.env.note_dependency(str(Path(app.config.course["results"]) / f"{name}.json"))
    if app.env.doc2path(page).endswith(".ipynb"):
        source[0] = json.dumps(shown_notebook(json.loads(source[0]), page, prose, report))
    else:
        source[0] = prose(source[0])


def note_of(node: nodes.Node) -> dict[str, Any] | None:
    """What the source stage noted about a code cell, None for other nodes."""
    if not isinstance(node, nodes.container) or node.get("nb_element") != "cell_code":
        return None
    return node.get("cell_metadata", {}).get(NOTE)


def give_pictures_words(cell: nodes.container, texts: list[str]) -> None:
    """Put each picture's alt text on its image nodes (one output may hold the picture in several formats)."""
    bundles = [b for b in cell.findall(nodes.container) if b.get("nb_element") == "mime_bundle" and list(b.findall(nodes.image))]
    for bundle, text in zip(bundles, texts, strict=False):
        for image in bundle.findall(nodes.image):
            image["alt"] = text


def line_of_cell(path: Path, cell_id: str) -> int | None:
    """The line at which an exported module has a notebook's cell, by the marker that nbdev writes above it."""
    if not cell_id or not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((i for i, line in enumerate(lines, 1) if line.startswith("# %%") and line.endswith(f"#{cell_id}")), None)


def label_of(app: Sphinx, module: str, cell_id: str) -> nodes.paragraph:
    """The small line above a library cell."""
    line = line_of_cell(app.course.root / module_path(module), cell_id)  # type: ignore[attr-defined]
    link = cards.outside(module, cards.source_address(app, module, line))
    return nodes.paragraph("", "", cards.words("library", "library-word"), link, classes=["library-label"])


def header_of(app: Sphinx, module: str) -> nodes.paragraph:
    """The line under a chapter's promise that says which module it writes."""
    code = nodes.literal("", module, classes=["no-link"])
    parts: list[nodes.Node] = [
        nodes.Text("This chapter writes "),
        code,
        nodes.Text(" · "),
        cards.outside("source", cards.source_address(app, module)),
    ]
    if "api" in app.env.found_docs:
        parts += [nodes.Text(" · "), cards.page_link("its names", "api", f"module-{module}")]
    return nodes.paragraph("", "", *parts, classes=["chapter-module"])


def finish_page(app: Sphinx, document: nodes.document) -> None:
    """Labels on library cells, alt texts on pictures, the promise and the module line under the title."""
    page = app.env.docname
    for cell in list(document.findall(nodes.container)):
        note = note_of(cell)
        if note is None:
            continue
        give_pictures_words(cell, note["alt"])
        if note["module"] and cell.children:
            cell.insert(0, label_of(app, note["module"], note["id"]))
    section = next(iter(document.findall(nodes.section)), None)
    if section is None:
        return
    at = 1
    if len(section) > 1 and isinstance(section[1], nodes.block_quote):
        section[1]["classes"].append("promise")
        at = 2
    module = next((m for m, p in app.course.registry.pages.items() if p == page), None)  # type: ignore[attr-defined]
    if module and app.course.registry.of_module(module):
        section.insert(at, header_of(app, module))  # type: ignore[attr-defined]
    for found in list(document.findall(nodes.table)):
        if not isinstance(found.parent, nodes.container) or "table-scroll" not in found.parent.get("classes", []):
            found.replace_self(cards.block(found.deepcopy(), classes=["table-scroll"]))


def add_program(app: Sphinx, page: str, *_: Any) -> None:
    """The page on which the model answers gets its script and style; no other page loads them."""
    if page == "try_it":
        app.add_css_file("try_it/try_it.css")
        app.add_js_file("try_it/try_it.js", loading_method="async", type="module")


def add_model(app: Sphinx, error: Exception | None) -> None:
    """Bring the model along with the page that asks it."""
    if error is None and "try_it" in app.env.found_docs:
        bring_model(Path(app.config.course["shipped"]), Path(app.outdir) / "_static" / "model")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    app.add_config_value("course", {}, "env")
    app.add_node(cards.Folded, html=(cards.visit_folded, cards.depart_folded))
    app.add_node(cards.Summary, html=(cards.visit_summary, cards.depart_summary))
    for name, directive in {
        "api-card": cards.ApiCard,
        "api-index": cards.ApiIndex,
        "scoreboard": cards.Scoreboard,
        "other-figures": cards.OtherFigures,
        "runs": cards.Runs,
    }.items():
        app.add_directive(name, directive)
    app.add_role("chapter", cards.ChapterRole())
    app.add_post_transform(cards.LinkNames)
    app.connect("builder-inited", read_course)
    app.connect("env-get-outdated", pages_to_read_again)
    app.connect("source-read", prepare_source)
    app.connect("doctree-read", finish_page)
    app.connect("missing-reference", cards.resolve_page)
    app.connect("html-page-context", add_program)
    app.connect("build-finished", add_model)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
