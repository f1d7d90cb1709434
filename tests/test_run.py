"""Scale, seeds, atomic writes and records under pressure: full disks, kills, two writers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pets_learn import run

DATA = {"name": "Oxford-IIIT Pet", "items": 7390, "complete": True}


@given(st.dictionaries(st.text("abcdefg", min_size=1), st.tuples(st.integers(), st.integers(), st.integers()), max_size=4))
def test_scale_gives_the_value_of_the_scale(sizes):
    for position, name in enumerate(run.SCALES):
        with run.environment(PETS_LEARN_SCALE=name):
            chosen = run.scale(**sizes)
        assert {key: getattr(chosen, key) for key in sizes} == {key: values[position] for key, values in sizes.items()}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_figure_lies_within_its_range(values):
    made = run.figure(values, unit="share")
    assert made["min"] <= made["mean"] + 1e-12 and made["mean"] <= made["max"] + 1e-12 and made["n"] == len(values)


def limited(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run code in a process that may write 4 kB to a file and no more: what a full disk looks like from inside."""
    start = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    return subprocess.run([sys.executable, "-c", start + code], cwd=folder, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file-size limit to test with")
def test_full_disk_leaves_the_old_file_and_no_scrap(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"old")
    code = """
from pets_learn.run import PetsLearnError, write_atomically
try:
    with write_atomically("model.bin") as file: file.write(b"x" * 100_000)
except PetsLearnError as error: print(error)
"""
    done = limited(code, tmp_path)
    assert "model.bin was not written" in done.stdout and "Free some space" in done.stdout, done.stderr
    assert (tmp_path / "model.bin").read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["model.bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_kill_in_the_middle_leaves_the_old_file(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"old")
    code = """
import time
from pets_learn.run import write_atomically
with write_atomically("model.bin") as file:
    file.write(b"new"); file.flush(); print("half", flush=True); time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "model.bin").read_bytes() == b"old"


def test_folder_that_is_a_file_gives_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(run.PetsLearnError, match="choose a folder you can write to"),
        run.write_atomically(tmp_path / "file" / "x"),
    ):
        pass


def test_two_writers_leave_a_whole_record(tmp_path):
    code = f"""
from pets_learn.run import figure, record
for i in range(30): record("pets/example", {{"accuracy": figure([i / 30])}}, data={DATA!r}, seconds=1)
"""
    environment = os.environ | {"PETS_LEARN_RESULTS": str(tmp_path), "PETS_LEARN_SCALE": "laptop"}
    writers = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    path = tmp_path / "pets-example.laptop.json"
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert json.loads(path.read_text())["chapter"] == "pets/example"
        time.sleep(0.01)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_smoke_writes_no_record(tmp_path):
    with run.environment(PETS_LEARN_RESULTS=str(tmp_path), PETS_LEARN_SCALE="smoke"):
        assert run.record("pets/example", {"accuracy": run.figure(0.5)}, data=DATA, seconds=1) is None
    assert not list(tmp_path.iterdir())


def test_records_in_the_repository_are_complete(root):
    for path in (root / "book" / "results").glob("*.json"):
        entry = json.loads(path.read_text(encoding="utf-8"))
        assert {"chapter", "scale", "data", "device", "versions", "seconds", "date", "figures"} <= entry.keys()
        assert entry["scale"] in ("laptop", "gpu") and path.name == f"{entry['chapter'].replace('/', '-')}.{entry['scale']}.json"
        assert entry["data"]["name"] and "generated" not in str(entry["data"]).lower()
        for name, made in entry["figures"].items():
            assert made["min"] <= made["mean"] + 1e-9 and made["mean"] <= made["max"] + 1e-9 and made["n"] >= 1, name
            assert {"unit", "better", "seed_figure", "seed_row", "versus"} <= made.keys()
