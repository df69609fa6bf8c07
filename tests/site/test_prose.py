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


def test_statements_of_a_formula_can_stand_below_each_other():
    shown = prose(r"$$a = \left(b, \qquad c\right), \qquad d = \text{e \qquad f}$$")
    assert shown.count("<math") == 2 and '<span class="formulas">' in shown


def test_maths_is_spaced_as_tex_does():
    shown = prose(r"$$x = -\log p, (a) - \log_2 b - \exp(c)$$")
    assert '<mo form="prefix">−</mo><mi>log</mi><mspace width="0.167em" /><mi>p</mi>' in shown
    assert "</mo><mo>−</mo><msub><mi>log</mi><mn>2</mn></msub>" in shown
    assert '<mi>exp</mi><mo stretchy="false">(' in shown


def test_brackets_and_stops_stay_with_their_formula():
    shown = inline("costs ($x$): by $k$-means, $y$ or $z$.")
    assert [part.partition("<math")[0] for part in shown.split('<span class="whole">')[1:]] == ["(", "", ""]
    assert "</math>):</span>" in shown and "</math>-means</span>," in shown and "</math>.</span>" in shown


def test_a_year_that_begins_a_line_is_no_item_of_a_list():
    assert prose("A. Author. ICCV\n2015. Idea.") == "<p>A. Author. ICCV 2015. Idea.</p>"
    assert prose("1. one\n2. two") == "<ul><li>one</li><li>two</li></ul>"


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
