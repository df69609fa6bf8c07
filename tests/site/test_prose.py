from scripts.site.prose import inline, prose


def test_inline_marks():
    shown = inline("**Idea.** Use `a<b` and *all* of $x_i$; costs $5 and $6.")
    assert "<strong>Idea.</strong>" in shown
    assert "<code>a&lt;b</code>" in shown
    assert "<em>all</em>" in shown
    assert shown.count("<math") == 1
    assert "$5 and $6" in shown


def test_arguments_stay_arithmetic():
    assert inline("a * b * c and 2*3*4") == "a * b * c and 2*3*4"


def test_papers_and_addresses_become_links():
    shown = inline("See arXiv 2002.05709 (https://x.org/a_b).")
    assert 'href="https://arxiv.org/abs/2002.05709"' in shown
    assert 'href="https://x.org/a_b"' in shown


def test_display_maths_is_a_block():
    shown = prose(r"Before" + "\n\n" + r"$$\frac{a}{b}$$" + "\n\nafter.")
    assert 'display="block"' in shown and "<mfrac>" in shown


def test_arguments_become_a_list():
    shown = prose("Loss.\n\nArgs:\n    z: (B, D)\n        features.\n    t: temperature.\nReturns:\n    scalar.")
    assert "<dt><code>z</code></dt><dd>(B, D) features.</dd>" in shown
    assert '<p class="label">Returns</p>' in shown


def test_indented_formula_and_list():
    shown = prose("Text\n\n    u = hash(x) < 1\n\n- one\n  more\n- two")
    assert "<pre class='formula'>u = hash(x) &lt; 1</pre>" in shown
    assert "<li>one more</li><li>two</li>" in shown


def test_markup_is_shown_not_run():
    shown = prose("<script>alert(1)</script> [a](javascript:x) `</code><b>`")
    assert "<script" not in shown and "<b>" not in shown and "href" not in shown
