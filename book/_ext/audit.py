"""What must hold for every finished page, checked on the HTML itself, without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

FETCHES = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}
LINK_KINDS_THAT_FETCH = {
    "stylesheet",
    "icon",
    "shortcut icon",
    "preload",
    "modulepreload",
    "manifest",
    "preconnect",
    "dns-prefetch",
}
DIRECTIVE_LINE = re.compile(r"^\s*#\s?\|\s*[a-z]", re.MULTILINE)
THIS_MACHINE = re.compile(r"(?<![\w.])/(?:root|work|content|tmp/tmp\w+)(?=/)")


@dataclass(frozen=True)
class Problem:
    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


class Page(HTMLParser):
    """The parts of a page that the checks look at."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.images: list[dict[str, str]] = []
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.text: list[str] = []
        self.has_math = False
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "img":
            self.images.append(values)
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        fetches = tag != "link" or any(kind in LINK_KINDS_THAT_FETCH for kind in values.get("rel", "").lower().split())
        if tag in FETCHES and fetches and values.get(FETCHES[tag]):
            self.fetched.append(values[FETCHES[tag]])
        if "math" in values.get("class", "").split():
            self.has_math = True
        if tag in ("script", "style"):
            self._silent += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._silent -= 1

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text.append(data)


def read_page(html: str) -> Page:
    page = Page()
    page.feed(html)
    return page


def is_remote(address: str) -> bool:
    """Whether the browser would ask another host for this address."""
    return bool(urlsplit(address).netloc)


def page_problems(name: str, page: Page) -> list[Problem]:
    """What is wrong with one page."""
    problems = [f"image without alt text: {image.get('src', '')}" for image in page.images if not image.get("alt", "").strip()]
    problems += [f"asks another host for {address}" for address in page.fetched if is_remote(address)]
    text = "".join(page.text)
    problems += [f"an nbdev directive is visible: {m[0].strip()}" for m in DIRECTIVE_LINE.finditer(text)]
    problems += [f"a folder of the machine that ran it is visible: {m[0]}" for m in THIS_MACHINE.finditer(text)]
    problems += [f"a claim's mark is visible: {m[0]}" for m in re.finditer(r"<!--\s*(?:record|seed|by hand)\b", text)]
    return [Problem(name, problem) for problem in problems]


def pages_of_toc(toc: Path) -> list[str]:
    """The pages that a table of contents names, in order."""

    def walk(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("root", "file"):
                    yield str(value)
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return [re.sub(r"\.(?:md|ipynb)$", "", page) for page in walk(yaml.safe_load(toc.read_text(encoding="utf-8")))]


def read_site(site: Path) -> dict[str, Page]:
    """Every page of a site by its path."""
    paths = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts]
    return {path.relative_to(site).as_posix(): read_page(path.read_text(encoding="utf-8")) for path in paths}


def broken_links(site: Path, pages: dict[str, Page]) -> list[Problem]:
    """Links between the pages of a site that lead nowhere, anchors included."""
    problems = []
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = name if not parts.path else (Path(name).parent / unquote(parts.path)).as_posix()
            target = target_in_site(target)
            if not (site / target).is_file():
                problems.append(Problem(name, f"link to {link}, which does not exist"))
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                problems.append(Problem(name, f"link to {link}, and the page has no such place"))
    return problems


def target_in_site(path: str) -> str:
    """The path with its `..` resolved."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept)


def site_problems(site: Path, toc: Path) -> list[Problem]:
    """Everything wrong with a built site: missing pages, page by page, and links."""
    problems = [
        Problem(page, "named by the table of contents, but not built")
        for page in pages_of_toc(toc)
        if not (site / f"{page}.html").is_file()
    ]
    pages = read_site(site)
    for name, page in pages.items():
        problems += page_problems(name, page)
    return problems + broken_links(site, pages)
