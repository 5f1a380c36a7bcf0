"""The slides of the workshop."""

import re

import pytest
from workshop import slides


@pytest.fixture(scope="module")
def deck(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "slides.html"
    slides.main(["--output", str(path)])
    return path


def test_pictures_lie_within_and_numbers_are_filled_in(deck):
    page = deck.read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]{0,30})', page)
    assert len(sources) >= 8 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert len(sources) == len(re.findall(r'<img [^>]*alt="[^"]{10,}"', page))
    assert "{{" not in page and "C10, " in page


@pytest.mark.end_to_end
@pytest.mark.parametrize("width, height", [(1280, 720), (375, 720)])
def test_in_a_browser_every_slide_fits_and_nothing_is_fetched(browser, deck, width, height):
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        page = context.new_page()
        fetched = []
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or fetched.append(r.url))
        page.goto(deck.as_uri())
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        beyond = (
            "[...document.querySelectorAll('section')].filter(s => s.scrollHeight > s.clientHeight).length"
        )
        assert page.evaluate(beyond) == 0 and page.evaluate("document.documentElement.scrollWidth") <= width
        page.keyboard.press("ArrowRight")
        page.wait_for_function("scrollY > 0")
        assert not fetched
