import pytest

from bench.atomic_files import replacing, write_new_text, write_text


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "table.md"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_never_replaces_an_old_one(tmp_path):
    path = tmp_path / "deep" / "record.json"
    write_new_text(path, "first")
    with pytest.raises(FileExistsError):
        write_new_text(path, "second")
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_system_without_hard_links_is_served_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    write_new_text(tmp_path / "a", "first")
    with pytest.raises(FileExistsError):
        write_new_text(tmp_path / "a", "second")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["first"]


def test_files_are_readable_by_others(tmp_path):
    write_text(tmp_path / "a", "")
    write_new_text(tmp_path / "b", "")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
