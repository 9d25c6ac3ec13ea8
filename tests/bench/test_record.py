import dataclasses
import json

import jaxtyping
import pytest
from records import protocol, record

from bench.record import (
    RecordError,
    canonical_sha256,
    next_attempt,
    read_record,
    read_records,
    table_name,
    write_record,
)


def test_a_record_survives_writing_and_reading(tmp_path):
    original = record(per_image={"psnr_db": [1.0, 2.5]})
    assert read_record(write_record(tmp_path, original)) == original


def test_keys_that_json_turns_into_text_leave_the_record_readable(tmp_path):
    path = write_record(tmp_path, record(config={"rates": {10: 1, 8: 2}}))
    assert read_record(path).config == {"rates": {"10": 1, "8": 2}}


def test_a_record_is_never_overwritten(tmp_path):
    path = write_record(tmp_path, record())
    content = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_record(tmp_path, record(psnr=1.0))
    assert path.read_bytes() == content


def test_attempts_count_up(tmp_path):
    assert next_attempt(tmp_path, "tiny-gsq-seed0") == 1
    for attempt in (1, 2, 10):
        write_record(tmp_path, record(attempt=attempt))
    assert next_attempt(tmp_path, record().run) == 11


def test_numbers_that_json_lacks_become_null(tmp_path):
    path = write_record(tmp_path, record(metrics={"psnr_db": float("inf"), "l1": float("nan")}))
    assert read_record(path).metrics == {"psnr_db": None, "l1": None}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json", "not readable as JSON"),
        ("[]", "not a record"),
        ('{"schema": 99}', "not a record of schema"),
        ('{"schema": 1, "run": "x"}', "not a record of schema 2"),
    ],
)
def test_a_bad_file_is_named_and_left_out(tmp_path, content, words):
    write_record(tmp_path, record())
    (tmp_path / "bad.json").write_text(content)
    records, problems = read_records(tmp_path)
    assert len(records) == 1
    assert len(problems) == 1
    assert problems[0].startswith("bad.json is left out")
    assert words in problems[0]


def rewrite(path, **changes):
    """Changes a record as a careful hand would: the hash of its content is renewed."""
    content = json.loads(path.read_text()) | changes
    del content["sha256"]
    path.write_text(json.dumps(content | {"sha256": canonical_sha256(content)}))


def test_an_unknown_field_is_named(tmp_path):
    path = write_record(tmp_path, record())
    rewrite(path, colour="x")
    with pytest.raises(RecordError, match="colour"):
        read_record(path)


def test_a_record_from_before_the_health_of_codes_was_kept_is_readable(tmp_path):
    path = write_record(tmp_path, record())
    content = json.loads(path.read_text())
    del content["sha256"], content["training"]
    path.write_text(json.dumps(content | {"sha256": canonical_sha256(content)}))
    assert read_record(path) == record()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": {"psnr_db": "high"}}, "psnr_db must be a number, got 'high'"),
        ({"per_image": {"ssim": [0.5, "x"]}}, "ssim must be a number, got 'x'"),
        ({"timing": {"ms_per_step": []}}, "ms_per_step must be a number, got []"),
        ({"seed": "0"}, "seed must be a int, got '0'"),
        ({"codebooks": {}}, "codebooks must be a list, got {}"),
        ({"quantizer": {"name": "gsq"}}, "its quantizer has no hyperparameters, operating_point"),
        ({"environment": {}}, "its environment has no device"),
    ],
)
def test_a_value_of_another_kind_is_named_even_with_a_renewed_hash(
    tmp_path, changes, words, monkeypatch
):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run
    path = write_record(tmp_path, record())
    rewrite(path, **changes)
    records, (problem,) = read_records(tmp_path)
    assert not records
    assert problem.startswith(f"{path.name} is left out: ")
    assert words in problem


def test_a_changed_number_is_noticed(tmp_path):
    path = write_record(tmp_path, record(psnr=25.0))
    path.write_text(path.read_text().replace("25.0", "26.0"))
    with pytest.raises(RecordError, match="changed since it was written"):
        read_record(path)


def test_a_protocol_that_does_not_match_its_hash_is_noticed(tmp_path):
    path = write_record(tmp_path, record())
    rewrite(path, protocol=protocol() | {"steps": 3000})
    with pytest.raises(RecordError, match="does not match its hash"):
        read_record(path)


def test_a_run_of_another_protocol_is_noticed(tmp_path):
    path = write_record(tmp_path, record())
    rewrite(path, protocol=protocol(steps=3000))
    with pytest.raises(RecordError, match="belongs to another protocol"):
        read_record(path)


def test_a_copy_is_named_and_not_counted_twice(tmp_path):
    path = write_record(tmp_path, record())
    (tmp_path / "again.json").write_bytes(path.read_bytes())
    records, (problem,) = read_records(tmp_path)
    assert len(records) == 1
    assert problem.startswith(
        f"again.json is left out: it is a copy or renamed; it holds {path.name}"
    )


def test_unknown_status_lists_the_known():
    with pytest.raises(RecordError, match="diverged"):
        record(status="fine")


def test_canonical_hash_ignores_the_order_of_keys_and_nothing_else():
    assert canonical_sha256({"a": 1, "b": [2]}) == canonical_sha256({"b": [2], "a": 1})
    assert canonical_sha256({"a": 1}) != canonical_sha256({"a": 2})
    assert canonical_sha256([1, 2]) != canonical_sha256([2, 1])


def test_any_change_of_protocol_changes_the_table():
    names = {table_name(protocol())}
    for change in ({"steps": 301}, {"precision": "bfloat16"}, {"perceptual_loss": "none"}):
        names.add(table_name(protocol(**change)))
    assert len(names) == 4


def test_every_field_of_a_record_is_documented():
    from bench.record import Record

    for field in dataclasses.fields(Record):
        assert f"        {field.name}: " in (Record.__doc__ or ""), field.name
