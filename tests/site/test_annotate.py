import html
import re

from refimpl import registry
from scripts.site.annotate import annotated, highlighted, rows

SOURCE = '''"""Title: what.

Body with $x$.
"""

import os

# Why the constant.
A = 1  # beside


@decorated
def f(x):
    """Says what.

    Args:
        x: number.
    """
    # noqa: this is for tools
    text = """
# not a comment
"""
    # First,
    # then.
    return x, text


class C:
    def g(self):
        """Inner."""
        return 1
'''


def test_rows_pair_explanations_with_code():
    module, found = rows(SOURCE)
    lines = SOURCE.splitlines()
    assert module.startswith("Title: what.")
    shown = [(row.prose[:1], [lines[n - 1] for n in row.code][:2]) for row in found]
    assert shown[0] == ([], ["import os"])
    assert shown[1] == (["Why the constant."], ["A = 1  # beside"])
    assert shown[2][1] == ["@decorated", "def f(x):"]
    assert shown[2][0][0].startswith("Says what.")
    assert shown[3] == (["First,\nthen."], ["    return x, text"])
    assert shown[4] == ([], ["class C:"])
    assert shown[5] == (["Inner."], ["    def g(self):", "        return 1"])


def test_strings_that_look_like_comments_are_code():
    _, found = rows(SOURCE)
    lines = SOURCE.splitlines()
    assert "# not a comment" in [lines[n - 1] for n in found[2].code]


def test_highlighting_keeps_every_character():
    lines = [html.unescape(re.sub(r"<[^>]+>", "", line)) for line in highlighted(SOURCE)]
    assert "\n".join(lines).rstrip("\n") == SOURCE.rstrip("\n")


def test_every_line_of_every_implementation_is_shown_once(name):
    source = registry.find(name).path.read_text(encoding="utf-8")
    _, found = rows(source)
    shown = [n for row in found for n in row.code]
    assert len(shown) == len(set(shown))
    lines = source.splitlines()
    missing = {n for n in range(1, len(lines) + 1) if lines[n - 1].strip()} - set(shown)
    explained = " ".join(" ".join(" ".join(row.prose) for row in found).split()) + rows(source)[0]
    for n in missing:  # what is not code is in the prose
        words = lines[n - 1].strip().lstrip("#").strip("-\"'r ").split()
        assert not words or all(w.strip("\"'") in explained or "noqa" in lines[n - 1] for w in words), lines[n - 1]


def test_every_formula_of_every_implementation_becomes_mathml(name):
    about, shown = annotated(registry.find(name).path.read_text(encoding="utf-8"))
    page = re.sub(r"<pre.*?</pre>|<code>.*?</code>", "", about + shown, flags=re.DOTALL)
    assert "\\" not in page, re.findall(r".{30}\\.{30}", page)
    assert "$" not in page
