"""What the library exports, read from the notebooks' text: names, signatures, docments. Nothing is imported or run."""

from __future__ import annotations

import ast
import io
import json
import re
import textwrap
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from nbdev_cells import default_module, export_target, split_directives, text_of

PACKAGE = "pets_learn"


@dataclass(frozen=True)
class Parameter:
    """One parameter, dataclass field or class attribute, with its docment."""

    name: str
    type: str = ""
    default: str | None = None
    comment: str = ""


@dataclass(frozen=True)
class Definition:
    """One exported name and what its cell says about it."""

    name: str
    kind: str  # function, class, error or value
    module: str  # dotted, with the package
    page: str  # name of the page whose card it has
    signature: str = ""
    parameters: tuple[Parameter, ...] = ()
    returns: Parameter | None = None
    docstring: str = ""
    methods: tuple[Definition, ...] = ()
    bases: tuple[str, ...] = ()
    line: int | None = None  # in the module's file

    @property
    def full_name(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def brief(self) -> str:
        """The docstring's first sentence."""
        first = " ".join(self.docstring.split("\n\n")[0].split())
        return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", first)[0]

    @property
    def rest(self) -> str:
        """The docstring after its first sentence."""
        first, _, others = self.docstring.strip().partition("\n\n")
        return "\n\n".join(part for part in (" ".join(first.split()).removeprefix(self.brief).strip(), others.strip()) if part)


@dataclass
class Registry:
    """All exported names of the course, by full name, and the page that tells of each module."""

    names: dict[str, Definition] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)  # module -> page

    def of_module(self, module: str) -> list[Definition]:
        return [d for d in self.names.values() if d.module == module]

    def resolve(self, text: str, module: str | None = None) -> str | None:
        """The full name of an exported name or a module that `text` means on a page of `module`, or None.

        `text` may be bare, dotted from any level, or written as a call. A bare name that several modules
        export means this page's own, and nothing where that does not settle it.
        """
        wanted = re.sub(r"\(.*\)$", "", text.strip(), flags=re.DOTALL).lstrip("@")
        if not re.fullmatch(r"[A-Za-z_][\w.]*", wanted):
            return None
        if "." in wanted or wanted == PACKAGE:
            for candidate in (wanted, f"{PACKAGE}.{wanted}"):
                if candidate in self.names or candidate in self.pages:
                    return candidate
            owner, _, member = wanted.rpartition(".")
            found = self.resolve(owner, module)
            if found in self.names and any(m.name == member for m in self.names[found].methods):
                return found
            return None
        if module and f"{module}.{wanted}" in self.names:
            return f"{module}.{wanted}"
        matches = [full for full, d in self.names.items() if d.name == wanted]
        return matches[0] if len(matches) == 1 else None


def comments_by_line(source: str) -> dict[int, str]:
    """Line number (from 1) -> the comment on that line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("#").strip() for token in tokens if token.type == tokenize.COMMENT}


def docment(first: int, last: int, comments: dict[int, str], code_lines: set[int]) -> str:
    """The comment that belongs to the piece of code on lines `first` to `last`: behind it, else on the lines above it."""
    for line in range(last, first - 1, -1):
        if line in comments:
            return comments[line]
    above: list[str] = []
    line = first - 1
    while line in comments and line not in code_lines:
        above.insert(0, comments[line])
        line -= 1
    return " ".join(above)


def lines_with_code(source: str) -> set[int]:
    """The numbers of the lines that hold more than a comment."""
    numbers = enumerate(source.splitlines(), 1)
    return {n for n, line in numbers if line.strip() and not line.strip().startswith("#")}


def shortened(code: str, limit: int = 60) -> str:
    return code if len(code) <= limit else code[: limit - 1] + "…"


def parameters_of(function: ast.FunctionDef | ast.AsyncFunctionDef, source: str) -> list[Parameter]:
    """The parameters with type, default and docment; `self` and `cls` left out."""
    comments, code = comments_by_line(source), lines_with_code(source)
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    rows = [("", a, d) for a, d in zip(plain, defaults, strict=True)]
    if arguments.vararg:
        rows.append(("*", arguments.vararg, None))
    rows += [("", a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        rows.append(("**", arguments.kwarg, None))
    found = []
    for stars, argument, default in rows:
        last = max(argument.end_lineno or argument.lineno, (default.end_lineno or 0) if default else 0)
        alone = sum(a.lineno == argument.lineno for _, a, _ in rows) == 1
        said = docment(argument.lineno, last, comments, code) if alone and argument.lineno != function.lineno else ""
        found.append(
            Parameter(
                stars + argument.arg,
                ast.unparse(argument.annotation) if argument.annotation else "",
                shortened(ast.unparse(default)) if default else None,
                said,
            )
        )
    return found if not found or found[0].name not in ("self", "cls") else found[1:]


def returned(function: ast.FunctionDef | ast.AsyncFunctionDef, source: str) -> Parameter | None:
    """The return type with its docment, None where the function names no type."""
    if function.returns is None:
        return None
    line = function.returns.end_lineno or function.returns.lineno
    alone = line != function.lineno
    said = comments_by_line(source).get(line, "") if alone else ""
    return Parameter("returns", ast.unparse(function.returns), None, said)


def call_form(name: str, parameters: Iterable[Parameter]) -> str:
    """The signature without types, as one calls it: `resize(photo, side=150)`."""
    shown = [p.name if p.default is None else f"{p.name}={shortened(p.default, 24)}" for p in parameters]
    return f"{name}({', '.join(shown)})"


def fields_of(node: ast.ClassDef, source: str) -> list[Parameter]:
    """The annotated attributes of a class body: a dataclass's parameters."""
    comments, code = comments_by_line(source), lines_with_code(source)
    annotated = [s for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)]
    return [
        Parameter(
            ast.unparse(s.target),
            ast.unparse(s.annotation),
            shortened(ast.unparse(s.value)) if s.value else None,
            docment(s.lineno, s.end_lineno or s.lineno, comments, code),
        )
        for s in annotated
        if not ast.unparse(s.target).startswith("_")
    ]


def docstring_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    return textwrap.dedent(ast.get_docstring(node) or "")


def function_definition(node: ast.FunctionDef | ast.AsyncFunctionDef, source: str, module: str, page: str) -> Definition:
    parameters = parameters_of(node, source)
    is_property = any(ast.unparse(d) in ("property", "cached_property") for d in node.decorator_list)
    return Definition(
        node.name,
        "property" if is_property else "function",
        module,
        page,
        node.name if is_property else call_form(node.name, parameters),
        tuple(parameters),
        returned(node, source),
        docstring_of(node),
    )


def class_definition(node: ast.ClassDef, source: str, module: str, page: str) -> Definition:
    functions = [s for s in node.body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)]
    start = next((f for f in functions if f.name == "__init__"), None)
    parameters = parameters_of(start, source) if start else fields_of(node, source)
    methods = tuple(function_definition(f, source, module, page) for f in functions if not f.name.startswith("_"))
    bases = tuple(ast.unparse(b) for b in node.bases)
    kind = "error" if any(b.split(".")[-1].endswith(("Error", "Exception")) for b in bases) else "class"
    return Definition(
        node.name,
        kind,
        module,
        page,
        call_form(node.name, parameters) if parameters else node.name,
        tuple(parameters),
        None,
        docstring_of(node),
        methods,
        bases,
    )


def definitions_in(source: str, module: str, page: str) -> list[Definition]:
    """The public names that a cell's code defines at its top level. Raises SyntaxError for code that cannot be read."""
    found: list[Definition] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(function_definition(node, source, module, page))
        elif isinstance(node, ast.ClassDef):
            found.append(class_definition(node, source, module, page))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            said = comments_by_line(source).get(node.end_lineno or node.lineno, "")
            found += [
                Definition(t.id, "value", module, page, f"{t.id} = {shortened(ast.unparse(node.value), 72)}", docstring=said)
                for t in targets
                if isinstance(t, ast.Name)
            ]
    return [d for d in found if not d.name.startswith("_")]


def lines_in_module(path: Path) -> dict[str, int]:
    """Name -> the line of its definition in an exported module; empty where the file is missing."""
    if not path.is_file():
        return {}
    lines: dict[str, int] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            lines[node.name] = node.lineno
        elif isinstance(node, ast.Assign):
            lines |= {t.id: node.lineno for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines[node.target.id] = node.lineno
    return lines


def module_path(module: str) -> str:
    """The file of a dotted module, relative to the repository."""
    return module.replace(".", "/") + ".py"


def notebook_definitions(cells: list[dict], page: str, root: Path) -> tuple[str | None, list[Definition]]:
    """The dotted module that a notebook exports (None: none) and its public definitions, the last one of each name."""
    default = default_module(cells)
    found: dict[tuple[str, str], Definition] = {}
    lines: dict[str, dict[str, int]] = {}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        directives, code = split_directives(text_of(cell))
        target = export_target(directives, default)
        if target is None or any(d.name == "exporti" for d in directives):
            continue
        module = f"{PACKAGE}.{target}"
        if module not in lines:
            lines[module] = lines_in_module(root / module_path(module))
        for definition in definitions_in(code, module, page):
            found[module, definition.name] = replace(definition, line=lines[module].get(definition.name))
    return (f"{PACKAGE}.{default}" if default else None), list(found.values())


def with_errors_marked(names: dict[str, Definition]) -> dict[str, Definition]:
    """The definitions with every class below an exported error marked as an error too."""
    names = dict(names)
    while True:
        errors = {d.name for d in names.values() if d.kind == "error"}
        late = [full for full, d in names.items() if d.kind == "class" and errors & {b.split(".")[-1] for b in d.bases}]
        if not late:
            return names
        names |= {full: replace(names[full], kind="error") for full in late}


def read_registry(source: Path, root: Path) -> Registry:
    """The registry of all notebooks under `source`; `root` is the repository, where the exported modules lie."""
    registry = Registry()
    for path in sorted(source.rglob("*.ipynb")):
        if any(part.startswith((".", "_")) for part in path.relative_to(source).parts):
            continue
        page = path.relative_to(source).with_suffix("").as_posix()
        module, definitions = notebook_definitions(json.loads(path.read_text(encoding="utf-8"))["cells"], page, root)
        if module:
            registry.pages[module] = page
        registry.names |= {d.full_name: d for d in definitions}
    registry.names = with_errors_marked(registry.names)
    return registry
