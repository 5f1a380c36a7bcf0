"""Make the slides of the workshop, one page that needs no network: `python docs/workshop/slides.py`.

`slides.md` holds them, with a line `---` between two. Its pictures are the committed figures, and its numbers
those of the committed run.
"""

import argparse
import base64
import re
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt

from physmis import paths
from physmis.paper import claims

HERE = Path(__file__).resolve().parent


def build() -> str:
    """The page. FileNotFoundError without a picture that it names, UndefinedError for an unknown claim."""
    rows = claims.read_manifest(paths.committed())["claims"]
    primary = {id: row for id, row in rows.items() if row["role"] == "primary"}
    verdicts = {
        name: claims.overall([row["verdict"] for id, row in primary.items() if id.split(".")[0] == name])
        for name in claims.PAPER
    }
    value = {id: f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" for id, row in rows.items()}
    jinja = Environment(undefined=StrictUndefined, autoescape=True)
    source = (HERE / "slides.md").read_text(encoding="utf-8")
    text = jinja.from_string(source).render(value=value, verdicts=verdicts, claims=claims.PAPER)
    slides = [MarkdownIt().render(slide) for slide in re.split(r"^---$", text, flags=re.MULTILINE)]
    page = jinja.from_string((HERE / "slides.html").read_text(encoding="utf-8")).render(slides=slides)
    return re.sub(r'(?<=src=")[^":]+\.png', _embedded, page)


def _embedded(match):
    return "data:image/png;base64," + base64.b64encode((HERE / match[0]).read_bytes()).decode()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="slides", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=paths.root() / "site" / "slides.html")
    output = parser.parse_args(arguments).output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(build(), encoding="utf-8")
    print(f"{output}: Page Down for the next slide; print it in a browser for a PDF")


if __name__ == "__main__":
    main()
