"""Build the course's site: `python book/build.py [--out DIR] [--source DIR] [--toc FILE] [--fresh]`.

Nothing is executed: pages show the outputs that the notebooks hold. Any warning, any page of the table of contents that is
missing, any image without alt text and any request to another host is an error. Where nothing has changed, nothing is done.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import hashlib
import io
import shutil
import sys
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
SHIPPED = ROOT / "pets_learn" / "shipped" / "breeds"  # the model of the page "Try it"; a site without it builds, and says so
sys.path.insert(0, str(BOOK / "_ext"))

from audit import pages_of_toc, site_problems  # noqa: E402
from shipped import FILES  # noqa: E402

TOOLS = ("sphinx", "jupyter-book", "myst-nb", "myst-parser", "sphinx-book-theme", "pydata-sphinx-theme", "sphinxcontrib-bibtex")


def settings(root: Path = ROOT) -> dict[str, str]:
    """The values of settings.ini."""
    parser = configparser.ConfigParser()
    parser.read(root / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def inputs(source: Path, toc: Path) -> list[Path]:
    """Every file that the site is made from."""
    own = [
        p for p in BOOK.rglob("*") if p.is_file() and "_build" not in p.relative_to(BOOK).parts and "__pycache__" not in p.parts
    ]
    pages = [
        p
        for kind in ("*.ipynb", "*.md", "*.png", "*.svg", "*.jpg")
        for p in source.rglob(kind)
        if not any(part.startswith(".") or part == "models" for part in p.relative_to(source).parts)  # what chapters train
    ]
    modules = list((ROOT / "pets_learn").rglob("*.py"))
    model = [SHIPPED / name for name in FILES if (SHIPPED / name).is_file()]
    return sorted({*own, *pages, *modules, *model, toc, ROOT / "settings.ini"})


def digest(paths: Iterable[Path]) -> str:
    """A digest of the files' names and contents and of the tools' versions."""
    total = hashlib.sha256(" ".join(f"{tool} {metadata.version(tool)}" for tool in TOOLS).encode())
    for path in paths:
        total.update(str(path).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def makers(toc: Path) -> list[Path]:
    """The files that say how every page is made: where one changes, all pages are made again."""
    return sorted(
        {
            BOOK / "build.py",
            BOOK / "_config.yml",
            BOOK / "references.bib",
            toc,
            ROOT / "settings.ini",
            *(BOOK / "_ext").glob("*.py"),
        }
    )


def missing_pages(source: Path, toc: Path) -> list[str]:
    """Pages of the table of contents that have no notebook and no Markdown file."""
    return [page for page in pages_of_toc(toc) if not any((source / f"{page}{end}").is_file() for end in (".ipynb", ".md"))]


def repository(root: Path = ROOT) -> str:
    """The address of the repository on the git host, from settings.ini."""
    own = settings(root)
    return own["git_url"]


def sphinx_settings(source: Path, toc: Path, results: Path) -> dict[str, Any]:
    """Jupyter Book's configuration of Sphinx from _config.yml, completed by settings.ini and the folders."""
    import yaml
    from jupyter_book.config import get_final_config

    own = settings()
    asked = yaml.safe_load((BOOK / "_config.yml").read_text(encoding="utf-8"))
    asked["repository"] = {"url": repository(), "branch": own["branch"], "path_to_book": own["nbs_path"]}
    theme = asked["sphinx"]["config"].pop("html_theme_options")
    config, _ = get_final_config(
        user_yaml=asked, cli_config={"latex_individualpages": False}, sourcedir=source, validate=True, raise_on_invalid=True
    )
    config.pop("comments_config", None)  # of sphinx_comments, which is not used
    return config | {
        "project": own["title"],
        "html_theme_options": config["html_theme_options"] | theme,
        "html_static_path": [str(BOOK / "_static")],
        "html_favicon": str(BOOK / "_static" / "paw.svg"),
        "html_logo": str(BOOK / "_static" / "paw.svg"),
        "bibtex_bibfiles": [str(BOOK / "references.bib")],
        "external_toc_path": str(toc),
        "course": {
            "root": str(ROOT),
            "results": str(results),
            "seeds": str(BOOK / "seeds.yml"),
            "shipped": str(SHIPPED),
            "repository": repository(),
            "branch": own["branch"],
        },
    }


def run_sphinx(source: Path, html: Path, doctrees: Path, config: dict[str, Any]) -> tuple[int, str]:
    """Build the pages; the status and every warning. Nothing of the source folder is changed."""
    from sphinx.application import Sphinx
    from sphinx.util.console import nocolor
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    nocolor()
    warnings = io.StringIO()
    with patch_docutils(str(source)), docutils_namespace():
        app = Sphinx(
            srcdir=str(source),
            confdir=None,
            outdir=str(html),
            doctreedir=str(doctrees),
            buildername="html",
            confoverrides=config,
            status=None,
            warning=warnings,
            parallel=1,
        )
        app.build()
        return app.statuscode, warnings.getvalue()


def build(source: Path, toc: Path, out: Path, fresh: bool = False, results: Path = BOOK / "results") -> int:
    """Build the site into `out/html`; 0 when it is complete and clean, 1 otherwise. Another build there is waited for."""
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / ".lock"):
        return _build(source, toc, out, fresh, results)


def _build(source: Path, toc: Path, out: Path, fresh: bool, results: Path) -> int:
    started = time.perf_counter()
    html, doctrees, seal, maker = out / "html", out / ".doctrees", out / ".digest", out / ".makers"
    if absent := missing_pages(source, toc):
        print(f"the table of contents names pages that do not exist: {', '.join(absent)}", file=sys.stderr)
        return 1
    now = digest([*inputs(source, toc), *sorted(results.glob("*.json"))])
    if not fresh and seal.is_file() and seal.read_text(encoding="utf-8") == now and (html / "index.html").is_file():
        print(f"site is up to date: {html / 'index.html'}")
        return 0
    seal.unlink(missing_ok=True)
    made_by = digest(makers(toc))
    if fresh or not (maker.is_file() and maker.read_text(encoding="utf-8") == made_by):
        for folder in (html, doctrees):
            shutil.rmtree(folder, ignore_errors=True)
    maker.write_text(made_by, encoding="utf-8")
    print(f"building {len(pages_of_toc(toc))} pages", flush=True)
    try:
        status, warnings = run_sphinx(source, html, doctrees, sphinx_settings(source, toc, results))
    except Exception as error:
        shutil.rmtree(doctrees, ignore_errors=True)
        print(f"the build stopped: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    problems = [line for line in warnings.splitlines() if line.strip()]
    problems += [str(problem) for problem in site_problems(html, toc)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if status or problems:
        shutil.rmtree(doctrees, ignore_errors=True)  # else the next build would pass over the pages that are wrong
        print(f"the site is not clean: {len(problems)} problem{'' if len(problems) == 1 else 's'}", file=sys.stderr)
        return 1
    seal.write_text(now, encoding="utf-8")
    print(f"site built in {time.perf_counter() - started:.0f} s: {html / 'index.html'}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the course's site from its notebooks, without running them.")
    parser.add_argument("--out", type=Path, default=BOOK / "_build", help="folder for the site (default: book/_build)")
    parser.add_argument("--source", type=Path, default=ROOT / "nbs", help="folder of notebooks and pages (default: nbs)")
    parser.add_argument("--toc", type=Path, default=BOOK / "_toc.yml", help="table of contents (default: book/_toc.yml)")
    parser.add_argument("--results", type=Path, default=BOOK / "results", help="folder of records (default: book/results)")
    parser.add_argument("--fresh", action="store_true", help="build everything again")
    given = parser.parse_args(arguments)
    with contextlib.suppress(BrokenPipeError):
        return build(given.source.resolve(), given.toc.resolve(), given.out.resolve(), given.fresh, given.results.resolve())
    return 1


if __name__ == "__main__":
    sys.exit(main())
