"""The files that the README's audit lines are typed on."""

from physmis.audit.cli import main
from physmis.audit.readers import read


def test_the_files_are_the_same_each_time_and_nothing_is_written_over(tmp_path, capsys):
    for name in ("one", "two"):
        assert main(["demo", str(tmp_path / name)]) == 0
    assert "demos.npz" in capsys.readouterr().out
    for name, count in (("demos", 1000), ("plans", 500)):
        one, two = (tmp_path / folder / f"{name}.npz" for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes() and one.stat().st_size < 2**19
        assert read(one).trajectories.shape == (count, 64, 2)
    (tmp_path / "one" / "demos.npz").write_text("mine")
    assert main(["demo", str(tmp_path / "one")]) == 2
    assert "physmis demo: expected a folder without" in capsys.readouterr().err
    assert (tmp_path / "one" / "demos.npz").read_text() == "mine"
