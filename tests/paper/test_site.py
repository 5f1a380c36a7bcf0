import re
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup

from physmis import paths
from physmis.paper import site

NOTEBOOKS = sorted(path.stem for path in (paths.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
NAMES = ["index", *NOTEBOOKS]
EQUATION = re.compile(r"\$\$.+?\$\$|\$[^$]+\$", re.DOTALL)
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    site.build(folder)
    return folder


@pytest.fixture(scope="module")
def pages(folder):
    return {
        path.stem: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in folder.glob("*.html")
    }


def prose(name):
    notebook = nbformat.read(paths.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    return CODE.sub("", "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))


def text_beside_equations(soup):
    texts = soup.body.find_all(string=True)
    return " ".join(text for text in texts if not text.find_parent(["math", "pre", "code"]))


def write(folder, name, *cells, ran=True):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(cell) for cell in cells])
    outputs = [nbformat.v4.new_output("stream", text=text) for text in ("C1.01.some: 1 <= 2\n", "more\n")]
    notebook.cells.append(
        nbformat.v4.new_code_cell("print(1)", execution_count=1 if ran else None, outputs=outputs)
    )
    nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """An empty folder of notebooks, of which the site is made."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("PHYSMIS_NOTEBOOKS", str(tmp_path / "notebooks"))
    return tmp_path / "notebooks"


def built(own, name):
    site.build(own.parent / "site")
    return BeautifulSoup((own.parent / "site" / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def test_there_is_a_page_for_each_notebook_and_a_way_to_it(pages):
    assert sorted(pages) == sorted(NAMES)
    rows = pages["index"].find("table").find_all("tr")[1:]
    assert [row.find("a")["href"] for row in rows] == [f"{name}.html" for name in NOTEBOOKS]
    for row, name in zip(rows, NOTEBOOKS, strict=True):
        _, heading, question = (cell.get_text() for cell in row.find_all("td"))
        assert f"# {heading}\n" in prose(name) and len(question) > 20
        assert pages[name].title.string == f"{heading} - physmis"
    for before, after in zip(NOTEBOOKS, NOTEBOOKS[1:], strict=False):
        assert {a["href"] for a in pages[before].select("nav a[rel=next]")} == {f"{after}.html"}
        assert {a["href"] for a in pages[after].select("nav a[rel=prev]")} == {f"{before}.html"}
    assert all(pages[name].select("nav a[href='index.html']") for name in NOTEBOOKS)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_loaded_from_elsewhere(pages, name):
    soup = pages[name]
    assert not soup.find_all(["script", "link", "iframe", "object", "embed"])
    assert all(element["src"].startswith("data:image/") for element in soup.find_all(src=True))
    assert not re.search(r"@import|url\(", "".join(style.string for style in soup.find_all("style")))


@pytest.mark.parametrize("name", NAMES)
def test_links_within_the_site_lead_somewhere(pages, name):
    for link in pages[name].find_all("a"):
        path, _, fragment = link["href"].partition("#")
        if ":" not in path:
            there = pages[path.removesuffix(".html") if path else name]
            assert not fragment or there.find(id=[fragment, unquote(fragment)]), link


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_equation_is_mathml(pages, name):
    equations = EQUATION.findall(prose(name))
    found = pages[name].find_all("math")
    assert len(found) == len(equations) > 0
    assert sum(math.get("display") == "block" for math in found) == sum(e.startswith("$$") for e in equations)
    assert not re.search(r"[\\$]", "".join(math.get_text() for math in found))
    assert not re.search(r"\$|\\[A-Za-z]", text_beside_equations(pages[name]))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_figure_is_there_and_described(pages, name):
    notebook = nbformat.read(paths.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    images = pages[name].find_all("img")
    assert len(images) >= sum("image/png" in output.get("data", {}) for output in outputs) > 0
    assert all(len(image["alt"]) > 10 and "No description" not in image["alt"] for image in images)


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", NAMES)
def test_in_a_browser_everything_is_seen(browser, folder, name):
    with browser.new_context(viewport={"width": 1000, "height": 800}) as context:
        page = context.new_page()
        wrong = []
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or wrong.append(r.url))
        page.on("requestfailed", lambda r: wrong.append(f"failed: {r.url[:200]}"))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((folder / f"{name}.html").as_uri())
        for solution in page.locator("details").all():
            assert solution.get_attribute("open") is None
            solution.locator("> summary").click()
            assert solution.get_attribute("open") is not None
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        boxes = page.evaluate("""() => [...document.querySelectorAll("math")].map(math => {
            const box = math.getBoundingClientRect(); return [box.width, box.height]; })""")
        assert all(width > 3 and height > 3 for width, height in boxes)
        for width in (1000, 375):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not wrong


OWN = r"""
Between $E
+ dE$ and \begin{align} a &= b \\ c &= \tilde{d} \end{align}, by <b>hand</b>:

$$
\int_0^1 f
$$

[next](02_kernel_theory.ipynb#Two), [code](../physmis/site.py), [net](https://example.org), [up](#One)

<details>
<summary>Solution</summary>

It is $\hat q$:

```python
x = 1  # yes
```

</details>
"""


@pytest.mark.end_to_end
def test_a_page_keeps_what_markdown_can_say(own, browser):
    wide = f"|{' wide |' * 40}\n|{'---|' * 40}\n|{' $x^2$ |' * 40}"
    write(own, "01_synthetic_tasks", "# One", OWN, wide)
    write(own, "02_kernel_theory", "# Two")
    soup = built(own, "01_synthetic_tasks")
    assert len(soup.find_all("math")) == 4 + 40
    assert not soup.find("li") and not re.search(r"[$\\]", text_beside_equations(soup))
    assert soup.find("b").string == "hand" and soup.select_one("pre .claim").parent.get_text().endswith(
        "more\n"
    )
    links = {link.get_text(): link["href"] for link in soup.select("main p a")}
    assert links == {"next": "02_kernel_theory.html#Two", "net": "https://example.org", "up": "#One"}
    with browser.new_context(viewport={"width": 375, "height": 800}) as context:
        page = context.new_page()
        page.goto((own.parent / "site" / "01_synthetic_tasks.html").as_uri())
        inside = page.locator("details math, details .highlight")
        assert inside.count() == 2 and not any(part.is_visible() for part in inside.all())
        page.locator("summary").click()
        assert all(part.is_visible() for part in inside.all())
        assert page.evaluate("document.documentElement.scrollWidth") == 375
        assert page.locator("div.wide").evaluate("box => box.scrollWidth > box.clientWidth")


@pytest.mark.parametrize(
    "cells, told",
    [
        (["no heading"], r"01_synthetic_tasks.ipynb has no heading"),
        (
            ["# One", r"$\nosuch$"],
            r"01_synthetic_tasks.ipynb: the equation '\\\\nosuch' cannot be read: .*nosuch",
        ),
        (["# One", "[there](09_none.ipynb)"], r"01_synthetic_tasks.ipynb: it links to 09_none.ipynb"),
    ],
)
def test_what_is_wrong_in_a_notebook_is_told(own, capsys, cells, told):
    write(own, "01_synthetic_tasks", *cells)
    assert site.main(["--output", str(own.parent / "site")]) == 1
    assert re.search(f"^site: {told}", capsys.readouterr().err)
    assert not (own.parent / "site").exists()


def test_a_missing_notebook_is_told(own):
    with pytest.raises(site.SiteError, match="no notebooks in"):
        site.build(own.parent / "site")
    (own / "01_synthetic_tasks.py").touch()
    with pytest.raises(site.SiteError, match="01_synthetic_tasks.ipynb is missing; run .*--only 01"):
        site.build(own.parent / "site")
    write(own, "01_synthetic_tasks", "# One", ran=False)
    with pytest.raises(site.SiteError, match="01_synthetic_tasks.ipynb has cells without their outputs"):
        site.build(own.parent / "site")
    write(own, "01_synthetic_tasks", "# One")
    write(own, "99_new", "# New")
    with pytest.raises(site.SiteError, match="there is no row for 99_new"):
        site.build(own.parent / "site")


def test_pages_of_notebooks_that_are_gone_are_removed(own, capsys):
    write(own, "01_synthetic_tasks", "# One")
    folder = own.parent / "site"
    assert site.main(["--output", str(folder)]) == 0
    (folder / "01_synthetic_tasks.html").rename(folder / "07_gone.html")
    for name in ("08_of_mine.html", "notes.html"):
        (folder / name).touch()
    assert site.main(["--output", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "01_synthetic_tasks.html",
        "08_of_mine.html",
        "index.html",
        "notes.html",
    ]
    assert "index.html" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["index.html", "01_synthetic_tasks.html"])
def test_files_of_others_are_not_written_over(own, capsys, name):
    write(own, "01_synthetic_tasks", "# One")
    folder = own.parent / "site"
    folder.mkdir()
    (folder / name).write_text("mine")
    assert site.main(["--output", str(folder)]) == 1
    assert [path.name for path in folder.iterdir()] == [name] and (folder / name).read_text() == "mine"
    assert f"{name} is no page of this site" in capsys.readouterr().err
