"""The real catalog, gathered once for all tests that only read it."""

from __future__ import annotations

from functools import lru_cache

from scripts.site import facets
from scripts.site.build import ROOT, load_catalog
from scripts.site.facets import Facet
from scripts.site.model import Site, gather


@lru_cache(maxsize=1)
def real() -> Site:
    return gather(load_catalog(), ROOT / "no-runs")


@lru_cache(maxsize=1)
def real_facets() -> list[Facet]:
    return facets.gather(real())
