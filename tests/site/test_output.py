import pytest

from scripts.site.output import Output


def test_writes_what_changed_and_removes_what_is_gone(tmp_path):
    first = Output(tmp_path)
    first.add("a/x.md", "x")
    first.add("b/y.md", "y")
    assert first.write() == (2, 0, 0)
    (tmp_path / ".gitignore").write_text("*")
    stamp = (tmp_path / "a/x.md").stat().st_mtime_ns

    second = Output(tmp_path)
    second.add("a/x.md", "x")
    assert second.differences() == ["remove b/y.md"]
    assert second.write() == (0, 1, 1)
    assert (tmp_path / "a/x.md").stat().st_mtime_ns == stamp
    assert not (tmp_path / "b").exists()
    assert (tmp_path / ".gitignore").exists()
    assert second.differences() == []


def test_two_pages_at_one_address_are_refused(tmp_path):
    output = Output(tmp_path)
    output.add("a.md", "1")
    with pytest.raises(ValueError, match=r"a\.md"):
        output.add("a.md", "2")
