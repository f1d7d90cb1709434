"""The site's extension: nbdev's directives, API cards, alt texts, the Scoreboard's lines, and a small book built end to end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]

pytest.importorskip("sphinx", reason="the site's tools are not installed: pip install -e .[course,dev]")

import audit  # noqa: E402
import build as site  # noqa: E402
import definitions as api  # noqa: E402
import nbdev_cells as cells  # noqa: E402
import pictures  # noqa: E402
import records as rec  # noqa: E402
import scoreboard as board  # noqa: E402
import transform  # noqa: E402

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def code(source: str, outputs: list | None = None, **metadata: object) -> dict:
    return {
        "cell_type": "code",
        "id": "c0ffee",
        "source": source,
        "outputs": outputs or [],
        "metadata": metadata,
        "execution_count": None,
    }


def prose(source: str) -> dict:
    return {"cell_type": "markdown", "id": "feed", "source": source, "metadata": {}}


def notebook(*parts: dict) -> dict:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": [{**p, "id": f"cell{i}"} for i, p in enumerate(parts)],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def picture(alt: str | None = None) -> dict:
    return {
        "output_type": "display_data",
        "data": {"image/png": PIXEL, "text/plain": "<Figure>"},
        "metadata": {"image/png": {"alt": alt}} if alt else {},
    }


# --- directives -----------------------------------------------------------------------------------------------------


def test_directives_at_the_head_are_split_off() -> None:
    found, rest = cells.split_directives("#| export\n# | echo: false\n\nx = 1\n#| not one")
    assert [str(d) for d in found] == ["export", "echo:false"]
    assert rest == "x = 1\n#| not one"


def test_a_cell_of_directives_alone_is_empty() -> None:
    assert cells.split_directives("#| default_exp run\n") == ([cells.Directive("default_exp", "run")], "")


@given(st.text())
def test_code_without_directives_is_left_alone(source: str) -> None:
    found, rest = cells.split_directives("x = 0\n" + source)
    assert not found and rest == "x = 0\n" + source


@pytest.mark.parametrize(
    ("source", "hidden"), [("#| hide\nx", True), ("#| include: false\nx", True), ("#| hide_input\nx", False), ("x", False)]
)
def test_hidden_cells(source: str, hidden: bool) -> None:
    assert cells.is_hidden(cells.split_directives(source)[0]) is hidden


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        ("#| hide_input\nx", ["remove-input"]),
        ("#| echo: false\nx", ["remove-input"]),
        ("#| output: false\nx", ["remove-output"]),
        ("#| echo: true\nx", []),
        ("#| slow\nx", []),
    ],
)
def test_display_tags(source: str, tags: list[str]) -> None:
    assert cells.display_tags(cells.split_directives(source)[0]) == tags


@pytest.mark.parametrize(
    ("source", "folded"),
    [
        ("x = 2\ntest_eq(x, 2)\nassert x", True),
        ("x = 2\nassert_allclose(x, 2)\nnp.testing.assert_equal(x, 2)", True),
        ("for x in (1, 2):\n    if x:\n        assert x", True),
        ("with ExceptionExpected(BadSetting, 'at least one'):\n    f()\n    g()", True),
        ("with tempfile.TemporaryDirectory() as folder:\n    x = 2\n    test_eq(x, 2)", True),
        ("assert x\nassert y", False),  # short: as tall as the line that would hide it
        ("x = 2\ny = 3\nprint(x)", False),
        ("def f(): return 2\n\nassert f()\nassert f() == 2", False),
        ("class Spoil:\n    def f(self):\n        assert self", False),
        ("import numpy as np\nassert np\nassert np.pi", False),
        ("%matplotlib inline\nassert x\nassert y", False),
        ("tests = latest()\nrun(tests)\nshow(tests)", False),
    ],
)
def test_cells_that_only_check_are_folded(source: str, folded: bool) -> None:
    assert cells.only_checks(source, []) == folded
    assert not cells.only_checks(source, [{"output_type": "stream", "name": "stdout", "text": "seen"}])
    [shown] = transform.shown_code_cell(code(source), None, "pets/02_cnn")
    assert ("hide-input" in shown["metadata"].get("tags", [])) == folded
    assert (shown["metadata"].get("mystnb", {}).get("code_prompt_show") == "Show the tests") == folded
    if folded:
        library = transform.shown_code_cell(code(f"#| export\n{source}"), "pets.cnn", "pets/02_cnn")[0]
        assert "hide-input" not in library["metadata"]["tags"]


def test_export_targets() -> None:
    def target(source: str) -> str | None:
        return cells.export_target(cells.split_directives(source)[0], "pets.cnn")

    assert target("#| export\nx") == "pets.cnn"
    assert target("#| export other\nx") == "other"
    assert target("#| eval: false\nx") is None


def test_widgets_leave_their_static_fallback() -> None:
    widget = {"output_type": "display_data", "data": {cells.WIDGET: {}, "text/plain": "interactive(...)"}, "metadata": {}}
    kept, found = cells.without_widgets([widget, picture("A frame")])
    assert found and [list(o["data"]) for o in kept] == [["image/png", "text/plain"]]
    both = {**widget, "data": {cells.WIDGET: {}, "image/png": PIXEL}}
    assert list(cells.without_widgets([both])[0][0]["data"]) == ["image/png"]


def test_markdown_that_begins_with_a_rule_is_mended() -> None:
    output = {"output_type": "display_data", "data": {"text/markdown": ["---\n", "### f\n"]}, "metadata": {}}
    assert cells.mended_markdown([output])[0]["data"]["text/markdown"] == "### f\n"
    assert output["data"]["text/markdown"][0] == "---\n", "the notebook itself must not change"


# --- names and docments ---------------------------------------------------------------------------------------------

SOURCE = '''
class SplitError(Exception): "A split that cannot be made."
class LateError(SplitError): "Below it."
def split(
    root: Path,          # Folder of the photos
    share: float = 0.7,  # Part for training, in (0, 1)
    # Any integer,
    # or None
    seed: int | None = None,
    *names: str,         # More
    strict: bool = True, # Raise?
) -> dict[str, int]:     # Counts
    """Split a folder. Raises `SplitError`.

    More words.
    """
@dataclass
class Folder:
    "What is there."
    root: Path       # Where
    count: int = 0   # Photos
    _cache: int = 0
    def describe(self, long: bool = False) -> str: "One sentence."
    def _secret(self): ...
LIMIT = 3 # Most
_private = 1
'''


@pytest.fixture
def found() -> dict[str, api.Definition]:
    names = {d.full_name: d for d in api.definitions_in(SOURCE, "pets_learn.pets.dataset", "pets/01_dataset")}
    return {d.name: d for d in api.with_errors_marked(names).values()}


def test_public_names_and_kinds(found: dict[str, api.Definition]) -> None:
    assert {name: d.kind for name, d in found.items()} == {
        "SplitError": "error",
        "LateError": "error",
        "split": "function",
        "Folder": "class",
        "LIMIT": "value",
    }


def test_docments(found: dict[str, api.Definition]) -> None:
    rows = {p.name: (p.type, p.default, p.comment) for p in found["split"].parameters}
    assert rows == {
        "root": ("Path", None, "Folder of the photos"),
        "share": ("float", "0.7", "Part for training, in (0, 1)"),
        "seed": ("int | None", "None", "Any integer, or None"),
        "*names": ("str", None, "More"),
        "strict": ("bool", "True", "Raise?"),
    }
    assert found["split"].returns == api.Parameter("returns", "dict[str, int]", None, "Counts")
    assert (found["split"].brief, found["split"].rest) == ("Split a folder.", "Raises `SplitError`.\n\nMore words.")
    assert found["split"].signature == "split(root, share=0.7, seed=None, *names, strict=True)"


def test_classes(found: dict[str, api.Definition]) -> None:
    folder = found["Folder"]
    assert [(p.name, p.comment) for p in folder.parameters] == [("root", "Where"), ("count", "Photos")]
    assert [m.signature for m in folder.methods] == ["describe(long=False)"]


def test_docments_agree_with_fastcore() -> None:
    """The parser of this site reads what nbdev's own reads, for the library's functions as they are."""
    docments = pytest.importorskip("fastcore.docments").docments
    from pets_learn import run

    source, compared = Path(run.__file__).read_text(encoding="utf-8"), 0
    for definition in api.definitions_in(source, "pets_learn.run", "workshop/01_run"):
        if definition.kind != "function":
            continue
        theirs = docments(getattr(run, definition.name))
        for parameter in definition.parameters:
            if parameter.name.startswith("*"):
                continue  # fastcore reads no docments of these
            assert parameter.comment == " ".join((theirs.get(parameter.name) or "").split()), (
                f"{definition.name}({parameter.name})"
            )
            compared += 1
    assert compared > 10


@pytest.fixture
def registry(found: dict[str, api.Definition]) -> api.Registry:
    other = api.Definition("split", "function", "pets_learn.toys", "workshop/03_toys")
    return api.Registry(
        {d.full_name: d for d in [*found.values(), other]},
        {"pets_learn.pets.dataset": "pets/01_dataset", "pets_learn.toys": "workshop/03_toys"},
    )


@pytest.mark.parametrize(
    ("text", "module", "full"),
    [
        ("Folder", None, "pets_learn.pets.dataset.Folder"),
        ("Folder()", None, "pets_learn.pets.dataset.Folder"),
        ("pets.dataset.Folder", None, "pets_learn.pets.dataset.Folder"),
        ("pets_learn.toys", None, "pets_learn.toys"),
        ("split", None, None),
        ("split", "pets_learn.toys", "pets_learn.toys.split"),
        ("toys.split(x)", None, "pets_learn.toys.split"),
        ("Folder.describe", None, "pets_learn.pets.dataset.Folder"),
        ("Folder.nothing", None, None),
        ("nothing", None, None),
        ("a b", None, None),
        ("x = Folder", None, None),
        ("", None, None),
    ],
)
def test_names_in_prose_are_resolved(registry: api.Registry, text: str, module: str | None, full: str | None) -> None:
    assert registry.resolve(text, module) == full


@given(st.text())
def test_no_prose_breaks_the_resolver(text: str) -> None:
    assert api.Registry({}, {}).resolve(text) is None


# --- pictures -------------------------------------------------------------------------------------------------------


def test_alt_text_of_the_output_wins_over_the_cell() -> None:
    cell = code("plot()", [picture("Its own words"), picture()], mystnb={"image": {"alt": "The cell's words"}})
    assert pictures.alt_texts(cell) == ["Its own words", "The cell's words"]
    assert pictures.pictures_without_alt(cell) == []


def test_pictures_without_words_are_found() -> None:
    html = {
        "output_type": "display_data",
        "data": {"text/html": "<img src='a.png' alt=''><img alt='A cat' src='b.png'>"},
        "metadata": {},
    }
    problems = pictures.pictures_without_alt(code("plot()", [picture(), html]))
    assert len(problems) == 2 and "display_figure" in problems[0] and "a.png" in problems[1]


# --- the notebook a reader sees -------------------------------------------------------------------------------------


def shown(*parts: dict) -> tuple[list[dict], list[str]]:
    problems: list[str] = []
    result = transform.shown_notebook(notebook(*parts), "pets/02_cnn", str.upper, problems.append)
    return result["cells"], problems


def test_the_whole_transformation() -> None:
    result, problems = shown(
        prose("# Title"),
        code("#| default_exp pets.cnn"),
        code("#| hide\nx"),
        code("#| export\ndef f(): 'One.'"),
        code("#| slow\nf()", [picture()]),
    )
    assert [c["source"] for c in result] == ["# TITLE", "def f(): 'One.'", "```{api-card} pets_learn.pets.cnn.f\n```", "f()"]
    assert result[1]["metadata"]["tags"] == ["library"] and result[1]["metadata"]["course"]["module"] == "pets_learn.pets.cnn"
    assert len(problems) == 1 and problems[0].startswith("cell 4")


def test_a_name_defined_twice_has_one_card_after_the_last() -> None:
    result, _ = shown(code("#| default_exp a"), code("#| export\ndef f(): ..."), code("#| export\ndef f(x): ..."))
    assert [c["source"][:12] for c in result] == ["def f(): ...", "def f(x): ..."[:12], "```{api-card"]


def test_a_chapter_s_reading_list_is_plain() -> None:
    text = "## References\n\n```{bibliography}\n:filter: docname in docnames\n```\n"
    assert transform.with_plain_reading_list(text) == text.replace(":filter:", ":list: bullet\n:filter:")
    listed = "```{bibliography}\n:style: plain\n:list: enumerated\n```\n"
    assert transform.with_plain_reading_list(listed) == listed


def test_private_exports_have_no_card() -> None:
    result, _ = shown(code("#| default_exp a"), code("#| export\ndef _f(): ..."), code("#| exporti\ndef g(): ..."))
    assert not any("api-card" in c["source"] for c in result)


# --- records and the Scoreboard -------------------------------------------------------------------------------------


def figure(mean: float, **more: object) -> dict:
    return {
        "mean": mean,
        "min": mean,
        "max": mean,
        "n": 1,
        "unit": "share",
        "better": "higher",
        "seed_figure": None,
        "seed_row": None,
    } | more


@pytest.fixture
def measured() -> dict[str, rec.Record]:
    data = {"name": "mnist", "items": 70000, "complete": True}
    figures = {
        "accuracy": figure(0.951, seed_figure=0.9427, seed_row=22, n=3, min=0.95, max=0.952),
        "speed": figure(1.8, unit="ratio", versus="torch"),
    }
    return {
        "foundations-network.laptop": {
            "chapter": "foundations/network",
            "scale": "laptop",
            "data": data,
            "figures": figures,
            "seconds": 12.5,
        }
    }


def test_looking_up(measured: dict[str, rec.Record]) -> None:
    assert rec.look_up(measured, "foundations-network.laptop", "accuracy.mean") == 0.951
    assert rec.look_up(measured, "foundations-network.laptop", "data.items") == 70000
    assert rec.look_up(measured, "foundations-network.laptop", "seconds") == 12.5
    for name, field in [
        ("nothing", "accuracy.mean"),
        ("foundations-network.laptop", "loss.mean"),
        ("foundations-network.laptop", "accuracy.median"),
    ]:
        with pytest.raises(rec.UnknownFigure, match=r"there (is|are)|has no"):
            rec.look_up(measured, name, field)


def test_broken_records_are_named(tmp_path: Path) -> None:
    (tmp_path / "a-b.laptop.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"a-b\.laptop\.json"):
        rec.load_records(tmp_path)
    (tmp_path / "a-b.laptop.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="chapter"):
        rec.load_records(tmp_path)


def test_all_33_systems_are_listed() -> None:
    seeds = rec.load_seeds(ROOT / "book" / "seeds.yml")
    assert [row["number"] for row in seeds] == list(range(1, 34))
    for row in seeds:
        assert (
            row["title"]
            and row["system"]
            and row["chapter"].count("/") == 1
            and set(row["seed"].split(", ")) <= {"000", "001", "002", "003", "004"}
        )
        ids = [f["id"] for f in row.get("figures", [])]
        assert len(ids) == len(set(ids))
        for f in row.get("figures", []):
            assert f["name"] and f["better"] in ("higher", "lower", "equal") and isinstance(f["value"], int | float)
            assert f["unit"] != "share" or 0 <= f["value"] <= 1


def test_scoreboard_lines(measured: dict[str, rec.Record]) -> None:
    found = board.systems(rec.load_seeds(ROOT / "book" / "seeds.yml"), measured)
    assert board.coverage(found) == "1 of 33 systems have at least one recorded figure."
    line = found[21].lines[0]
    assert line.ours[0].figure["mean"] == 0.951 and board.ratio(line.ours[0].figure, line.seed) == pytest.approx(0.951 / 0.9427)
    assert board.verdict(line.ours[0].figure, line.seed) == "better"
    assert [o.name for o in board.other_figures(measured)] == ["speed"]
    assert board.range_in_words(line.ours[0].figure) == "95.0 to 95.2, 3 runs"


def test_a_record_for_a_row_that_does_not_exist_is_an_error(measured: dict[str, rec.Record]) -> None:
    measured["foundations-network.laptop"]["figures"]["accuracy"]["seed_row"] = 99
    with pytest.raises(ValueError, match="row 99"):
        board.systems(rec.load_seeds(ROOT / "book" / "seeds.yml"), measured)


def test_a_figure_in_another_unit_has_no_ratio() -> None:
    assert board.ratio(figure(95.1, unit="percent"), {"value": 0.9427, "unit": "share"}) is None


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.9427, "share", "94.27 %"),
        (0.3, "share", "30.0 %"),
        (9494561, "parameters", "9,494,561 parameters"),
        (37.75, "s", "37.75 s"),
        (0.8784, "", "0.8784"),
        (2, "ratio", "2"),
    ],
)
def test_numbers_in_words(value: float, unit: str, words: str) -> None:
    assert board.number_in_words(value, unit) == words


def test_pages_of_chapters() -> None:
    assert board.page_of("pets/cnn", ["index", "pets/02_cnn"]) == "pets/02_cnn"
    assert board.page_of("pets/breeds", ["index", "pets/02_cnn"]) is None


# --- checks on finished pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ("<img src='a.png'>", "alt text"),
        ("<img src='a.png' alt=' '>", "alt text"),
        ("<script src='https://cdn.example/x.js'></script>", "another host"),
        ("<link rel='stylesheet' href='//fonts.example/a.css'>", "another host"),
        ("<pre>#| export\nx = 1</pre>", "directive"),
        ("<pre>/root/course/nbs</pre>", "machine"),
        ("<p>&lt;!-- record a b c --&gt;</p>", "mark"),
    ],
)
def test_bad_pages_are_found(html: str, problem: str) -> None:
    assert [p for p in audit.page_problems("x.html", audit.read_page(html)) if problem in p.text]


@pytest.mark.parametrize(
    "html",
    [
        "<img src='a.png' alt='A cat'>",
        "<a href='https://example.org'>x</a>",
        "<link rel='canonical' href='https://a.b/'>",
        "<script>// #| export</script>",
        "<p>a #| b</p>",
    ],
)
def test_good_pages_pass(html: str) -> None:
    assert audit.page_problems("x.html", audit.read_page(html)) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<p id='here'></p><a href='#here'>1</a><a href='b.html#x'>2</a><a href='c.html'>3</a><a href='https://x.y'>4</a>",
        encoding="utf-8",
    )
    (tmp_path / "b.html").write_text("<p id='y'></p>", encoding="utf-8")
    assert sorted(p.text for p in audit.broken_links(tmp_path, audit.read_site(tmp_path))) == [
        "link to b.html#x, and the page has no such place",
        "link to c.html, which does not exist",
    ]


# --- a small book, built ---------------------------------------------------------------------------------------------


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "nbs" / "pets").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    chapter = notebook(
        prose("# Chapter\n\n> A promise."),
        code("#| default_exp pets.standin"),
        code(
            "#| export\ndef resize(\n    side: int = 150, # Pixels\n) -> int: # Pixels too\n"
            '    "Resize. Raises `ValueError`."\n    return side'
        ),
        prose("Call `resize` on $x^2$ pixels: 87.0 %<!-- record pets-standin.laptop accuracy.mean .1% --> are right."),
        code("#| hide_input\nplot()", [picture("A gray pixel, as small as can be")]),
    )
    (tmp_path / "nbs" / "pets" / "01_standin.ipynb").write_text(json.dumps(chapter), encoding="utf-8")
    (tmp_path / "nbs" / "index.md").write_text(
        "# Home\n\nSee `pets.standin.resize()` and {chapter}`pets/standin`.\n\n```{scoreboard}\n```\n", encoding="utf-8"
    )
    (tmp_path / "nbs" / "api.md").write_text("# Names\n\n```{api-index}\n```\n", encoding="utf-8")
    (tmp_path / "toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n- file: pets/01_standin\n- file: api\n", encoding="utf-8"
    )
    record = {
        "chapter": "pets/standin",
        "scale": "laptop",
        "data": {"name": "d", "items": 2, "complete": True},
        "figures": {"accuracy": figure(0.91)},
    }
    (tmp_path / "results" / "pets-standin.laptop.json").write_text(json.dumps(record), encoding="utf-8")
    return tmp_path


def make(book: Path) -> int:
    return site.build(book / "nbs", book / "toc.yml", book / "out", results=book / "results")


def test_a_small_book(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(book) == 0, capsys.readouterr().err
    soup = pytest.importorskip("bs4").BeautifulSoup
    page = soup((book / "out/html/pets/01_standin.html").read_text(encoding="utf-8"), "html.parser")
    assert page.select_one("blockquote.promise").get_text(strip=True) == "A promise."
    claim = page.select_one(".claim-record")
    assert claim.get_text() == "91.0 %" and "pets-standin.laptop" in claim["title"], (
        "the record's value replaces the one in the text"
    )
    card = page.select_one("details.api-card")
    assert card["id"] == "pets_learn.pets.standin.resize" and "Pixels too" in card.get_text()
    assert page.select_one(".library-label a")["href"].endswith("/pets_learn/pets/standin.py")
    assert page.select_one(".cell_output img")["alt"] == "A gray pixel, as small as can be"
    assert "#|" not in page.select_one("article").get_text() and "plot()" not in page.get_text()
    home = soup((book / "out/html/index.html").read_text(encoding="utf-8"), "html.parser")
    assert home.select_one("a.api-link")["href"] == "pets/01_standin.html#pets_learn.pets.standin.resize"
    assert "0 of 33" in home.get_text() and "missing" in home.get_text()
    index = soup((book / "out/html/api.html").read_text(encoding="utf-8"), "html.parser")
    assert index.select_one("a.api-name")["href"] == "pets/01_standin.html#pets_learn.pets.standin.resize"
    assert make(book) == 0 and "up to date" in capsys.readouterr().out


def test_a_new_record_reaches_the_page(book: Path) -> None:
    assert make(book) == 0
    path = book / "results" / "pets-standin.laptop.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.91", "0.92"), encoding="utf-8")
    assert make(book) == 0
    assert "92.0 %" in (book / "out/html/pets/01_standin.html").read_text(encoding="utf-8")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("A gray pixel, as small as can be", "", "no alt text"),
        ("accuracy.mean", "loss.mean", "has no 'loss.mean'"),
        ("pets-standin.laptop accuracy", "pets-none.laptop accuracy", "there is no record"),
        ("Call `resize`", "See [x](nowhere.md)", "nowhere.md"),
    ],
)
def test_what_breaks_a_build_breaks_it_twice(
    book: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    edit(book / "nbs/pets/01_standin.ipynb", old, new)
    for _ in range(2):
        assert make(book) == 1
        assert said in capsys.readouterr().err


def test_a_page_missing_from_the_tree_breaks_the_build(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(book / "toc.yml", "- file: api", "- file: nowhere")
    assert make(book) == 1
    assert "nowhere" in capsys.readouterr().err
