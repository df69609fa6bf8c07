"""How soon pages are there on a slow phone, in a real browser: paint, blocked time, jumps, bytes.

    python -m scripts.vitals                      builds the site, then loads one page of each sort
    python -m scripts.vitals --site site          the same with a site that is built already
    python -m scripts.vitals --pages "" explore/  these pages only ("" is home)
    python -m scripts.vitals --out FILE.json      the same as JSON

A processor four times slower than this one, 1.6 Mbit/s and 150 ms to the server, a screen of 412 x 823, nothing in the
cache: the circumstances under which web pages are usually judged. What counts as good is web.dev's. Needs chromium and
the packages of the tests. Times depend on the machine and on what else it does. Exit status: 0 all good, 1 not.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import http.server
import io
import json
import shutil
import statistics
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.archive import build_site

PAGES = (
    "", "explore/", "guide/", "frameworks/", "frameworks/mae/", "datasets/bigearthnet/", "implementations/simclr/",
    "leaderboards/", "compare/?ids=framework/mae,framework/byol", "lineage/", "timeline/", "taxonomy/", "benchmark/",
    "terms/", "api/",
)  # fmt: skip
# Limits of what counts as good: https://web.dev/articles/vitals, /fcp, /tbt.
GOOD = {"first_paint_ms": 1800, "largest_paint_ms": 2500, "blocked_ms": 200, "shift": 0.1}
NETWORK = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8}
SLOWER, SCREEN, SETTLED_MS = 4, {"width": 412, "height": 823}, 1500
OBSERVE = """
window.seen = {largest: 0, shift: 0, tasks: []};
const watch = (type, take) =>
  new PerformanceObserver(list => list.getEntries().forEach(take)).observe({type, buffered: true});
watch("largest-contentful-paint", e => { seen.largest = e.startTime; });
watch("layout-shift", e => { if (!e.hadRecentInput) seen.shift += e.value; });
watch("longtask", e => { seen.tasks.push([e.startTime, e.duration]); });
"""
READ = """() => ({...seen, first: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN,
  elements: document.querySelectorAll("*").length})"""


@dataclass
class Vitals:
    """One page, the median of several loads; kB as sent, packed."""

    page: str
    first_paint_ms: float
    largest_paint_ms: float
    blocked_ms: float
    shift: float
    kb: float
    requests: int
    elements: int

    def missed(self) -> list[str]:
        return [name for name, limit in GOOD.items() if not getattr(self, name) <= limit]


class Packing(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with text packed, as hosts of static sites do."""

    def log_message(self, *_):
        pass

    def send_head(self):
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if path.suffix not in (".html", ".js", ".css", ".svg", ".json") or not path.is_file():
            return super().send_head()
        content = gzip.compress(path.read_bytes(), mtime=0)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)


def load(browser, address: str) -> dict[str, float]:
    """One visit by somebody who was never here."""
    context = browser.new_context(viewport=SCREEN, device_scale_factor=2, is_mobile=True)
    try:
        context.add_init_script(OBSERVE)
        page = context.new_page()
        control = context.new_cdp_session(page)
        sizes: list[float] = []
        control.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        control.send("Network.enable")
        control.send("Network.emulateNetworkConditions", NETWORK)
        control.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        page.goto(address, wait_until="load", timeout=60_000)
        page.wait_for_timeout(SETTLED_MS)
        seen = page.evaluate(READ)
    finally:
        context.close()
    return {
        "first_paint_ms": seen["first"],
        "largest_paint_ms": seen["largest"],
        # What a task takes beyond 50 ms, after the first paint, keeps a visitor's tap waiting.
        "blocked_ms": sum(length - 50 for start, length in seen["tasks"] if start >= seen["first"]),
        "shift": seen["shift"],
        "kb": sum(sizes) / 1024,
        "requests": len(sizes),
        "elements": seen["elements"],
    }


def measure(browser, address: str, page: str, loads: int) -> Vitals:
    found = [load(browser, f"{address}/{page}") for _ in range(loads)]
    median = {key: statistics.median(one[key] for one in found) for key in found[0]}
    whole = ("requests", "elements")
    return Vitals(page, **{k: int(v) if k in whole else round(v, 3 if k == "shift" else 0) for k, v in median.items()})


def table(found: list[Vitals]) -> str:
    names = list(asdict(found[0]))
    rows = [[name.replace("_", " ") for name in names]]
    rows += [[str(getattr(one, name)) or "home" for name in names] for one in found]
    rows.append(["good", *(f"<= {GOOD[name]}" if name in GOOD else "" for name in names[1:])])
    widths = [max(len(row[i]) for row in rows) for i in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main(arguments: list[str] | None = None) -> int:
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m scripts.vitals", description=__doc__, formatter_class=about)
    parser.add_argument("--site", type=Path, help="folder of a built site (default: build it)")
    parser.add_argument("--pages", nargs="+", default=PAGES, metavar="PAGE", help="addresses within the site")
    parser.add_argument("--loads", type=int, default=3, help="visits per page, of which the median counts (default: 3)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        print("vitals: no browser found: install chromium", file=sys.stderr)
        return 1
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch:
        site = options.site or build_site(Path(scratch))
        if missing := [page for page in options.pages if not (site / page.partition("?")[0] / "index.html").is_file()]:
            print(f"vitals: {site} has no page {missing[0]!r}", file=sys.stderr)
            return 1
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Packing, directory=str(site)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            address = f"http://127.0.0.1:{server.server_address[1]}"
            found = [measure(browser, address, page, options.loads) for page in options.pages]
            browser.close()
        server.shutdown()
        server.server_close()
    print(table(found))
    if options.out:
        options.out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    missed = [f"{one.page or 'home'}: {', '.join(one.missed())}" for one in found if one.missed()]
    print(*missed, sep="\n", end="\n" if missed else "")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
