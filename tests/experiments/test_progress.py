"""The bar over jobs that workers are at, and what is told instead where another process follows.

What `follow` prints: see the tests of `physmis.paper.regenerate`.
"""

import json
import re

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from support import wait_for

from physmis.experiments import progress
from physmis.experiments.parallel import Job, cached_all
from physmis.experiments.progress import append_to, bar, reporter


def bars():
    return list(getattr(progress.tqdm, "_instances", ()))


def test_the_bar_goes_on_with_the_steps_and_the_ends_of_jobs(monkeypatch, capsys):
    monkeypatch.delenv("PHYSMIS_PROGRESS", raising=False)
    with bar({"a": 30.0, "b": 10.0}) as (path, finish):
        (shown,) = bars()
        assert (shown.total, shown.n) == (40.0, 0)
        for address, label, done in (("a", "train unet", 1), ("elsewhere", "train vae", 2)):
            append_to(path, address)
            reporter(label)(done, 3)
        append_to(None, None)
        reporter("train mlp")(3, 3)  # of no worker: it is seen nowhere
        wait_for(lambda: shown.n == 10)
        assert shown.desc == "result 0 of 2" and shown.postfix.endswith(" s left, train unet: 1/3 steps")
        finish("b")
        wait_for(lambda: shown.n == 20)
        assert shown.desc == "result 1 of 2"
        append_to(path, "a")
        reporter("train unet")(3, 3)
        append_to(None, None)
    assert shown.n == 40 and shown.desc == "result 2 of 2" and bars() == []
    shown = capsys.readouterr()
    assert shown.out == "" and "result 1 of 2  50%" in shown.err and "train mlp" not in shown.err


def test_the_time_left_is_not_told_before_a_twentieth_is_done(monkeypatch):
    monkeypatch.delenv("PHYSMIS_PROGRESS", raising=False)
    with bar({"a": 100.0}) as (path, _):
        (shown,) = bars()
        append_to(path, "a")
        reporter("train vae")(4, 100)
        wait_for(lambda: shown.n == 4)
        assert shown.postfix == "? left, train vae: 4/100 steps"
        reporter("train vae")(5, 100)
        wait_for(lambda: shown.n == 5)
        assert re.fullmatch(r"about \d+ s left, train vae: 5/100 steps", shown.postfix)
        append_to(None, None)


@pytest.mark.end_to_end
def test_the_bar_shows_what_two_workers_are_at(store, monkeypatch, capfd):
    monkeypatch.delenv("PHYSMIS_PROGRESS")
    monkeypatch.setenv("PHYSMIS_JOBS", "2")

    def compute(store, device):
        report = reporter("train a toy")
        report(1, 4)
        report(4, 4)
        return {"n": np.zeros(3)}

    cached_all([Job({"kind": "toy", "number": number}, compute) for number in range(3)], store)
    get_reusable_executor(reuse=True).shutdown(wait=True)
    shown = capfd.readouterr().err
    assert "result 3 of 3 100%" in shown and "train a toy: 4/4 steps" in shown


def test_where_another_process_follows_no_bar_is_shown_but_lines_are_said(tmp_path, monkeypatch, capfd):
    events = tmp_path / "events"
    monkeypatch.setenv("PHYSMIS_PROGRESS", str(events))
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    with bar({"a": 30.0, "b": 10.0, "c": 10.0}) as (path, finish):
        assert path == str(events) and bars() == []
        finish("a")
        finish("b")
        finish("c")
    said = [json.loads(line)["say"] for line in events.read_text().splitlines()]
    assert said == ["result 1 of 3, about 0 s left", "result 2 of 3, about 0 s left"]
    monkeypatch.setattr(progress, "PERIOD", 1e9)
    with bar({"a": 30.0, "b": 10.0}) as (_, finish):
        finish("a")
    assert len(events.read_text().splitlines()) == 2 and capfd.readouterr() == ("", "")
    monkeypatch.delenv("PHYSMIS_PROGRESS")
    progress.say("a line")
    assert capfd.readouterr() == ("a line\n", "")
