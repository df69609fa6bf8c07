"""A cache of its own for every test here, and small image files to open."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The cache folder, empty, instead of the one in the home of whoever runs the tests."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("REFIMPL_CACHE", str(folder))
    return folder


class Makers:
    """Writes small data sets; every number follows from its arguments."""

    @staticmethod
    def pixels(number: int, size: int = 8, bands: int = 3) -> np.ndarray:
        """(size, size, bands) uint8, different for every number."""
        return np.random.default_rng(number).integers(0, 256, (size, size, bands), dtype=np.uint8)

    @classmethod
    def png(cls, number: int, size: int = 8) -> bytes:
        file = io.BytesIO()
        Image.fromarray(cls.pixels(number, size)).save(file, "PNG")
        return file.getvalue()

    @classmethod
    def class_folders(cls, root: Path, counts: dict[str, int], size: int = 8) -> Path:
        """root/<class>/<n>.png, numbered through."""
        number = 0
        for name, count in counts.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for n in range(count):
                (root / name / f"{n}.png").write_bytes(cls.png(number, size))
                number += 1
        return root

    @staticmethod
    def zip_of(folder: Path, path: Path, top: str = "") -> Path:
        """A zip of a folder's files, below a folder `top` inside."""
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    archive.write(file, os.path.join(top, file.relative_to(folder)))
        return path

    @staticmethod
    def geotiff(path: Path, values: np.ndarray, corner=(500_000.0, 5_200_000.0), epsg: int = 32632, names=()) -> Path:
        """A GeoTIFF of (C, H, W) with pixels of 10 units whose upper left corner lies at `corner`."""
        rasterio = pytest.importorskip("rasterio") if not os.environ.get("CI") else __import__("rasterio")
        from rasterio.transform import from_origin

        step = 10 if epsg != 4326 else 1e-4
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
        where = {"crs": f"EPSG:{epsg}", "transform": from_origin(*corner, step, step)}
        with rasterio.open(path, "w", driver="GTiff", **shape, **where) as file:
            file.write(values)
            for band, name in enumerate(names, start=1):
                file.set_band_description(band, name)
        return path


@pytest.fixture
def make() -> type[Makers]:
    return Makers


@pytest.fixture
def real() -> Path:
    """The folder of real data that REFIMPL_DATA names; tests marked `real` do not run without it."""
    folder = os.environ.get("REFIMPL_DATA")
    if not folder:
        pytest.skip("REFIMPL_DATA names no folder of real data")
    return Path(folder)


def one_line(error: pytest.ExceptionInfo) -> str:
    """The message of an error, checked to be a single line."""
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text


@pytest.fixture
def message():
    return one_line
