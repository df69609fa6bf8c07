"""What the page times say of a page that is quick, and of one that jumps and keeps its visitor waiting."""

import json
import shutil

import pytest

from scripts import vitals

HEAD = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>x</title>'
# After the first paint: 400 ms without a pause (four times that on the slowed processor), then a block above the text.
SLOW = """<p>text</p><script>setTimeout(() => {
  const end = performance.now() + 400; while (performance.now() < end);
  document.body.insertAdjacentHTML("afterbegin", '<div style="height: 400px">late</div>');
}, 700)</script>"""
BROWSER = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))


@pytest.fixture
def site(tmp_path):
    for name, body in {"": "<p>text</p>" * 5000, "slow": SLOW}.items():
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "index.html").write_text(f"{HEAD}<body>{body}", encoding="utf-8")
    return tmp_path


@pytest.mark.skipif(not BROWSER, reason="needs chromium")
def test_a_page_that_jumps_and_blocks_is_told_from_one_that_does_not(site, tmp_path, capsys):
    out = tmp_path / "vitals.json"
    command = ["--site", str(site), "--loads", "1", "--out", str(out), "--pages", ""]
    assert vitals.main([*command, "slow/"]) == 1
    quick, slow = json.loads(out.read_text())
    assert quick["shift"] == 0 and 0 < quick["first_paint_ms"] <= quick["largest_paint_ms"] + 1
    assert slow["shift"] > vitals.GOOD["shift"] and slow["blocked_ms"] >= 300
    assert quick["elements"] > 5000 and quick["requests"] >= 1
    assert quick["kb"] < 10 < (site / "index.html").stat().st_size / 1024  # sent packed
    assert "slow/: " in capsys.readouterr().out.splitlines()[-1]


def test_a_page_that_is_not_there_is_named(site, capsys):
    assert vitals.main(["--site", str(site), "--pages", "", "other/"]) == 1
    assert "has no page 'other/'" in capsys.readouterr().err
