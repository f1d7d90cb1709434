"""Numbers in prose: the marked ones say what their records say, and no sentence claims a result without a source."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

pytest.importorskip("yaml", reason="the site's tools are not installed: pip install -e .[course,dev]")

import claims  # noqa: E402
import records as rec  # noqa: E402

RECORDS = {
    "pets-cnn.laptop": {
        "chapter": "pets/cnn",
        "scale": "laptop",
        "data": {"name": "oxford-iiit-pet", "items": 7390, "complete": True},
        "seconds": 512.4,
        "device": "cpu, 2 threads",
        "date": "2026-01-31",
        "figures": {
            "accuracy": {"mean": 0.8712, "min": 0.86, "max": 0.88, "n": 3, "unit": "share"},
            "parameters": {"mean": 9494561.0, "min": 9494561.0, "max": 9494561.0, "n": 1, "unit": "parameters"},
            "change": {"mean": -0.021, "min": -0.021, "max": -0.021, "n": 1, "unit": ""},
        },
    }
}
SEEDS = rec.load_seeds(ROOT / "book" / "seeds.yml")
PAGES = claims.pages(ROOT / "nbs")


def mark(field: str, spec: str) -> str:
    return f"<!-- record pets-cnn.laptop {field} {spec} -->"


# --- the course's own pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=[p.relative_to(ROOT).as_posix() for p in PAGES])
def test_every_number_has_its_source(page: Path) -> None:
    findings = claims.check_page(page, rec.load_records(ROOT / "book" / "results"), SEEDS)
    assert not findings, "\n" + "\n".join(map(str, findings))


# --- marked numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"It is right in 87.1 %{mark('accuracy.mean', '.1%')} of cases.",
        f"87.1%{mark('accuracy.mean', '.1%')}",
        f"**87.1 %**{mark('accuracy.mean', '.1%')}",
        f"| 87.1 % {mark('accuracy.mean', '.1%')} |",
        f"0.871{mark('accuracy.mean', '.3f')}",
        f"9,494,561{mark('parameters.mean', ',d')} parameters",
        f"{mark('seconds', '.0f')}".join(["512", " s"]),
        f"7,390{mark('data.items', ',')} photos",
        f"\u22122.1 %{mark('change.mean', '.1%')}",
        "94.27 %<!-- seed 22 -->",
        "9,494,561<!-- seed 3 --> parameters",
        "`87.0 %<!-- record nothing at all -->`",
    ],
)
def test_true_marks(text: str) -> None:
    assert claims.stale_numbers(text, "here", RECORDS, SEEDS) == []
    assert claims.refreshed(text, RECORDS) == text


def test_a_stale_number_says_what_it_should_read() -> None:
    findings = claims.stale_numbers(f"86.0 %{mark('accuracy.mean', '.1%')}", "here", RECORDS, SEEDS)
    assert [f.problem for f in findings] == ["86.0 % should read 87.1 %; run python book/_ext/claims.py --refresh"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 %<!-- record nothing accuracy.mean .1% -->", "there is no record"),
        (f"1 %{mark('loss.mean', '.1%')}", "has no 'loss.mean'"),
        (f"1 %{mark('accuracy.mean', 'zz')}", "cannot be written"),
        ("1 %<!-- record pets-cnn.laptop -->", "three words"),
        ("93 %<!-- seed 22 -->", "not among"),
        ("93 %<!-- seed 99 -->", "names no row"),
        (f"almost all {mark('accuracy.mean', '.1%')}", "does not stand directly behind"),
    ],
)
def test_marks_that_mean_nothing(text: str, said: str) -> None:
    assert [f for f in claims.stale_numbers(text, "here", RECORDS, SEEDS) if said in f.problem]


def test_refreshing_keeps_the_author_s_style() -> None:
    first, second, third = mark("accuracy.mean", ".1%"), mark("accuracy.mean", ".0%"), mark("change.mean", ".3f")
    text = f"**1 %**{first}, 1%{second}, \u22121.0{third}, 5 %<!-- seed 22 -->"
    now = f"**87.1 %**{first}, 87%{second}, \u22120.021{third}, 5 %<!-- seed 22 -->"
    assert claims.refreshed(text, RECORDS) == now
    assert claims.refreshed(now, RECORDS) == now


@given(st.floats(0, 1), st.sampled_from([".1%", ".3f", ".0%", ".2f"]))
def test_what_is_refreshed_is_never_stale(value: float, spec: str) -> None:
    records = {"a-b.gpu": {"chapter": "a/b", "scale": "gpu", "figures": {"x": {"mean": value}}}}
    text = claims.refreshed(f"It was 5 %<!-- record a-b.gpu x.mean {spec} -->.", records)
    if not spec.endswith("%"):
        text = claims.refreshed(f"It was 5<!-- record a-b.gpu x.mean {spec} -->.", records)
    assert claims.stale_numbers(text, "here", records, []) == []


def test_refreshing_a_notebook(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# T\n", f"It is 1 %{mark('accuracy.mean', '.1%')}"]},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "source": [f"x = '1 %{mark('accuracy.mean', '.1%')}'"],
            "outputs": [],
            "execution_count": None,
        },
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    assert claims.refresh_page(path, RECORDS) and not claims.refresh_page(path, RECORDS)
    now = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert "".join(now[0]["source"]).startswith("# T\nIt is 87.1 %<") and now[1] == cells[1]


def test_html_says_where_a_number_is_from() -> None:
    html = claims.to_html(
        f"**1 %**{mark('accuracy.mean', '.1%')} and 94.27 %<!-- seed 22 --> and 2 %<!-- by hand -->", RECORDS, SEEDS
    )
    assert html == (
        '**<span class="claim claim-record" title="Measured: pets-cnn.laptop, accuracy.mean · 3 runs · oxford-iiit-pet · '
        '7,390 items · cpu, 2 threads · 2026-01-31">87.1 %</span>** and <span class="claim claim-seed" '
        'title="From seed document 003, row 22 of the Scoreboard">94.27 %</span> and 2 %'
    )


# --- unmarked numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "The network reaches 87.1 % on the test set.",
        "It gets 87 percent right.",
        "Accuracy rose by 3 percentage points.",
        "Our batches are 1.8 times faster.",
        "That is 1.8x faster than the stock loader.",
        "We measured 203 images/s.",
        "It takes 3.4 ms per image.",
        "Validation accuracy is 0.871 after eight epochs.",
        "The loss falls to 0.35.",
        "The F1 score is 0.82.",
        "- Dropout lifts the accuracy to 89.2 %.",
        "| ours | 87.1 % |",
        "Of all mistakes, 61 % are cats.",
        "Only 12 % of the photos are misclassified.",
        "With dropout 0.5 the accuracy is 0.88.",
    ],
)
def test_results_without_a_source_are_found(text: str) -> None:
    assert claims.unsourced_claims(text, "here")


@pytest.mark.parametrize(
    "text",
    [
        "We split the photos 70/30.",
        "The split keeps 30 % for validation.",
        "Dropout with probability 0.5 follows.",
        "RMSprop has a learning rate of 0.001.",
        "The photo is 150 by 150 pixels.",
        "The network has 9,494,561 parameters.",
        "A zoom of up to 20 % and shifts by 20 % of the width.",
        "A 95 % confidence interval says how far the truth may be.",
        "Guessing gives 50 % by chance.",
        "There are 37 breeds and 7,390 photos.",
        "`accuracy = 0.871`",
        "$p = 0.871$ is the accuracy.",
        "```\naccuracy 0.871\n```",
        "[0.871 accuracy](https://example.org/0.9)".replace("0.871 ", ""),
        f"It is 87.1 %{mark('accuracy.mean', '.1%')} accurate.",
        "The seed has an accuracy of 94.27 %<!-- seed 22 -->.",
        "Suppose it is right in 80 % of cases and wrong in 20 %. <!-- by hand -->".replace(". <!--", " <!--"),
        "The loss of a coin flip is 0.693 <!-- by hand -->.",
        "The first network had an error of 15.3 % {cite:p}`krizhevsky2012`.",
        "Python 3.11 is needed.",
        "Chapter 2.3 treats the loss.",
        "Always saying dog has an accuracy of 25/37 = 67.6 %.",
        "Suppose three runs reach 84 %, 86 % and 85 %.",
        "For 95 % coverage it is right to take",
        "About 20 minutes on a laptop.",
        "Predict cat above a threshold of 0.5 for the best accuracy.",
        "An image of 3 times 150 times 150 numbers.",
    ],
)
def test_what_is_no_claim_passes(text: str) -> None:
    assert [str(f) for f in claims.unsourced_claims(text, "here")] == []


def test_a_mark_covers_its_own_number_only() -> None:
    text = f"It went from 80 % to 87.1 %{mark('accuracy.mean', '.1%')} accuracy."
    assert "80 %" in claims.unsourced_claims(text, "here")[0].problem


def test_by_hand_covers_its_own_sentence_only() -> None:
    text = "Say it reaches 80 % accuracy. <!-- by hand --> Then it reaches 87 % accuracy."
    assert [f.text for f in claims.unsourced_claims(text, "here")] == ["Then it reaches 87 % accuracy."]


@given(st.text())
def test_no_text_breaks_the_checks(text: str) -> None:
    claims.unsourced_claims(text, "here")
    claims.stale_numbers(text, "here", RECORDS, SEEDS)


def test_by_hand_at_the_end_of_a_paragraph_covers_all_of_it() -> None:
    text = "**Two runs give 85.1 % and 84.7 % accuracy. Is that broken?** <!-- by hand -->\n\nIt reaches 87 %."
    assert [f.text for f in claims.unsourced_claims(text, "here")] == ["It reaches 87 %."]


def test_a_seed_mark_behind_a_sentence_covers_it() -> None:
    assert (
        claims.unsourced_claims(
            "The document reports more than 80 % accuracy, on no test photos. <!-- seed 7 --> We look.", "here"
        )
        == []
    )
    assert claims.stale_numbers("It counts two dogs for each cat. <!-- seed 1 -->", "here", RECORDS, SEEDS) == []
    assert claims.stale_numbers("It counts two dogs for each cat. <!-- seed 77 -->", "here", RECORDS, SEEDS)
    assert claims.to_html("Two dogs for each cat. <!-- seed 1 -->", RECORDS, SEEDS) == "Two dogs for each cat. "


def test_code_cells_are_not_prose(tmp_path: Path) -> None:
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "source": ["# accuracy 0.871, 87 % right"],
        "outputs": [],
        "execution_count": None,
    }
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    assert claims.check_page(path, RECORDS, SEEDS) == []


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("It reaches 87.1 %.", encoding="utf-8")
    assert claims.main(["--source", str(tmp_path), "--results", str(tmp_path)]) == 1
    assert "1 finding in 1 pages" in capsys.readouterr().out
    (tmp_path / "a.md").write_text("It is a cat.", encoding="utf-8")
    assert claims.main(["--source", str(tmp_path), "--results", str(tmp_path)]) == 0
