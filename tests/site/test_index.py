"""What the browser searches and filters: small enough, and true to the catalog."""

import gzip
import json
import re

import pytest

from scripts.catalog import load_catalog
from scripts.site import facets, index
from scripts.site.links import FOLDERS
from scripts.site.slang import WORDS

KB = 1024


def value(site, path: str):
    """What a generated script sets its global to."""
    text = (site / path).read_text(encoding="utf-8")
    return json.loads(text.partition("=")[2].rstrip().rstrip(";"))


@pytest.mark.parametrize("path", [index.INDEX, index.WORDS])
def test_weight_per_thousand_entries(real_site, path):
    packed = len(gzip.compress((real_site / path).read_bytes()))
    entries = len(value(real_site, index.INDEX)["names"])
    print(f"{path}: {packed} bytes packed for {entries} entries, {packed * 1000 / entries / KB:.1f} kB per 1,000")
    assert packed * 1000 / entries <= 40 * KB


def test_every_entry_and_page_is_in_the_index(real_site):
    data = value(real_site, index.INDEX)
    entries = sorted(load_catalog().entries.values(), key=lambda e: (list(FOLDERS).index(e.kind), e.name.lower(), e.id))
    assert data["names"] == [e.name for e in entries]
    ids = data["ids"].split(",")
    shown = [given or re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for given, name in zip(ids, data["names"])]
    assert shown == [e.id for e in entries]
    assert len(data["weight"]) == len(data["aliases"]) == len(data["full"]) == len(entries)
    words = value(real_site, index.WORDS)
    assert len(words["entries"]) == len(entries)
    pages = [address for address, *_ in words["pages"]]
    assert {"", "explore/", "compare/", "verification/", "frameworks/", "terms/"} <= set(pages)
    for address in [*pages, *(f"implementations/{name}/" for name, _ in words["implementations"])]:
        assert (real_site / address / "index.html").exists(), address
    assert not any(address.startswith(("facets/", "records/", "frameworks/m")) for address in pages)


def test_facets_of_an_entry_read_back(real_site):
    data = value(real_site, index.INDEX)
    number = data["names"].index("SatMAE")
    said = {
        code: [values[int(n, 36)][0] for n in data["values"][code].split(",")[number].split(".") if n]
        for code, _, values in data["facets"]
    }
    assert said["kind"] == ["framework"] and said["year"] == ["2022"] and "multispectral" in said["modality"]
    assert said["family"] == ["framework-masked_modelling"]


def test_slang_names_words_of_the_vocabulary():
    vocabulary = load_catalog().vocabulary
    for facet, code in WORDS:
        if facet in ("sensor", "modality", "task"):
            assert code in vocabulary[facet], (facet, code)


def test_a_script_cannot_end_its_element():
    text = index.script("name", ["</script><script>", "a\u2028b"])
    assert "<" not in text and text.startswith("window.name=")


def test_headings_lose_their_mark_up():
    assert index._bare("A [link](x.md) to `code` &#42;here&#42; {#id}") == "A link to code *here*"


@pytest.mark.parametrize(
    "word, address", [("sentinel_2", "sentinel_2"), ("CC-BY-NC-4.0", "cc-by-nc-4-0"), ("<../x>", "x"), ("..", "x")]
)
def test_codes_are_safe_in_an_address(word, address):
    assert facets._code(word) == address


def test_memory_counts_every_size_that_holds_the_largest_record(repository):
    from refimpl import registry
    from scripts.catalog import load_catalog
    from scripts.site.model import gather

    first, second = list(registry.methods())[:2]
    for number, name in enumerate((first, second)):
        repository.entry("terms", f"t{number}", name=f"T{number}", refimpl={"name": name, "fidelity": "closest"})
    site = gather(load_catalog(repository.root / "catalog"), repository.root / "runs")
    site.runs = [{"method": first, "peak_memory_mb": 1500}, {"method": first, "peak_memory_mb": 5000}]
    site.verifications = [{"method": second, "rungs": {"runs": {"peak_memory_mb": 900}}}]
    memory = next(f for f in facets.gather(site) if f.code == "memory")
    assert {code: [e.id for e in v.entries] for code, v in memory.values.items()} == {
        "1gb": ["t1"], "2gb": ["t1"], "4gb": ["t1"], "6gb": ["t0", "t1"],
    }  # fmt: skip
