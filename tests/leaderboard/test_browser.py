"""The leaderboard's pages in a real browser: sorting, filtering, keyboard, themes, a phone, and what reads them aloud.

Debian's `chromium` and `chromium-driver`; nothing is downloaded. One browser for all tests.
"""


import pytest

from leaderboard import verification
from leaderboard.site import build
from leaderboard.store import load_all
from tests.leaderboard import demo
from tests.leaderboard.browser import CHROMIUM, DRIVER, Browser, started
from tests.leaderboard.test_site import built, hostile_board

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="apt-get install chromium chromium-driver")

THEMES = ("light", "dark")
ROWS = 130  # on one board, more than are shown at once
EVERY = "[...document.querySelectorAll('.board tbody tr')]"
SEEN = f"{EVERY}.filter(row => row.checkVisibility())"


@pytest.fixture(scope="session")
def browser():
    with started() as one:
        yield one


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("browser")
    demo.keep(place / "board", [*demo.board(count=12), demo.made(1, **{"task.n_test": 10_000}), *hostile_board()])
    return built(place / "site", load_all(place / "board").submissions, verification.load_all(place / "board"))


@pytest.fixture(scope="module")
def kinds(site):
    """One page of each kind, two of submissions: by somebody hostile and by somebody whose replay failed."""
    submissions = sorted((site / "submissions").glob("*.html"))
    texts = {path: path.read_text(encoding="utf-8") for path in submissions}
    hostile = next(path for path, text in texts.items() if "document.title" in text)
    failed = next(path for path, text in texts.items() if "<code>FAIL</code>" in text)
    invalid = next(path for path, text in texts.items() if "makes it invalid" in text)
    top = [site / f"{name}.html" for name in ("index", "events", "pareto", "progress", "score")]
    return [*top, hostile, failed, invalid]


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """The page of one board with ROWS rows."""
    place = tmp_path_factory.mktemp("long")
    patch = pytest.MonkeyPatch()
    patch.setattr(build, "WHOLE_INDEX", 10)
    patch.setattr(build, "who_has_a_page", lambda ranked, records: set())
    built(place / "site", [demo.made(seed, ratio=5 + seed / 10) for seed in range(ROWS)])
    patch.undo()
    return next((place / "site" / "boards").iterdir())


def board_of(browser: Browser, model: str = "cnn") -> str:
    """The id of the first board of a model that has some rows."""
    boards = f"document.querySelectorAll('.board[data-model={model}][data-division=closed]')"
    return browser.run(f"return [...{boards}].find(one => one.querySelectorAll('tbody tr').length > 3).id")


# -- sorting ----------------------------------------------------------------------------------------------------------


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(browser, site):
    browser.open(site / "index.html")
    board = board_of(browser)
    numbers = f"return [...document.querySelectorAll('#{board} tbody tr')].map(row => Number(row.cells[4].dataset.v))"
    heading = browser.driver.find_element("css selector", f"#{board} thead th:nth-child(5)")
    heading.find_element("tag name", "button").click()
    upwards = browser.run(numbers)
    assert upwards == sorted(upwards) and heading.get_attribute("aria-sort") == "ascending"
    heading.find_element("tag name", "button").click()
    assert browser.run(numbers) == upwards[::-1] and heading.get_attribute("aria-sort") == "descending"
    names = browser.driver.find_element("css selector", f"#{board} thead th:nth-child(2)")
    names.find_element("tag name", "button").click()
    assert browser.column(board, 1) == sorted(browser.column(board, 1), key=str.lower)
    assert heading.get_attribute("aria-sort") is None


def test_every_column_can_be_sorted_and_what_is_missing_comes_last_either_way(browser, site):
    browser.open(site / "index.html")
    assert browser.run("return [...document.querySelectorAll('.board thead th')].every(h => h.querySelector('button'))")
    board = browser.run("return document.querySelector('.board [data-s=invalid]').closest('.board').id")
    for _ in range(2):
        browser.driver.find_element("css selector", f"#{board} thead th:nth-child(3) button").click()
        assert browser.column(board, 2)[-1] == "–"


def test_the_keyboard_reaches_a_heading_and_enter_sorts(browser, site):
    from selenium.webdriver.common.keys import Keys

    browser.open(site / "index.html")
    focused = "const e = document.activeElement; return e.closest('thead') ? e.textContent.trim() : e.className"
    browser.press(Keys.TAB)
    assert browser.run(focused) == "skip"  # the first stop leads past the navigation
    visited = []
    for _ in range(40):
        browser.press(Keys.TAB)
        visited.append(browser.run(focused))
        if visited[-1] == "Score":
            break
    assert visited[-1] == "Score"
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # where the keyboard is can be seen
    browser.press(Keys.ENTER)
    assert browser.run("return document.activeElement.closest('th').getAttribute('aria-sort')") == "descending"
    browser.press(Keys.SPACE)
    assert browser.run("return document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"


# -- filtering --------------------------------------------------------------------------------------------------------


def test_filters_leave_the_rows_that_fit_hide_empty_boards_and_say_how_many(browser, site):
    browser.open(site / "index.html")
    everything = int(browser.found.split()[0])
    browser.choose("text", "grace")
    names = browser.run(f"return {SEEN}.map(row => row.cells[1].innerText)")
    assert set(names) == {"Grace"} and browser.found == f"{len(names)} of {everything} submissions"
    browser.choose("text", "nobody is called that")
    assert browser.found == f"0 of {everything} submissions" and browser.run(f"return {SEEN}.length") == 0
    assert browser.run("return [...document.querySelectorAll('.board')].every(board => board.hidden)")
    browser.driver.find_element("css selector", "#filters [type=reset]").click()
    browser.run("return new Promise(done => setTimeout(done))")
    assert browser.found == f"{everything} submissions"


@pytest.mark.parametrize(
    "name, value, of_rows",
    [
        ("model", "mlp", "row.closest('.board').dataset.model"),
        ("division", "closed", "row.closest('.board').dataset.division"),
        ("status", "invalid", "row.dataset.s"),
        ("trust", "verified", "row.dataset.t"),
    ],
)
def test_each_filter_looks_at_what_it_is_called(browser, site, name, value, of_rows):
    browser.open(site / "index.html")
    browser.choose(name, value)
    seen = browser.run(f"return {SEEN}.map(row => {of_rows})")
    assert set(seen) == {value}
    assert len(seen) == browser.run(f"return {EVERY}.filter(row => {of_rows} === '{value}').length")


def test_a_long_board_shows_a_hundred_rows_and_more_when_asked(browser, long):
    browser.open(long)
    board = browser.run("return document.querySelector('.board').id")
    assert len(browser.column(board, 0)) == 100
    more = browser.driver.find_element("css selector", "button.more")
    assert more.text == f"Show {ROWS - 100} more of {ROWS - 100}"
    browser.driver.find_element("css selector", f"#{board} thead th:nth-child(3) button").click()
    browser.driver.find_element("css selector", f"#{board} thead th:nth-child(3) button").click()
    assert browser.column(board, 2)[0] == min(browser.column(board, 2), key=lambda text: float(text.rstrip("×")))
    more.click()
    assert len(browser.column(board, 0)) == ROWS and not more.is_displayed()


# -- what everybody needs ---------------------------------------------------------------------------------------------

READABLE = """
const bright = (rgb) => {
  const [r, g, b] = rgb.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
  }
  return parse(getComputedStyle(document.documentElement).colorScheme === "dark" ? "0 0 0" : "255 255 255");
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
let seen = 0;
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.textContent.trim() || !element.checkVisibility() || element.matches(".skip, option")) continue;
  seen += 1;
  const style = getComputedStyle(element);
  const [one, two] = [bright(parse(element.closest("svg") ? style.fill : style.color)), bright(behind(element))];
  const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  if (contrast < 4.5) found.push([texts.currentNode.textContent.trim().slice(0, 40), contrast.toFixed(2)]);
}
return [seen, found];
"""


@pytest.mark.parametrize("theme", THEMES)
def test_all_text_stands_out_from_its_ground(browser, kinds, theme):
    for page in kinds:
        browser.open(page, theme)
        seen, pale = browser.run(READABLE)
        assert seen > 20 and pale == [], page.name


ACCESSIBLE = """
const wrong = [];
const say = (text, element) => wrong.push(text + ": " + element.outerHTML.slice(0, 90));
if (document.documentElement.lang !== "en") wrong.push("lang");
if (!document.title.trim()) wrong.push("title");
if (document.querySelectorAll("h1").length !== 1) wrong.push("h1");
let level = 0;
for (const h of document.querySelectorAll("h1, h2, h3, h4")) {
  if (Number(h.tagName[1]) > level + 1) say("level left out", h);
  level = Number(h.tagName[1]);
}
const named = (e) => e.getAttribute("aria-label") || (e.getAttribute("aria-labelledby") || "").split(" ")
  .map(id => id && document.getElementById(id)?.textContent).join("").trim();
for (const e of document.querySelectorAll("input, select")) if (!e.labels.length && !named(e)) say("no label", e);
for (const e of document.querySelectorAll("button, a")) if (!e.textContent.trim() && !named(e)) say("no name", e);
for (const e of document.querySelectorAll("svg")) if (!named(e) || !e.getAttribute("role")) say("not told", e);
for (const e of document.querySelectorAll("[role=region], section, nav, pre")) {
  if (!named(e) && !e.matches(".board")) say("no name", e);
}
for (const e of document.querySelectorAll("table")) if (!e.caption?.textContent.trim()) say("no caption", e);
for (const e of document.querySelectorAll("th")) if (!e.scope) say("no scope", e);
for (const e of document.querySelectorAll("main svg a")) if (!e.getAttribute("href")) say("nowhere", e);
return wrong;
"""


@pytest.mark.parametrize("theme", THEMES)
def test_no_page_complains_reaches_out_or_leaves_anybody_out(browser, kinds, theme):
    for page in kinds:
        browser.open(page, theme)
        assert browser.run(ACCESSIBLE) == [], page.name
        fetched = browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert all(name.startswith("file:") for name in fetched)
        assert browser.run("return [document.styleSheets.length, theme.hidden]") == [1, False]
        assert browser.complaints() == [], page.name


def test_no_page_scrolls_sideways_on_a_phone(browser, kinds, long):
    for page in [*kinds, long]:
        browser.open(page, width=360)
        assert browser.run("return document.documentElement.scrollWidth") <= 360, page.name
        small = browser.run(
            "return [...document.querySelectorAll('button, select, nav a')]"
            ".filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 24).map(e => e.outerHTML)"
        )
        assert small == [], page.name  # a thumb must hit it


def test_names_that_mean_harm_do_nothing(browser, site, kinds):
    for page in [site / "index.html", *kinds[5:6]]:
        browser.open(page)
        assert browser.driver.title != "executed"
        assert browser.run("return document.querySelectorAll('img, main script').length") == 0
        assert "<script>document.title" in browser.run("return document.body.innerText")


def test_without_scripts_everything_is_there(browser, site):
    browser.open(site / "index.html", scripts=False)
    try:
        rows = browser.driver.find_elements("css selector", ".board tbody tr")
        assert len(rows) > 10 and all(row.is_displayed() for row in rows)
        assert not browser.driver.find_element("id", "filters").is_displayed()
        assert not browser.driver.find_element("id", "theme").is_displayed()
    finally:
        browser.open(site / "index.html")


# -- themes -----------------------------------------------------------------------------------------------------------


def test_the_theme_follows_the_system_until_it_is_chosen_and_is_then_remembered(browser, site):
    ground = "return getComputedStyle(document.body).backgroundColor"
    pressed = "return document.getElementById('theme').getAttribute('aria-pressed')"
    browser.open(site / "index.html", "light")
    light = browser.run(ground)
    assert browser.run(pressed) == "false"
    browser.open(site / "index.html", "dark")
    dark = browser.run(ground)
    assert dark != light and browser.run(pressed) == "true"
    try:
        browser.driver.find_element("id", "theme").click()
        assert browser.run(ground) == light and browser.run(pressed) == "false"
        browser.open(site / "score.html", "dark")
        assert browser.run(ground) == light and browser.run(pressed) == "false"
    finally:
        browser.run("localStorage.clear()")


def test_drawings_change_with_the_theme_and_their_marks_lead_on(browser, site):
    fill = "return getComputedStyle(document.querySelector('main svg text')).fill"
    browser.open(site / "pareto.html", "light")
    light = browser.run(fill)
    browser.open(site / "pareto.html", "dark")
    assert browser.run(fill) != light
    link = browser.run("return document.querySelector('main svg a').getAttribute('href')")
    browser.run("document.querySelector('main svg a').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    assert browser.driver.current_url == (site / link).as_uri()
