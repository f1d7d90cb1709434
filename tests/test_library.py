"""What holds for the whole library: imports point one way, importing is quick, packaging agrees with settings.ini."""

import ast
import configparser
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(p for p in (ROOT / "pets_learn").rglob("*.py") if p.name not in ("__init__.py", "_modidx.py"))
# A part may import the parts whose level is lower, and itself. The front (the command line) stands on top of everything.
# The first hour is built on the pet photos, and the later chapters on pets go on from its classifier: they are one step.
LEVEL = {
    "workshop": 0,
    "foundations": 1,
    "pets": 2,
    "faces": 3,
    "efficient": 3,
    "representations": 3,
    "pixels": 4,
    "generation": 4,
    "start": 2,
    "front": 6,
}
FRONT = {"cli"}
ONE_STEP = {"start", "pets"}


def part_of(module: str) -> str:
    words = module.split(".")
    if len(words) == 2:
        return "front" if words[1] in FRONT else "workshop"
    return words[1]


def imports(path: Path, here: str) -> list[tuple[str, list[str]]]:
    """The modules of pets_learn that a file imports, with the names it takes; nbdev writes relative imports."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names if alias.name.startswith("pets_learn.")]
        if not isinstance(node, ast.ImportFrom):
            continue
        above = here.split(".")[: -node.level] if node.level else []
        module = ".".join([*above, *filter(None, [node.module])])
        names = [alias.name for alias in node.names]
        if (ROOT / Path(*module.split("."))).is_dir():  # a package: the names are modules
            found += [(f"{module}.{name}", []) for name in names if module.startswith("pets_learn") and not name.startswith("__")]
        elif module.startswith("pets_learn"):
            found.append((module, names))
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=[name_of(p) for p in MODULES])
def test_imports_point_one_way(path):
    here = part_of(name_of(path))
    for module, names in imports(path, name_of(path)):
        there = part_of(module)
        allowed = there == here or {there, here} == ONE_STEP or LEVEL[there] < LEVEL[here]
        assert allowed, f"{name_of(path)} ({here}) imports {module} ({there})"
        assert "*" not in names, f"{name_of(path)} imports everything of {module}"
        private = [name for name in names if name.startswith("_") and not name.startswith("__")]
        assert not private, f"{name_of(path)} imports private names {private} of {module}"


def test_rule_would_notice_a_wrong_import(tmp_path):
    bad = tmp_path / "bad.py"
    lines = [
        "from pets_learn.pets.cnn import binary_cnn, _block",
        "from pets_learn import data, __version__",
        "import pets_learn.faces.pairs",
    ]
    lines += ["from ..run import scale", "from . import dataset", "from .dataset import SPECIES", "import numpy"]
    bad.write_text("\n".join(lines))
    assert imports(bad, "pets_learn.pets.bad") == [
        ("pets_learn.pets.cnn", ["binary_cnn", "_block"]), ("pets_learn.data", []), ("pets_learn.faces.pairs", []),
        ("pets_learn.run", ["scale"]), ("pets_learn.pets.dataset", []), ("pets_learn.pets.dataset", ["SPECIES"])]  # fmt: skip
    assert (
        part_of("pets_learn.data") == "workshop"
        and part_of("pets_learn.pets.cnn") == "pets"
        and part_of("pets_learn.cli") == "front"
    )
    assert all(imports(path, name_of(path)) for path in MODULES if path.stem not in ("run",)), "every other module imports run"


def test_one_chapter_one_module():
    """nbs/pets/02_cnn.ipynb exports pets_learn/pets/cnn.py, nbs/workshop/01_run.ipynb exports pets_learn/run.py."""
    for path in MODULES:
        first = next(line for line in path.read_text(encoding="utf-8").splitlines() if "File to edit" in line)
        notebook = Path(first.split("nbs/")[1].rstrip("."))
        part, chapter = notebook.parent.as_posix(), notebook.stem.split("_", 1)[1]
        expected = Path(chapter) if part == "workshop" else Path(part) / chapter
        assert path.relative_to(ROOT / "pets_learn") == expected.with_suffix(".py")


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["pets_learn", "pets_learn.run", "pets_learn.data", "pets_learn.toys", "pets_learn.cli"])
def test_light_modules_import_nothing_heavy(module):
    heavy = run_python(
        f"import sys, {module}; print(*sorted({{'torch', 'fastai', 'matplotlib', 'sklearn', 'pandas'}} & sys.modules.keys()))"
    )
    assert heavy == ""


def test_import_loads_only_the_package_itself():
    """`import pets_learn` costs next to nothing because it loads nothing: no module beyond those of a bare interpreter."""
    code = "import sys; before = set(sys.modules); import pets_learn; print(len(set(sys.modules) - before))"
    assert int(run_python(code)) <= 2


def settings() -> configparser.SectionProxy:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def test_pyproject_agrees_with_settings():
    project, ini = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"], settings()
    assert project["name"] == ini["lib_name"] and project["description"] == ini["description"]
    assert project["requires-python"] == f">={ini['min_python']}"
    assert project["dependencies"] == ini["requirements"].split()
    assert project["optional-dependencies"]["course"] == ini["course_requirements"].split()
    assert project["optional-dependencies"]["dev"] == ini["dev_requirements"].split()
    assert project["scripts"] == dict([ini["console_scripts"].split("=")])
    assert ini["version"] in (ROOT / "pets_learn" / "__init__.py").read_text()
    assert f"version: {ini['version']}" in (ROOT / "CITATION.cff").read_text()


def test_constraints_satisfy_the_ranges():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if "==" in x and not x.startswith("#")]
    exact = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    ini = settings()
    for words in ("requirements", "course_requirements", "dev_requirements"):
        for requirement in map(Requirement, ini[words].split()):
            version = exact.get(canonicalize_name(requirement.name))
            assert version and version in requirement.specifier, f"{requirement} against {version}"


def test_readme_is_made_from_the_index(tmp_path):
    """The README is the landing page's prose: its text cells, in order, with links that work on the code host."""
    import json

    sys.path.insert(0, str(ROOT / "book"))
    from readme import readme

    cells = json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))
    assert (ROOT / "README.md").read_text(encoding="utf-8") == readme(cells, settings()), "run: python book/readme.py"


@pytest.mark.slow
def test_wheel_installs_and_runs_in_an_empty_environment(tmp_path):
    """The wheel holds the package and its license, and its light parts run where nothing else is installed."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source = tmp_path / "source"  # a copy: an old build folder beside the sources must not lend the wheel its files
    source.mkdir()
    for name in ("pets_learn", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("pets_learn-*.whl")
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("pets_learn-*.tar.gz")
    with tarfile.open(archive) as packed:
        in_archive = {name.partition("/")[2] for name in packed.getnames()}
    names = zipfile.ZipFile(wheel).namelist()
    modules = {name for name in names if name.endswith(".py") and Path(name).name not in ("__init__.py", "_modidx.py")}
    assert modules == {name_of(p).replace(".", "/") + ".py" for p in MODULES}
    shipped = {f"pets_learn/shipped/breeds/{name}" for name in ("model.onnx", "model.json", "README.md")}
    assert shipped <= set(names) & in_archive, "the classifier travels with the package, and with its sources"
    assert any(name.endswith("licenses/LICENSE") for name in names) and not any(
        name.startswith(("nbs", "tests")) for name in names
    )
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "empty"], check=True)
    bin_folder = tmp_path / "empty" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([bin_folder / "python", "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, capture_output=True)
    code = "import pets_learn, pets_learn.run as r; print(pets_learn.__version__, r.figure([1, 3])['mean'])"
    done = subprocess.run([bin_folder / "python", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == [settings()["version"], "2.0"]
    shown = subprocess.run([bin_folder / "pets-learn", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert settings()["version"] in shown.stdout
    for command in ([], ["train"], ["predict"]):
        told = subprocess.run([bin_folder / "pets-learn", *command, "--help"], capture_output=True, text=True, cwd=tmp_path)
        assert told.returncode == 0 and "usage: pets-learn" in told.stdout, "help needs no other package"
