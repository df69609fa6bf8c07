import markdown as python_markdown
import pytest
import yaml

from scripts.site import text

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "*bold* _em_ `code` [a](javascript:alert(1)) ![i](x) <https://x.y>",
    "# not a heading",
    "1. not a list",
    "- nor this",
    "{: onclick=alert(1) }",
    "a \\* b | c ~~~ d ``` e",
    "&amp; stays &lt;as written&gt;",
    "$x^2$ and ^^ins^^ == mark ==",
    "    indented",
    "\x02stash\x03",
]


@pytest.mark.parametrize("words", NASTY)
def test_markdown_shows_text_as_it_was_written(words):
    extensions = ["attr_list", "tables", "fenced_code", "toc"]
    rendered = python_markdown.markdown(text.markdown(words), extensions=extensions)
    assert rendered.startswith("<p>") and rendered.endswith("</p>")
    inner = rendered[3:-4]
    assert "<" not in inner
    import html

    assert html.unescape(inner) == text.plain(words)


def test_html_leaves_no_way_out_of_text_or_attribute():
    shown = text.html('<b a="1">&')
    assert not set('<>"') & set(shown.replace("&lt;", "").replace("&gt;", "").replace("&quot;", ""))


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//host/x", "https://", "http://a b", "https://[x", ""]
)
def test_only_web_addresses_become_links(address):
    assert text.safe_url(address) is None
    assert "<a" not in text.link(address)


def test_a_web_address_cannot_close_its_attribute():
    assert text.safe_url('https://x.org/a"onclick="b') == "https://x.org/a%22onclick=%22b"


def test_front_matter_is_yaml_and_escaped():
    head = text.front_matter(title='A: "<b>"', hide=["toc"])
    assert yaml.safe_load(head.strip("-\n")) == {"title": "A: &quot;&lt;b&gt;&quot;", "hide": ["toc"]}


def test_shorten_cuts_at_a_word():
    assert text.shorten("one two three", 9) == "one two …"
    assert text.shorten("short") == "short"
