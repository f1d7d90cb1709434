"""Make README.md from the landing page's text cells, with links that work on the code host.

python book/readme.py
"""

import configparser
import json
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?!https?:|#)([^)]+\.(?:ipynb|md))\)")
MARK = re.compile(r" ?<!--.*?-->", re.S)


def readme(
    notebook: Mapping,  # The landing page as JSON
    settings: Mapping[str, str],  # settings.ini's section DEFAULT
) -> str:
    """The README's text: prose without marks, links into nbs/, and a link to the course's site under the promise."""
    prose = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    text = MARK.sub("", "\n\n".join(prose))
    text = LINK.sub(lambda found: f"](nbs/{found.group(1)})", text)
    host, base = (settings[key].replace("%(user)s", settings["user"]) for key in ("doc_host", "doc_baseurl"))
    site = host + base.replace("%(repo)s", settings["repo"])
    promise = next(line for line in text.splitlines() if line.startswith("> "))
    return text.replace(promise, f"{promise}\n\n**[Read the course]({site})**", 1).strip() + "\n"


def main() -> None:
    """Write README.md beside settings.ini."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    notebook = json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))
    (ROOT / "README.md").write_text(readme(notebook, parser["DEFAULT"]), encoding="utf-8")


if __name__ == "__main__":
    main()
