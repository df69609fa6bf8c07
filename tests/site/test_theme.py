"""What of the theme's behaviour is the site's own, in a real browser: colours, heading in the header, folded parts."""

import pytest

pytestmark = pytest.mark.browser
DARK = "document.body.dataset.mdColorScheme === 'slate'"


@pytest.fixture
def visit(browser, address):
    """Opens a page for somebody who was never here; fails where a script of the page does."""
    contexts, raised = [], []

    def go(place, **circumstances):
        contexts.append(browser.new_context(**circumstances))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: raised.append(str(error)))
        page.goto(f"{address}/{place}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert raised == []


def test_no_page_loads_the_script_of_the_theme(visit):
    page = visit("")
    loaded = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert any("/assets/theme.js" in one for one in loaded)
    assert [one for one in loaded if "bundle" in one or "sitemap" in one] == []


def test_colours_are_the_system_s_until_the_visitor_chooses(visit, address):
    page = visit("", color_scheme="dark")
    assert page.evaluate(DARK)
    page.get_by_role("button", name="Dark colours", pressed=True).click()
    assert not page.evaluate(DARK)
    page.goto(f"{address}/terms/")
    assert not page.evaluate(DARK)
    page.get_by_role("button", name="Dark colours", pressed=False).focus()
    page.keyboard.press("Enter")
    assert page.evaluate(DARK)
    assert not visit("", color_scheme="light").evaluate(DARK)


def test_the_focus_is_seen(visit):
    page = visit("taxonomy/")
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(tuple(page.evaluate("(({tagName, className}) => [tagName, className])(document.activeElement)")))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", seen
    assert {tag for tag, _ in seen} >= {"A", "BUTTON", "SUMMARY"}


def test_without_storage_the_choice_still_works(visit):
    page = visit("")
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('none'); }})")
    page.reload()
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(DARK)


def test_the_header_names_the_page_once_its_heading_is_gone(visit):
    page = visit("terms/", viewport={"width": 390, "height": 800})
    title = page.locator(".md-header__title--active")
    assert title.count() == 0
    page.evaluate("scrollTo(0, 900)")
    title.wait_for()
    page.evaluate("scrollTo(0, 0)")
    title.wait_for(state="detached")


def test_folded_parts_open_for_a_link_and_for_print(visit):
    page = visit("taxonomy/")
    inner = page.evaluate(
        """() => {
          const box = document.querySelector(".md-content details details:not([open])");
          box.querySelector(":scope > :last-child").id = "within";
          return [...document.querySelectorAll(".md-content details:not([open])")].length;
        }"""
    )
    page.evaluate("location.hash = '#within'")
    page.wait_for_function("document.getElementById('within').checkVisibility()")
    closed = page.evaluate("document.querySelectorAll('.md-content details:not([open])').length")
    assert closed < inner
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".md-content details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(".md-content details:not([open])").count() == closed


@pytest.mark.parametrize("width, sides", [(1000, ["secondary"]), (1280, ["primary", "secondary"])])
def test_lists_beside_the_text_stay_in_sight_and_within_the_screen(visit, width, sides):
    page = visit("running/", viewport={"width": width, "height": 500})
    page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
    for side in sides:
        place = page.locator(f".md-sidebar--{side} .md-sidebar__scrollwrap").bounding_box()
        assert place["y"] > 0 and place["y"] + place["height"] <= 500, side


def test_wide_things_take_the_focus(visit):
    page = visit("verification/", viewport={"width": 390, "height": 800})
    page.wait_for_function(
        """[...document.querySelectorAll(".md-typeset :is(pre > code, table:not([class]), .scroll)")]
          .filter((box) => box.scrollWidth > box.clientWidth && !box.querySelector("a, button"))
          .every((box) => box.tabIndex === 0)"""
    )
