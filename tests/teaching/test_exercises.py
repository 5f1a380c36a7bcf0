"""The exercises of all notebooks: their solutions are right, and nothing else than an answer passes."""

import re
import textwrap

import jupytext
import numpy as np
import pytest

from physmis import paths
from physmis.teaching import widgets as workshop

SOLUTION = re.compile(
    r"<details><summary>Solution (\d\d\.\d)</summary>.*?```python\n(.*?)```\s*</details>", re.S
)


@pytest.fixture(scope="module")
def notebooks():
    """Cells of each notebook's source, by name."""
    return {path.stem: jupytext.read(path).cells for path in sorted((paths.ROOT / "notebooks").glob("*.py"))}


def solutions(cells):
    return dict(
        match for cell in cells if cell.cell_type == "markdown" for match in SOLUTION.findall(cell.source)
    )


def exercises():
    return [f"{notebook}.{k}" for notebook in workshop.EXERCISES for k in (1, 2, 3)]


def test_every_notebook_has_a_try_it_section_and_three_exercises_with_solutions(notebooks):
    assert [name[:2] for name in notebooks] == list(workshop.EXERCISES)
    for name, cells in notebooks.items():
        wanted = [f"{name[:2]}.{k}" for k in (1, 2, 3)]
        assert list(solutions(cells)) == wanted
        code = [cell.source for cell in cells if cell.cell_type == "code"]
        for exercise in wanted:
            assert f'answer = ...\nworkshop.check("{exercise}", answer)' in code
        assert sum("workshop.explore(" in source for source in code) == 1


@pytest.mark.parametrize("exercise", exercises())
def test_the_solution_is_right(exercise, notebooks):
    (cells,) = [cells for name, cells in notebooks.items() if name.startswith(exercise[:2])]
    namespace = {}
    exec(compile(solutions(cells)[exercise], f"solution {exercise}", "exec"), namespace)
    assert workshop.hint(exercise, namespace["answer"]) is None


def raising(*_):
    raise RuntimeError("not written yet")


NO_ANSWERS = {
    "0": 0,
    "1": 1.0,
    "nan": np.nan,
    "None": None,
    "text": "?",
    "empty": [],
    "nans": np.full(3, np.nan),
    "identity": lambda *given: given[0] if given else 0,
    "zero": lambda *_: 0.0,
    "nan function": lambda *_: np.nan,
    "raises": raising,
}


@pytest.mark.parametrize("exercise", exercises())
@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_not_right_and_gets_a_hint(exercise, answer):
    hint = workshop.hint(exercise, answer)
    assert isinstance(hint, str) and len(hint) > 10


def test_check_tells_right_from_wrong_and_from_nothing(capsys):
    workshop.check("06.1", lambda x: np.linalg.norm(x[:, -1] - x[:, 0], axis=-1))
    workshop.check("06.1", lambda x: np.linalg.norm(x[:, 1] - x[:, 0], axis=-1))
    workshop.check("06.1", raising)
    workshop.check("06.1", ...)
    right, wrong, raised, nothing = capsys.readouterr().out.splitlines()
    assert right == "Exercise 06.1: right."
    assert wrong.startswith("Exercise 06.1: not yet. The distances are off")
    assert raised == "Exercise 06.1: not yet. It raised RuntimeError: not written yet"
    assert nothing.startswith("Exercise 06.1: no answer yet")


@pytest.mark.parametrize("name", ["06.4", "07.1", "6.1", "", 6.1, None])
def test_an_unknown_exercise_is_refused(name):
    for ask in (workshop.check, workshop.hint):
        with pytest.raises(ValueError, match="no exercise"):
            ask(name, ...)


# wrong answers to the exercises of notebook 06

DEALT = "s(*np.split(rng.permutation(np.r_[a, b]), [len(a)]))"


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        ("06.1", "lambda x: np.linalg.norm(x[:, -1] - x[:, 0], axis=0)"),
        ("06.1", "lambda x: ((x[:, -1] - x[:, 0]) ** 2).sum(axis=-1)"),
        ("06.1", "lambda x: np.abs(x[:, -1] - x[:, 0]).sum(axis=-1)"),
        ("06.1", "lambda x: x[:, -1, 0] - x[:, 0, 0]"),
        ("06.2", "lambda a, b, s, rng: float(s(a, b) < 1)"),
        ("06.2", f"lambda a, b, s, rng: np.mean([{DEALT} >= s(a, b) for _ in range(200)])"),  # may be 0
        ("06.2", f"lambda a, b, s, rng: np.mean([{DEALT} < s(a, b) for _ in range(200)]) + 0.001"),
        ("06.2", "lambda a, b, s, rng: 0.5 if s(a, b) < 1 else 0.001"),
        ("06.3", "lambda x: np.linalg.norm(np.diff(x, axis=1), axis=-1).sum(axis=1)"),
        ("06.3", "lambda x: np.arange(len(x))"),
        ("06.3", "lambda x: x[:, 0, 0]"),
        ("06.3", "lambda x: -np.linalg.norm(x[:, -1] - x[:, 0], axis=-1)"),
    ],
)  # fmt: skip
def test_typical_mistakes_are_not_right(exercise, source):
    assert workshop.hint(exercise, eval(textwrap.dedent(source), {"np": np})) is not None
