"""What holds for every notebook: it is clean, in step with the library, complete, and runs at smoke scale."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
CHAPTERS = [p for p in NOTEBOOKS if p.parent.name not in ("workshop", "nbs")]
NAMES = [p.relative_to(ROOT / "nbs").as_posix() for p in NOTEBOOKS]
MACHINE_PATH = re.compile(r"(?<![\w.])(?:/(?:work|tmp|root|home|Users|var|content)/[\w./-]+|[A-Z]:\\\\)")
SECONDS = 40  # of processor time at smoke scale: what two cores do in 20 seconds


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    return "".join(cell["source"])


def texts(cell: dict) -> str:
    """All text that a cell shows."""
    shown = []
    for output in cell.get("outputs", []):
        shown.append("".join(output.get("text", "")))
        shown += ["".join(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(shown)


@pytest.fixture(params=NOTEBOOKS, ids=NAMES)
def path(request) -> Path:
    return request.param


def test_the_course_has_notebooks():
    assert len(CHAPTERS) >= 2 and {"index.ipynb", "workshop/01_run.ipynb"} <= set(NAMES)


def test_starts_with_title_and_promise(path):
    first = source(read(path)["cells"][0]).strip().splitlines()
    assert first[0].startswith("# "), "the first cell is the title"
    assert any(line.startswith("> ") for line in first), "a line that starts with > promises what the reader gets"


def test_outputs_are_sound(path):
    for cell in read(path)["cells"]:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error", f"an error is shown: {output.get('ename')} in {source(cell)[:80]!r}"
        found = MACHINE_PATH.findall(texts(cell))
        assert not found, f"an absolute path of some machine is shown: {found[:3]}"
        assert "Warning:" not in texts(cell), f"a warning is shown under {source(cell)[:80]!r}"


def test_small_enough(path):
    assert path.stat().st_size < 1_500_000, "a notebook stays under 1.5 MB: fewer or smaller pictures"


def test_every_picture_has_alt_text(path):
    for cell in read(path)["cells"]:
        pictures = [o for o in cell.get("outputs", []) if any(k.startswith("image/") for k in o.get("data", {}))]
        if pictures and not re.search(r"^#\|\s*hide\b", source(cell), re.M):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 4, f"a picture without alt text under {source(cell)[:80]!r}"


def test_was_run_at_a_real_scale(path):
    cells = [c for c in read(path)["cells"] if c["cell_type"] == "code"]
    if path in CHAPTERS:
        stamp = texts(cells[-1])
        assert re.search(r"^scale\s+(laptop|gpu)$", stamp, re.M), "a chapter ends with the stamp of a laptop or gpu run"
        assert "stand-in" not in stamp, "the committed outputs come from the real data"


def test_code_cells_were_run(path):
    """An interrupted run leaves the later cells without output: something is printed or shown in the last third."""
    cells = [c for c in read(path)["cells"] if c["cell_type"] == "code"]
    if path.parent.name != "nbs":
        assert any(c["outputs"] for c in cells[-max(4, len(cells) // 3) :]), "the notebook's end shows nothing; run it"


@pytest.mark.parametrize("path", CHAPTERS, ids=[p.stem for p in CHAPTERS])
def test_chapter_has_its_parts(path):
    prose = "\n".join(source(c) for c in read(path)["cells"] if c["cell_type"] == "markdown")
    for part in ("After this chapter you can", "Read first", "Time:", "## Key takeaways", "## Questions", "## References"):
        assert part in prose, f"the chapter lacks {part!r}"
    answers, questions = prose.count("<details><summary>Answer"), len(re.findall(r"^\*\*\d+\. ", prose, re.M))
    assert 3 <= questions <= 6 and answers == questions, f"{questions} questions, {answers} folded answers"


def test_speaks_of_itself_alone(path):
    everything = "\n".join(source(c) + texts(c) for c in read(path)["cells"])
    for word in (r"\bissue #?\d", r"\bsession\b", "in this notebook we will", r"\bTODO\b", r"\bFIXME\b"):
        assert not re.search(word, everything, re.I), f"found {word}"


def every_file() -> dict[str, bytes]:
    kept = [p for folder in ("nbs", "pets_learn") for p in (ROOT / folder).rglob("*") if p.suffix in (".ipynb", ".py")]
    return {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in kept if ".ipynb_checkpoints" not in p.parts}


def test_export_and_clean_change_nothing(tmp_path):
    """On a copy, so that a failing test leaves the working tree as it was."""
    before = every_file()
    for name in ("nbs", "pets_learn", "settings.ini", "pyproject.toml", "README.md"):
        if (ROOT / name).is_dir():  # other tests may be running: what they leave beside the sources is not copied
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".course", "models"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    for module in (tmp_path / "pets_learn").rglob("*.py"):
        if module.name != "__init__.py":
            module.unlink()  # a module whose notebook is gone must not survive
    for command in ("nbdev_clean", "nbdev_export"):
        done = subprocess.run([Path(sys.executable).parent / command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    after = {}
    for folder in ("nbs", "pets_learn"):
        for p in (tmp_path / folder).rglob("*"):
            if p.suffix in (".ipynb", ".py"):
                after[p.relative_to(tmp_path).as_posix()] = p.read_bytes()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    assert not changed, f"run nbdev_clean and nbdev_export: {changed}"


@pytest.mark.alone
def test_runs_at_smoke_scale(path, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("PETS_LEARN_SCALE", "PETS_LEARN_HOME")}
    environment["XDG_CACHE_HOME"] = str(tmp_path)  # an empty cache: nothing of an earlier run can help
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [Path(sys.executable).parent / "nbdev_test", "--path", path, "--n_workers", "0", "--do_print"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < SECONDS, f"{used:.0f} s of processor time at smoke scale; make its smoke sizes smaller"
