"""Exercises: every exercise of every chapter keeps its promises, and the checker tells right from wrong, whatever it is given."""

import copy
import importlib
import inspect
import io
import json
import re
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pets_learn import exercises as ex
from pets_learn.run import BadSetting, PetsLearnError

ROOT = Path(__file__).resolve().parent.parent
DECLARING = sorted(
    path
    for path in (ROOT / "pets_learn").rglob("*.py")
    if re.search(r"^EXERCISES\b", path.read_text(encoding="utf-8"), re.MULTILINE)
)
CHAPTERS = [path.relative_to(ROOT / "pets_learn").with_suffix("").as_posix() for path in DECLARING]
ALL = [exercise for chapter in CHAPTERS for exercise in ex.exercises_of(chapter)]
MISTAKES = [(exercise, number) for exercise in ALL for number in range(len(exercise.mistakes))]


def by_name(exercise: ex.Exercise) -> str:
    return exercise.name


def notebook_of(chapter: str) -> Path:
    part, _, name = chapter.rpartition("/")
    (found,) = (ROOT / "nbs" / (part or "workshop")).glob(f"[0-9][0-9]_{name}.ipynb")
    return found


def text(cell: dict) -> str:
    return "".join(cell["source"])


def section(notebook: dict) -> list[dict]:
    """The cells from the heading of the exercises to the next heading of that level."""
    cells = notebook["cells"]
    start = next(i for i, cell in enumerate(cells) if text(cell).startswith("## Exercises"))
    after = (i for i in range(start + 1, len(cells)) if cells[i]["cell_type"] == "markdown" and text(cells[i]).startswith("## "))
    return cells[start : next(after)]


# --- every exercise of every chapter --------------------------------------------------------------------------------


def test_the_chapters_have_exercises():
    assert {"pets/dataset", "pets/cnn"} <= set(CHAPTERS)
    for chapter in CHAPTERS:
        names = [exercise.name for exercise in ex.exercises_of(chapter)]
        assert 2 <= len(names) <= 4 and len(set(names)) == len(names)
        assert all(name.startswith(f"{chapter}.") for name in names)


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_exercise_keeps_its_promises(exercise):
    assert ex.exercise_problems(exercise) == []


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_solution_passes_and_is_right_on_valid_inputs(exercise):
    """Two hundred inputs, valid by the exercise's own rule; the solution answers without a warning and changes nothing."""
    cases = ex.cases_of(exercise, 200)
    assert len(cases) >= 200 and all(exercise.is_valid(*inputs) for inputs in cases)
    with np.errstate(all="raise", under="ignore"):
        for inputs in cases:
            given = copy.deepcopy(inputs)
            assert ex.difference(exercise.solution(*given), exercise.solution(*inputs), 0) is None
            assert ex.difference(inputs, given, 0) is None
    result = ex.examine(exercise, exercise.solution, 200)
    assert result.passed and result.failed == 0 and result.cases == len(cases) and not result.hint


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_inputs_are_varied(exercise):
    """A checker with a few inputs, or with one expected result, accepts almost anything."""
    cases = ex.cases_of(exercise)
    assert len({repr(inputs) for inputs in cases}) > 50
    results = [repr(exercise.solution(*inputs)) for inputs in cases]
    assert max(map(results.count, results)) < 0.6 * len(results)


@pytest.mark.parametrize(("exercise", "number"), MISTAKES, ids=[f"{e.name}-{n + 1}" for e, n in MISTAKES])
def test_wrong_answer_gets_its_own_hint(exercise, number):
    mistake = exercise.mistakes[number]
    result = ex.examine(exercise, mistake.answer)
    assert not result and result.hint == mistake.hint
    assert result.failed >= 5, "a mistake that shows in so few cases may slip through another time"
    others = [m.hint for i, m in enumerate(exercise.mistakes) if i != number]
    assert mistake.hint not in others
    shown = result.case
    assert exercise.is_valid(*shown.inputs) and shown.wrong
    assert ex.difference(exercise.solution(*shown.inputs), shown.expected, 0) is None


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_constant_answers_fail(exercise):
    """Whatever the first cases expect, as a constant: no answer that ignores its input passes."""
    for inputs in ex.cases_of(exercise)[:5]:
        constant = exercise.solution(*inputs)
        assert not ex.examine(exercise, lambda *_, constant=constant: constant)


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_check_is_deterministic(exercise):
    state = repr(np.random.get_state())  # noqa: NPY002 - the global generator, which must be left alone
    results = [str(ex.examine(exercise, exercise.mistakes[0].answer)) for _ in range(2)]
    assert results[0] == results[1]
    assert ex.difference(ex.cases_of(exercise), ex.cases_of(exercise), 0) is None
    assert repr(np.random.get_state()) == state  # noqa: NPY002


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_solution_is_short_and_documented(exercise):
    body = ex.solution_of(exercise).split("\n")
    given = len(ex.stub_of(exercise).split("\n")) - 1
    assert 1 <= len(body) - given <= 12, "an exercise takes up to a dozen lines"
    parameters = inspect.signature(exercise.solution).parameters
    assert all(re.search(rf"^    {name}: .*# [\w(]", ex.stub_of(exercise), re.M) for name in parameters), "each has a docment"
    assert f"`{exercise.function}`" in exercise.task and not exercise.task.startswith("#")
    for line in body[given:]:
        assert line.strip() not in ex.stub_of(exercise).split("\n")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_notebook_shows_what_the_source_says(chapter):
    """Task, stub, check, folded solution and the stub's output: as the declarations give them."""
    shown = section(json.loads(notebook_of(chapter).read_text(encoding="utf-8")))
    made = ex.exercise_cells(ex.exercises_of(chapter))
    assert [(c["cell_type"], text(c)) for c in shown] == [(c["cell_type"], text(c)) for c in made], "run write_exercises"
    for cell in shown:
        if "check(" in text(cell):
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(text(cell), {"np": np, "check": ex.check})
            assert "".join(cell["outputs"][0]["text"]) == printed.getvalue()
            assert "nothing to check yet" in printed.getvalue()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_solution_stands_above_its_stub(chapter):
    """In Jupyter hidden cells are visible: the declarations come after the references."""
    cells = [text(c) for c in json.loads(notebook_of(chapter).read_text(encoding="utf-8"))["cells"]]
    end = next(i for i, cell in enumerate(cells) if cell.startswith("## References"))
    for exercise in ex.exercises_of(chapter):
        defined = [i for i, cell in enumerate(cells) if f"def {exercise.solution.__name__}(" in cell]
        assert len(defined) == 1 and defined[0] > end
        assert cells[defined[0]].startswith("#| hide\n#| exporti\n")
        assert exercise.solution.__name__.startswith("_"), "it must not take the place of the learner's function"


def test_write_exercises_is_up_to_date(tmp_path):
    for chapter in CHAPTERS:
        path = notebook_of(chapter)
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        copied = tmp_path / path.parent.name / path.name
        copied.write_bytes(path.read_bytes())
        assert ex.write_exercises(copied) == len(ex.exercises_of(chapter))
        assert copied.read_bytes() == path.read_bytes(), "run write_exercises"


# --- the solutions against other libraries --------------------------------------------------------------------------


def test_output_side_is_pytorch_s():
    solution = ex.exercise_named("pets/cnn.output_side").solution
    for side, window, stride, padding in ex.cases_of(ex.exercise_named("pets/cnn.output_side")):
        photo = torch.zeros(1, 1, side, side)
        weight = torch.zeros(1, 1, window, window)
        expected = nn.functional.conv2d(photo, weight, stride=stride, padding=padding).shape[-1]
        assert nn.functional.max_pool2d(photo, window, stride, padding).shape[-1] == expected
        assert solution(side, window, stride, padding) == expected


def test_cnn_parameters_are_those_of_a_network():
    exercise = ex.exercise_named("pets/cnn.cnn_parameters")
    for side, filters, units in ex.cases_of(exercise, 20):
        layers, channels = [], 3
        for count in filters:
            layers += [nn.Conv2d(channels, count, 3), nn.ReLU(), nn.MaxPool2d(2)]
            channels = count
        flat = nn.Sequential(*layers, nn.Flatten())(torch.zeros(1, 3, side, side)).shape[1]
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, units), nn.ReLU(), nn.Linear(units, 1))
        assert exercise.solution(side, filters, units) == sum(p.numel() for p in network.parameters())


def test_binary_cross_entropy_is_pytorch_s():
    exercise = ex.exercise_named("pets/cnn.binary_cross_entropy")
    for logits, labels in ex.cases_of(exercise):
        reference = nn.functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor(labels))
        assert exercise.solution(logits, labels) == pytest.approx(reference.item(), rel=1e-12, abs=1e-12)


def test_nearest_other_is_scikit_learn_s():
    from sklearn.metrics import pairwise_distances

    exercise = ex.exercise_named("pets/dataset.nearest_other")
    for (hashes,) in ex.cases_of(exercise):
        distances = pairwise_distances(hashes.astype(float), metric="hamming")
        np.fill_diagonal(distances, 2)
        np.testing.assert_array_equal(exercise.solution(hashes), distances.argmin(axis=1))


def test_baseline_is_scikit_learn_s():
    from sklearn.dummy import DummyClassifier

    exercise = ex.exercise_named("pets/dataset.baseline_accuracy")
    for train, test in ex.cases_of(exercise, 30):
        dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(train), 1)), train)
        assert exercise.solution(train, test) == dummy.score(np.zeros((len(test), 1)), test)


def test_leaks_are_those_of_a_table():
    exercise = ex.exercise_named("pets/dataset.count_leaks")
    for parts, groups in ex.cases_of(exercise):
        table = pd.DataFrame({"part": parts, "group": groups})
        leaked = table[table.part == "test"].group.isin(table[table.part == "train"].group).sum()
        assert exercise.solution(parts, groups) == leaked


# --- answers that learners give, beside the declared ones -----------------------------------------------------------


def stable(logits, labels):
    return np.mean(np.logaddexp(0, logits) - logits * labels)


def clipped(smallest):
    def answer(logits, labels):
        p = np.clip(1 / (1 + np.exp(-logits)), smallest, 1 - smallest)
        return -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean()

    return answer


def log_of_exp(logits, labels):
    return (np.log(1 + np.exp(logits)) - logits * labels).mean()


def as_torch(logits, labels):
    return nn.functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor(labels))


def loop(hashes):
    nearest = np.zeros(len(hashes), dtype=int)
    for i, a in enumerate(hashes):
        others = [(int((a != b).sum()), j) for j, b in enumerate(hashes) if j != i]
        nearest[i] = min(others)[1]
    return nearest


def in_place(hashes):
    hashes ^= True
    return loop(hashes)


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("pets/cnn.binary_cross_entropy", stable, ""),
        ("pets/cnn.binary_cross_entropy", clipped(1e-12), "ceiling"),
        ("pets/cnn.binary_cross_entropy", clipped(1e-9), "ceiling"),
        ("pets/cnn.binary_cross_entropy", log_of_exp, "`exp`"),
        ("pets/cnn.binary_cross_entropy", as_torch, "of type Tensor, but a number (float)"),
        ("pets/cnn.binary_cross_entropy", lambda z, y: np.logaddexp(0, z) - z * y, "of type ndarray, but a number"),
        ("pets/cnn.output_side", lambda n, k, s, p: (n - k + 2 * p + s) // s, ""),
        ("pets/cnn.output_side", lambda n, k, s, p: np.int64((n - k + 2 * p) // s + 1), ""),
        ("pets/cnn.output_side", lambda n, k, s, p: float((n - k + 2 * p) // s + 1), "whole"),
        ("pets/cnn.output_side", lambda n, k, s, p: round((n + 2 * p - k) / s) + 1, "round down"),
        ("pets/cnn.output_side", lambda n, k, s: 0, "cannot be called as output_side(side, window, stride, padding)"),
        ("pets/dataset.nearest_other", loop, ""),
        ("pets/dataset.nearest_other", lambda h: loop(h).tolist(), "of type list, but ndarray"),
        ("pets/dataset.nearest_other", lambda h: loop(h)[:, None], "shape (2, 1), but (2,)"),
        ("pets/dataset.nearest_other", lambda h: loop(h).astype(float), "dtype float64, but int64"),
        ("pets/dataset.nearest_other", in_place, "changes its input"),
        ("pets/dataset.nearest_other", lambda h: np.abs(h[:, None] - h), "TypeError: numpy boolean subtract"),
        ("pets/dataset.baseline_accuracy", lambda train, test: np.mean([t == max(train, key=train.count) for t in test]), ""),
        ("pets/dataset.baseline_accuracy", lambda train, test: str(1.0), "of type str"),
        ("pets/dataset.count_leaks", lambda parts, groups: {"test": 1}, "of type dict"),
    ],
)
def test_answers_of_other_kinds(name, answer, words):
    """Right answers in another form pass; wrong ones get a hint that fits. `words` is empty for the right ones."""
    result = ex.examine(ex.exercise_named(name), answer)
    assert bool(result) is (not words), str(result)
    assert words in result.hint


# --- a small exercise to be cruel to --------------------------------------------------------------------------------


def _halves(numbers: list[int]) -> list[float]:
    "Each number divided by two."
    return [number / 2 for number in numbers]


HALVES = ex.Exercise(
    "workshop/test.halves",
    "Halves",
    "Write `halves`.",
    _halves,
    lambda rng: (rng.integers(0, 9, rng.integers(1, 4)).tolist(),),
    lambda numbers: bool(numbers) and all(isinstance(n, int) for n in numbers),
    (
        ex.Mistake("rounded down", lambda numbers: [n // 2 for n in numbers]),
        ex.Mistake("only one", lambda numbers: [numbers[0] / 2]),
        ex.Mistake("doubled", lambda numbers: [n * 2 for n in numbers]),
    ),
)


class Unspeakable:
    """Whatever is done with it raises."""

    def __repr__(self):
        raise RuntimeError("no words")

    __eq__ = __len__ = __getitem__ = __iter__ = __repr__
    __hash__ = None


class SlyList(list):
    def __len__(self):
        raise RuntimeError("uncountable")


def raises(error):
    def function(numbers):
        raise error

    return function


def leaves(numbers):
    sys.exit(3)


def recursive(numbers):
    return recursive(numbers)


def swallowing(numbers):
    while True:
        try:
            while True:
                pass
        except Exception:
            continue


def late(numbers):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        pass


def shared(numbers, so_far=[]):  # noqa: B006 - the mistake itself
    so_far.clear()
    so_far.extend(n / 2 for n in numbers)
    return so_far


def growing(numbers, so_far=[]):  # noqa: B006 - the mistake itself
    so_far.extend(n / 2 for n in numbers)
    return so_far


def talking(numbers):
    print("something")
    print("something else", file=sys.stderr)
    return _halves(numbers)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raises(ValueError("a\nb")), "Your function raised ValueError: a b"),
        (raises(KeyError()), "raised KeyError, at the line `raise error`"),
        (raises(KeyboardInterrupt()), "raised KeyboardInterrupt"),
        (raises(NotImplementedError()), "nothing to check yet"),
        (leaves, "raised SystemExit: 3"),
        (recursive, "raised RecursionError"),
        (lambda numbers: None, "forget `return`"),
        (lambda numbers: Unspeakable(), "of type Unspeakable, but list"),
        (lambda numbers: SlyList(_halves(numbers)), "cannot be compared: RuntimeError: uncountable"),
        (lambda numbers: [Unspeakable() for _ in numbers], "At [0]: "),
        (lambda numbers: (n / 2 for n in numbers), "of type generator, but list"),
        (lambda numbers: [n / 2 for n in numbers] + [0], "has length"),
        (lambda numbers: [True for n in numbers], "a number (float) is expected"),
        (growing, "has length"),
        (lambda: [], "cannot be called as halves(numbers)"),
        (lambda numbers, more: [], "cannot be called as halves(numbers)"),
        (None, "Give `check` the function itself"),
        ([0.5], "Give `check` the function itself"),
        (len, "of type int, but list"),
        (Unspeakable, "cannot be called"),
    ],
)
def test_bad_answers_get_a_hint_and_no_traceback(answer, words, capsys):
    result = ex.check(HALVES, answer)
    assert not result and words in result.hint
    assert capsys.readouterr().out == f"{result}\n" and "Traceback" not in str(result)


@pytest.mark.parametrize("answer", [shared, talking, lambda numbers: [np.float32(n) / 2 for n in numbers]])
def test_unusual_right_answers_pass(answer, capsys):
    assert ex.check(HALVES, answer)
    assert capsys.readouterr().out == "workshop/test.halves: right, on all 100 inputs.\n"


@pytest.mark.parametrize("answer", [swallowing, late])
def test_endless_answers_come_to_an_end(answer):
    before, threads = time.monotonic(), threading.active_count()
    result = ex.examine(HALVES, answer, seconds=0.3)
    assert "did not come to an end" in result.hint and result.failed == 1
    assert time.monotonic() - before < 10
    assert threading.active_count() == threads, "the loop was stopped"
    print_works = io.StringIO()
    with redirect_stdout(print_works):
        print("here")
    assert print_works.getvalue() == "here\n"


def test_what_was_right_before_the_endless_loop_is_remembered():
    def sometimes(numbers):
        while len(numbers) == 3:
            pass
        return _halves(numbers)

    result = ex.examine(HALVES, sometimes, seconds=0.5)
    assert len(result.case.inputs[0]) == 3 and result.cases > 1 and result.failed == 1


def test_result_in_a_test_and_in_jupyter(capsys):
    good, bad = ex.check(HALVES, _halves), ex.check(HALVES, lambda numbers: numbers)
    assert good
    assert not bad and "hint=" in repr(bad), "pytest shows the hint of a failed assert"
    assert good._ipython_display_() is None, "Jupyter shows nothing beside what was printed"
    assert "halves([" in str(bad) and "expected  [" in str(bad) and "yours     [" in str(bad)
    with pytest.raises(AssertionError, match="rounded down"):
        assert ex.check(HALVES, HALVES.mistakes[0].answer)


def test_the_majority_of_failing_cases_decides():
    """A function with two mistakes gets the hint for the one that shows more often; an unknown one gets no false hint."""

    def two(numbers):
        return [n * 2 for n in numbers] if len(numbers) > 1 else [n // 2 for n in numbers]

    def unknown(numbers):
        return [n * 2 for n in numbers] if numbers == [3] else [n / 2 + 7 for n in numbers]

    assert ex.examine(HALVES, two).hint == "doubled"
    assert ex.examine(HALVES, unknown).hint.startswith("At [0]: The value is")


def test_a_mistake_that_the_learner_did_not_make_is_not_named():
    """Where both explain the failing cases, what was right tells them apart."""
    off = ex.Mistake("off everywhere", lambda x: x - 1)
    odd = ex.Mistake("off for odd numbers", lambda x: x - x % 2)

    def _same(x: int) -> int:
        "The number itself."
        return x

    exercise = ex.Exercise("a.same", "", "", _same, lambda rng: (int(rng.integers(100)),), lambda x: x >= 0, (off, odd))
    assert ex.examine(exercise, lambda x: x // 2 * 2).hint == "off for odd numbers"
    assert ex.examine(exercise, lambda x: x - 1).hint == "off everywhere"


def test_a_sign_says_nothing_against_right_results():
    """A sign that explains every wrong result wins over an answer that explains most of them."""
    below = ex.Mistake("below", lambda x: x - 1, lambda inputs, expected, got: got < expected)
    most = ex.Mistake("most", lambda x: x + 5 if x % 10 == 9 else x - x % 2)

    def _same(x: int) -> int:
        "The number itself."
        return x

    exercise = ex.Exercise("a.same", "", "", _same, lambda rng: (int(rng.integers(100)),), lambda x: x >= 0, (most, below))
    assert ex.examine(exercise, lambda x: x // 2 * 2).hint == "below"
    assert ex.examine(exercise, most.answer).hint == "most"


def test_a_sign_that_trips_is_no_sign():
    signed = replace(HALVES, mistakes=(ex.Mistake("signed", HALVES.mistakes[0].answer, lambda i, e, got: got.shape[5] > 1),))
    assert ex.examine(signed, lambda numbers: numbers).hint.startswith("At [0]")


# --- exercises that do not keep their promises ----------------------------------------------------------------------


def _shouting(numbers: list[int]) -> list[float]:
    "Raises."
    raise ValueError("broken")


def _sorting(numbers: list[int]) -> list[float]:
    "Changes its input."
    numbers.sort()
    return numbers


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mistakes": HALVES.mistakes[:2]}, "it has 2 mistakes; declare three or more"),
        ({"mistakes": (*HALVES.mistakes, HALVES.mistakes[0])}, "two of its mistakes have the same hint"),
        ({"mistakes": (*HALVES.mistakes, ex.Mistake("right", _halves))}, "it accepts wrong answer 4"),
        (
            {"mistakes": (*HALVES.mistakes, ex.Mistake("none", lambda numbers: None, lambda *_: False))},
            "answer 4 gets another hint",
        ),
        ({"draw": lambda rng: ([],)}, "which its is_valid refuses"),
        ({"examples": (([1.5],),)}, "which its is_valid refuses"),
        ({"solution": _shouting}, "raises ValueError for the input"),
        ({"solution": _sorting}, "changes the input"),
        ({"draw": lambda rng: ([0],)}, "it accepts wrong answer 1"),
    ],
)
def test_problems_are_found(changes, problem):
    assert any(problem in found for found in ex.exercise_problems(replace(HALVES, **changes)))


def test_sound_exercise_has_no_problem():
    assert ex.exercise_problems(HALVES) == []


def test_inputs_that_change_from_call_to_call_are_found():
    rng = np.random.default_rng(0)
    restless = replace(HALVES, draw=lambda _: (rng.integers(0, 9, 3).tolist(),))
    assert "its inputs are not the same twice" in ex.exercise_problems(restless)


def test_solution_that_needs_more_than_numpy_is_found():
    def _with_helper(numbers: list[int]) -> list[float]:
        "Each number divided by two."
        return _halves(numbers)

    assert "its printed solution does not run by itself" in ex.exercise_problems(replace(HALVES, solution=_with_helper))


def test_broken_exercise_is_an_error_for_the_learner_too():
    with pytest.raises(PetsLearnError, match=r"the solution of workshop/test\.halves raises ValueError"):
        ex.check(replace(HALVES, solution=_shouting), _halves)


@pytest.mark.parametrize("name", ["", "halves", "Pets/cnn.x", "pets/cnn", "pets/cnn.", "a/b/c.d", "pets/cnn.x y", "../x.y"])
def test_bad_names_are_refused(name):
    with pytest.raises(BadSetting, match="no name for an exercise"):
        replace(HALVES, name=name)
    with pytest.raises(BadSetting, match=r"there is no (chapter|exercise)"):
        ex.check(name, _halves)


@pytest.mark.parametrize("cases", [0, -1])
def test_no_cases_are_no_check(cases):
    with pytest.raises(BadSetting, match=r"one at least"):
        ex.check(HALVES, _halves, cases=cases)


def test_unknown_exercise_names_those_that_exist():
    with pytest.raises(BadSetting, match=r"this chapter has: pets/dataset\.baseline_accuracy, "):
        ex.exercise_named("pets/dataset.nothing")
    with pytest.raises(BadSetting, match="this chapter has: none"):
        ex.exercise_named("run.nothing")


def test_missing_dependency_is_not_taken_for_a_missing_chapter(monkeypatch):
    def cannot(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib, "import_module", cannot)
    with pytest.raises(ModuleNotFoundError, match="torch"):
        ex.exercises_of("pets/cnn")


def test_importing_is_light_and_lazy():
    code = (
        "import sys, pets_learn.exercises; "
        "print(*sorted({'torch', 'fastai', 'pandas', 'hypothesis', 'pets_learn.pets.dataset'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


# --- comparing ------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)


@given(VALUES)
def test_every_value_equals_its_copy(value):
    assert ex.difference(value, copy.deepcopy(value)) is None


@given(VALUES, VALUES)
def test_comparing_never_raises_and_sees_what_python_sees(a, b):
    said = ex.difference(a, b, 0)
    assert said is None or said.endswith((".", "?"))
    if type(a) is type(b) and repr(a) == repr(b):
        assert said is None
    if said is None and not isinstance(a, float | list | tuple | dict):
        assert a == b


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_tolerance_is_relative_and_absolute(value, factor):
    near, far = value + 0.9e-6 * (1 + abs(value)), value + factor * 2.1e-6 * (1 + abs(value)) / 1e-3
    assert ex.difference(value, near) is None
    assert ex.difference(value, far) is not None
    assert ex.difference(np.array([value]), np.array([far])) is not None


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        (3, 3.0, "a whole number"),
        (3, True, "a whole number"),
        (True, 1, "True or False"),
        (3.0, 3, None),
        (3.0, True, "a number (float)"),
        (1.0, float("nan"), "The value is nan"),
        (float("inf"), float("inf"), None),
        (np.float64(2), 2.0, None),
        (np.True_, True, None),
        ("a", "b", "The value is 'b' in place of 'a'"),
        ((1, 2), [1, 2], "of type list, but tuple"),
        ({"a": 1}, {"a": 1, "b": 2}, "needless keys: ['b']"),
        ({"a": [1.0]}, {"a": [2.0]}, "At ['a']: At [0]: The value is 2.0"),
        ({1, 2}, {2, 1}, None),
        ({1, 2}, {2, 3}, "The value is {2, 3}"),
        (np.zeros(3), np.zeros((3, 1)), "shape (3, 1), but (3,)"),
        (np.zeros(3), 0.0, "of type float, but ndarray"),
        (np.zeros(3), np.zeros(3, np.float32), "dtype float32"),
        (np.array([1, 2]), np.array([1, 3]), "1 of 2 values differ; the first at [1]"),
        (np.array(1.0), np.array(2.0), "1 of 1 values differ; the first is"),
        (np.array([np.nan]), np.array([np.nan]), None),
        (np.zeros((0, 3)), np.zeros((0, 3)), None),
        (np.array(["a"]), np.array(["b"]), "1 of 1 values differ"),
        (torch.ones(2), torch.ones(2, requires_grad=True), None),
        (torch.ones(2), torch.tensor([1.0, 2.0]), "1 of 2 values differ"),
        (torch.ones(2), torch.ones(2, dtype=torch.int64), "dtype torch.int64"),
        (torch.ones(2), np.ones(2), "of type ndarray, but Tensor"),
        (pd.Series([1, 2]), pd.Series([1, 2]), None),
        (pd.Series([1, 2]), pd.Series([1, 3]), "The value is"),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]}), "The value is"),
    ],
)
def test_differences(expected, got, words):
    said = ex.difference(expected, got)
    assert said is None if words is None else words in said


# --- stubs ----------------------------------------------------------------------------------------------------------


def test_stub_keeps_given_lines_and_solution_has_no_mark():
    exercise = ex.exercise_named("pets/cnn.cnn_parameters")
    stub, solution = ex.stub_of(exercise), ex.solution_of(exercise)
    assert stub.split("\n")[-2:] == ["    channels, total = 3, 0", f"    {ex.STUB}"]
    assert ex.MARK not in solution and solution.startswith(stub.removesuffix(f"    {ex.STUB}"))


def test_no_place_for_exercises_is_an_error(tmp_path):
    path = tmp_path / "01_x.ipynb"
    empty = {"cells": [{"cell_type": "markdown", "source": ["# x"], "metadata": {}}], "metadata": {}}
    path.write_text(json.dumps(empty))
    before = path.read_bytes()
    with pytest.raises(BadSetting, match="neither a section of exercises nor one of references"):
        ex.write_exercises(path, [HALVES])
    assert path.read_bytes() == before


def test_section_is_replaced_and_the_rest_kept(tmp_path):
    path = tmp_path / "01_x.ipynb"
    cells = ["# x", "## Exercises\n\nold", "old task", "## References\n\nold"]
    cells = [{"cell_type": "markdown", "source": [c], "metadata": {"tags": ["kept"]}} for c in cells]
    path.write_text(json.dumps({"cells": cells, "metadata": {"kernel": 1}, "nbformat": 4, "nbformat_minor": 5}))
    assert ex.write_exercises(path, [HALVES]) == 1
    made = json.loads(path.read_text(encoding="utf-8"))
    assert made["metadata"] == {"kernel": 1} and made["cells"][0] == cells[0] and made["cells"][-1] == cells[-1]
    assert "old task" not in path.read_text(encoding="utf-8") and "def halves(" in path.read_text(encoding="utf-8")
    assert ex.write_exercises(path, [HALVES, replace(HALVES, name="workshop/test.more")]) == 2
    assert len(section(json.loads(path.read_text(encoding="utf-8")))) == 8
