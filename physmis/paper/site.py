"""Build a static site of the committed notebooks: `python -m physmis.paper.site`.

One page for each notebook, as it was run, and an index from the README. Equations become MathML when the site
is built, and pictures and styles lie within the pages: neither a network nor a script is needed to read them.
"""

import argparse
import os
import re
import sys
from pathlib import Path

import nbformat
from jinja2 import Template
from nbconvert import TemplateExporter
from nbconvert.filters import Highlight2HTML, ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from physmis import paths
from physmis.paper.claims import load_contract

try:
    from math_core import LatexError, LatexToMathML
except ImportError as error:
    raise ImportError("the site needs math-core: pip install 'physmis[site]'") from error

_CLAIM = re.compile(r"^C\d+\.\d\d\.\w+: .+$", re.MULTILINE)
_KINDS = ["text/html", "text/markdown", "image/svg+xml", "image/png", "text/plain"]  # the best one is shown
_OURS = '<meta name="generator" content="physmis.paper.site">'  # in each page
_EQUATION = re.compile(r"\$\$.+?\$\$|\$[^$`]+\$", re.DOTALL)


class SiteError(Exception):
    """The site cannot be built; the message says of which notebook, and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="site", description="Build a static site of the notebooks.")
    parser.add_argument("--output", type=Path, default=paths.root() / "site", help="folder (default: site)")
    output = parser.parse_args(arguments).output
    try:
        build(output)
    except SiteError as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    print(f"the site begins at {os.path.relpath(output / 'index.html')}")
    return 0


def build(output: Path) -> None:
    """Write `index.html` and a page for each notebook into a folder. Nothing is written if a page fails.

    Raises SiteError if a notebook is missing, was not run or has no heading, if the README does not say what
    it asks, if an equation cannot be read, if a link leads to a notebook that is not there, or if a page
    would take the place of a file that is none of this site's.
    """
    notebooks = _read(paths.root() / "notebooks")
    titles = {name: _title(name, notebook) for name, notebook in notebooks.items()}
    bodies = {"index": _html("README.md", _index(titles), titles, paths.root())}
    bodies |= {name: _body(name, notebook, titles) for name, notebook in notebooks.items()}
    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"), autoescape=True)
    colours = HtmlFormatter(style="lovelace").get_style_defs(".highlight")
    output.mkdir(parents=True, exist_ok=True)
    for page in (page for name in bodies if (page := output / f"{name}.html").exists()):
        if _OURS not in page.read_text(encoding="utf-8", errors="replace"):
            raise SiteError(
                f"{page} is no page of this site as this version makes it: delete it, or name "
                "another folder by --output"
            )
    for page in output.glob("[0-9][0-9]_*.html"):  # its notebook may have been renamed
        if _OURS in page.read_text(encoding="utf-8", errors="replace"):
            page.unlink()
    for name, body in bodies.items():
        page = template.render(name=name, titles=titles, body=body, colours=colours)
        (output / f"{name}.html").write_text(page, encoding="utf-8")


def _read(folder: Path) -> dict[str, NotebookNode]:
    names = sorted({path.stem for path in folder.glob("[0-9][0-9]_*") if path.suffix in (".py", ".ipynb")})
    if not names:
        raise SiteError(f"there are no notebooks in {folder}; run from a checkout of the project")
    notebooks = {}
    for name in names:
        refresh = f"run `python -m physmis.paper.regenerate --only {name[:2]} --save-outputs`"
        try:
            notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        except FileNotFoundError:
            raise SiteError(f"{name}.ipynb is missing; {refresh}") from None
        code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        if any(cell.execution_count is None for cell in code) or not any(cell.outputs for cell in code):
            raise SiteError(f"{name}.ipynb has cells without their outputs; {refresh}")
        notebooks[name] = notebook
    return notebooks


def _title(name: str, notebook: NotebookNode) -> str:
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    if not (heading := re.search(r"^# (.+)$", prose, re.MULTILINE)):
        raise SiteError(f"{name}.ipynb has no heading: a line of prose that begins with #")
    return heading[1].strip()


def _index(titles: dict[str, str]) -> str:
    """The README down to its first section, and a table of the notebooks."""
    readme = (paths.root() / "README.md").read_text(encoding="utf-8")
    questions = dict(re.findall(r"^\| \[(\w+)\]\(.+?\) \| (.+?) \|", readme, re.MULTILINE))
    if unasked := sorted(titles.keys() - questions.keys()):
        raise SiteError(f"README.md, What to read: there is no row for {', '.join(unasked)}")
    rows = [f"| {name[:2]} | [{title}]({name}.ipynb) | {questions[name]} |" for name, title in titles.items()]
    table = "\n".join(["| | notebook | question |", "|---|---|---|", *rows])
    return readme.partition("\n## ")[0] + "\n\n## What to read\n\n" + table


def _body(name: str, notebook: NotebookNode, titles: dict[str, str]) -> str:
    figures = load_contract().figures
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        captions = [figures[id].caption for id in re.findall(r"fig_\d\d_\w+", cell.source) if id in figures]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.metadata["alt"] = captions.pop(0) if captions else f"Picture from {titles[name]!r}"
    exporter = TemplateExporter(  # HTMLExporter reads each page once more, which takes as long again
        template_name="basic",  # the cells alone; the other templates load scripts from the net
        template_file="index.html.j2",
        filters={
            "markdown2html": lambda text: _html(f"{name}.ipynb", text, titles, paths.root() / "notebooks"),
            "highlight_code": Highlight2HTML(),
            # A claim is a long line of prose, which is wrapped; tables keep their columns.
            "ansi2html": lambda text: _CLAIM.sub(r'<span class="claim">\g<0></span>', ansi2html(text)),
            "clean_html": lambda html: html,  # it takes long, to guard against what is our own
        },
        preprocessors=[CoalesceStreamsPreprocessor],  # what was printed in pieces is one output
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        config=Config(NbConvertBase={"display_data_priority": _KINDS}),
    )
    return exporter.from_notebook_node(notebook)[0]


def _html(source: str, text: str, titles: dict[str, str], folder: Path) -> str:
    # Jupyter takes equations out before it reads Markdown: a line of theirs that begins with + makes no list.
    text = _EQUATION.sub(lambda match: re.sub(r"\n\s*(?=[-+*=>#|])", " ", match[0]), text)
    try:
        return MarkdownWithMath(_Renderer(titles, folder)).render(text)
    except SiteError as error:
        raise SiteError(f"{source}: {error}") from error


class _Renderer(IPythonRenderer):
    """Markdown as Jupyter shows it, but with MathML, and links to pages where they led to notebooks."""

    def __init__(self, titles: dict[str, str], folder: Path):
        super().__init__(escape=False, embed_images=True, path=str(folder))
        self._titles = titles

    def inline_math(self, body: str) -> str:
        return _mathml(body, display=False)

    def block_math(self, body: str) -> str:
        return f'<span class="wide">{_mathml(body, display=True)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def block_html(self, html: str) -> str:
        # The parent looks for images, and closes what it finds open, such as <details> before a blank line.
        return super().block_html(html) if "<img" in html else html

    def inline_html(self, html: str) -> str:
        return super().inline_html(html) if "<img" in html else html

    def table(self, text: str) -> str:
        return f'<div class="wide"><table>{text}</table></div>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        path, mark, fragment = url.partition("#")
        if not path or ":" in path:
            return super().link(text, url, title)
        if not path.endswith(".ipynb"):
            return text  # a file of the checkout, which the site does not hold
        if Path(path).stem not in self._titles:
            raise SiteError(f"it links to {path}, which is not there")
        return super().link(text, f"{Path(path).stem}.html{mark}{fragment}", title)


def _mathml(body: str, display: bool) -> str:
    try:
        return LatexToMathML(fancy_error=False).convert_with_local_state(body, displaystyle=display)
    except LatexError as error:
        raise SiteError(f"the equation {body.strip()!r} cannot be read: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
