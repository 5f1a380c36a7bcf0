"""README and docs: links lead somewhere, every snippet prints something, and the README stays short."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, without_settings

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
SNIPPET = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SNIPPETS = [
    pytest.param(name, kind, text, id=f"{name}-{number}")
    for name, path in zip(NAMES, DOCUMENTS, strict=True)
    for number, (kind, text) in enumerate(SNIPPET.findall(path.read_text(encoding="utf-8")))
]
# In place of what sets up, trains or serves: what it would do is checked, and not done.
STAND_INS = f"""
source() {{ :; }}
git() {{ mkdir -p "$3"; echo "$@"; }}
mamba() {{ echo "$@"; }}
dask() {{ echo "$@"; }}
jupyter() {{ echo "$@"; }}
make() {{ command make -C "{ROOT}" -n "$@"; }}
papermill() {{ command papermill "$@" --prepare-only --no-progress-bar && echo "$2"; }}
physmis() {{ command physmis "$@" || [ $? = 1 ] || [ $? = 3 ]; }}  # a shift, or nothing compared
python() {{
    case "$2" in
        physmis.paper.regenerate) command python "{ROOT}/tests/test_documents.py" "${{@:3}}";;
        physmis.teaching.classroom) command python "$@" --no-lab;;
        *) command python "$@";;
    esac
}}
"""


def test_the_readme_is_short_and_says_first_what_this_is():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 9 * 1024
    assert text.index("companion to") < text.index("![") < text.index("## Read") < text.index("## Try")


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere_and_headings_are_in_order(name):
    whole = (ROOT / name).read_text(encoding="utf-8")
    text = SNIPPET.sub("", whole)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert "://" in target or ((ROOT / name).parent / target).exists(), target
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert "Untried" in text or "```powershell" not in whole


@pytest.mark.end_to_end
@pytest.mark.parametrize("name, kind, text", SNIPPETS)
def test_a_snippet_runs_and_prints_something(name, kind, text, tmp_path):
    if kind not in ("python", "bash"):
        assert kind in ("", "text", "powershell")
        return
    for path in ROOT.iterdir():  # a folder like a checkout
        if path.name not in ("store", "output", "class", "site"):
            (tmp_path / path.name).symlink_to(path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = without_settings() | {"PATH": path, "PHYSMIS_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-ec", STAND_INS + text]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout, done.stdout[-1000:] + done.stderr[-2000:]


if __name__ == "__main__":  # the runner's command line, checked as the runner would, but for a scheduler
    from physmis.paper import regenerate

    options = regenerate._parser().parse_args(sys.argv[1:])
    options.scheduler = None
    print(*regenerate._plan(options))
