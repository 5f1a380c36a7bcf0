"""The report: what it says in each situation, and the page in a real browser."""

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest
import scipy.stats

from physmis.audit.audit import audit
from physmis.audit.data_checks import Finding
from physmis.audit.report import _finite_edges, _interval, data, figure, html, parts
from physmis.kernels import Kernel

Z = np.random.default_rng(0).normal(size=400)


def verdict(report):
    return " ".join(line for name in ("verdict", "details") for (line,) in parts(report)[name])


def advice(report):
    return [line for (line,) in parts(report)["advice"]]


def growth_rate(x):
    return x[:, 0, 0]


def constant(z):
    return np.repeat(np.asarray(z)[:, None, None], 4, axis=1)


class Shift(Kernel):
    def __init__(self, by):
        self.by = by

    def deviate(self, x, rng):
        return x + self.by


def report(kernel=None, generated=None, prior=None, z=Z, measure=growth_rate):
    made = None if kernel is None else lambda y: Shift(kernel)
    return audit(constant(z), measure, made, None if generated is None else constant(generated), prior)


SITUATIONS = {
    "quiet forecast": lambda: report(0.0),
    "notable forecast": lambda: report(2.0),
    "kept": lambda: report(0.0, generated=np.random.default_rng(1).normal(size=300)),
    "shifted": lambda: report(2.0, generated=np.random.default_rng(1).normal(size=300) + 1),
    "prior kept": lambda: report(prior=scipy.stats.norm()),
    "prior shifted": lambda: report(prior=scipy.stats.norm(1)),
    "generated against prior": lambda: report(0.0, Z[:100], scipy.stats.norm()),
    "nothing": lambda: report(),
}


@pytest.fixture(scope="module")
def reports():
    return {name: make() for name, make in SITUATIONS.items()}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "quiet forecast",
            "Nothing compared: small errors .* shift the growth rate no more .* chance does .forecast 0.000",
        ),
        ("notable forecast", "is forecast to make, of the growth rate, too many .* and above"),
        (
            "kept",
            "No shift detected: with 300 .* between the growth rate of the generated .* dem",
        ),
        (
            "shifted",
            "Shift detected: .* generated .* is not distributed as that of the dem.* foremost in its loc",
        ),
        ("prior kept", "with 400 .* no difference .* of the demonstrations and what the prior says"),
        ("prior shifted", "demonstrations is not distributed as the prior says, .* There are too many"),
        ("generated against prior", "with 100 .* generated trajectories and what the prior says"),
        ("nothing", "Nothing compared: 400 demonstrations are measured"),
    ],
)
def test_the_verdict_fits_the_situation(reports, name, says):
    found = reports[name]
    assert re.search(says, verdict(found))
    assert found.shifted == ("not distributed" in verdict(found))
    assert len(parts(found)["verdict"]) == 1
    assert all(line in str(found) for name in ("verdict", "details") for (line,) in parts(found)[name])


def test_the_verdict_names_the_values_that_there_are_too_many_of(reports):
    """All values have moved up: too many at the upper end, too few at the lower."""
    said = verdict(reports["shifted"])
    many, few = re.search(r"too many (.*), too few (.*)\.", said).groups()
    assert "and above (+" in many and "below" in few and "(-" in few
    c = reports["shifted"].comparison
    assert f"{c.tv:.3f}" in said and f"{c.floor.value:.3f}" in said


@pytest.mark.parametrize(
    ("name", "says", "never"),
    [
        ("quiet forecast", "After training, draw", "Train longer"),
        ("kept", "go unnoticed: draw more", "Train longer"),
        ("shifted", "Train longer", "go unnoticed"),
        ("prior shifted", "Curate again", "Train longer"),
        ("prior kept", "After training, draw", "Curate again"),
    ],
)
def test_the_advice_fits_the_situation(reports, name, says, never):
    said = " ".join(advice(reports[name]))
    assert says in said and never not in said
    assert "Single trajectories may still be invalid" in said


def test_a_shift_within_the_tolerance_has_not_gone_unnoticed(reports):
    found = dataclasses.replace(reports["shifted"], tolerance=0.99)
    assert found.status == "shift within tolerance" and "go unnoticed" not in " ".join(advice(found))


def test_a_prior_in_another_unit_leaves_nothing_to_forecast():
    said = verdict(report(2.0, prior=scipy.stats.uniform(100, 10)))
    assert "100% of the values lie in a single bin" in said and "by chance up to" not in said


def test_better_coordinates_are_recommended_where_they_leave_less_drift(reports):
    """An error at the first step alone; in increments, one at the last is not seen there."""

    class First(Kernel):
        def __init__(self, y):
            self.size = 3.0 if np.allclose(y[:, 0], y[:, 1]) else 0.0

        def deviate(self, x, rng):
            return x + self.size

    found = audit(constant(Z), growth_rate, First)
    said = " ".join(advice(found))
    assert found.forecast.coordinates["increments, Increments()"] == 0
    assert "other coordinates: increments, Increments()" in said and "drift of 0.000 instead of 0." in said
    assert "other coordinates" not in " ".join(advice(reports["quiet forecast"]))


def test_a_bounded_prior_does_not_flatten_the_figure():
    """Mass beyond an end, where no value lies, is drawn as wide as a bin."""
    z = np.random.default_rng(0).random(500)
    found = audit(constant(z), growth_rate, lambda y: Shift(0.05), prior=scipy.stats.uniform(0, 1))
    assert found.forecast.q[-1] > 0.02
    drawn = [patch.get_data()[0].max() for patch in figure(found).axes[0].patches]
    assert max(drawn) < 3 * drawn[0]


def test_where_a_warning_stands_the_advice_is_to_check_the_data(reports):
    found = dataclasses.replace(reports["shifted"], findings=(FINDING,))
    said = advice(found)
    assert said[0].startswith("Check the data") and "one warning stands" in said[0]
    assert "Train longer" not in " ".join(said) and "other coordinates" not in " ".join(said)
    assert "! Give both in <one> unit" in str(found)


def test_the_report_says_whether_the_forecast_came_true():
    """A kernel that shifts all values by as much as the generated ones are, the other way, and by nothing."""
    rng = np.random.default_rng(1)
    moved, same = rng.normal(size=400) + 1, rng.normal(size=400)
    for kernel, generated, true in ((1.0, moved, True), (-1.0, moved, False), (0.0, moved, False),
                                    (0.0, same, True), (1.0, same, False)):  # fmt: skip
        found = report(kernel, generated)
        assert found.came_true == true
        assert f"The forecast {'came true' if true else 'did not come true'}: " in verdict(found)
    assert report(1.0).came_true is None and report(None, moved).came_true is None
    found = report(1.0, moved)
    change, came = found.forecast.q - found.before, found.comparison.q - found.before
    assert found.agreement == pytest.approx(np.corrcoef(change, came)[0, 1])


def test_bins_of_whole_numbers_name_those_in_them():
    """Each label is true of every value in its bin, and of no other."""
    z, g = (np.random.default_rng(seed).poisson(50, size=600).astype(float) for seed in (0, 1))
    found = report(None, g, z=z)
    labels = [row[0] for row in parts(found)["values"][1:]]
    for value in range(int(min(z.min(), g.min())), int(max(z.max(), g.max())) + 1):
        holds = []
        for label in labels:
            low, _, high = label.partition(" to ")
            if label.startswith("below"):
                holds.append(value < int(label.split()[1]))
            elif label.endswith("above"):
                holds.append(value >= int(label.split()[0]))
            else:
                holds.append(int(low) <= value <= int(high or low))
        assert np.flatnonzero(holds).tolist() == [np.searchsorted(found.edges, value, side="right") - 1]


def test_a_notebook_shows_the_page(reports):
    shown = Page(reports["kept"]._repr_html_())
    assert shown.tags == ["iframe"]
    assert dict(shown.attributes)["srcdoc"] == html(reports["kept"])


@pytest.mark.parametrize("name", SITUATIONS)
def test_data_is_json(reports, name):
    found = json.loads(json.dumps(data(reports[name]), allow_nan=False))
    assert found["status"] == reports[name].status and found["verdict"] in str(reports[name])
    assert (found["forecast"] is None) == (reports[name].forecast is None)
    assert len(found["bins"]["edges"]) == len(found["bins"]["before"]) + 1


def test_the_table_of_values_adds_up(reports):
    found = reports["shifted"]
    rows = str(found).split("share before")[1].split("What to do next")[0].splitlines()[1:-1]
    assert len(rows) == len(found.edges) - 1
    shares = np.array([[float(share) for share in re.findall(r"([\d.]+)%", row)] for row in rows])
    np.testing.assert_allclose(shares.sum(axis=0), 100, atol=0.05 * len(rows))
    np.testing.assert_allclose(shares[:, 0] / 100, found.comparison.p, atol=6e-4)


def test_what_was_left_out_and_imputed_is_said():
    x = constant(Z)
    x[:3] = np.nan
    x[3:8, 1] = np.nan
    said = str(audit(x, growth_rate, None))
    assert "397; 3 unmeasurable, left out; 8 with missing steps, imputed" in said


@pytest.mark.parametrize("scale", [1e-300, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12, 1e300])
@pytest.mark.parametrize("offset", [0, 1, 1000])
def test_edges_of_bins_differ_at_any_scale(scale, offset):
    edges = scale * (np.linspace(-1, 1, 21) + offset)
    edges[[0, -1]] = -np.inf, np.inf
    found = [_interval(edges, i, i) for i in range(20)]
    assert found[0].startswith("below ") and found[-1].endswith(" and above")
    low, high = zip(*(words.split(" to ") for words in found[1:-1]), strict=True)
    assert low[1:] == high[:-1] and len(set(low)) == len(low) and max(map(len, low)) < 24
    np.testing.assert_allclose([float(word.replace(",", "")) for word in low], edges[1:-2],
                               atol=0.051 * scale, rtol=0)  # fmt: skip


@pytest.mark.parametrize("name", ["quiet forecast", "shifted", "prior kept"])
def test_the_figure_shows_shares_that_sum_to_one(reports, name):
    found = reports[name]
    upper, lower = figure(found).axes
    labels = upper.get_legend_handles_labels()[1]
    assert labels[0] == ("the prior" if found.curation else "the demonstrations")
    assert ("forecast" in labels) == (found.forecast is not None)
    assert len(labels) == 1 + (found.forecast is not None) + (
        (found.comparison or found.curation) is not None
    )
    for drawn in upper.patches:
        values, edges, _ = drawn.get_data()
        assert (values * np.diff(edges)).sum() == pytest.approx(1)
        assert np.isfinite(edges).all() and (np.diff(edges) > 0).all()
    assert lower.get_xlabel() == "growth rate"


@pytest.mark.parametrize(
    ("z", "largest"),
    [(np.r_[Z, 1e9], 20), (np.repeat([0.0, 1.0], 30), 4), (np.r_[np.zeros(500), 1.0], 4), (1e-9 * Z, 2e-8)],
)
def test_difficult_values_can_be_drawn(z, largest):
    found = report(0.0, z=z)
    edges = _finite_edges(found)
    assert np.isfinite(edges).all() and (np.diff(edges) > 0).all() and np.ptp(edges) < largest
    figure(found).canvas.draw()


# the page

HOSTILE = "<script>fetch('http://example.com')</script>\"'&{{0}}{%$\\frac{$" + 90 * "x"
WORDS = {
    "quiet forecast": "Nothing compared",
    "kept": "No shift detected",
    "shifted": "Shift detected",
    "hostile": "Shift detected",
    "warned": "Shift detected, with one warning about the data",
}
FINDING = Finding("units", "both", "give both in <one> unit: the generated are 1000 times as large.")


@pytest.fixture(scope="module")
def pages(reports):
    """Reports and their pages, one of them for a quantity with a hostile name."""
    shifted, about = reports["shifted"], {"command": "physmis audit " + "a_long_folder/" * 12 + "demos.npz"}
    found = reports | {
        "hostile": dataclasses.replace(shifted, quantity=HOSTILE),
        "warned": dataclasses.replace(shifted, findings=(FINDING,), about=about, unit="1/s"),
    }
    return {name: (found[name], html(found[name])) for name in WORDS}


class Page(HTMLParser):
    """Tags, their attributes and the text of a page; the standard library's reading of it."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words += data


@pytest.mark.parametrize("name", WORDS)
def test_the_page_holds_all_it_needs(pages, name):
    found, source = pages[name]
    page = Page(source)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    sources = [value for key, value in page.attributes if key in ("src", "href", "srcset", "action", "data")]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import", source.replace(sources[0], ""))
    image = PIL.Image.open(io.BytesIO(base64.b64decode(sources[0].split(",", 1)[1])))
    assert image.width > 1000 and image.getextrema() != ((255, 255),) * 4
    for words in (
        f"{WORDS[name]}: ",
        *verdict(found).split(". ")[:1],
        f"Audit of {found.quantity}",
        *advice(found),
    ):
        assert words in page.words
    cells = page.tags.count("th") + page.tags.count("td")
    assert cells == sum(len(row) for part in ("numbers", "values") for row in parts(found)[part])


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("name", "width"), [("quiet forecast", 375), ("kept", 900), ("hostile", 375), ("warned", 900)]
)
def test_a_browser_shows_the_page_without_a_network(browser, pages, tmp_path, name, width):
    (found, source), path = pages[name], tmp_path / "report.html"
    path.write_text(source, encoding="utf-8")
    page, asked, errors = browser.new_page(viewport={"width": width, "height": 800}), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.on("dialog", lambda dialog: errors.append("dialog"))
    try:
        page.goto(path.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()] and errors == []
        assert page.locator("img").evaluate("image => image.complete && image.naturalWidth") > 1000
        assert page.locator("img").bounding_box()["width"] <= width
        assert page.locator(".verdict").is_visible()
        for place in (".verdict", ".details", ".numbers", ".advice"):  # nothing is cut off
            box = page.locator(place).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
        sizes = "element => parseFloat(getComputedStyle(element).fontSize)"
        assert page.locator(".numbers td").first.evaluate(sizes) >= 14
        assert page.locator(".warning").count() == len(found.findings)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".values tbody tr").count() == len(found.edges) - 1
        assert page.locator(".advice li").all_inner_texts() == advice(found)
    finally:
        page.close()
