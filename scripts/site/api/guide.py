"""llms.txt: a plain text that tells programs which read text what is here and where (llmstxt.org)."""

from __future__ import annotations

from scripts.site.api.payloads import ROOT
from scripts.site.links import FOLDERS, TITLES
from scripts.site.model import Site


def llms(site: Site) -> str:
    counts = site.counts()
    kinds = "\n".join(
        f"- [{TITLES[kind]}]({ROOT}/{kind}.json): {counts[kind]} entries in short; pages under {FOLDERS[kind]}/"
        for kind in TITLES
    )
    return f"""# SSL for Earth

> A catalog of self-supervised learning for remote sensing in which every entry runs: methods, pretext tasks, backbones,
> techniques, data sets, surveys, open challenges and terms, each with sources for its facts and with a runnable
> implementation, its own or the closest.

Facts name the source in which they were read (`sources[].supports`); what was not seen in a source is listed under
`confidence` (recalled) or `unknown`. Scores that authors report and scores reproduced here are never mixed. Whether an
implementation runs, matches an independent reference, learns, and was measured on real data is its verification ladder;
a rung that says `expired` was reached by older code. Results on synthetic data are marked `synthetic`.

## Data

- [All entries in short]({ROOT}/index.json): kind, id, name, aliases, year, address of page and JSON
- [One entry]({ROOT}/framework/simclr.json): as `{ROOT}/<kind>/<id>.json`; `entry` is declared, `computed` worked out
- [All links between entries]({ROOT}/relations.json)
- [All scores]({ROOT}/results.json): `reported` and `reproduced`
- [All implementations]({ROOT}/implementations.json): commands, needs, ladder
- [Words]({ROOT}/vocabulary.json): the closed lists that entries use
- [As a table]({ROOT}/entries.csv), [scores as a table]({ROOT}/results.csv), [BibTeX]({ROOT}/catalog.bib)
- [What changed, as a table]({ROOT}/changes.csv), [as a feed](feed.xml)
- [Description of these addresses]({ROOT}/openapi.json): OpenAPI 3.1, schemas under {ROOT}/schema/

## Kinds

{kinds}

## Reading

- [What self-supervised learning is](background/)
- [What the rungs of the ladder mean](verification/)
- [How to add an entry or an implementation](contributing/)
"""
