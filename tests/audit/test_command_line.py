"""The command line: exit codes, files in and out, measurements of the user's own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from physmis.audit import cli as __main__
from physmis.audit.audit import audit
from physmis.audit.cli import BAD_INPUT, HELD, MOVED, main

MEASURE = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Factor:
    value: float = 2.0

def last(x):
    return Factor().value * x[:, -1, 0]




def flat(x):
    return x

def leaves(x):
    raise SystemExit(0)

def later(x):
    import beside
    return beside.first(x)

number = 3
"""


def walks(n, seed, scale=1.0):
    return scale * np.cumsum(np.random.default_rng(seed).normal(size=(n, 12, 2)), axis=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "demos.npy", walks(120, 0))
    np.save(folder / "same.npy", walks(100, 1))
    np.save(folder / "longer.npy", walks(100, 2, 4.0))
    np.savez(folder / "named.npz", demos=walks(120, 0), other=np.zeros(3))
    (folder / "own.py").write_text(MEASURE)
    (folder / "beside.py").write_text("def first(x):\n    return x[:, 1, 0]\n")
    (folder / "ends.py").write_text("raise SystemExit(0)")
    (folder / "wrong.py").write_text("def f(:")
    return folder


@pytest.fixture(autouse=True)
def in_that_folder(files, monkeypatch):
    monkeypatch.chdir(files)


def run(line):
    return main(line.split())


def test_the_exit_code_tells_whether_the_distribution_has_moved(capsys):
    assert run("audit demos.npy --measure path_length") == HELD == 0
    assert "After training, draw" in capsys.readouterr().out
    assert run("audit demos.npy --measure path_length --generated same.npy") == HELD
    assert "no difference is found" in capsys.readouterr().out
    assert run("audit demos.npy --measure path_length --generated longer.npy") == MOVED == 1
    out, err = capsys.readouterr()
    assert "is not distributed" in out and "too many" in out and err == ""


def test_the_command_prints_what_the_function_finds(capsys):
    run("audit demos.npy --measure mean_speed --dt 0.5 --generated longer.npy --seed 7")
    found = audit.audit(walks(120, 0), "mean_speed", generated=walks(100, 2, 4.0), dt=0.5, seed=7)
    assert capsys.readouterr().out == f"{found}\n"


def test_the_demonstrations_are_held_against_a_prior(capsys):
    z = 2 * walks(120, 0)[:, -1, 0]
    line = "audit demos.npy --measure own.py:last --prior"
    assert run(f"{line} normal 0 {z.std():.2f}") == HELD
    assert run(f"{line} normal 30 1") == MOVED
    assert run(f"{line} uniform -100 100") == MOVED
    assert run(f"{line} uniform -1e2 1e2") == MOVED
    assert "as the prior says" in capsys.readouterr().out


@pytest.mark.parametrize(
    "prior", ["normal 0 0", "normal 0 -1", "uniform 1 1", "uniform 2 1", "gamma 1 1", "normal a 1",
              "normal nan 1", "normal -nan 1", "normal 0 inf", "uniform 0 inf", "uniform -inf 0"]
)  # fmt: skip
def test_bad_priors_are_bad_input(capsys, prior):
    assert run(f"audit demos.npy --measure path_length --prior {prior}") == BAD_INPUT == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("physmis audit: ") and "Traceback" not in err


def test_demonstrations_that_are_not_as_the_prior_says_count_beside_generated_ones_that_are(capsys):
    np.save("wide.npy", walks(400, 5, 2.0))
    np.save("narrow.npy", walks(400, 6))
    z = 2 * walks(4000, 7)[:, -1, 0]
    line = f"audit wide.npy --measure own.py:last --generated narrow.npy --prior normal 0 {z.std():.2f}"
    assert run(line) == MOVED
    out = capsys.readouterr().out
    assert "no difference is found" in out and "demonstrations themselves are not distributed" in out
    assert "Train longer" not in out and re.search("demonstrations against the prior +total variation", out)
    assert run(f"{line} --html curated.html") == MOVED
    assert "<strong>Not as curated.</strong>" in Path("curated.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["own.py", "./own.py", "own"])
def test_measurements_come_from_a_file_or_a_module(files, monkeypatch, capsys, place):
    monkeypatch.syspath_prepend(files)
    assert run(f"audit demos.npy --measure {place}:last") == HELD
    assert "audit of last" in capsys.readouterr().out


@pytest.mark.end_to_end
def test_what_lies_beside_a_measurement_can_be_imported_when_it_is_called(files, tmp_path):
    command = [sys.executable, "-m", "physmis", "audit", "demos.npy", "--measure", "own.py:later"]
    assert subprocess.run(command, cwd=files).returncode == HELD


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("energy", "unknown measurement 'energy'; accepted: path_length"),
        ("absent.py:last", "no file absent.py"),
        ("absent_module:last", "No module named 'absent_module'"),
        ("own.py:absent", "own.py has no function 'absent'"),
        ("own.py:number", "own.py has no function 'number'"),
        ("wrong.py:f", "SyntaxError"),
        ("ends.py:f", "SystemExit"),
        (":f", "Empty module name"),
        ("own.py:flat", "must return shape (120,) for 120 trajectories"),
        ("own.py:leaves", "own.py:leaves ended the program by sys.exit(0)"),
    ],
)
def test_bad_measurements_are_bad_input(capsys, measure, message):
    assert run(f"audit demos.npy --measure {measure}") == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "" and message in err and "Traceback" not in err


@pytest.mark.parametrize("error", [IndexError, KeyError, ZeroDivisionError, MemoryError])
def test_a_measurement_that_fails_is_bad_input_and_shows_where(files, capsys, error):
    """Python itself would end with 1, which says that the distribution has moved."""
    (files / "fails.py").write_text(f"def f(x):\n    raise {error.__name__}('here')\n")
    assert run("audit demos.npy --measure fails.py:f") == BAD_INPUT
    assert "fails.py" in (err := capsys.readouterr().err) and error.__name__ in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("absent.npy", "absent.npy: no such file"),
        ("demos.npy --generated absent.npz", "absent.npz: no such file"),
        ("own.py", "own.py: one of .npy, .npz"),
        ("demos.npy --channels 2", "channels from 0 to 1 wanted, got [2]"),
        ("named.npz", "there are demos, other"),
        ("demos.npy --dt 0", "positive time between steps"),
        ("demos.npy --dt nan", "positive time between steps"),
        ("demos.npy --html absent/report.html", "absent/report.html: there is no such folder"),
        ("demos.npy --seed -1", "non-negative"),
    ],
)
def test_bad_input_has_its_own_exit_code_and_one_line_that_says_why(capsys, line, message):
    assert run(f"audit {line} --measure mean_speed") == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.startswith("physmis audit: ") and err.count("\n") == 1


def test_channels_and_arrays_are_chosen(files, capsys):
    x = walks(120, 0)
    assert run("audit named.npz --array demos --channels 1 --measure path_length") == HELD
    expected = np.abs(np.diff(x[..., 1], axis=1)).sum(axis=1)
    assert f"{expected.mean():.4g}, standard deviation {expected.std():.4g}" in capsys.readouterr().out


def test_the_page_is_written_wholly_or_not_at_all(files, capsys, monkeypatch):
    path = files / "report.html"
    assert run("audit demos.npy --measure path_length --html report.html") == HELD
    path.chmod(0o600)
    assert run("audit demos.npy --measure path_length --generated longer.npy --html report.html") == MOVED
    assert path.stat().st_mode & 0o777 == 0o600
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")
    assert not list(files.glob(".report*"))
    assert run("audit demos.npy --measure path_length --generated absent.npy --html report.html") == BAD_INPUT
    assert path.read_text(encoding="utf-8") == page

    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr("physmis.experiments.store.os.replace", full)
    assert run("audit demos.npy --measure path_length --html report.html") == BAD_INPUT
    assert path.read_text(encoding="utf-8") == page and not list(files.glob(".report*"))
    assert "no space left" in capsys.readouterr().err


def test_a_page_takes_the_place_of_no_other_file(files, capsys):
    os.mkfifo(files / "pipe")
    (files / "notes.html").write_text("<!doctype html>mine")
    (files / "loop.html").symlink_to("loop.html")
    for name in ("demos.npy", "own.py", "notes.html", "pipe"):
        before = (files / name).stat()
        assert run(f"audit demos.npy --measure own.py:last --html {name}") == BAD_INPUT
        after = (files / name).stat()
        assert (after.st_mode, after.st_ino, after.st_size) == (before.st_mode, before.st_ino, before.st_size)
        assert name in capsys.readouterr().err
    assert run("audit demos.npy --measure own.py:last --html loop.html") in (HELD, BAD_INPUT)
    assert "Traceback" not in capsys.readouterr().err


def test_a_page_is_written_where_a_link_leads(files):
    (files / "pages").mkdir()
    (files / "link.html").symlink_to("pages/of_today.html")
    assert run("audit demos.npy --measure path_length --html link.html") == HELD
    assert (files / "link.html").is_symlink()
    assert (files / "pages" / "of_today.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_is_not_written_over_a_folder(files, capsys):
    (files / "folder").mkdir(exist_ok=True)
    assert run("audit demos.npy --measure path_length --html folder") == BAD_INPUT
    assert (files / "folder").is_dir() and not list(files.glob(".folder*"))


@pytest.mark.parametrize(
    "line", ["", "audit", "audit demos.npy", "unknown", "audit demos.npy --measure a --seed b"]
)
def test_usage_errors_end_with_the_code_of_bad_input(capsys, line):
    with pytest.raises(SystemExit) as ended:
        run(line)
    assert ended.value.code == BAD_INPUT
    assert "usage: physmis" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["--help", "audit --help"])
def test_help_is_there(capsys, line):
    with pytest.raises(SystemExit) as ended:
        run(line)
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "audit" in told
    if line != "--help":
        for option in (
            "--measure",
            "--generated",
            "--prior",
            "--dt",
            "--array",
            "--channels",
            "--seed",
            "--html",
        ):
            assert option in told
        assert "Exit code 0: no shift found, or nothing to compare; 1: moved; 2: bad input" in told
        assert all(name in told for name in __main__.MEASUREMENTS)


@pytest.mark.end_to_end
def test_whoever_stops_reading_gets_the_verdict_and_the_page_all_the_same(files):
    line = "audit demos.npy --measure path_length --generated longer.npy --html unread.html"
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "physmis", *line.split()], stdout=written, stderr=subprocess.PIPE
    )
    os.close(written)
    assert (done.returncode, done.stderr) == (MOVED, b"")
    assert (files / "unread.html").stat().st_size > 10_000


@pytest.mark.end_to_end
def test_bad_input_has_its_exit_code_although_nobody_hears_of_it(files):
    command = [sys.executable, "-m", "physmis", "audit", "absent.npy", "--measure", "path_length"]
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run(command, stderr=written)
    os.close(written)
    assert done.returncode == BAD_INPUT


@pytest.mark.end_to_end
def test_the_command_runs_as_a_program_of_its_own(files):
    line = "audit demos.npy --measure own.py:last --generated longer.npy --html program.html"
    done = subprocess.run([sys.executable, "-m", "physmis", *line.split()], capture_output=True, text=True)
    assert done.returncode == MOVED, done.stderr
    assert "not distributed" in done.stdout and "Traceback" not in done.stderr
    assert (files / "program.html").stat().st_size > 10_000
