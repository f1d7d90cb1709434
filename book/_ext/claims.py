"""Numbers in prose that claim a result: where they come from, whether they are still true, and which have no source.

A number that was measured is followed by a mark, an HTML comment that no reader sees:

    87.1 %<!-- record pets-cnn.laptop accuracy.mean .1% -->    a field of book/results/pets-cnn.laptop.json, with a format spec
    94.27 %<!-- seed 22 -->                                    a figure of the seed documents, row 22 of book/seeds.yml

A sentence that states a result and has a number without a mark is a finding, unless it says where the number is from:
a citation (`{cite}`) in the sentence; `<!-- seed 22 -->` at its end, for a sentence that tells what the seed document does; or
`<!-- by hand -->` for a worked example on paper, a setting, a thought experiment (at the end of a paragraph: for all of it).

    python book/_ext/claims.py             list what is wrong, exit 1 if anything is
    python book/_ext/claims.py --refresh   write the records' current values into the notebooks and pages
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from records import Record, UnknownFigure, formatted, load_records, load_seeds, look_up

NUMBER = r"[-+\u2212]?\d+(?:[,\u202f]\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
SPACES = "[ \u00a0\u202f]?"
MARKED = re.compile(
    rf"(?P<value>{NUMBER}(?:{SPACES}\\?%)?)(?P<after>\*{{0,3}}){SPACES}<!--\s*(?P<mark>record|seed)\s+(?P<rest>.*?)\s*-->"
)
MARK = re.compile(r"<!--\s*(?:record|seed)\b.*?-->", re.DOTALL)
BY_HAND = re.compile(r"<!--\s*by hand\s*-->")
WHOLE_BLOCK = re.compile(r"<!--\s*by hand\s*-->[\s*_|]*$")  # the mark that closes a paragraph speaks for all of it
SEED = re.compile(r"<!--\s*seed\s+(?P<row>\S+)\s*-->")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """Something wrong with a number in prose, and where."""

    place: str
    text: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}\n    in: {self.text}"


# --- marked numbers -------------------------------------------------------------------------------------------------


def plain(value: str) -> str:
    """The number as text without the typography that may differ: spaces, a true minus sign, an escaped percent sign."""
    return re.sub(r"[ \u00a0\u202f\\]", "", value).replace("\u2212", "-")


def in_style_of(old: str, new: str) -> str:
    """`new` with the space before its percent sign, and the minus sign, that `old` has."""
    if percent := re.search(r"([ \u00a0\u202f]?\\?)%$", old):
        new = re.sub(r"%$", lambda _: percent[1] + "%", new)
    return new.replace("-", "\u2212") if "\u2212" in old and new.startswith("-") else new


def split_record_mark(rest: str) -> tuple[str, str, str]:
    """Record, field and format spec of a mark. Raises UnknownFigure when one is missing."""
    parts = rest.split()
    if len(parts) != 3:
        raise UnknownFigure(f"the mark 'record {rest}' needs three words: the record, the field, the format")
    return parts[0], parts[1], parts[2]


def expected(value: str, rest: str, records: dict[str, Record]) -> str:
    """What a number marked `record REST` should read, in the style of `value`. Raises UnknownFigure."""
    name, path, spec = split_record_mark(rest)
    return in_style_of(value, formatted(look_up(records, name, path), spec))


def seed_numbers(row: dict[str, Any]) -> set[float]:
    """Every number that a row of seeds.yml gives: values of its figures (a share also in percent), and those in their notes."""
    found: set[float] = set()
    for figure in row.get("figures", []):
        value = figure.get("value")
        if isinstance(value, int | float):
            found.add(float(value))
            if figure.get("unit") == "share":
                found.add(round(100 * value, 6))
        for text in (figure.get("name", ""), figure.get("note", "")):
            found |= {float(n.replace(",", "")) for n in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)}
    texts = f"{row.get('system', '')} {row.get('note', '')}"
    return found | {float(n.replace(",", "")) for n in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", texts)}


def seed_problem(value: str, rest: str, seeds: list[dict[str, Any]]) -> str | None:
    """What is wrong with a number marked `seed REST`, or None."""
    row = next((r for r in seeds if str(r["number"]) == rest), None)
    if row is None:
        return f"the mark 'seed {rest}' names no row; rows are 1 to {len(seeds)}"
    number = float(plain(value).rstrip("%").replace(",", ""))
    if not any(abs(number - n) < 1e-9 for n in seed_numbers(row)):
        return f"{value} is not among the figures of row {rest} in book/seeds.yml"
    return None


def stale_numbers(text: str, place: str, records: dict[str, Record], seeds: list[dict[str, Any]]) -> list[Finding]:
    """A finding for each marked number that is not what its source says, and for each mark that stands behind no number."""
    text = outside_code(text, str, " ")
    findings = []
    for match in MARKED.finditer(text):
        problem = None
        try:
            if match["mark"] == "seed":
                problem = seed_problem(match["value"], match["rest"], seeds)
            elif plain(now := expected(match["value"], match["rest"], records)) != plain(match["value"]):
                problem = f"{match['value']} should read {now}; run python book/_ext/claims.py --refresh"
        except UnknownFigure as error:
            problem = str(error)
        if problem:
            findings.append(Finding(place, match[0], problem))
    behind_numbers = {match.end() for match in MARKED.finditer(text)}
    rows = {str(row["number"]) for row in seeds}
    for match in MARK.finditer(text):
        if match.end() in behind_numbers:
            continue
        seed = SEED.fullmatch(match[0])
        if seed is None:
            findings.append(Finding(place, match[0], "this mark does not stand directly behind a number"))
        elif seed["row"] not in rows:
            findings.append(Finding(place, match[0], f"there is no row {seed['row']} in book/seeds.yml"))
    return findings


def refreshed(text: str, records: dict[str, Record]) -> str:
    """The text with every number marked `record` as its record has it now. Raises UnknownFigure."""

    def replace(match: re.Match[str]) -> str:
        if match["mark"] == "seed":
            return match[0]
        return expected(match["value"], match["rest"], records) + match[0][len(match["value"]) :]

    return outside_code(text, lambda part: MARKED.sub(replace, part))


def provenance(record: Record, name: str, path: str) -> str:
    """Where a number comes from, in words for a tooltip."""
    data = record.get("data", {})
    items = f"{data['items']:,} items" if isinstance(data.get("items"), int) else ""
    figure = record["figures"].get(path.rpartition(".")[0], {})
    repeats = f"{figure['n']} runs" if figure.get("n", 1) > 1 else "1 run" if figure else ""
    parts = [f"Measured: {name}, {path}", repeats, data.get("name", ""), items, record.get("device", ""), record.get("date", "")]
    return " · ".join(part for part in parts if part)


def to_html(text: str, records: dict[str, Record], seeds: list[dict[str, Any]]) -> str:
    """The text with marked numbers fresh, and each in a span that says where it is from. Raises UnknownFigure."""

    def replace(match: re.Match[str]) -> str:
        if match["mark"] == "seed":
            if problem := seed_problem(match["value"], match["rest"], seeds):
                raise UnknownFigure(problem)
            row = next(r for r in seeds if str(r["number"]) == match["rest"])
            return span(
                "seed", f"From seed document {row['seed']}, row {row['number']} of the Scoreboard", match["value"], match["after"]
            )
        name, path, _ = split_record_mark(match["rest"])
        value = expected(match["value"], match["rest"], records)
        return span("record", provenance(records[name], name, path), value, match["after"])

    def span(kind: str, title: str, value: str, after: str) -> str:
        return f'<span class="claim claim-{kind}" title="{escape(title)}">{value}</span>{after}'

    return outside_code(text, lambda part: SEED.sub("", BY_HAND.sub("", MARKED.sub(replace, part))))


# --- unmarked numbers -----------------------------------------------------------------------------------------------

CODE_OR_MATH = re.compile(r"```.*?```|~~~.*?~~~|(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)|\$\$.*?\$\$|(?<![\\\d])\$[^$\n]+\$", re.DOTALL)
MEASURE = (
    r"accurac(?:y|ies)|error rates?|loss(?:es)?|precision|recall|F1|AUC|mAP|IoU|Dice|perplexity|correct|right|wrong|misclassif\w+"
    r"|mistaken?s?|speed-?up|throughput|latency|faster|slower|outperform\w*|beats?|beaten|improv\w+|reach(?:es|ed)?|achiev\w+|scor(?:e|es|ed)"
    r"|gains?|gained|drops? to|dropped|rises? to|rose|falls? to|fell|worse|better|takes|took|measured|confus\w+"
)
STATES_RESULT = re.compile(rf"\b(?:{MEASURE})\b", re.IGNORECASE)
SETTING = re.compile(
    r"\b(?:split|held out|hold out|part for|validation part|dropout|probability of|zoom\w*|shift\w*|shear\w*|scal(?:e|ed) by"
    r"|crop\w*|quality|confidence intervals?|intervals?|guess\w*|by chance|coin|opacity|confident|sure|learning rate|rate"
    r"|threshold|momentum|weight decay|trains? on|trained on|margin|temperature|beta|epsilon|if|suppose|imagine|say)\b",
    re.IGNORECASE,
)
PERCENT = re.compile(rf"(?<![\w.])(?P<number>{NUMBER})(?:{SPACES}\\?%|[ -]per ?cent\b|[ -]percentage points?\b)", re.IGNORECASE)
TIMES = re.compile(
    rf"(?<![\w.])(?P<number>{NUMBER}){SPACES}(?:x|\u00d7|times|-fold)"
    r"(?=\s+(?:as |faster|slower|smaller|larger|fewer|more|less|cheaper|better)|[ ,.;)]|$)"
)
COMPARES = re.compile(
    r"\b(?:faster|slower|smaller|larger|fewer|cheaper|speed-?up|as fast|as many|as small|than)\b", re.IGNORECASE
)
SPEED = re.compile(
    rf"(?<![\w.])(?P<number>{NUMBER}){SPACES}"
    r"(?:(?:images|photos|pictures|samples|items|pairs)(?:/s| per second| a second)|ms\b"
    r"|(?:milli|micro)?seconds (?:per|for each|an?) (?:image|photo|picture|epoch|batch|step|query|run)|MB/s|GB/s|fps\b)",
    re.IGNORECASE,
)
DECIMAL = re.compile(r"(?<![\w.§/])(?P<number>[-+\u2212]?\d+\.\d+)(?![\w.]*\d|\.\d)")
NOT_A_RESULT = re.compile(
    r"(?:learning rates?|rates?|thresholds?|dropout|momentum|decay|margin|version|Python|torch|section|sections|chapter|figure"
    r"|table|equation|epsilon|beta|temperature|sigma|alpha|gamma|lambda|by|of up to|seeds?)\s*(?:of|to|is|at|=|:)?\s*$",
    re.IGNORECASE,
)


WORKED = re.compile(r"\d\)?\s*[=≈]\s*$")  # 25/37 = 67.6 %: the sentence shows its own arithmetic
COVERAGE = re.compile(r"\s*(?:confidence|coverage|intervals?|credible)\b", re.IGNORECASE)
HYPOTHETICAL = re.compile(r"^\W*(?:suppose|imagine|assume)\b", re.IGNORECASE)


def outside_code(text: str, change: Callable[[str], str], instead: str | None = None) -> str:
    """The text with `change` applied to what is neither code nor formula; those stay, or become `instead`."""
    parts, at = [], 0
    for match in CODE_OR_MATH.finditer(text):
        parts += [change(text[at : match.start()]), match[0] if instead is None else instead]
        at = match.end()
    return "".join([*parts, change(text[at:])])


def prose_only(text: str) -> str:
    """The text without code, formulas, front matter, directive options, HTML tags and link addresses; marks stay."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"\{cite[^}]*\}`[^`]*`", " CITED ", text)
    text = CODE_OR_MATH.sub(" ", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"<(?!!--)[^>]*>", " ", text)
    return re.sub(r"https?://\S+", " ", text)


def blocks(text: str) -> Iterator[str]:
    """The blocks of Markdown prose, each on one line: paragraphs, list items, table rows, headings."""
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*+]|\d+\.|#+|>|\|)\s)", prose_only(text)):
        for piece in block.split("\n") if block.lstrip().startswith("|") else [block]:
            yield " ".join(piece.split())


def sentences(block: str) -> list[str]:
    """The sentences of a block; a mark behind a full stop belongs to the sentence before it."""
    joined = re.sub(r"([.!?:;][*_]{0,3})\s*(<!--\s*(?:by hand|seed\s+\d+)\s*-->)", r" \2\1", block)
    pieces = re.split(r"(?<=[.!?:;])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)\s+(?!<!--)(?=[A-Z*`\"(<\[]|$)", joined)
    return [piece.strip() for piece in pieces if piece.strip(" -*#>|")]


def unsourced(sentence: str) -> list[str]:
    """The numbers by which a sentence states a result without saying where they are from."""
    marked = MARKED.sub(" MARKED ", sentence)
    if BY_HAND.search(sentence) or SEED.search(marked) or "CITED" in sentence or HYPOTHETICAL.search(sentence):
        return []
    bare = COMMENT.sub(" ", marked)
    states, setting = bool(STATES_RESULT.search(bare)), bool(SETTING.search(bare))
    found = [
        m["number"] + " %"
        for m in PERCENT.finditer(bare)
        if (states or not setting) and not WORKED.search(bare[: m.start()]) and not COVERAGE.match(bare, m.end())
    ]
    found += [m["number"] + " times" for m in TIMES.finditer(bare) if COMPARES.search(bare) and not (setting and not states)]
    found += [m[0] for m in SPEED.finditer(bare)]
    if re.search(r"\b(?:accurac\w+|losse?s?|error|precision|recall|F1|AUC|mAP|IoU|Dice)\b", bare, re.IGNORECASE):
        found += [
            m["number"]
            for m in DECIMAL.finditer(bare)
            if not NOT_A_RESULT.search(bare[: m.start()])
            and not WORKED.search(bare[: m.start()])
            and not bare[m.end() :].lstrip().startswith(("%", "x ", "\u00d7", "px", "°"))
            and not any(m["number"] in other for other in found)
        ]
    return found


def unsourced_claims(text: str, place: str) -> list[Finding]:
    """A finding for each sentence that states a result with a number that has no source."""
    return [
        Finding(
            place,
            sentence,
            f"states a result with {', '.join(numbers)} and no source; mark each with <!-- record ... -->, "
            "<!-- seed N -->, cite it, or mark a worked example <!-- by hand -->",
        )
        for block in blocks(text)
        if not WHOLE_BLOCK.search(block)
        for sentence in sentences(block)
        if (numbers := unsourced(sentence))
    ]


# --- files ----------------------------------------------------------------------------------------------------------


def prose_of(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) for each piece of prose in a notebook or a Markdown page."""
    if path.suffix == ".md":
        yield path.name, path.read_text(encoding="utf-8")
        return
    for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "markdown":
            yield f"{path.name} cell {i}", "".join(cell["source"])


def pages(source: Path) -> list[Path]:
    """The notebooks and Markdown pages of the course, hidden and generated folders left out."""
    found = [*source.rglob("*.ipynb"), *source.rglob("*.md")]
    generated = (".", "_", "models")
    return sorted(p for p in found if not any(part.startswith(generated) for part in p.relative_to(source).parts))


def check_page(path: Path, records: dict[str, Record], seeds: list[dict[str, Any]]) -> list[Finding]:
    """Everything that is wrong with the numbers of one page."""
    return [
        finding
        for place, text in prose_of(path)
        for finding in (*stale_numbers(text, place, records, seeds), *unsourced_claims(text, place))
    ]


def refresh_page(path: Path, records: dict[str, Record]) -> bool:
    """Write the records' values into a page's marked numbers; True if it changed. Raises UnknownFigure."""
    before = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        after = refreshed(before, records)
    else:
        notebook = json.loads(before)
        changed = False
        for cell in notebook["cells"]:
            if cell["cell_type"] != "markdown":
                continue
            new = refreshed("".join(cell["source"]), records)
            if new != "".join(cell["source"]):
                cell["source"], changed = new.splitlines(keepends=True), True
        after = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n" if changed else before
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before


def main(arguments: list[str] | None = None) -> int:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description="Check, or refresh, the numbers in the course's prose.")
    parser.add_argument("--refresh", action="store_true", help="write the records' values into the marked numbers")
    parser.add_argument("--source", type=Path, default=root / "nbs", help="folder of notebooks and pages (default: nbs)")
    parser.add_argument("--results", type=Path, default=root / "book" / "results", help="folder of records")
    given = parser.parse_args(arguments)
    records, seeds = load_records(given.results), load_seeds(root / "book" / "seeds.yml")
    if given.refresh:
        for path in pages(given.source):
            try:
                if refresh_page(path, records):
                    print(f"refreshed {path.relative_to(given.source)}")
            except UnknownFigure as error:
                print(f"{path.relative_to(given.source)}: {error}", file=sys.stderr)
    findings = [finding for path in pages(given.source) for finding in check_page(path, records, seeds)]
    for finding in findings:
        print(finding)
    print(f"{len(findings)} finding{'' if len(findings) == 1 else 's'} in {len(pages(given.source))} pages")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
