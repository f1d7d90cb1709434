"""Docutils nodes for API cards, the API index, the Scoreboard, and links from prose to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from definitions import Definition, Parameter, Registry, module_path
from docutils import nodes
from docutils.statemachine import StringList
from scoreboard import (
    Line,
    Ours,
    System,
    coverage,
    in_words,
    mean_in_words,
    number_in_words,
    other_figures,
    page_of,
    range_in_words,
    ratio,
    ratio_in_words,
    systems,
    unit_beside,
    verdict,
)
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective, SphinxRole


class Folded(nodes.General, nodes.Element):
    """`<details>`: its first child is the summary."""


class Summary(nodes.General, nodes.Element):
    """`<summary>` of a folded part."""


def visit_folded(self: Any, node: Folded) -> None:
    self.body.append(self.starttag(node, "details"))


def depart_folded(self: Any, node: Folded) -> None:
    self.body.append("</details>\n")


def visit_summary(self: Any, node: Summary) -> None:
    self.body.append(self.starttag(node, "summary", ""))


def depart_summary(self: Any, node: Summary) -> None:
    self.body.append("</summary>\n")


# --- small pieces ---------------------------------------------------------------------------------------------------


def words(text: str, *classes: str) -> nodes.inline:
    return nodes.inline("", text, classes=list(classes))


def block(*children: nodes.Node, classes: Iterable[str] = ()) -> nodes.container:
    return nodes.container("", *children, classes=list(classes))


def outside(text: str, address: str, *classes: str) -> nodes.reference:
    return nodes.reference("", "", nodes.inline("", text), refuri=address, internal=False, classes=list(classes))


def page_link(text: str, page: str, anchor: str = "", *classes: str) -> pending_xref:
    """A link to a page of the course that is resolved when the page is written."""
    return pending_xref(
        "",
        nodes.inline("", text),
        refdomain="",
        reftype="course-page",
        reftarget=page,
        anchor=anchor,
        refexplicit=True,
        refwarn=True,
        classes=list(classes),
    )


def cell_of(content: str | nodes.Node | list[nodes.Node]) -> nodes.entry:
    children = [nodes.Text(content)] if isinstance(content, str) else content if isinstance(content, list) else [content]
    return nodes.entry("", nodes.paragraph("", "", *children))


def table(head: list[str], rows: list[list[nodes.entry]], classes: Iterable[str] = ()) -> nodes.container:
    """A table in a box of its own that scrolls when the page is narrow."""
    group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in head], cols=len(head))
    group += nodes.thead("", nodes.row("", *[cell_of(name) for name in head]))
    group += nodes.tbody("", *[nodes.row("", *row) for row in rows])
    return block(nodes.table("", group, classes=["course-table", *classes]), classes=["table-scroll"])


def source_address(app: Sphinx, module: str, line: int | None = None) -> str:
    """Where a module's file stands on the git host."""
    config = app.config.course
    return f"{config['repository']}/blob/{config['branch']}/{module_path(module)}" + (f"#L{line}" if line else "")


# --- API cards ------------------------------------------------------------------------------------------------------


class ApiCard(SphinxDirective):
    """The card of one exported name: `{api-card} pets_learn.run.scale`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        definition = registry_of(self.env.app).names.get(name)
        if definition is None:
            raise self.error(f"{name} is not exported by any notebook")
        card = Folded(
            "", self.summary(definition), self.inside(definition), classes=["api-card", f"api-{definition.kind}"], ids=[name]
        )
        kind = {"function": "function", "class": "class", "error": "exception"}.get(definition.kind, "data")
        self.env.get_domain("py").note_object(name, kind, name, location=card)
        self.state.document.note_explicit_target(card)
        return [card]

    def summary(self, definition: Definition) -> Summary:
        brief = self.inline(definition.brief) if definition.brief else []
        return Summary(
            "",
            words(definition.kind, "api-kind"),
            nodes.literal("", definition.signature, classes=["api-signature"]),
            nodes.inline("", "", *brief, classes=["api-brief"]),
        )

    def inside(self, definition: Definition) -> nodes.container:
        parts: list[nodes.Node] = []
        if definition.rest:
            parts += self.markdown(definition.rest)
        if definition.parameters or definition.returns:
            parts.append(self.parameters(definition))
        for method in definition.methods:
            parts.append(self.method(method))
        source = outside("source", source_address(self.env.app, definition.module, definition.line))
        index = page_link("all names", "api", f"module-{definition.module}")
        parts.append(
            nodes.paragraph(
                "",
                "",
                nodes.literal("", definition.full_name, classes=["no-link"]),
                nodes.Text(" · "),
                source,
                nodes.Text(" · "),
                index,
                classes=["api-links"],
            )
        )
        return block(*parts, classes=["api-inside"])

    def parameters(self, definition: Definition) -> nodes.container:
        rows = [self.parameter(p) for p in definition.parameters]
        if definition.returns:
            rows.append(self.parameter(definition.returns, result=True))
        first = "field" if definition.kind == "class" and not definition.returns else "parameter"
        return table([first, "type", "default", "what it is"], rows, ["api-parameters"])

    def parameter(self, p: Parameter, result: bool = False) -> list[nodes.entry]:
        name: nodes.Node = words("returns", "api-returns") if result else nodes.literal("", p.name, classes=["no-link"])
        kind: str | nodes.Node = nodes.literal("", p.type) if p.type else ""
        default: str | nodes.Node = "" if result or p.name.startswith("*") else words("required", "api-required")
        if p.default is not None:
            default = nodes.literal("", p.default, classes=["no-link"])
        return [cell_of(name), cell_of(kind), cell_of(default), cell_of(self.inline(p.comment) if p.comment else "")]

    def method(self, method: Definition) -> nodes.container:
        brief = self.inline(" ".join(method.docstring.split("\n\n")[0].split())) if method.docstring else []
        line = nodes.paragraph(
            "", "", nodes.literal("", "." + method.signature, classes=["no-link", "api-signature"]), nodes.Text("  "), *brief
        )
        given = [p for p in method.parameters if p.comment]
        parts: list[nodes.Node] = [line]
        if given:
            parts.append(
                table(["parameter", "type", "default", "what it is"], [self.parameter(p) for p in given], ["api-parameters"])
            )
        return block(*parts, classes=["api-method"])

    def markdown(self, text: str) -> list[nodes.Node]:
        holder = block()
        self.state.nested_parse(StringList(text.splitlines(), source="docstring"), 0, holder)
        return holder.children

    def inline(self, text: str) -> list[nodes.Node]:
        found, messages = self.state.inline_text(text, self.lineno)
        return [*found, *messages]


class ApiIndex(SphinxDirective):
    """All exported names, module by module."""

    def run(self) -> list[nodes.Node]:
        registry = registry_of(self.env.app)
        self.env.note_reread()
        order = sorted(registry.pages, key=lambda module: registry.pages[module])
        return [section for module in order if (section := self.module(registry, module))]

    def module(self, registry: Registry, module: str) -> nodes.section | None:
        definitions = registry.of_module(module)
        if not definitions:
            return None
        anchor = f"module-{module}"
        title = nodes.title("", "", nodes.literal("", module, classes=["no-link"]))
        part = nodes.section("", title, ids=[anchor], names=[anchor])
        self.state.document.note_explicit_target(part)
        page = registry.pages[module]
        part += nodes.paragraph(
            "",
            "",
            page_link("the chapter", page),
            nodes.Text(" · "),
            outside("source", source_address(self.env.app, module)),
            classes=["api-links"],
        )
        rows = [
            [
                cell_of([page_link(d.name, d.page, d.full_name, "api-name")]),
                cell_of(words(d.kind, "api-kind")),
                cell_of(self.brief(d)),
            ]
            for d in sorted(definitions, key=lambda d: (d.kind == "value", d.name.lower()))
        ]
        part += table(["name", "kind", "what it does"], rows, ["api-index"])
        return part

    def brief(self, definition: Definition) -> list[nodes.Node]:
        found, messages = self.state.inline_text(definition.brief, self.lineno)
        return [*found, *messages]


# --- the Scoreboard -------------------------------------------------------------------------------------------------


class Scoreboard(SphinxDirective):
    """The Scoreboard's tables, from seeds.yml and the records."""

    def run(self) -> list[nodes.Node]:
        course = self.env.app.course  # type: ignore[attr-defined]
        self.env.note_reread()
        found = systems(course.seeds, course.records)
        return [nodes.paragraph("", coverage(found), classes=["score-coverage"]), self.tiles(found), self.main_table(found)]

    def tiles(self, found: list[System]) -> nodes.container:
        tiles = []
        for system in found:
            state = "score-done" if system.measured else "score-missing"
            said = f"{system.row['number']} {system.row['title']}: {'measured' if system.measured else 'missing'}"
            link = nodes.reference(
                "",
                "",
                nodes.inline("", str(system.row["number"])),
                refid=f"system-{system.row['number']}",
                internal=True,
                classes=["score-tile", state],
                reftitle=said,
            )
            tiles.append(link)
        return block(nodes.paragraph("", "", *tiles), classes=["score-tiles"])

    def main_table(self, found: list[System]) -> nodes.container:
        rows = [row for system in found for row in self.system_rows(system)]
        return table(["figure", "theirs", "ours", "ratio"], rows, ["scoreboard"])

    def system_rows(self, system: System) -> list[list[nodes.entry]]:
        """One row over the full width that says what the system is, then one for each figure."""
        lines = [
            [cell_of(line.name), cell_of(self.theirs(line)), cell_of(self.ours(line)), cell_of(self.ratio(line))]
            for line in system.lines
        ]
        return [[self.about(system)], *lines]

    def about(self, system: System) -> nodes.entry:
        row = system.row
        chapters = [row["chapter"], *row.get("also", [])]
        links: list[nodes.Node] = []
        for chapter in chapters:
            page = page_of(chapter, sorted(self.env.found_docs))
            if links:
                links.append(nodes.Text(", "))
            links.append(page_link(chapter, page) if page else words(chapter, "score-unwritten"))
        entry = nodes.entry(
            "",
            nodes.paragraph("", "", words(str(row["number"]), "score-number"), nodes.strong("", row["title"])),
            nodes.paragraph("", row["system"], classes=["score-system"]),
            nodes.paragraph("", "", *links, nodes.Text(f" · seed {row['seed']}"), classes=["score-chapters"]),
            morecols=3,
            ids=[f"system-{row['number']}"],
            classes=["score-about"],
        )
        self.state.document.note_explicit_target(entry)
        return entry

    def theirs(self, line: Line) -> list[nodes.Node]:
        if line.seed is None:
            return [words("no figure", "score-none")]
        said: list[nodes.Node] = [
            nodes.Text(number_in_words(line.seed["value"], unit_beside(line.name, line.seed.get("unit") or "")))
        ]
        if line.seed.get("note"):
            said.append(words(f" {line.seed['note']}", "score-note"))
        return said

    def ours(self, line: Line) -> list[nodes.Node]:
        if not line.ours:
            return [words("missing", "score-absent")]
        said: list[nodes.Node] = []
        for o in line.ours:
            if said:
                said.append(words(" ", "score-break"))
            said += measured(o, line.name)
        return said

    def ratio(self, line: Line) -> list[nodes.Node]:
        if line.seed is None or not line.ours:
            return []
        found = ratio(line.ours[0].figure, line.seed)
        if found is None:
            return []
        state = verdict(line.ours[0].figure, line.seed)
        text = "equal" if state == "equal" else ratio_in_words(found)
        return [words(text, "score-ratio", f"score-{state or 'plain'}")]


def measured(ours: Ours, line: str = "") -> list[nodes.Node]:
    """One recorded figure: the mean, the range, the scale."""
    spread = range_in_words(ours.figure)
    said: list[nodes.Node] = [nodes.strong("", mean_in_words(ours.figure, line))]
    detail = ", ".join(part for part in (spread, ours.scale, "" if ours.complete else "part of the data") if part)
    return [*said, words(f" {detail}", "score-note")]


class OtherFigures(SphinxDirective):
    """What the records hold beside the seed's own figures, chapter by chapter."""

    def run(self) -> list[nodes.Node]:
        course = self.env.app.course  # type: ignore[attr-defined]
        self.env.note_reread()
        found = other_figures(course.records)
        if not found:
            return [nodes.paragraph("", "Nothing else is on record yet.", classes=["score-absent"])]
        rows = [
            [cell_of(self.chapter(o)), cell_of(in_words(o.name)), cell_of(measured(o)), cell_of(o.figure.get("versus") or "")]
            for o in sorted(found, key=lambda o: (o.chapter, o.name))
        ]
        return [table(["chapter", "figure", "ours", "against what"], rows, ["scoreboard"])]

    def chapter(self, ours: Ours) -> nodes.Node:
        page = page_of(ours.chapter, sorted(self.env.found_docs))
        return page_link(ours.chapter, page) if page else nodes.Text(ours.chapter)


class Runs(SphinxDirective):
    """The runs behind the numbers: data, device, versions, time, date."""

    def run(self) -> list[nodes.Node]:
        course = self.env.app.course  # type: ignore[attr-defined]
        self.env.note_reread()
        if not course.records:
            return [nodes.paragraph("", "No run is on record yet.", classes=["score-absent"])]
        rows = [
            [
                cell_of(name),
                cell_of(self.data(r)),
                cell_of(r.get("device", "")),
                cell_of(f"{r.get('seconds', 0):,.0f} s"),
                cell_of(r.get("date", "")),
                cell_of(" · ".join(f"{k} {v}" for k, v in r.get("versions", {}).items())),
            ]
            for name, r in course.records.items()
        ]
        return [table(["record", "data", "device", "time", "date", "versions"], rows, ["scoreboard"])]

    def data(self, record: dict[str, Any]) -> str:
        data = record.get("data", {})
        return f"{data.get('name', '')}, {data.get('items', 0):,} items, {'complete' if data.get('complete') else 'partial'}"


# --- links ----------------------------------------------------------------------------------------------------------


def registry_of(app: Sphinx) -> Registry:
    return app.course.registry  # type: ignore[attr-defined]


def resolve_page(app: Sphinx, env: Any, node: pending_xref, content: nodes.TextElement) -> nodes.reference | None:
    """Turn a `page_link` into a reference (for Sphinx's `missing-reference` event)."""
    if node.get("reftype") != "course-page" or node["reftarget"] not in env.found_docs:
        return None
    address = app.builder.get_relative_uri(node.get("refdoc") or env.docname, node["reftarget"])
    if node.get("anchor"):
        address += f"#{node['anchor']}"
    return nodes.reference("", "", content, internal=True, refuri=address, classes=node.get("classes", []))


class ChapterRole(SphinxRole):
    """A chapter by its short name, `pets/cnn`: a link once it is written, plain until then."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        page = page_of(self.text, sorted(self.env.found_docs))
        return [page_link(self.text, page) if page else words(self.text, "score-unwritten")], []


class LinkNames(SphinxPostTransform):
    """Link `backticked` names of the library to their cards, and module names to their chapters."""

    default_priority = 20

    def run(self, **_: Any) -> None:
        registry, page = registry_of(self.app), self.env.docname
        module = next((m for m, p in registry.pages.items() if p == page), None)
        for literal in list(self.document.findall(nodes.literal)):
            if not self.may_link(literal):
                continue
            full = registry.resolve(literal.astext(), module)
            if full is None:
                continue
            target, anchor = (registry.names[full].page, full) if full in registry.names else (registry.pages[full], "")
            if target not in self.env.found_docs or (target == page and (not anchor or self.inside_card(literal, full))):
                continue
            address = "" if target == page else self.app.builder.get_relative_uri(page, target)
            link = nodes.reference(
                "",
                "",
                literal.deepcopy(),
                internal=True,
                classes=["api-link"],
                refuri=address + (f"#{anchor}" if anchor else ""),
                reftitle=full,
            )
            literal.replace_self(link)

    def may_link(self, literal: nodes.literal) -> bool:
        if {"no-link", "api-signature"} & set(literal.get("classes", [])):
            return False
        parent: nodes.Node | None = literal.parent
        while parent is not None:
            if isinstance(parent, nodes.reference | nodes.title | pending_xref):
                return False
            parent = parent.parent
        return True

    def inside_card(self, literal: nodes.literal, full: str) -> bool:
        parent: nodes.Node | None = literal.parent
        while parent is not None:
            if isinstance(parent, Folded) and full in parent.get("ids", []):
                return True
            parent = parent.parent
        return False
