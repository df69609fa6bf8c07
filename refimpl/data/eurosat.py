"""EuroSAT: 27,000 Sentinel-2 images of 64 x 64 pixels (10 m) over Europe in ten land-use classes.

P. Helber, B. Bischke, A. Dengel, D. Borth, "EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and
Land Cover Classification", IEEE JSTARS 12(7), 2019. Official archives: Zenodo, doi 10.5281/zenodo.7711810.

There is no official split: each class is dealt 60 / 15 / 25 % by seed, so neighbouring places may lie on both
sides and scores are on the optimistic side. `eurosat` is the RGB archive (JPEG, no coordinates); `eurosat-ms` has all
13 bands as GeoTIFFs with coordinates, from which `location` is read.
"""

from __future__ import annotations

from pathlib import Path

from refimpl.data.bands import Bands
from refimpl.data.dataset import Data, DataError
from refimpl.data.download import Remote, download
from refimpl.data.sources import check_wishes, open_path
from refimpl.data.store import cache_folder

_RECORD = "https://zenodo.org/records/7711810/files"
CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
    "Pasture", "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip
# Names, bytes and MD5 as the record publishes them.
ARCHIVES = {
    "rgb": Remote(f"{_RECORD}/EuroSAT_RGB.zip", "EuroSAT_RGB.zip", "md5:f46e308c4d50d4bf32fedad2d3d62f3b", 94_658_721),
    "ms": Remote(f"{_RECORD}/EuroSAT_MS.zip", "EuroSAT_MS.zip", "md5:091174add3c8e680a49244acf185b9f0", 2_065_402_329),
}


def open_eurosat(
    version: str = "rgb",
    *,
    local: str | Path | None = None,
    bands: Bands = None,
    size: int | None = None,
    seed: int = 0,
    samples: int | None = None,
) -> Data:
    """EuroSAT, "rgb" or "ms" (13 bands); other arguments as in `refimpl.data.sources.open_path`.

    local: a copy to read instead of downloading: the official archive, a part of it, or the unpacked folder.
    Raises DataError when the download fails or the copy holds other classes.
    """
    check_wishes(size, samples)
    path = Path(local) if local else download(ARCHIVES[version], cache_folder() / "downloads")
    data = open_path(path, bands=bands, size=size, seed=seed, samples=samples)
    foreign = sorted(set(data.classes) - set(CLASSES))
    if foreign or not data.classes:
        held = f"class {foreign[0]!r}" if foreign else "no classes"
        raise DataError(f"{path.name}: holds {held}, which EuroSAT does not; pass the EuroSAT archive or its folder")
    data.name = "eurosat" if version == "rgb" else f"eurosat-{version}"
    data.source = f"EuroSAT, doi 10.5281/zenodo.7711810: {data.source}"
    return data
