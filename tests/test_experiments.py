"""The runner of experiments: killed, doubled, starved and fed nonsense, it does every run once and returns the same digits."""

import importlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import types
from collections import Counter
from pathlib import Path

import grid_of_twelve as twelve
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pets_learn import experiments
from pets_learn.experiments import Experiment, Results, Run, RunsFailed, grid, planned, read_journal, reproduce, run_experiment
from pets_learn.run import BadSetting, PetsLearnError, Scale, figure

pytestmark = pytest.mark.usefixtures("smoke")
posix = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signals")
ENVIRONMENT = os.environ | {
    "PETS_LEARN_SCALE": "smoke",
    "PYTHONPATH": os.pathsep.join([str(Path(twelve.__file__).parent), *filter(None, sys.path)]),
}


forked = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
if sys.platform != "win32":
    forked.set_forkserver_preload(["torch", "grid_of_twelve"])  # imported once for all runners of this file


def start(folder: Path, workers: int = 1) -> subprocess.Popen:
    """A runner in a process of its own."""
    code = "import grid_of_twelve; grid_of_twelve.main()"
    command = [sys.executable, "-c", code, str(folder), str(workers)]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def start_alone(folder: Path) -> multiprocessing.Process:
    """A runner with one worker, which is itself."""
    runner = forked.Process(target=twelve.run_twelve, args=(folder, 1))
    runner.start()
    return runner


def lines(folder: Path) -> list[dict]:
    """What the runs themselves have noted."""
    trace = folder / "trace.jsonl"
    return [json.loads(line) for line in trace.read_text().splitlines()] if trace.exists() else []


def runs_are_done(folder: Path) -> list[Path]:
    return list(folder.rglob("run.json"))


PATIENCE = 180  # seconds; a busy machine may need a quarter of a minute to import torch


def wait_until(condition, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def figures(results: Results) -> dict[str, dict]:
    return {json.dumps(r["identity"], sort_keys=True): r["figures"] for r in results.runs}


def nothing_half_written(folder: Path) -> bool:
    return not [path for path in folder.rglob(".*") if path.name != ".lock"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, dict]:
    """The figures of the grid, run in peace in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PETS_LEARN_SCALE", "smoke")
        found = figures(run_experiment(twelve.TWELVE, folder=folder))
    assert len(found) == 12 and len({f["loss"] for f in found.values()}) == 12
    assert Counter(line["event"] for line in lines(folder)) == {"start": 12, "end": 12}
    return found


def check_complete(folder: Path, undisturbed: dict[str, dict]) -> Counter:
    """All twelve get done, none is started again once it is done, digits are the same; the number of starts of each."""
    done = run_experiment(twelve.TWELVE, folder=folder)
    assert figures(done) == undisturbed, "bit for bit"
    journal = read_journal(planned(twelve.TWELVE, folder=folder)[0].place)
    assert Counter(line["run"] for line in journal if line["event"] == "finish").most_common(1)[0][1] == 1
    finished: set[str] = set()
    for line in journal:
        assert line["run"] not in finished, f"{line} after its finish"
        finished |= {line["run"]} if line["event"] == "finish" else set()
    ended = {line["run"]: line["time"] for line in lines(folder) if line["event"] == "end"}
    assert len(ended) == 12
    written = {r.title: (r.folder / "run.json").stat().st_mtime for r in planned(twelve.TWELVE, folder=folder)}
    for line in lines(folder):
        if line["event"] == "start":
            assert line["time"] <= written[line["run"]], f"{line['run']} was started although it was done"
    assert not list(folder.rglob("checkpoint")) and nothing_half_written(folder)
    return Counter(line["run"] for line in lines(folder) if line["event"] == "start")


# ---- the bar


@posix
def test_killed_five_times_a_grid_of_twelve_completes(tmp_path, undisturbed):
    seed = time.time_ns()
    moments = random.Random(seed)
    for _ in range(5):
        before = len(lines(tmp_path))
        runner = start_alone(tmp_path)
        wait_until(lambda before=before: len(lines(tmp_path)) > before)
        time.sleep(moments.uniform(0, 0.4))
        runner.kill()
        runner.join()
    starts = Counter(line["run"] for line in lines(tmp_path) if line["event"] == "start")
    assert starts.total() >= 5 and 12 <= check_complete(tmp_path, undisturbed).total() <= 17, f"random seed {seed}"


@posix
def test_killed_five_times_a_grid_of_twelve_completes_with_two_workers(tmp_path, undisturbed):
    seed = time.time_ns()
    moments = random.Random(seed)
    for number in range(5):
        before = len(lines(tmp_path))
        runner = start(tmp_path, 2)
        if number % 2 == 0:  # while runs are going on; otherwise wherever the workers are
            wait_until(lambda runner=runner, before=before: len(lines(tmp_path)) > before or runner.poll() is not None)
        time.sleep(moments.uniform(0, 0.4) if number % 2 == 0 else moments.uniform(0, 2))
        runner.kill()
        runner.communicate()
    last = start(tmp_path, 2)
    assert last.wait(PATIENCE) == 0, f"random seed {seed}: {last.communicate()[1]}"
    last.communicate()
    assert 12 <= check_complete(tmp_path, undisturbed).total() <= 12 + 10, f"random seed {seed}"
    wait_until(lambda: not any(is_alive(line["pid"]) for line in lines(tmp_path) if line["pid"] != os.getpid()), 10)


@posix
def test_two_runners_at_once_share_the_work(tmp_path, undisturbed):
    alone, pair = start_alone(tmp_path), start(tmp_path, 2)
    errors = pair.communicate(timeout=PATIENCE)[1]
    alone.join(PATIENCE)
    assert pair.returncode == 0 and alone.exitcode == 0 and not errors
    assert len(lines(tmp_path)) == 24 and len({line["pid"] for line in lines(tmp_path)}) >= 2, "more than one process worked"
    assert set(check_complete(tmp_path, undisturbed).values()) == {1}


@posix
def test_workers_leave_when_their_runner_is_killed_and_the_run_is_free(tmp_path):
    runner = start(tmp_path, 2)
    wait_until(lambda: len({line["pid"] for line in lines(tmp_path)}) == 2)
    runner.kill()
    runner.communicate()
    workers = {line["pid"] for line in lines(tmp_path)}
    wait_until(lambda: not any(map(is_alive, workers)), 10)
    assert 0 < len(runs_are_done(tmp_path)) + 1 < 12, "they did not simply finish the grid"
    for run in planned(twelve.TWELVE, folder=tmp_path):
        with experiments._claim(run) as mine:
            assert mine, "the lock of a killed process does not block"


@posix
def test_ctrl_c_stops_all_and_leaves_nothing_half_written(tmp_path, undisturbed):
    runner = start(tmp_path, 2)
    wait_until(lambda: len(lines(tmp_path)) > 2)
    os.killpg(runner.pid, signal.SIGINT)  # as a terminal does: to the runner and to all that share its group
    errors = runner.communicate(timeout=20)[1]
    assert errors.count("KeyboardInterrupt") == 1 and "Traceback" in errors, "the runner's own, and none of a worker"
    assert not any(map(is_alive, {line["pid"] for line in lines(tmp_path)})), "no worker outlives it"
    assert nothing_half_written(tmp_path)
    check_complete(tmp_path, undisturbed)


@posix
def test_a_worker_that_dies_costs_its_own_run_only(tmp_path):
    with pytest.raises(RunsFailed, match="1 of 6 runs failed") as caught:
        run_experiment(twelve.DEADLY, workers=2, folder=tmp_path)
    (error,) = caught.value.failed.values()
    assert "signal 9" in error and "memory" in error and len(caught.value.results.runs) == 5
    assert len(run_experiment(twelve.DEADLY, folder=tmp_path).runs) == 6, "the next call tries it again"
    journal = read_journal(planned(twelve.DEADLY, folder=tmp_path)[0].place)
    starts = Counter(line["run"] for line in journal if line["event"] == "start")
    assert sorted(starts.values()) == [1, 1, 1, 1, 1, 2]


# ---- what counts as done


def count_calls(run: Run, x: float = 0) -> dict[str, float]:
    CALLS.append((x, run.seed))
    run.uses("nothing", items=1, complete=True)
    return {"twice": 2 * x + run.seed}


CALLS: list[tuple[float, int]] = []


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def experiment(points=({"x": 1},), **options) -> Experiment:
    return Experiment("tests/counted", count_calls, points, **{"seeds": 1} | options)


def test_a_finished_run_is_known_by_all_that_decides_it(tmp_path):
    run_experiment(experiment(), folder=tmp_path)
    run_experiment(experiment([{"x": 1.0}]), folder=tmp_path)
    assert CALLS == [(1, 0)], "1 and 1.0 are the same"
    others = [
        experiment(version=2),
        experiment(name="other"),
        experiment([{"x": True}]),
        experiment([{"x": 2}]),
        experiment(sizes=lambda: Scale(name="smoke", epochs=3)),
        experiment(sizes=lambda: Scale(name="smoke", epochs=4)),
        experiment(sizes=lambda: Scale(name="laptop")),
    ]
    for number, other in enumerate(others, start=2):
        run_experiment(other, folder=tmp_path)
        assert len(CALLS) == number
    run_experiment(experiment(seeds=3), folder=tmp_path)
    assert CALLS[-2:] == [(1, 1), (1, 2)], "seed 0 is there"


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"figures": {}}', "cut", "seconds", "another seed"])
def test_a_damaged_record_counts_as_none(tmp_path, damage):
    run_experiment(experiment(), folder=tmp_path)
    path = planned(experiment(), folder=tmp_path)[0].folder / "run.json"
    text = path.read_text()
    changed = {
        "cut": text[:-20],
        "seconds": text.replace('"seconds"', '"minutes"'),
        "another seed": text.replace('"seed": 0', '"seed": 1'),
    }
    path.write_text(changed.get(damage, damage))
    assert run_experiment(experiment(), folder=tmp_path).runs[0]["figures"] == {"twice": 2}
    assert len(CALLS) == 2 and json.loads(path.read_text())["figures"] == {"twice": 2}


def test_a_journal_cut_short_is_read_as_far_as_it_goes(tmp_path):
    run_experiment(experiment(), folder=tmp_path)
    place = planned(experiment(), folder=tmp_path)[0].place
    with (place / "journal.jsonl").open("ab") as file:
        file.write(b'[1]\n\xff\n{"event": "sta')
    assert [line["event"] for line in read_journal(place)] == ["start", "finish"]
    assert read_journal(tmp_path / "nowhere") == []


def test_duplicate_points_run_once(tmp_path):
    assert len(run_experiment(experiment([*grid(x=[1, 2, 1.0]), {"x": 2}]), folder=tmp_path).runs) == 2
    assert CALLS == [(1, 0), (2, 0)]


def test_points_that_read_alike_are_kept_apart(tmp_path):
    done = run_experiment(
        Experiment("tests/counted", lambda run, x: {"kind": str(type(x))}, [{"x": 1}, {"x": "1"}]), folder=tmp_path
    )
    assert len(done.runs) == 6 and done.table.kind.nunique() == 2


@given(st.lists(st.lists(st.integers() | st.text(max_size=3), min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_grid_has_every_combination(choices):
    names = [f"s{i}" for i in range(len(choices))]
    points = grid(**dict(zip(names, choices, strict=True)))
    size = 1
    for values in choices:
        size *= len(values)
    assert len(points) == size and all(list(p) == names for p in points)
    assert all(p[n] in values for p in points for n, values in zip(names, choices, strict=True))


values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.dictionaries(st.text(min_size=1), values, max_size=6), st.randoms())
def test_the_name_of_a_run_does_not_depend_on_the_order_of_its_settings(settings, rng):
    items = list(settings.items())
    rng.shuffle(items)
    one, other = (Run("a/b", "main", 1, s, 0, Scale(name="smoke"), Path("x")) for s in (settings, dict(items)))
    assert one.folder == other.folder
    assert len(one.folder.name) <= 100 and not set(one.folder.name) & set('<>:"/\\|?*\n\0'), "a name for every file system"
    assert json.loads(json.dumps(one.identity)) == one.identity


# ---- runs that fail


def test_failed_runs_are_named_and_tried_again(tmp_path):
    mended = []

    def fragile(run: Run, x: int) -> dict[str, float]:
        CALLS.append((x, run.seed))
        if x == 2 and not mended:
            raise ValueError("two is too much")
        return {"x_again": x}

    three = Experiment("tests/counted", fragile, grid(x=[1, 2, 3]), seeds=1)
    with pytest.raises(RunsFailed, match=r"1 of 3 runs failed \(x=2 seed=0: ValueError: two is too much\)") as caught:
        run_experiment(three, folder=tmp_path)
    assert [run["figures"]["x_again"] for run in caught.value.results.runs] == [1, 3]
    assert caught.value.results.table.x.tolist() == [1, 3] and str(tmp_path) not in str(caught.value)
    failed = planned(three, folder=tmp_path)[1].folder
    assert "two is too much" in (failed / "error.json").read_text() and "Traceback" in (failed / "log.txt").read_text()
    mended.append(True)
    assert len(run_experiment(three, folder=tmp_path).runs) == 3
    assert CALLS == [(1, 0), (2, 0), (3, 0), (2, 0)] and not (failed / "error.json").exists()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "return figures by name"),
        (0.5, "return figures by name"),
        ({"loss": float("nan")}, "JSON"),
        ({"weights": torch.zeros(2)}, "JSON"),
        ({"x": 1.0}, "a figure is called 'x'"),
        ({"seed": 1.0}, "a figure is called 'seed'"),
    ],
)
def test_figures_that_cannot_be_kept_fail_the_run(tmp_path, returned, message):
    odd = Experiment("tests/counted", lambda run, x: returned, grid(x=[1]), seeds=1)
    with pytest.raises(RunsFailed, match=message):
        run_experiment(odd, folder=tmp_path)
    assert not runs_are_done(tmp_path)


def test_ctrl_c_in_this_process_goes_through(tmp_path):
    def stop(run: Run) -> dict[str, float]:
        (run.checkpoint).mkdir(parents=True, exist_ok=True)
        if not (run.checkpoint / "half").exists():
            (run.checkpoint / "half").touch()
            raise KeyboardInterrupt
        return {"resumed": 1}

    stopped = Experiment("tests/counted", stop, seeds=1)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(stopped, folder=tmp_path)
    assert sys.stdout is not None and not runs_are_done(tmp_path)
    assert run_experiment(stopped, folder=tmp_path).runs[0]["figures"] == {"resumed": 1}
    assert not list(tmp_path.rglob("half")), "a checkpoint goes when its run is done"


# ---- bad input


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "no settings"),
        ([{"y": 1}], "does not take the settings"),
        ([{"x": 1, "z": 2}], "unexpected keyword argument 'z'"),
        ([{"x": {1}}], "JSON"),
        ([{"x": float("inf")}], "JSON"),
        ([{"x": torch.tensor(1.0)}], "JSON"),
        ([{"x": 1, "seconds": 2}], "column of the results"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(points, message):
    with pytest.raises(BadSetting, match=message):
        experiment(points)


def test_numbers_that_cannot_work_are_refused(tmp_path):
    for options in ({"seeds": 0}, {"seeds": True}, {"version": 0}, {"name": "a b"}, {"seeds": 1.5}):
        with pytest.raises(BadSetting):
            experiment(**options)
    for options in ({"workers": 0}, {"workers": 1.5}, {"threads": 0}, {"seeds": 0}):
        with pytest.raises(BadSetting, match="at least one"):
            run_experiment(experiment(), folder=tmp_path, **options)
    with pytest.raises(BadSetting, match="the sizes cannot be written as JSON"):
        run_experiment(experiment(sizes=lambda: Scale(name="smoke", rows={1})), folder=tmp_path)
    assert not CALLS and not list(tmp_path.iterdir())


def test_a_function_that_cannot_be_imported_needs_one_worker(tmp_path):
    local = Experiment("tests/counted", lambda run: {"one": 1}, seeds=2)
    with pytest.raises(BadSetting, match="move it to a module, or use workers=1"):
        run_experiment(local, workers=2, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    assert len(run_experiment(local, folder=tmp_path).runs) == 2


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for workers, chosen in ((1, experiment()), (2, twelve.TWELVE)):
        with pytest.raises(PetsLearnError, match="cannot be written") as caught:
            run_experiment(chosen, workers=workers, folder=tmp_path / "file")
        assert "choose a folder" in str(caught.value)
    assert not CALLS


@posix
@pytest.mark.parametrize(("workers", "room", "message"), [(1, 500, "run.json was not written"), (2, 0, "cannot be written")])
def test_a_full_disk_stops_the_runner_with_a_sentence(tmp_path, workers, room, message):
    """No file may grow beyond so many bytes: 500 are enough for a checkpoint and for some lines, but not for a record."""
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({room}, {room})); import grid_of_twelve; grid_of_twelve.main()"
    command = [sys.executable, "-c", limit, str(tmp_path), str(workers)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and message in done.stderr and "Free some space" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not runs_are_done(tmp_path) and nothing_half_written(tmp_path)


@pytest.mark.parametrize("name", ["deadly_import", "no_such_function"])
def test_workers_that_cannot_start_are_reported(tmp_path, monkeypatch, name, capfd):
    monkeypatch.setattr(experiments, "_function_name", lambda function: f"grid_of_twelve:{name}")
    with pytest.raises(PetsLearnError, match="ended with exit code 1 before its first run"):
        run_experiment(twelve.TWELVE, workers=2, folder=tmp_path)
    assert "AttributeError" in capfd.readouterr().err


# ---- surroundings


def test_each_run_is_seeded_and_has_its_own_threads_and_log(tmp_path, capsys):
    def draw(run: Run, x: int) -> dict[str, float]:
        print("epoch 1/1 · loss 0.5")
        return {"drawn": float(torch.rand(())), "threads": torch.get_num_threads()}

    before = torch.get_num_threads()
    drawn = Experiment("tests/counted", draw, grid(x=[1, 2]), seeds=2)
    table = run_experiment(drawn, folder=tmp_path, threads=2).table
    assert torch.get_num_threads() == before and table.threads.eq(2).all()
    assert table.groupby("seed").drawn.nunique().eq(1).all() and table.drawn.nunique() == 2
    out = capsys.readouterr().out
    assert "epoch 1/1" not in out and "tests/counted (main): 4 runs, 0 of them done already" in out and "4/4" in out
    assert all("epoch 1/1 · loss 0.5" in (r.folder / "log.txt").read_text() for r in planned(drawn, folder=tmp_path))
    facts = json.loads(runs_are_done(tmp_path)[0].read_text())
    assert facts["device"] == "cpu, 2 threads" and facts["versions"]["torch"] and facts["date"] and facts["seconds"] > 0
    run_experiment(drawn, folder=tmp_path, quiet=True)
    assert capsys.readouterr().out == ""


def test_other_code_is_noticed(tmp_path, capsys, monkeypatch):
    run_experiment(experiment(), folder=tmp_path)
    assert "other code" not in capsys.readouterr().out
    monkeypatch.setattr(experiments, "_code", lambda function: "0123456789ab")
    run_experiment(experiment(), folder=tmp_path)
    assert "1 of 1 runs were made by other code" in capsys.readouterr().out and len(CALLS) == 1


def test_code_is_all_that_a_run_rests_on(tmp_path, monkeypatch):
    package = tmp_path / "ownpackage"
    (package / "part").mkdir(parents=True)
    for name in ("__init__.py", "part/__init__.py", "unused.py"):
        (package / name).write_text("")
    (package / "part" / "chapter.py").write_text("def run():\n    from ..recipe import rate\n    return rate\n")
    (package / "recipe.py").write_text("from ownpackage import layers\nrate = 1\n")
    (package / "layers.py").write_text("import numpy\n")
    monkeypatch.syspath_prepend(tmp_path)
    function = importlib.import_module("ownpackage.part.chapter").run
    first = experiments._code(function)
    for name, counts in (("layers.py", True), ("recipe.py", True), ("part/chapter.py", True), ("unused.py", False)):
        before = experiments._code(function)
        with (package / name).open("a") as file:
            file.write("# changed\n")
        assert (experiments._code(function) != before) == counts, name
    assert first is not None


@pytest.mark.parametrize(("visible", "expected"), [(None, ["0", "1", "2", "0"]), ("4,7", ["4", "7", "4", "7"]), ("5", ["5"] * 4)])
def test_each_worker_gets_a_gpu_in_turn(monkeypatch, visible, expected):
    monkeypatch.setenv("PETS_LEARN_SCALE", "gpu")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [experiments._own_gpu(i) for i in range(4)] == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in expected]


def test_importing_it_loads_nothing_heavy():
    heavy = "{'torch', 'pandas', 'sklearn', 'matplotlib', 'fastai'}"
    code = f"import sys, pets_learn.experiments; print({heavy} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


# ---- results


def results(rows: list[tuple[dict, int, dict]], points=None) -> Results:
    def anything(run, **settings):
        return {}

    runs = [
        {"identity": {"settings": s, "seed": seed}, "figures": f, "seconds": 1.0, "history": None, "data": None}
        for s, seed, f in rows
    ]
    return Results(Experiment("tests/counted", anything, points or [s for s, _, _ in rows]), runs)


def test_a_diverged_run_is_counted_and_never_best():
    found = results(
        [({"rate": r}, seed, {"accuracy": a}) for r, seed, a in ((1, 0, 0.9), (1, 1, None), (0.1, 0, 0.5), (0.1, 1, 0.7))]
    )
    summary = found.summary("accuracy")
    assert summary.n.tolist() == [1, 2] and summary["mean"].tolist() == pytest.approx([0.9, 0.6])
    assert found.best("accuracy") == {"rate": 0.1} and list(summary.columns) == ["rate", "mean", "min", "max", "n"]
    with pytest.raises(BadSetting, match="no point has a value"):
        results([({"rate": 1}, 0, {"accuracy": None})]).best("accuracy")
    with pytest.raises(BadSetting, match="'higher' or 'lower'"):
        found.best("accuracy", "most")


def test_points_with_different_settings_make_one_table():
    found = results([({"dropout": 0.5}, 0, {"a": 1}), ({"layers": [2, 3]}, 0, {"a": 2}), ({}, 0, {"b": 3})])
    assert list(found.table.columns) == ["dropout", "layers", "seed", "a", "b", "seconds"]
    assert found.table.layers[1] == (2, 3) and pd.isna(found.table.dropout[1])
    assert found.summary("a")["mean"].tolist()[:2] == [1, 2] and found.best("a") == {"layers": [2, 3]}
    assert results([({}, 0, {"a": 1}), ({}, 1, {"a": 3})]).summary("a")["mean"].tolist() == [2]


def test_history_of_all_runs(tmp_path):
    def curves(run: Run, x: int) -> dict[str, float]:
        diverged = float("inf") if x == 2 else float("nan")
        run.keep_history(pd.DataFrame({"valid_loss": [1 / 3, x], "train_loss": [1, diverged]}).rename_axis("epoch"))
        return {"last": x}

    done = run_experiment(Experiment("tests/counted", curves, grid(x=[1, 2]), seeds=1), folder=tmp_path)
    history = done.history()
    assert list(history.columns) == ["x", "seed", "epoch", "valid_loss", "train_loss"] and history.epoch.tolist() == [0, 1, 0, 1]
    assert history.valid_loss.tolist() == [1 / 3, 1, 1 / 3, 2] and history.train_loss.isna().tolist() == [False, True] * 2


# ---- reproduce


@pytest.fixture
def chapter(monkeypatch, tmp_path):
    """A chapter pets/invented whose experiments a test sets; records go to a temporary folder."""
    module = types.ModuleType("pets_learn.pets.invented")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("PETS_LEARN_SCALE", "laptop")
    monkeypatch.setenv("PETS_LEARN_RESULTS", str(tmp_path / "results"))
    return module


def mean(table: pd.DataFrame) -> dict:
    return {"twice": figure(table.twice)}


def test_reproduce_goes_on_where_it_stopped_and_writes_the_record(tmp_path, chapter):
    chapter.experiments = lambda: Experiment("pets/invented", count_calls, summarize=mean)
    path = reproduce("pets/invented", 1, folder=tmp_path)
    assert json.loads(path.read_text())["figures"]["twice"]["n"] == 1
    found = json.loads(reproduce("pets/invented", folder=tmp_path).read_text())
    assert CALLS == [(0, 0), (0, 1), (0, 2)], "seed 0 had a result and was not run again"
    assert found["figures"]["twice"] == figure([0, 1, 2]) and found["data"] == {"name": "nothing", "items": 1, "complete": True}
    assert found["device"] == "cpu, 1 thread" and path.name == "pets-invented.laptop.json"
    assert json.loads(reproduce("pets/invented", 2, folder=tmp_path).read_text())["figures"]["twice"]["n"] == 2, "fresh"


def test_reproduce_mixes_no_recipes_and_no_data(tmp_path, chapter):
    epochs, items = 10, 7390

    def one(run: Run) -> dict[str, float]:
        CALLS.append((run.sizes.epochs, run.seed))
        run.uses("x", items=items, complete=True)
        return {"twice": 1}

    chapter.experiments = lambda: Experiment(
        "pets/invented", one, summarize=mean, sizes=lambda: Scale(name="laptop", epochs=epochs)
    )
    reproduce("pets/invented", 1, folder=tmp_path)
    epochs = 20
    reproduce("pets/invented", 1, folder=tmp_path)
    assert CALLS == [(10, 0), (20, 0)], "another number of epochs is another experiment"
    items = 50
    with pytest.raises(BadSetting, match="different data"):
        reproduce("pets/invented", 2, folder=tmp_path)


def test_reproduce_some_of_a_chapter(tmp_path, chapter):
    both = [
        Experiment(
            "pets/invented",
            count_calls,
            grid(x=[x]),
            lambda t, n=name: {n: figure(t.twice)},
            name=name,
            seeds=1 + (name == "many"),
        )
        for x, name in enumerate(["many", "few"])
    ]
    chapter.experiments = lambda: both
    assert json.loads(reproduce("pets/invented", folder=tmp_path).read_text())["figures"].keys() == {"many", "few"}
    both[1] = Experiment("pets/invented", count_calls, grid(x=[5]), lambda t: {"few": figure(t.twice)}, name="few", seeds=1)
    found = json.loads(reproduce("pets/invented", only=["few"], folder=tmp_path).read_text())
    assert found["figures"]["few"]["mean"] == 10 and found["figures"]["many"]["n"] == 2, "the others stay"
    with pytest.raises(BadSetting, match="it has: many, few"):
        reproduce("pets/invented", only=["none"], folder=tmp_path)
    both[1] = both[0]
    with pytest.raises(BadSetting, match="its own name"):
        reproduce("pets/invented", folder=tmp_path)


def test_reproduce_refuses_what_cannot_go_on_record(tmp_path, chapter):
    chapter.experiments = lambda: Experiment("pets/invented", lambda run: {"a": 1}, seeds=1, summarize=mean)
    with pytest.raises(BadSetting, match=r"run\.uses"):
        reproduce("pets/invented", folder=tmp_path)
    chapter.experiments = lambda: Experiment("pets/invented", count_calls, seeds=1, name="dumb")
    with pytest.raises(BadSetting, match="no summarize"):
        reproduce("pets/invented", folder=tmp_path)
    for name, message in (
        ("pets/nothing", "no chapter"),
        ("pets/run.x", "no chapter"),
        ("pets", "no chapter"),
        ("workshop/run", "declares no"),
    ):
        with pytest.raises(BadSetting, match=message):
            reproduce(name, folder=tmp_path)
    with pytest.raises(BadSetting, match="smoke, laptop, gpu"):
        reproduce("pets/invented", scale="huge", folder=tmp_path)
    assert not (tmp_path / "results").exists()


def test_reproduce_at_another_scale_puts_the_scale_back(tmp_path, chapter):
    chapter.experiments = lambda: Experiment("pets/invented", count_calls, seeds=1, summarize=mean)
    assert reproduce("pets/invented", scale="smoke", folder=tmp_path) is None
    assert os.environ["PETS_LEARN_SCALE"] == "laptop" and (tmp_path / "pets-invented" / "smoke").is_dir()
