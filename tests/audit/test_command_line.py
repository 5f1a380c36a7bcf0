"""The command line: exit codes, files in and out, measurements of the user's own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from physmis.audit.audit import audit
from physmis.audit.cli import BAD_INPUT, NO_SHIFT, SHIFT, main
from physmis.audit.measurements import MEASUREMENTS

MEASURE = """
def last(x):
    return 2 * x[:, -1, 0]

def flat(x):
    return x

def leaves(x):
    raise SystemExit(0)

def fails(x):
    raise KeyError("here")

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
    np.save(folder / "flat.npy", walks(100, 2)[..., 0])
    np.savez(folder / "named.npz", demos=walks(120, 0), other=np.zeros(3))
    (folder / "damaged.npz").write_bytes((folder / "named.npz").read_bytes()[:-100])
    (folder / "own.py").write_text(MEASURE)
    (folder / "beside.py").write_text("def first(x):\n    return x[:, 1, 0]\n")
    (folder / "wrong.py").write_text("def f(:")
    return folder


@pytest.fixture(autouse=True)
def in_that_folder(files, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.syspath_prepend(files)  # restores sys.path, too


def run(line):
    return main(["audit", *line.split()])


def test_the_exit_code_says_whether_the_distribution_has_shifted(capsys):
    assert run("demos.npy --measure path_length") == NO_SHIFT == 0
    assert "After training, draw" in capsys.readouterr().out
    assert run("demos.npy --measure path_length --generated same.npy") == NO_SHIFT
    assert "no difference is found" in capsys.readouterr().out
    assert run("demos.npy --measure path_length --generated longer.npy") == SHIFT == 1
    out, err = capsys.readouterr()
    assert "is not distributed" in out and "too many" in out and err == ""


def test_the_command_prints_what_the_function_finds(capsys):
    run("demos.npy --measure mean_speed --dt 0.5 --generated longer.npy --seed 7")
    found = audit(walks(120, 0), "mean_speed", generated=walks(100, 2, 4.0), dt=0.5, seed=7)
    said = iter(capsys.readouterr().out.splitlines())
    assert all(line in said for line in str(found).splitlines())  # in this order, beside files and command


def test_the_demonstrations_are_compared_with_a_prior(capsys):
    line = "same.npy --measure own.py:last --no-forecast --prior"
    assert run(f"{line} normal 0 {2 * np.sqrt(12):.2f}") == NO_SHIFT
    assert run(f"{line} normal 30 1") == SHIFT
    assert run(f"{line} uniform -100 100") == SHIFT
    assert run(f"{line} uniform -1e2 1e2") == SHIFT
    assert "as the prior says" in capsys.readouterr().out


def test_a_wrong_curation_counts_beside_a_right_model(capsys):
    np.save("wide.npy", walks(400, 5, 2.0))
    np.save("narrow.npy", walks(400, 6))
    z = 2 * walks(4000, 7)[:, -1, 0]
    line = f"wide.npy --measure own.py:last --generated narrow.npy --prior normal 0 {z.std():.2f}"
    assert run(f"{line} --html curated.html") == SHIFT
    out = capsys.readouterr().out
    assert "Curate again" in out and "Train longer" not in out
    assert re.search("demonstrations against the prior +total variation", out)
    said = "Shift detected: the last of the demonstrations themselves is not distributed as the prior says."
    assert said in out and said in Path("curated.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["own.py:last", "./own.py:last", "own:last", "own.py:later"])
def test_measurements_come_from_a_file_or_a_module(capsys, place):
    assert run(f"demos.npy --measure {place}") == NO_SHIFT
    assert "audit of la" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("energy", "expected a measurement (path_length"),
        ("absent.py:last", "absent.py"),
        ("absent_module:last", "No module named 'absent_module'"),
        ("own.py:absent", "expected a function absent in own.py, got last, flat, leaves, fails, later\n"),
        ("own.py:number", "expected a function number in own.py, got last, flat,"),
        ("beside:absent", "expected a function absent in beside, got first\n"),
        ("wrong.py:f", "SyntaxError"),
        (":f", "Empty module name"),
        ("own.py:flat", "expected a measurement of shape (120,), got (120, 12, 2)"),
    ],
)
def test_bad_measurements_are_bad_input(capsys, measure, message):
    assert run(f"demos.npy --measure {measure}") == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "" and message in err and "Traceback" not in err


@pytest.mark.parametrize("measure", ["fails", "leaves"])
def test_a_measurement_that_fails_is_bad_input_and_shows_where(capsys, measure):
    """Python itself would end with 1, which says that the distribution has shifted, or with the user's 0."""
    assert run(f"demos.npy --measure own.py:{measure}") == BAD_INPUT
    assert "own.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("absent.npy", "absent.npy"),
        ("damaged.npz", "damaged.npz: cannot be read"),
        ("flat.npy", "expected shape (T, C) of each, T of 2 or more, got (12,)"),
        ("own.py", "own.py: cannot be read (expected .npz, .npy"),
        ("demos.npy --channels 2", "expected channels from 0 to 1, got [2]"),
        ("named.npz", "got demos, other"),
        ("demos.npy --dt 0", "dt"),
        ("demos.npy --html absent/report.html", "absent/report.html"),
        ("demos.npy --seed -1", "non-negative"),
        ("demos.npy --looks 0", "--looks of 1 or more"),
        ("demos.npy --tolerance 2", "--tolerance from 0 to 1"),
        ("demos.npy --prior normal 0 0", "expected uniform LOW HIGH, or normal MEAN SD, got normal 0 0"),
        ("demos.npy --prior normal 0 inf", "expected a prior with quantiles"),
    ],
)
def test_bad_input_has_its_own_exit_code_and_one_line_that_says_why(capsys, line, message):
    assert run(f"{line} --measure mean_speed") == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.startswith("physmis audit: ") and err.count("\n") == 1


def test_a_page_is_written_over_a_page_only(capsys, monkeypatch):
    np.save("kept.npy", walks(30, 0))
    given = Path("kept.npy").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("physmis.audit.audit.audit", pytest.fail)  # nothing is computed
        assert run("demos.npy --measure path_length --html kept.npy") == BAD_INPUT
    expected = "physmis audit: --html: expected a new file or a page of an audit, got kept.npy\n"
    assert capsys.readouterr().err == expected and Path("kept.npy").read_bytes() == given
    for _ in range(2):
        assert run("demos.npy --measure path_length --html page.html") == NO_SHIFT


def test_channels_and_arrays_are_chosen(capsys):
    x = walks(120, 0)
    assert run("named.npz --array demos --channels 1 --measure path_length") == NO_SHIFT
    expected = np.abs(np.diff(x[..., 1], axis=1)).sum(axis=1)
    assert f"{expected.mean():.4g}, standard deviation {expected.std():.4g}" in capsys.readouterr().out


# a gate


def audits(capsys, line, code):
    assert run(f"{line} --json") == code
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == code
    return said["audits"]


def test_the_time_step_of_the_command_line_is_that_of_all_files(tmp_path, capsys):
    np.savez(tmp_path / "plans.npz", trajectories=walks(100, 1), dt=0.5)
    line = f"demos.npy --measure mean_speed --no-forecast --json --generated {tmp_path / 'plans.npz'}"
    for option, steps in (("--dt 0.1", "0.1"), ("--dt 0.1 --generated-dt 0.2", "0.1, 0.2")):
        run(f"{line} {option}")
        assert json.loads(capsys.readouterr().out)["audits"][0]["about"]["time step"] == steps


def test_json_says_all_that_the_text_does(capsys):
    """Names and types, and the same numbers as the function's."""
    (one,) = audits(capsys, "demos.npy --measure path_length --generated longer.npy --unit m", SHIFT)
    found = audit(walks(120, 0), "path_length", generated=walks(100, 2, 4.0))
    test = found.comparison
    assert one["status"] == "shift detected" and one["shifted"] is True and one["unit"] == "m"
    assert one["verdict"].startswith("Shift detected: the path length of the generated trajectories")
    assert one["quantity"] == "path length" and one["level"] == 0.03 and one["tolerance"] == 0
    assert [side["n"] for side in one["sides"]] == [120, 100] and one["sides"][0]["dt"] == 1
    assert one["sides"][1]["mean"] == pytest.approx(found.sides[1].values.mean())
    assert one["bins"]["edges"][0] is None and one["bins"]["before"] == pytest.approx(test.p.tolist())
    said = one["comparison"]
    assert said["p_value"] == test.p_value and said["kind"] == test.kind and said["floor"] == list(test.floor)
    for name, values in {"after": test.q, "low": test.low, "high": test.high}.items():
        assert said[name] == pytest.approx(values.tolist())
    assert one["curation"] is None and one["forecast"]["came_true"] in (True, False)
    assert one["forecast"]["total_variation"] == found.forecast.tv and one["no_forecast"] is None
    assert [warning.keys() for warning in one["warnings"]] == [{"kind", "side", "message"}] * len(
        found.findings
    )
    assert {"demonstrations file", "generated file", "command", "seed", "date"} <= one["about"].keys()
    assert one["about"]["command"].startswith("physmis audit demos.npy --measure path_length")


def test_an_irrelevant_shift_passes(capsys):
    np.save("many.npy", walks(1000, 0))
    np.save("other.npy", walks(1000, 1, 1.1))
    line = "many.npy --measure path_length --generated other.npy --no-forecast"
    (one,) = audits(capsys, line, SHIFT)
    low, high = one["comparison"]["excess"][0] - 0.01, one["comparison"]["excess"][0] + 0.01
    assert audits(capsys, f"{line} --tolerance {low}", SHIFT)[0]["status"] == "shift detected"
    (one,) = audits(capsys, f"{line} --tolerance {high}", NO_SHIFT)
    assert one["status"] == "shift within tolerance" and "less than the tolerance" in one["verdict"]


def test_measurements_and_looks_share_the_level(capsys):
    line = "demos.npy --measure path_length --measure own.py:last --generated same.npy --no-forecast"
    found = audits(capsys, f"{line} --looks 5", NO_SHIFT)
    assert [one["quantity"] for one in found] == ["path length", "last"]
    assert [one["comparison"]["level"] for one in found] == pytest.approx([0.003, 0.003])
    assert run(f"{line} --html both.html".replace("same", "longer")) == SHIFT
    page = Path("both.html").read_text(encoding="utf-8")
    assert page.count("<h1>") == 2 and capsys.readouterr().out.count("Shift detected: ") == 2


def test_each_file_may_have_its_own_time_step_array_and_channels(capsys):
    x = walks(100, 3)
    np.savez("plans.npz", other=np.zeros(3), plans=np.concatenate([np.zeros((100, 12, 1)), x], axis=-1))
    line = "demos.npy --measure mean_speed --no-forecast --generated plans.npz --generated-array plans"
    (one,) = audits(capsys, f"{line} --generated-channels 1 2 --dt 0.5 --generated-dt 0.25", SHIFT)
    lengths = np.linalg.norm(np.diff(x, axis=1), axis=-1).sum(axis=1)
    assert one["sides"][1]["mean"] == pytest.approx(lengths.mean() / 11 / 0.25)
    assert [side["dt"] for side in one["sides"]] == [0.5, 0.25]


def test_a_warning_is_said_and_refused_if_strict(capsys):
    np.save("millimetres.npy", 1000 * walks(100, 1))
    line = "demos.npy --measure path_length --no-forecast --generated millimetres.npy"
    assert run(line) == SHIFT
    out = capsys.readouterr().out
    assert "1000 times as large" in out and "Check the data" in out and "Train longer" not in out
    assert run(f"{line} --strict") == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "" and "--strict: " in err and "1000 times as large" in err
    assert run(f"{line} --strict --json") == BAD_INPUT
    out, err = capsys.readouterr()
    assert json.loads(out) == {"exit_code": 2, "status": "bad input", "error": err.strip(), "audits": []}


HELP = """
import sys, time
import physmis
from physmis.audit.cli import main
try:
    main(["audit", "--help"])
except SystemExit as ended:
    assert ended.code == 0
print(time.process_time(), *sorted({"torch", "matplotlib", "scipy"} & set(sys.modules)))
"""


def test_help_is_there_and_quick():
    """It needs neither torch nor matplotlib, which take seconds; nor does `import physmis`."""
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    seconds, *imported = last.split()
    assert imported == [] and float(seconds) < 0.5
    text = " ".join(" ".join(lines).split())
    options = "measure generated prior dt array channels generated-dt generated-array generated-channels"
    for option in f"{options} unit no-forecast tolerance looks strict seed json html".split():
        assert re.search(rf"--{option}[ \]]", text)
    assert "0: no shift detected, or nothing compared; 1: shift detected; 2: bad input" in text
    assert all(name in text for name in MEASUREMENTS)


LEAN = """
import sys
from physmis.audit.cli import main
code = main("audit demos.npy --measure path_length --generated same.npy --no-forecast".split())
print(code, *sorted({"torch", "pandas", "seaborn", "matplotlib", "scipy.stats"} & set(sys.modules)))
"""


def test_a_test_alone_needs_none_of_the_slow_packages():
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"


@pytest.mark.end_to_end
def test_the_command_runs_as_a_program_of_its_own(files):
    line = "audit demos.npy --measure own.py:last --generated longer.npy --html program.html"
    done = subprocess.run([sys.executable, "-m", "physmis", *line.split()], capture_output=True, text=True)
    assert done.returncode == SHIFT, done.stderr
    assert "not distributed" in done.stdout and "Traceback" not in done.stderr
    page = (files / "program.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and page.endswith("</html>")
