"""The site, built once and looked at: its HTML as text, then every page in headless Chromium with no other host to reach."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]

pytest.importorskip("jupyter_book", reason="the site's tools are not installed: pip install -e .[course,dev]")
BeautifulSoup = pytest.importorskip("bs4").BeautifulSoup

import audit  # noqa: E402
import build as builder  # noqa: E402
from definitions import read_registry  # noqa: E402

SOURCE = ROOT / "nbs"
TOC = ROOT / "book" / "_toc.yml"
OUT = ROOT / "book" / "_build"
PAGES = audit.pages_of_toc(TOC)
NOTEBOOKS = [page for page in PAGES if (SOURCE / f"{page}.ipynb").is_file()]


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site; what is already built and fresh is taken as it is."""
    assert builder.build(SOURCE, TOC, OUT) == 0, "the site does not build cleanly; run: python book/build.py"
    return OUT / "html"


@pytest.fixture(scope="session")
def soups(site: Path) -> dict[str, Any]:
    return {page: BeautifulSoup((site / f"{page}.html").read_text(encoding="utf-8"), "html.parser") for page in PAGES}


# --- without a browser ----------------------------------------------------------------------------------------------


def test_every_page_of_the_table_of_contents_exists(site: Path) -> None:
    assert [page for page in PAGES if not (site / f"{page}.html").is_file()] == []


def test_every_notebook_is_in_the_table_of_contents() -> None:
    written = [
        path.relative_to(SOURCE).with_suffix("").as_posix()
        for path in SOURCE.rglob("*.ipynb")
        if not any(part.startswith((".", "_")) for part in path.relative_to(SOURCE).parts)
    ]
    assert sorted(set(written) - set(PAGES)) == []


def test_no_page_has_a_problem(site: Path) -> None:
    """Alt text, requests to other hosts, visible directives or marks, folders of this machine, broken links."""
    problems = audit.site_problems(site, TOC)
    assert not problems, "\n" + "\n".join(map(str, problems))


def test_a_second_build_does_nothing(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert builder.build(SOURCE, TOC, OUT) == 0
    assert "up to date" in capsys.readouterr().out


def test_a_build_waits_for_another_in_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    def slow(*given: Any) -> int:
        log.append("begins")
        time.sleep(0.3)
        log.append("ends")
        return 0

    monkeypatch.setattr(builder, "_build", slow)
    with ThreadPoolExecutor(2) as team:
        assert list(team.map(lambda _: builder.build(SOURCE, TOC, tmp_path / "site"), range(2))) == [0, 0]
    assert log == ["begins", "ends"] * 2


def test_what_chapters_train_is_no_part_of_the_site(tmp_path: Path) -> None:
    for name in ("page.md", "models/breeds/README.md", ".course/quick-test/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# A page")
    assert [path for path in builder.inputs(tmp_path, TOC) if tmp_path in path.parents] == [tmp_path / "page.md"]


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_launch_buttons_lead_to_files_of_the_tree(soups: dict[str, Any], page: str) -> None:
    own = builder.settings()
    links = [a["href"] for a in soups[page].select(".dropdown-launch-buttons a[href]")]
    colab = [link for link in links if link.startswith("https://colab.research.google.com/github/")]
    binder = [link for link in links if link.startswith("https://mybinder.org/")]
    assert len(colab) == 1 and len(binder) == 1
    start = f"https://colab.research.google.com/github/{own['user']}/{own['repo']}/blob/{own['branch']}/"
    assert colab[0].startswith(start) and (ROOT / colab[0].removeprefix(start)).is_file()
    start = f"https://mybinder.org/v2/gh/{own['user']}/{own['repo']}/{own['branch']}?urlpath=lab/tree/"
    assert binder[0].startswith(start) and (ROOT / binder[0].removeprefix(start)).is_file()


def test_source_links_lead_to_files_of_the_tree(soups: dict[str, Any]) -> None:
    start = f"{builder.repository()}/blob/{builder.settings()['branch']}/"
    for page, soup in soups.items():
        for link in {a["href"].split("#")[0] for a in soup.select("article a[href]") if a["href"].startswith(start)}:
            assert (ROOT / link.removeprefix(start)).is_file(), f"{page} links to {link}"


def test_every_exported_name_has_a_card_and_a_line_in_the_index(soups: dict[str, Any]) -> None:
    registry = read_registry(SOURCE, ROOT)
    assert registry.names
    index = {a["href"] for a in soups["api"].select("a.api-name")}
    for full, definition in registry.names.items():
        if definition.page not in soups:
            continue
        card = soups[definition.page].find(id=full)
        assert card is not None and card.name == "details", f"{full} has no card on {definition.page}"
        assert f"{definition.page}.html#{full}" in index, f"{full} is not in the index"
        assert card.select_one(f'a[href*="api.html#module-{definition.module}"]'), (
            f"the card of {full} does not lead to the index"
        )


def test_chapters_and_modules_lead_to_each_other(soups: dict[str, Any]) -> None:
    registry = read_registry(SOURCE, ROOT)
    for module, page in registry.pages.items():
        if page not in soups or not registry.of_module(module):
            continue
        assert soups[page].select_one(f'.chapter-module a[href*="api.html#module-{module}"]'), (
            f"{page} does not lead to the names of {module}"
        )
        assert soups["api"].select_one(f'a[href="{page}.html"]'), f"the index does not lead to {page}"


def test_backticked_names_are_links(soups: dict[str, Any]) -> None:
    linked = sum(len(soup.select("a.api-link")) for soup in soups.values())
    assert linked > len(NOTEBOOKS), "hardly any name in prose is linked to its card"


def test_the_scoreboard_lists_every_system(soups: dict[str, Any]) -> None:
    for number in range(1, 34):
        assert soups["scoreboard"].find(id=f"system-{number}"), f"system {number} is not on the Scoreboard"


def test_no_claim_is_left_as_a_comment(soups: dict[str, Any]) -> None:
    for page, soup in soups.items():
        assert not re.search(r"<!--\s*(record|seed|by hand)", str(soup.select_one("article"))), page


def test_vendored_software_brings_its_license() -> None:
    for folder in (p for p in (ROOT / "book" / "_static" / "vendor").iterdir() if p.is_dir()):
        assert (folder / "LICENSE").is_file(), f"{folder.name} has no LICENSE"


# --- in a browser ---------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The site served on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser(start_browser: Any) -> Iterator[Any]:
    started = start_browser()
    yield started
    started.close()


class Watched:
    """A browser page that can reach this machine only, and what went wrong in it."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.foreign: list[str] = []
        self.errors: list[str] = []
        own = urlsplit(address).netloc

        def handle(route: Any) -> None:
            url = route.request.url
            if urlsplit(url).netloc == own or url.startswith(("data:", "blob:")):
                route.continue_()
            else:
                self.foreign.append(url)
                route.abort()

        self.context.route("**/*", handle)
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, url: str) -> Any:
        self.page.goto(url, wait_until="networkidle")
        return self.page


@pytest.fixture
def desktop(browser: Any, address: str) -> Iterator[Watched]:
    watched = Watched(browser, address, viewport={"width": 1400, "height": 900}, color_scheme="light")
    yield watched
    watched.context.close()


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
UNSET = "[...document.querySelectorAll('article .math')].filter(e => !e.querySelector('mjx-container')).length"
FORMULAS = "() => !document.querySelector('.math') || document.querySelector('mjx-container')"


@pytest.mark.browser
@pytest.mark.parametrize("page", PAGES)
def test_a_page_in_the_browser(desktop: Watched, address: str, page: str) -> None:
    """No request to another host, no error, formulas set, pictures loaded and described, nothing wider than the screen."""
    shown = desktop.open(f"{address}/{page}.html")
    shown.wait_for_function(FORMULAS, timeout=20_000)
    assert desktop.foreign == [], "the page asks other hosts"
    assert desktop.errors == [], "the console has errors"
    assert shown.locator("[data-mml-node=merror]").count() == 0, "a formula could not be set"
    assert shown.evaluate(UNSET) == 0, "a formula was not set"
    pictures = shown.evaluate(
        "[...document.images].map(i => [i.getAttribute('src'), i.alt.trim(), i.loading === 'lazy' || i.naturalWidth > 0])"
    )
    assert [src for src, alt, _ in pictures if not alt] == [], "pictures without alt text"
    assert [src for src, _, loaded in pictures if not loaded] == [], "pictures that did not load"
    assert not audit.DIRECTIVE_LINE.search(shown.inner_text("article"))
    for width in (1400, 400):
        shown.set_viewport_size({"width": width, "height": 900})
        assert shown.evaluate(OVERFLOW) <= 0, f"the page is wider than a screen of {width} px"
    shown.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert shown.evaluate(OVERFLOW) <= 0, "opened answers and cards are wider than a screen of 400 px"


def brightness(color: str) -> float:
    """Mean of the three channels of `rgb(r, g, b)`."""
    return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3


@pytest.mark.browser
def test_light_and_dark(desktop: Watched, address: str) -> None:
    shown = desktop.open(f"{address}/index.html")
    seen = {}
    for _ in range(4):
        seen[shown.evaluate("document.documentElement.dataset.theme")] = brightness(
            shown.evaluate("getComputedStyle(document.body).backgroundColor")
        )
        shown.locator(".theme-switch-button:visible").first.click()
        shown.wait_for_timeout(250)
    assert seen["light"] > 200 and seen["dark"] < 60, seen


@pytest.mark.browser
def test_the_dark_scheme_of_the_machine_is_followed(browser: Any, address: str) -> None:
    watched = Watched(browser, address, viewport={"width": 400, "height": 800}, color_scheme="dark")
    shown = watched.open(f"{address}/index.html")
    assert brightness(shown.evaluate("getComputedStyle(document.body).backgroundColor")) < 60
    watched.context.close()


@pytest.mark.browser
def test_search_finds_a_function(desktop: Watched, address: str) -> None:
    shown = desktop.open(f"{address}/search.html?q=write_atomically")
    shown.wait_for_selector("#search-results li a", timeout=20_000)
    found = [a.get_attribute("href") for a in shown.locator("#search-results li a").all()]
    assert any("workshop/01_run.html" in (link or "") for link in found), found
    assert desktop.foreign == [] and desktop.errors == []


@pytest.mark.browser
def test_a_link_to_a_card_opens_it(desktop: Watched, address: str) -> None:
    shown = desktop.open(f"{address}/api.html")
    link = shown.locator("a.api-name").first
    name = (link.get_attribute("href") or "").split("#")[1]
    link.click()
    shown.wait_for_load_state("networkidle")
    assert shown.evaluate("name => document.getElementById(name).open", name)
