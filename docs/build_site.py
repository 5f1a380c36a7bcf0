"""Build a static site of the committed notebooks: `python docs/build_site.py`.

One page for each notebook, as it was run, and the README as the index. Equations become MathML when the site
is built, and pictures and styles lie within the pages: neither a network nor a script is needed to read them.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
from jinja2 import Template
from math_core import LatexError, LatexToMathML
from nbconvert import TemplateExporter
from nbconvert.filters import Highlight2HTML, ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from physmis import paths
from physmis.paper.claims import load_contract

CLAIM = re.compile(r"^C\d+\.\d\d\.\w+: .+$", re.MULTILINE)  # a long line, which is wrapped; tables are not


class _Renderer(IPythonRenderer):
    """Markdown as Jupyter shows it, but with MathML, and links to pages where they led to notebooks."""

    def inline_math(self, body, display=False):
        return LatexToMathML(fancy_error=False).convert_with_local_state(body, displaystyle=display)

    def block_math(self, body):
        return f'<span class="wide">{self.inline_math(body, display=True)}</span>'

    def link(self, text, url, title=None):
        path, mark, fragment = url.partition("#")
        if page := re.fullmatch(r"(?:notebooks/)?(\d\d_\w+)\.ipynb", path):
            return super().link(text, f"{page[1]}.html{mark}{fragment}", title)
        return super().link(text, url, title) if ":" in path or not path else text  # not in the site


def _html(text, **options):
    # Equations on one line: otherwise Markdown makes a list of a line that begins with +.
    text = re.sub(r"(\$+)[^$`]+\1", lambda match: match[0].replace("\n", " "), text)
    return MarkdownWithMath(_Renderer(escape=False, **options)).render(text)


def _body(notebook):
    """The cells of a notebook; captions describe its pictures."""
    figures = load_contract().figures
    for cell in notebook.cells:
        captions = [figures[id].caption for id in re.findall(r"fig_\d\d_\w+", cell.source) if id in figures]
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.metadata["alt"] = captions.pop(0) if captions else "Picture drawn by this cell"
    exporter = TemplateExporter(
        template_name="basic",  # the cells alone; the other templates load scripts from the net
        template_file="index.html.j2",
        preprocessors=["nbconvert.preprocessors.CoalesceStreamsPreprocessor"],
        filters={
            "markdown2html": _html,
            "highlight_code": Highlight2HTML(),
            "ansi2html": lambda text: CLAIM.sub(r'<span class="claim">\g<0></span>', ansi2html(text)),
            "clean_html": lambda html: html,  # slow, and guards against what is our own
        },
    )
    return exporter.from_notebook_node(notebook)[0]


def build(output: Path) -> None:
    """Write `index.html` and a page for each notebook into a folder."""
    readme = (paths.root() / "README.md").read_text(encoding="utf-8")
    titles, bodies = {}, {"index": _html(readme, embed_images=True, path=str(paths.root()))}
    for source in sorted((paths.root() / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(source, as_version=4)
        if not any(cell.get("outputs") for cell in notebook.cells):
            raise ValueError(f"expected {source.name} with outputs, got none: run `make figures`")
        titles[source.stem] = re.search("^# (.+)$", notebook.cells[0].source, re.MULTILINE)[1]
        bodies[source.stem] = _body(notebook)
    template = Template(Path(__file__).with_name("site.html").read_text(encoding="utf-8"), autoescape=True)
    css = HtmlFormatter(style="lovelace").get_style_defs(".highlight")
    output.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        template.stream(name=name, titles=titles, body=body, css=css).dump(str(output / f"{name}.html"))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="site", description=build.__doc__)
    parser.add_argument("--output", type=Path, default=paths.root() / "site", help="folder (default: site)")
    output = parser.parse_args(arguments).output
    try:
        build(output)
    except (ValueError, LatexError) as error:
        sys.exit(f"site: {error}")
    print(f"the site begins at {output / 'index.html'}")


if __name__ == "__main__":
    main()
