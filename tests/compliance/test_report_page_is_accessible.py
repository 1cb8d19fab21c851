"""The page in a real browser: axe finds nothing, the keyboard reaches everything, and nothing is asked of a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compliance.compare import compare, write_comparison
from tests.browser import opened
from tests.compliance.helpers import make_run
from tests.compliance.pages import RUNS, after, broken, make_pages, modes, styled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MODES = dict(modes())
# Everything that axe has, rules that are off by default too, but AAA and what it calls experimental.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice", "ACT"]
# The control breaks one rule each: a figure without text, grey on white, and two landmarks of one name.
PLANTED = {
    "role-img-alt": lambda text: text.replace('role="img" aria-label="', 'role="img" data-was="', 1),
    "color-contrast": styled(".kicker { color: #999 !important; background: #fff !important; }"),
    "landmark-unique": lambda text: text.replace('aria-label="Table: Cost"', 'aria-label="Table: Files"'),
    "heading-order": lambda text: text.replace("<h2", "<h5", 1).replace("</h2>", "</h5>", 1),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = make_pages(folder)
    first = after(make_run(folder / "a"))
    second = after(make_run(folder / "b", epsilon=0.9), first)
    debug = after(make_run(folder / "c", private=False), first, second)
    made["comparison"] = write_comparison(folder, compare([first, second, debug]))[0]
    return made


def violations(page: Page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    result = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]})
    assert len(result.response["passes"]) > 15, "axe ran"
    return [rule["id"] for rule in result.response["violations"] for _ in rule["nodes"]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*RUNS, "comparison"])
def test_axe_finds_no_violation(name: str, mode: str, browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages[name], **MODES[mode]) as page:  # type: ignore[arg-type]  # keywords of the helper
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert violations(page) == []


@pytest.mark.parametrize("rule", PLANTED)
def test_control_axe_finds_a_planted_violation(rule: str, browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, broken(pages["normal"], PLANTED[rule])) as page:
        assert rule in violations(page)


def requests_of(browser: Browser, file: Path) -> list[str]:
    """What the browser asks for when it opens ``file`` and shows all of it."""
    asked: list[str] = []
    context = browser.new_context()
    page = context.new_page()
    page.route("**/*", lambda route: (asked.append(route.request.url), route.continue_()))
    page.goto(file.absolute().as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.wait_for_load_state("networkidle")
    context.close()
    return asked


def test_opening_a_page_asks_for_nothing_but_the_page(browser: Browser, pages: dict[str, Path]) -> None:
    for file in pages.values():
        assert requests_of(browser, file) == [file.absolute().as_uri()]
    # Control: a picture from elsewhere is asked for, once the page's own policy no longer forbids it.
    elsewhere = '<img alt="" src="http://127.0.0.1:9/x.png"></body>'
    leaky = broken(
        pages["normal"],
        lambda text: text.replace("</body>", elsewhere).replace("Content-Security-Policy", "X-None"),
    )
    assert "http://127.0.0.1:9/x.png" in requests_of(browser, leaky)


WALK = """() => { const at = document.activeElement; if (!at || at === document.body) return null;
  const style = getComputedStyle(at), box = at.getBoundingClientRect();
  return {which: [...document.querySelectorAll('*')].indexOf(at), shown: box.width > 0 && box.bottom > 0,
    ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2}; }"""
REACHABLE = """() => [...document.querySelectorAll('a[href], summary, [tabindex="0"]')].filter(e => e.checkVisibility())
  .map(e => [...document.querySelectorAll('*')].indexOf(e))"""


def walk(page: Page) -> tuple[list[int], list[dict[str, Any]]]:
    """What there is to reach, and what the tabulator key reaches, in its order."""
    expected = page.evaluate(REACHABLE)
    reached: list[dict[str, Any]] = []
    for _ in range(len(expected) + 1):
        page.keyboard.press("Tab")
        at = page.evaluate(WALK)
        if at is None:
            break
        reached.append(at)
    return expected, reached


@pytest.mark.parametrize("dark", [False, True])
def test_the_keyboard_reaches_every_link_and_summary_and_shows_where_it_is(
    dark: bool, browser: Browser, pages: dict[str, Path]
) -> None:
    for file in (pages["normal"], pages["comparison"]):
        with opened(browser, file, dark=dark) as page:
            expected, reached = walk(page)
            assert [at["which"] for at in reached] == expected, "all, in the order of the page"
            assert len(expected) > 3
            assert all(at["ring"] and at["shown"] for at in reached)
    # Control: without a ring, and with a link out of reach, both are noticed.
    with opened(browser, broken(pages["normal"], styled("* { outline: none !important; }")), dark=dark) as page:
        assert not all(at["ring"] for at in walk(page)[1])
    unreachable = broken(pages["normal"], lambda text: text.replace('<a href="#done"', '<a tabindex="-1" href="#done"'))
    with opened(browser, unreachable, dark=dark) as page:
        expected, reached = walk(page)
        assert [at["which"] for at in reached] != expected


def test_a_summary_opens_by_keyboard_and_shows_its_numbers(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["normal"]) as page:
        details = page.locator("details.data")
        assert details.count() >= 4, "each curve has its numbers"
        cells = details.first.locator("td")
        assert not cells.first.is_visible()  # the control: closed, nothing is shown
        details.first.locator("summary").focus()
        page.keyboard.press("Enter")
        assert cells.first.is_visible()


def test_the_skip_link_leads_past_the_figures_to_the_summary(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["normal"]) as page:
        assert page.locator(".skip").bounding_box()["y"] < 0  # type: ignore[index]  # out of sight until it is reached
        page.keyboard.press("Tab")
        assert page.locator(".skip").bounding_box()["y"] >= 0  # type: ignore[index]  # it has a box
        page.keyboard.press("Enter")
        assert page.url.endswith("#narrative")
        page.keyboard.press("Tab")
        after = page.evaluate("document.activeElement.closest('main') !== null")
        assert after, "the next stop is in the page's main part, not in its contents"


# axe cannot tell the contrast of text in a picture or over a pseudo-element: here all colours are compared.
CONTRAST = """() => {
  const numbers = c => c.match(/[\\d.]+/g).map(Number);
  const linear = v => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = e => {
    for (let at = e; at; at = at.parentElement) {
      const c = numbers(getComputedStyle(at).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const ratio = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  return [...document.querySelectorAll('body *')]
    .filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .map(e => {
      const style = getComputedStyle(e), svg = !!e.closest('svg');
      const ink = numbers(svg ? style.fill : style.color);
      return {text: e.textContent.trim().slice(0, 30), ratio: ratio(ink, behind(e)), svg};
    });
}"""


@pytest.mark.parametrize("mode", MODES)
def test_every_text_stands_out_from_what_is_behind_it(mode: str, browser: Browser, pages: dict[str, Path]) -> None:
    for name in ("normal", "not private", "comparison"):
        with opened(browser, pages[name], **MODES[mode]) as page:  # type: ignore[arg-type]  # keywords of the helper
            texts = page.evaluate(CONTRAST)
        assert len(texts) > 40
        assert [text for text in texts if text["ratio"] < 4.5] == []
        assert name == "not private" or any(text["svg"] for text in texts)
    pale = broken(pages["normal"], styled("svg { --ink: #9aa; } svg * { fill: #9aa !important; }"))
    with opened(browser, pale) as page:  # the control: a pale picture is noticed
        assert any(text["svg"] and text["ratio"] < 4.5 for text in page.evaluate(CONTRAST))
