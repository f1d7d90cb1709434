"""nbdev's cell directives: read them, and turn a notebook's cells into what a reader should see."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

DIRECTIVE = re.compile(r"^\s*#\s*\|\s*(?P<name>[\w-]+)\s*:?[ \t]*(?P<value>.*?)\s*$")
CELL_GONE = {"hide", "default_exp", "include:false"}
TAGS = {
    "hide_input": "remove-input",
    "echo:false": "remove-input",
    "hide_output": "remove-output",
    "output:false": "remove-output",
    "code-fold:true": "hide-input",
}
EXPORTS = ("export", "exporti", "exports")
WIDGET = "application/vnd.jupyter.widget-view+json"
INTERACTIVE = "*Interactive: open this chapter in Jupyter or Colab to move the controls.*"


@dataclass(frozen=True)
class Directive:
    """One directive line such as `#| export` or `#| echo: false`."""

    name: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.value}" if self.value else self.name


def text_of(cell: dict[str, Any]) -> str:
    """The source of a cell as one string."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def split_directives(source: str) -> tuple[list[Directive], str]:
    """The directives at the head of a code cell, and the code below them. Later lines are left alone, as nbdev does."""
    lines = source.split("\n")
    found: list[Directive] = []
    for i, line in enumerate(lines):
        match = DIRECTIVE.match(line)
        if match:
            found.append(Directive(match["name"], match["value"]))
        elif line.strip():
            return found, "\n".join(lines[i:])
    return found, ""


def default_module(cells: Iterable[dict[str, Any]]) -> str | None:
    """The module that the notebook's `#| default_exp` names, without the package; None where there is none."""
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        for directive in split_directives(text_of(cell))[0]:
            if directive.name == "default_exp":
                return directive.value
    return None


def export_target(directives: Iterable[Directive], default: str | None) -> str | None:
    """The module that a cell goes to, without the package; None for a cell that is not exported."""
    for directive in directives:
        if directive.name in EXPORTS:
            return directive.value or default
    return None


def is_hidden(directives: Iterable[Directive]) -> bool:
    """Whether the whole cell stays off the page."""
    return any(d.name in CELL_GONE or str(d) in CELL_GONE for d in directives)


def display_tags(directives: Iterable[Directive]) -> list[str]:
    """The cell tags by which myst-nb hides input or output, as the directives ask."""
    return [TAGS[str(d)] for d in directives if str(d) in TAGS]


def is_check(statement: ast.stmt) -> bool:
    """Whether a statement says what must hold: an assertion, a `test_...` or `assert_...` call, an expected exception."""
    if isinstance(statement, ast.Assert):
        return True
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return ast.unparse(statement.value.func).rpartition(".")[2].startswith(("test_", "assert_"))
    if isinstance(statement, ast.With) and any("ExceptionExpected" in ast.unparse(item) for item in statement.items):
        return True
    return any(is_check(inner) for inner in getattr(statement, "body", []) if isinstance(inner, ast.stmt))


def only_checks(code: str, outputs: list[dict[str, Any]]) -> bool:
    """Whether a cell of more than two lines only makes sure of something: checks and what they need, nothing to see or keep."""
    if outputs or len(code.strip().splitlines()) <= 2:
        return False
    try:
        statements = ast.parse(code).body
    except SyntaxError:  # a line of IPython's own
        return False
    defines = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return any(map(is_check, statements)) and not any(isinstance(statement, defines) for statement in statements)


def without_widgets(outputs: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """Outputs without live widgets, and whether there were any.

    A widget's own text (`interactive(children=...)`) goes with it; whatever else the cell shows stays as the fallback.
    """
    kept, found = [], False
    for output in outputs:
        data = output.get("data", {})
        if WIDGET in data:
            found = True
            rest = {kind: value for kind, value in data.items() if kind not in (WIDGET, "text/plain")}
            if rest:
                kept.append({**output, "data": rest})
        else:
            kept.append(output)
    return kept, found


def mended_markdown(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs whose Markdown no longer begins with a rule: nbdev's `show_doc` does, and Sphinx reads it as front matter."""
    mended = copy.deepcopy(outputs)
    for output in mended:
        data = output.get("data", {})
        if "text/markdown" in data:
            text = data["text/markdown"]
            text = text if isinstance(text, str) else "".join(text)
            data["text/markdown"] = re.sub(r"\A\s*---+\s*\n", "", text)
    return mended
