"""The site: pages of notebooks and documents, which need no network."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import conf as site
import nbformat
import pytest
from bs4 import BeautifulSoup
from math_core import LatexError
from support import ROOT

from physmis import paths

NOTEBOOKS = [path.relative_to(ROOT).with_suffix("").as_posix() for path in paths.notebooks(".ipynb")]
DOCUMENTS = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.glob("docs/**/*.md"))
PAGES = ["index", "README", *NOTEBOOKS, *DOCUMENTS]
PAGES.remove("docs/workshop/slides")
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
EQUATION = re.compile(r"(\$+)[^$]+\1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As `make site` builds it; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = ["sphinx", "-q", "-W", "-c", "docs", ".", folder / "site"]
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "site"


@pytest.fixture(scope="module")
def pages(folder):
    return {
        name: BeautifulSoup((folder / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        for name in PAGES
    }


def test_the_index_has_the_doors_and_the_verdicts_and_the_sidebar_all_titles(pages):
    headings = [heading.get_text() for heading in pages["index"].select("article h2")]
    assert [re.match(r"\w+", text)[0] for text in headings[:3]] == ["Read", "Try", "Reproduce"]
    assert len(pages["index"].select("article td strong")) >= 10  # a verdict for each claim
    for name in NOTEBOOKS:
        title = pages[name].h1.find(string=True)
        for page in pages.values():
            entries = [entry.get_text() for entry in page.select(".sidebar-tree a")]
            assert f"{Path(name).name[:2]} {title}" in entries and len(entries) >= len(PAGES) - 2
    for page in pages.values():  # the contents of the page itself
        assert len(page.select(".toc-tree a")) >= len(page.select("article h2"))


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(folder, pages):
    for name, page in pages.items():
        here = (folder / f"{name}.html").parent
        for element in [*page.find_all(src=True), *page.find_all("link", href=True)]:
            path = (element.get("src") or element["href"]).partition("?")[0]
            assert path.startswith("data:") or (here / path).is_file(), element
        for link in page.select("article a[href]"):
            path, _, fragment = link["href"].partition("#")
            if ":" in path:
                continue
            there = (here / path).resolve() if path else folder / f"{name}.html"
            assert there.is_file(), link
            key = there.relative_to(folder.resolve()).with_suffix("").as_posix()
            assert not fragment or pages[key].find(id=[fragment, unquote(fragment)]), link


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_equations_are_mathml_figures_are_described_and_open_and_code_is_folded(pages, name):
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    article = pages[name].article
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    equations = [match[1] for match in EQUATION.finditer(CODE.sub("", prose))]
    found = article.find_all("math")
    assert len(found) == len(equations) > 0
    assert sum(math.get("display") == "block" for math in found) == equations.count("$$")
    texts = [text for text in article.find_all(string=True) if not text.find_parent(["math", "pre", "code"])]
    assert not re.search(r"[\\$]", "".join(math.get_text() for math in found)) and "$" not in "".join(texts)
    pictures = sum("image/png" in o.get("data", {}) for cell in cells for o in cell.get("outputs", []))
    images = article.select("a.picture > img")
    assert len(images) == len(article.find_all("img")) == pictures > 0
    assert all(len(image["alt"]) > 10 and image["src"] == image.parent["href"] for image in images)
    hidden = [cell for cell in cells if cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert len(article.select("details.hide")) == len(hidden) - 1  # without that which looks for the package
    assert "PHYSMIS_REPOSITORY" not in article.get_text()
    claims = re.findall(
        r"^C\d+\.\d\d\.\w+: .+$", "\n".join(pre.get_text() for pre in article.find_all("pre")), re.M
    )
    assert len(article.select("pre .claim")) == len(claims) > 0


@pytest.mark.end_to_end
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_in_a_browser_everything_is_seen(browser, folder, width, scheme):
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:
        page = context.new_page()
        wrong = []
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or wrong.append(r.url))
        page.on("console", lambda message: wrong.append(message.text))
        for name in PAGES:
            page.goto((folder / f"{name}.html").as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert page.evaluate(
                "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
            )
            heights = (
                "[...document.querySelectorAll('math')].map(math => math.getBoundingClientRect().height)"
            )
            assert all(height > 3 for height in page.evaluate(heights)), name
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        assert not wrong


def test_an_equation_over_two_lines_is_one_and_a_wrong_one_is_refused():
    cell = {"cell_type": "markdown", "metadata": {}, "source": ["between $E\n", "+ dE$ and $$a\n+ b$$"]}
    site.prepare_cell(cell)
    assert cell["source"] == "between $E + dE$ and $$a + b$$"
    visit, _ = site.mathml(display=False)
    with pytest.raises(LatexError, match="nosuch"):
        visit(None, site.nodes.math(text=r"\nosuch"))
