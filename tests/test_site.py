import re
from urllib.parse import unquote

import build_site as site
import nbformat
import pytest
from bs4 import BeautifulSoup

from physmis import paths

NOTEBOOKS = sorted(path.stem for path in paths.root().glob("notebooks/[0-9][0-9]_*.ipynb"))
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
EQUATION = re.compile(r"(\$+)[^$]+\1")
SOURCE = r"""# One

Between $E
+ dE$ and $\begin{pmatrix} a \\ \tilde{d} \end{pmatrix}$, by hand:
[next](02_two.ipynb#Two), [code](../physmis/site.py), [net](https://example.org), [up](#One)

<details><summary>Solution</summary>

It is $\hat q$:

```python
x = 1  # yes
```
</details>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    site.main(["--output", str(folder)])
    return folder


def read(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def pages(folder):
    return {path.stem: read(path) for path in folder.glob("*.html")}


def text_beside_equations(page):
    texts = page.body.find_all(string=True)
    return " ".join(text for text in texts if not text.find_parent(["math", "pre", "code"]))


def test_there_is_a_page_for_each_notebook_and_a_way_to_it(pages):
    assert sorted(pages) == sorted([*NOTEBOOKS, "index"])
    assert {a["href"] for a in pages["index"].find_all("a")} >= {f"{name}.html" for name in NOTEBOOKS}
    for before, after in zip(NOTEBOOKS, NOTEBOOKS[1:], strict=False):
        assert {a["href"] for a in pages[before].select("nav a[rel=next]")} == {f"{after}.html"}
        assert {a["href"] for a in pages[after].select("nav a[rel=prev]")} == {f"{before}.html"}


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(pages):
    for name, page in pages.items():
        for link in page.find_all("a"):
            path, _, fragment = link["href"].partition("#")
            if ":" not in path:
                there = pages[path.removesuffix(".html") or name]
                assert not fragment or there.find(id=[fragment, unquote(fragment)]), link
        assert not page.find_all(["script", "link", "iframe", "object", "embed"])
        assert all(element["src"].startswith("data:image/") for element in page.find_all(src=True))
        assert not re.search(r"@import|url\(", "".join(style.string for style in page.find_all("style")))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_equation_is_mathml_and_every_figure_is_described(pages, name):
    cells = nbformat.read(paths.root() / "notebooks" / f"{name}.ipynb", as_version=4).cells
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    equations = [match[1] for match in EQUATION.finditer(CODE.sub("", prose))]
    found = pages[name].find_all("math")
    assert len(found) == len(equations) > 0
    assert sum(math.get("display") == "block" for math in found) == equations.count("$$")
    assert not re.search(r"[\\$]", "".join(math.get_text() for math in found))
    assert not re.search(r"\$|\\[A-Za-z]", text_beside_equations(pages[name]))
    pictures = sum("image/png" in o.get("data", {}) for cell in cells for o in cell.get("outputs", []))
    images = pages[name].find_all("img")
    assert len(images) == pictures > 0 and all(len(image["alt"]) > 10 for image in images)


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", ["index", NOTEBOOKS[0]])
def test_in_a_browser_everything_is_seen(browser, folder, name):
    with browser.new_context(viewport={"width": 1000, "height": 800}) as context:
        page = context.new_page()
        wrong = []
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or wrong.append(r.url))
        page.on("console", lambda message: wrong.append(message.text))
        page.goto((folder / f"{name}.html").as_uri())
        for solution in page.locator("details").all():
            assert not solution.locator(".highlight").is_visible()
            solution.locator("> summary").click()
            assert solution.locator(".highlight").is_visible()
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        heights = "[...document.querySelectorAll('math')].map(math => math.getBoundingClientRect().height)"
        assert all(height > 3 for height in page.evaluate(heights))
        for width in (1000, 375):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not wrong


def a_root(tmp_path, monkeypatch):
    """A place with a notebook folder of its own, and the contract and README of the project."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "figures").symlink_to(paths.root() / "figures")
    (tmp_path / "README.md").write_text("# Read me")
    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path))
    return tmp_path


def write(path, source, *printed):
    outputs = [nbformat.v4.new_output("stream", text=text) for text in printed]
    cells = [nbformat.v4.new_markdown_cell(source), nbformat.v4.new_code_cell(outputs=outputs)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_a_page_keeps_what_markdown_can_say(tmp_path, monkeypatch):
    root = a_root(tmp_path, monkeypatch)
    write(root / "notebooks" / "01_one.ipynb", SOURCE, "C1.01.some: 1 <= 2\n", "more\n")
    site.build(tmp_path)
    page = read(tmp_path / "01_one.html")
    assert len(page.find_all("math")) == 3 and len(page.select("details math, details .highlight")) == 2
    assert not page.find("li") and not re.search(r"[$\\]", text_beside_equations(page))
    assert page.select_one("pre .claim").parent.get_text().endswith("1 <= 2\nmore\n")
    links = {link.get_text(): link["href"] for link in page.select("main p a")}
    assert links == {"next": "02_two.html#Two", "net": "https://example.org", "up": "#One"}


@pytest.mark.parametrize("source, said", [("# One", "expected .* outputs"), (r"# $\nosuch$", "nosuch")])
def test_what_is_wrong_is_said(tmp_path, monkeypatch, source, said):
    root = a_root(tmp_path, monkeypatch)
    write(root / "notebooks" / "01_one.ipynb", source, *["1"] * ("nosuch" in said))
    with pytest.raises(SystemExit, match=f"^site: .*{said}"):
        site.main(["--output", str(tmp_path)])
