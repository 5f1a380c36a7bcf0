import subprocess

import pytest

from benchmarks.mutations import MUTATIONS, ROOT, Mutation, first_failure, mutate

RIGHT = "def half(x):\n    return x / 2\n"
TESTS = {
    "test_strict.py": "from code_under_test import half\n\ndef test_half():\n    assert half(4) == 2\n",
    "test_lax.py": "from code_under_test import half\n\ndef test_zero():\n    assert half(0) == 0\n",
}


def mistake(old="x / 2", new="x / 3"):
    return Mutation("third for half", "code_under_test.py", old, new, tuple(TESTS))


@pytest.fixture
def tree(tmp_path):
    """A repository whose working changes are not committed."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name, text in {"code_under_test.py": RIGHT, **TESTS}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = end_to_end\n")
    return tmp_path


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_mutation_finds_its_line_and_leaves_a_program(mutation, tmp_path):
    copy = tmp_path / mutation.file
    copy.parent.mkdir(parents=True)
    copy.write_text((ROOT / mutation.file).read_text(encoding="utf-8"), encoding="utf-8")
    mutate(tmp_path, mutation)
    compile(copy.read_text(encoding="utf-8"), mutation.file, "exec")
    assert (ROOT / mutation.tests[0]).is_file()


def test_names_of_mutations_differ():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 16


@pytest.mark.parametrize(("old", "count"), [("x * 2", 0), ("x", 2)])
def test_a_text_that_does_not_stand_there_once_is_refused(old, count, tree):
    with pytest.raises(ValueError, match=f"found {count}"):
        mutate(tree, mistake(old=old))


@pytest.mark.end_to_end
def test_a_mistake_is_caught_by_the_test_that_looks_and_by_no_other(tree):
    assert first_failure(tree, mistake(), ("test_lax.py", "test_strict.py")) == "test_strict.py::test_half"
    assert first_failure(tree, mistake(), ("test_lax.py",)) is None
    assert (tree / "code_under_test.py").read_text() == RIGHT


@pytest.mark.end_to_end
def test_tests_that_cannot_run_catch_nothing(tree):
    with pytest.raises(RuntimeError, match="pytest ended"):
        first_failure(tree, mistake(new="x /"), ("test_strict.py",))
