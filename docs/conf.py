"""Settings of the site, for `make site`: `sphinx-build -c docs . build/site`.

Pages of the committed notebooks, as they were run, and of the documents; the README is the index. Equations
become MathML when the site is built: neither a network nor a script is needed to read it.
"""

import json
import re
import shutil
from operator import methodcaller
from pathlib import Path

from docutils import nodes
from math_core import LatexToMathML

from physmis import paths
from physmis.paper.claims import load_contract

project = html_title = "physmis"
author = "the physmis authors"
extensions = ["myst_nb"]
root_doc = "README"
include_patterns = ["README.md", "docs/**.md", "notebooks/[0-9]*.ipynb", "notebooks/appendix/[0-9]*.ipynb"]
exclude_patterns = [".*", "docs/workshop/slides.md"]
exclude_patterns += [
    path.name for path in paths.root().iterdir() if path.name not in ("docs", "notebooks", "README.md")
]
nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = "Show code", "Hide code"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_heading_anchors_html_ids = True
myst_heading_slug_func = methodcaller("replace", " ", "-")  # as JupyterLab and GitHub do in notebooks
html_theme = "furo"
html_static_path, html_css_files = ["site.css"], ["site.css"]
html_copy_source = html_use_index = html_domain_indices = html_show_copyright = False
html_math_renderer = "mathml"

CLAIM = re.compile(
    r"(?:^|(?<=</span>))C\d+\.\d\d\.\w+: .+$", re.MULTILINE
)  # a long line, which is wrapped; tables are not
IMAGE = re.compile(r'<img [^>]*src="([^"]+\.png)"[^>]*>')


def prepare(app, name, source):
    """Complete a page's source: the index by navigation, a notebook by what is folded and by captions."""
    if name == root_doc:
        source[0] += navigation()
    elif name.startswith("notebooks/"):
        notebook = json.loads(source[0])
        for cell in notebook["cells"]:
            prepare_cell(cell)
        source[0] = json.dumps(notebook)


def prepare_cell(cell):
    """Fold what JupyterLab folds, describe pictures, and keep equations of several lines in one paragraph."""
    text, metadata = "".join(cell["source"]), cell["metadata"]
    if cell["cell_type"] == "markdown":
        # A line that begins with + would begin a list.
        cell["source"] = re.sub(r"(\$+)[^$`]+\1", lambda match: match[0].replace("\n", " "), text)
        return
    if metadata.get("jupyter", {}).get("source_hidden"):
        metadata["tags"] = [*metadata.get("tags", []), "hide-input"]
    figures = load_contract().figures
    captions = [figures[id].caption for id in re.findall(r"fig_\d\d_\w+", text) if id in figures]
    caption = captions[0] if captions else "What this cell draws at its first settings"
    metadata["mystnb"] = {"image": {"alt": caption}}


def navigation():
    """Two lists of pages, with their titles, for the sidebar."""
    books = []
    for path in paths.notebooks(".ipynb"):
        page = path.relative_to(paths.root()).with_suffix("")
        first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        books.append(f"{path.name[:2]} {first.splitlines()[0].lstrip('# ')} <{page}>")
    documents = ["docs/audit", "docs/package", "docs/workshop/README", "docs/install", "docs/cluster"]
    lists = {"Notebooks": books, "Documents": [*documents, "docs/reproduce", "docs/claims"]}
    tree = "\n\n```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```\n"
    return "".join(tree.format(caption, "\n".join(pages)) for caption, pages in lists.items())


def finish_page(app, name, template, context, doctree):
    """Pictures open at full size; claims wrap."""
    if "body" in context:
        linked = IMAGE.sub(r'<a class="picture" href="\1">\g<0></a>', context["body"])
        context["body"] = CLAIM.sub(r'<span class="claim">\g<0></span>', linked)


def mathml(display):
    """A writer of equations."""

    def visit(self, node):
        converted = LatexToMathML(fancy_error=False).convert_with_local_state(
            node.astext(), displaystyle=display
        )
        self.body.append(f'<div class="equation">{converted}</div>' if display else converted)
        raise nodes.SkipNode

    return visit, None


def copy_index(app, error):
    """The page at which the site begins."""
    if error is None:
        shutil.copy(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app):
    """Connect the above."""
    app.add_html_math_renderer("mathml", mathml(display=False), mathml(display=True))
    app.connect("source-read", prepare)
    app.connect("html-page-context", finish_page)
    app.connect("build-finished", copy_index)
