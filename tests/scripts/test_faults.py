"""Each fault that a file can have: one message, at its place, that says what would be right."""

# ruff: noqa: E501 (a case is easier to compare with the next when it stands in one line)

from __future__ import annotations

import pytest

# (name, file, text, damaged text with ¦ where the message points, what is wrong, what would be right)
A, B, D, R = "frameworks/alpha", "frameworks/beta", "datasets/landscapes", "backbones/resnet"
RESNET = """\
id: resnet
name: ResNet
identity: generic
summary: Stands in the catalog so that others can refer to it in these tests.
family: convolutional
refimpl:
  name: simclr
  fidelity: closest
  difference: It is something else.
"""
PAPER = '  venue: CVPR\n  year: 2020\n  arxiv: "2002.05709"\n  doi: 10.1000/alpha\n'


def paper(venue: str, year: str, doi: str) -> str:
    return f'  venue: {venue}\n  year: {year}\n  arxiv: "2002.05709"\n  doi: {doi}\n'


CASES = [
    # YAML
    ("duplicate key", A, "year: 2020\nfam", "year: 2020\n¦year: 2021\nfam", "key 'year' appears twice", "line 7"),
    ("anchor", A, "year: 2020\nfam", "year: ¦&y 2020\nfam", "anchor &y", "not used here"),
    ("alias", A, "year: 2020\nfam", "year: ¦*y\nfam", "alias *y", "write the value out"),
    ("merge key", A, "year: 2020\nfam", "¦<<: {year: 2020}\nfam", "merge key", "write the keys out"),
    ("tag", A, "year: 2020\nfam", "year: ¦!!python/name:os.system 2020\nfam", "tag", "remove it"),
    ("tab", A, "  venue", "¦\tvenue", "tab", "spaces"),
    ("control character", A, "venue: CVPR", "venue: C¦\u202eVPR", "character U+202E", "remove it"),
    ("escaped control character", A, "venue: CVPR", 'venue: ¦"\\e[31m"', "character U+001B", "remove it"),
    ("colon in text", A, "title: Title of", "title: Title¦: of", "mapping values", "quotes"),
    ("open quote", A, "title: Title of alpha\n  au", "title: ¦'Title of alpha\n  au", "not valid YAML", "close the quote"),
    ("two documents", A, "last_verified", "¦---\nlast_verified", "a second document", "one document per file"),
    ("mixed", R, "name: ResNet", "¦- ResNet", "not valid YAML", "indentation"),
    ("impossible date", A, "last_verified: 2026-01-02", "last_verified: ¦2026-02-30", "not a valid date", "correct it"),
    ("not a number", A, "value: 69.3", "value: ¦.nan", "not a finite number", "leave it out"),
    # shape
    ("unknown key", A, "venue: CVPR", "¦venu: CVPR", "unknown key 'venu'", "did you mean venue?"),
    ("key of another place", D, "url: https", "¦samples: 100\nurl: https", "unknown key 'samples'", "facts.samples?"),
    ("missing key", A, "paper:\n  title: Title of alpha\n", "¦paper:\n", "paper lacks 'title'", "add it: Title as printed"),
    ("empty value", A, "venue: CVPR", "venue:¦", "paper.venue is empty", "give a text or leave the key out"),
    ("number for text", A, '"2002.05709"\n  doi', "¦2002.05709\n  doi",
     "reads '2002.05709' as a number", 'in quotes: "2002.05709"'),
    ("text for number", D, "samples: 100", "samples: ¦27,000x", "facts.samples is '27,000x'", "a whole number"),
    ("separators", D, "bands: 13", 'bands: ¦"13"', "facts.bands is the text '13'", "without separators and quotes: 13"),
    ("one for many", A, "modality: [rgb]", "modality: ¦rgb", "modality is 'rgb'", "a list"),
    ("enum", A, "fidelity: simplified", "fidelity: ¦simplifed", "refimpl.fidelity is", "did you mean simplified?"),
    ("pattern", A, "doi: 10.1000/alpha", "doi: ¦https://doi.org/10.1000/alpha", "paper.doi is", "DOI without address"),
    ("twice in a list", A, "tasks: [rep", "tasks: [representation_learning, ¦rep", "twice", "keep one"),
    ("too short", B, "A name for which nothing was found when it was looked for in the usual places.", "¦Short.", "6 cha", "40"),
    ("empty list", A, "tasks: [representation_learning]", "tasks: ¦[]", "tasks is empty", "leave the key out"),
    ("too small", D, "bands: 13", "bands: ¦0", "facts.bands is '0'", "at least 1"),
    ("source of nothing", A, '  - key: paper\n    arxiv: "2002.05709"\n', "  - ¦key: paper\n", "sources[0] has none of url, arxiv", "at least one"),
    ("quoted date", A, "last_verified: 2026-01-02", 'last_verified: ¦"2026-01-02"', "is a text", "without quotes"),
    ("no implementation", R, RESNET, "¦" + RESNET.partition("refimpl")[0], "the file lacks 'refimpl'", "add it: The reference impl"),
    # words and links
    ("long form of a venue", A, "venue: CVPR", "venue: ¦IEEE Transactions on Geoscience and Remote Sensing",
     "not in the list 'venue'", "did you mean IEEE TGRS?"),
    ("vocabulary", A, "modality: [rgb]", "modality: [rgb, ¦multispektral]", "not in the list 'modality'", "multispectral?"),
    ("label for word", A, "licence: MIT", "licence: ¦Apache 2.0", "not in the list 'licence'", "mean Apache-2.0?"),
    ("target", A, "uses_backbone: [resnet]", "uses_backbone: [¦res_net]", "no backbone 'res_net'", "did you mean resnet?"),
    ("unknown target", A, "[landscapes]", "[landscapes, ¦lanscapes]", "no dataset 'lanscapes'", "did you mean landscapes?"),
    ("target's kind", A, "[landscapes]", "[landscapes, ¦overview]", "'overview' is a survey, not a dataset", "name a data"),
    ("link without kind", A, "[survey/overview]", "[¦surveys/overview]", "there is no kind 'surveys'", "mean survey?"),
    ("itself", B, "extends: [alpha]", "extends: [alpha, ¦beta]", "names this entry itself", "remove it"),
    ("relation of another kind", D, "refimpl:", "relations:\n  ¦evaluated_on: [landscapes]\nrefimpl:",
     "a dataset has no relation 'evaluated_on'", "it can have extends, compared_in, related_to"),
    ("implementation", A, "known_method", "¦known_metod", "no implementation 'known_metod'", "did you mean known_method?"),
    ("source key", A, "Table 1\n    source: paper", "Table 1\n    source: ¦papr", "no source has the key", "mean paper?"),
    ("correction's source", A, "nothing\n    source: paper", "nothing\n    source: ¦web", "no source has", "keys are paper, code"),
    ("supported field", A, "[paper, facts]", "[paper, facts, ¦fact.samples]", "is not a field", "did you mean"),
    ("absent field", A, "[paper, facts]", "[paper, facts, ¦full_name]", "this entry has no full_name", "add that field"),
    ("unknown yet said", A, ", code.weights]", ", code.weights, ¦code.url]", "does say code.url", "remove one"),
    ("recalled field", A, "unknown:", "confidence:\n  ¦facts.loses: recalled\nunknown:", "is not a field", "facts.losses?"),
    # rules
    ("id", A, "id: alpha", "id: ¦alfa", "id is 'alfa' but the file is 'alpha.yml'", "make the two equal"),
    ("year", A, "year: 2020\nfam", "year: ¦2021\nfam", "year is 2021 but paper.year is 2020", "equal"),
    ("arXiv year", A, 'arxiv: "2002.05709"\n  doi', 'arxiv: ¦"2102.05709"\n  doi', "of 2021 but paper.year is 2020", "one of the two"),
    ("arXiv month", A, 'arxiv: "2002.05709"\n  doi', 'arxiv: ¦"2013.05709"\n  doi', "has month 13", "year and month"),
    ("DOI of arXiv", A, "doi: 10.1000/alpha", "doi: ¦10.48550/arXiv.2002.05710", "is of arXiv 2002.05710 but arxiv is 2002.05709", "equal"),
    ("source's DOI of arXiv", A, '    arxiv: "2002.05709"\n    acc', "    doi: ¦10.48550/arXiv.2002.05709\n    acc", "arxiv is absent", '"2002.05709"'),
    ("DOI of a conference year", A, PAPER, paper("CVPR", "¦2020", "10.1109/CVPR46437.2021.00001"), "is 2020 but its DOI is of 2021", "wrong"),
    ("DOI of a journal year", A, PAPER, paper("IEEE TGRS", "¦2020", "10.1109/TGRS.2021.1234567"), "is 2020 but its DOI is of 2021", "wrong"),
    ("DOI of a volume", A, PAPER, paper("Remote Sensing", "¦2020", "10.3390/rs13010001"), "is 2020 but its DOI is of 2021", "wrong"),
    ("DOI of another venue", A, PAPER, paper("¦CVPR", "2020", "10.1109/CVPRW50498.2020.00001"), "but its DOI is of CVPR Workshops", "wrong"),
    ("same paper, other year", B, "title: A real title\n", "title: Title of alpha\n    year: ¦2019\n",
     "closest[0].year is '2019' but it is '2020' for the same paper in frameworks/alpha.yml:13", "make the two alike"),
    ("address of code", A, "url: https://example.org/alpha\n  lic", "url: ¦https://example.org/alpha.git/\n  lic", "code.url is", "write https://example.org/alpha"),
    ("code without encryption", A, "url: https://example.org/alpha\n  lic", "url: ¦http://github.com/a/b\n  lic", "code.url is", "write https://github.com/a/b"),
    ("paper nowhere", A,
     "paper:\n  title: Title of alpha\n  authors: [Given Family]\n  venue: CVPR\n  year: 2020\n"
     '  arxiv: "2002.05709"\n  doi: 10.1000/alpha\n',
     "¦paper:\n  title: Title of alpha\n  authors: [Given Family]\n  venue: CVPR\n  year: 2020\n",
     "paper has none of arxiv, doi, url", "add at least one"),
    ("confirmed without paper", R, "identity: generic", "identity: ¦confirmed", "there is no paper", "add paper"),
    ("unidentified without closest", R, "identity: generic", "identity: ¦unidentified", "closest is missing", "closest real"),
    ("splits too large", D, "  splits: {train: 70", "  ¦splits: {train: 75", "sum to 105 but samples is 100", "correct one"),
    ("splits too small", D, "  splits: {train: 70", "  ¦splits: {train: 60", "sum to 90 but samples is 100", "unused"),
    ("bands of sensor", D, "bands: 13", "bands: ¦14", "14 bands", "sentinel_2 has at most 13"),
    ("spelling of a data set", A, "dataset: Landscapes", "dataset: ¦Land-Scapes", "results[0].dataset is 'Land-Scapes'", "write Landscapes"),
    ("method without network", A, "relations:\n  uses_backbone: [resnet]\n", "¦relations:\n", "names no uses_backbone", "relations.uses_backbone under unknown"),
    ("method without data", A, "relations:\n  uses_backbone: [resnet]\n  evaluated_on: [landscapes]\n", "¦relations:\n  uses_backbone: [resnet]\n",
     "names no pretrained_on or evaluated_on", "relations.pretrained_on"),
    ("no such row", A, "origin: [F01]", "origin: [¦F99]", "no row 'F99'", "last row of that letter is F17"),
    ("percentage", A, "value: 69.3", "value: ¦693", "693 %", "within 100"),
    ("cycle", A, "  related_to", "  extends: [¦beta]\n  related_to",
     "extends goes round in a circle: alpha -> beta -> alpha", "remove one"),
    ("name of another", B, "name: Beta", "name: ¦AL PHA", "name 'AL PHA' is also that of 'alpha'", "one entry"),
    ("fidelity", A, "fidelity: simplified\n  difference: One device instead of many.", "fidelity: ¦closest", "difference", "add"),
    ("two sources, one key", A, "  - key: code", "  - key: ¦paper", "two sources have the key 'paper'", "rename"),
    ("source file", A, "key: code\n    url: https://example.org/alpha", "key: code\n    path: ¦docs/none.md", "there is no file", "root"),
    ("future", A, "last_verified: 2026-01-02", "last_verified: ¦2027-01-02", "in the future", "the day it was done"),
    ("HTML", A, "predicts: the other view", "predicts: ¦the <script>other view", "HTML '<script'", "plain text"),
    ("script link", A, "predicts: the other view", "predicts: ¦'[x](javascript:alert(1))'", "link to 'javascript'", "https"),
    ("order", A, "name: Alpha\naliases: [Al-pha, Alpha v1]\n", "aliases: [Al-pha]\n¦name: Alpha\n", "too late", "'aliases'"),
    ("template", B, "predicts: the other view", "predicts: ¦What the network has to predict", "still the template's", "of this entry"),
]  # fmt: skip


@pytest.mark.parametrize("file, old, new, wrong, right", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_one_fault_gives_one_message_at_its_place(small_catalog, damage, problems, file, old, new, wrong, right):
    path = small_catalog / f"{file}.yml"
    place = damage(path, old, new)
    found = problems(small_catalog)
    assert len(found) == 1, [problem.message for problem in found]
    assert (found[0].path, found[0].line, found[0].column) == (path, *place)
    assert wrong in found[0].wrong
    assert right in found[0].right
