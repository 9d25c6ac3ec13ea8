"""`python -m bench.leaderboard`: what it writes, what it leaves alone, and its errors."""

import pytest
from records import cells, protocol, record, seeds

from bench.leaderboard import build, main, renew_readme
from bench.record import write_record

THREE = (24.0, 24.1, 23.9)


def test_a_new_row_leaves_the_others_and_stale_tables_go(tmp_path):
    records = tmp_path / "records"

    def rebuilt() -> str:
        build(tmp_path)
        (table,) = (path for path in tmp_path.glob("*.md") if path.name != "README.md")
        return table.read_text()

    write_record(records, record("a"))
    before = cells(rebuilt(), "a")
    write_record(records, record("b", psnr=1.0))
    assert cells(rebuilt(), "a") == before
    for path in records.iterdir():
        path.unlink()
    (tmp_path / "notes.md").write_text("by hand")
    build(tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.md")) == ["README.md", "notes.md"]


def test_check_writes_nothing_and_fails_when_out_of_date(tmp_path, capsys):
    write_record(tmp_path / "records", record())
    assert main([f"leaderboards={tmp_path}", "check=true"]) == 1
    assert not list(tmp_path.glob("*.md"))
    assert main([f"leaderboards={tmp_path}"]) == 0
    assert main([f"leaderboards={tmp_path}", "check=true"]) == 0


def test_readme_block_is_renewed_and_an_unknown_one_refused(tmp_path):
    write_record(tmp_path / "records", record())
    readme = tmp_path / "README.md"
    readme.write_text("top\n<!-- BEGIN leaderboard: tiny-photos -->\nold\n<!-- END -->\nbottom\n")
    assert renew_readme(readme, tmp_path)
    text = readme.read_text()
    assert text.startswith("top\n<!-- BEGIN")
    assert text.endswith("<!-- END -->\nbottom\n")
    assert "old" not in text
    assert "| gsq" in text
    assert not renew_readme(readme, tmp_path)
    readme.write_text("<!-- BEGIN leaderboard: huge -->\n<!-- END -->\n")
    with pytest.raises(ValueError, match="begins with huge"):
        renew_readme(readme, tmp_path)


def test_a_readme_that_cannot_be_renewed_is_one_line(tmp_path, capsys):
    write_record(tmp_path / "records", record())
    for readme, words in {"no.md": "No such file", "blocks.md": "begins with base"}.items():
        (tmp_path / "blocks.md").write_text("<!-- BEGIN leaderboard: base -->\n<!-- END -->")
        assert main([f"leaderboards={tmp_path}", f"readme={tmp_path / readme}"]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert words in told
        assert told.count("\n") == 1


def test_typos_of_the_command_are_named(tmp_path, capsys):
    assert main(["leaderboard=x"]) == 2
    assert "leaderboards=" in capsys.readouterr().err
    assert main([f"leaderboards={tmp_path}"]) == 2


def test_two_tables_are_explained_by_the_facts_that_differ(tmp_path, capsys):
    for shared in (protocol(), protocol(steps=900), protocol(steps=900, precision="bfloat16")):
        write_record(tmp_path / "records", record(protocol=shared))
    assert main([f"leaderboards={tmp_path}", "--explain"]) == 0
    told = capsys.readouterr().out
    assert "steps: 300 here, 900 there" in told
    assert "precision: bfloat16 here, float32 there" in told
    assert "recipe" not in told
    assert not list(tmp_path.glob("*.md"))


def test_an_edited_or_copied_record_is_named_and_the_table_still_builds(tmp_path, capsys):
    records = tmp_path / "records"
    for one in seeds("a", *THREE):
        path = write_record(records, one)
    (records / "copy.json").write_bytes(path.read_bytes())
    path.write_text(path.read_text().replace("0.8", "0.9"))
    assert main([f"leaderboards={tmp_path}"]) == 0
    told = capsys.readouterr().err
    assert "copy.json is left out: it is a copy" in told
    assert f"{path.name} is left out: it was changed" in told
    (table,) = (p for p in tmp_path.glob("*.md") if p.name != "README.md")
    assert "| 0, 1 " in table.read_text()
