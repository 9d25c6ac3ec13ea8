import copy
from dataclasses import replace

import pytest
from records import protocol, record

from bench.report.ledger import check_records, failed_checks
from bench.report.table import Table


def table(quantizers="abc", seeds=3):
    return [record(name, seed) for name in quantizers for seed in range(seeds)]


def failing(records):
    """Check name -> which (quantizer, seed) fail it."""
    runs = {(r.run, r.attempt): (r.quantizer["name"], r.seed) for r in records}
    return {c.name: {runs[key] for key in c.failed} for c in check_records(records) if c.failed}


def test_equal_conditions_pass_fourteen_checks():
    checks = check_records(table())
    assert len(checks) == 14
    assert not any(check.failed for check in checks)


@pytest.mark.parametrize(
    ("part", "path", "value", "check"),
    [
        ("config", ("recipe", "optimizer", "learning_rate"), 2e-3, "configuration"),
        ("budget", ("learning_rates",), {"autoencoder": [2e-3]}, "schedule"),
        ("seeds", ("data",), 99, "batch order"),
        ("hashes", ("batches",), "other", "batch order"),
        ("hashes", ("frame_at_step_0",), "other", "frame weights"),
        ("hashes", ("discriminator_at_step_0",), "other", "discriminator weights"),
        ("hashes", ("extractor",), "extractoR", "extractor"),
        ("hashes", ("perceptual_loss",), "other", "perceptual networks"),
        ("hashes", ("perceptual_metric",), "other", "perceptual networks"),
        ("hashes", ("test_images",), "other", "test images"),
        ("budget", ("steps",), 301, "steps"),
        ("budget", ("samples",), 9601, "samples"),
        ("rate", ("bits_per_position",), 10.3, "rate"),
        ("tuning", ("trials",), 5, "tuning"),
        ("protocol", ("precision",), "bfloat16", "device"),
    ],
)
def test_one_changed_fact_is_caught_by_its_check_alone(part, path, value, check):
    records = table()
    changed = copy.deepcopy(getattr(records[4], part))
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    records[4] = replace(records[4], **{part: changed})
    assert failing(records) == {check: {("b", 1)}}


def test_a_fact_that_was_not_recorded_fails():
    records = table()
    del records[0].hashes["extractor"]
    assert failing(records) == {"extractor": {("a", 0)}}


def test_a_repeated_run_is_no_retry_unless_it_had_failed():
    second = record("a", 0, attempt=2)
    assert failing([record("a", 0), second, record("b", 0)]) == {}
    failed = record("a", 0, status="diverged", reason="x")
    assert failing([failed, second, record("b", 0)])["no retry"] == {("a", 0)}


def test_a_retry_is_caught_also_where_every_row_was_retried():
    records = [record(name, 0, attempt=2) for name in "ab"]
    assert failing(records) == {"no retry": {("a", 0), ("b", 0)}}


def test_a_missed_rate_is_caught_also_where_it_is_the_only_row():
    (one,) = table("a", 1)
    one.rate["bits_per_position"] = 10.21
    assert failing([one]) == {"rate": {("a", 0)}}
    one.rate["bits_per_position"] = 10.19
    assert failing([one]) == {}


def test_without_a_majority_nobody_is_the_reference():
    records = table("ab", 1)
    records[0].hashes["batches"] = "other"
    assert failing(records) == {"batch order": {("a", 0), ("b", 0)}}


def test_seeds_have_weights_of_their_own_but_one_evaluation_set():
    records = table(seeds=2)
    for one in records:
        if one.seed == 1:
            one.hashes["test_images"] = "other"
    assert set(failing(records)) == {"test images"}


def test_what_moves_no_number_may_differ():
    records = table()
    records[0].config["recipe"]["log_every"] = 1
    records[0].config["plugins"] = "mine"
    records[0].config["device"] = "cpu"
    assert failing(records) == {}


def test_a_run_that_failed_before_a_fact_was_known_does_not_fail_the_check():
    records = table()
    records[0] = replace(records[0], status="error", budget={}, hashes={}, rate={})
    assert failing(records) == {}


def test_an_untrained_control_is_held_to_the_facts_it_has():
    control = dict(record("webp").quantizer, control="a codec")
    plain = {"config": {}, "budget": {}, "tuning": {}, "seeds": {}, "quantizer": control}
    rate = {"bits_per_position": 37.0}
    webp = record("webp", hashes={"test_images": "images"}, rate=rate, **plain)
    assert failing([*table(), webp]) == {}
    webp = record("webp", hashes={"test_images": "other"}, rate=rate, **plain)
    assert failing([*table(), webp]) == {"test images": {("webp", 0)}}


def test_a_trained_control_is_checked_like_any_row():
    control = dict(record("none").quantizer, control="upper bound")
    records = [*table(), record("none", quantizer=control, hashes={"batches": "other"})]
    assert failing(records) == {"batch order": {("none", 0)}}


def test_an_unfair_row_is_marked_and_not_ranked():
    records = table()
    records[3].budget["steps"] = 301
    rows = {row.name: row for row in Table.of(records).rows}
    assert rows["b"].unfair == ("steps",)
    assert rows["b"].rank is None
    assert rows["a"].rank == rows["c"].rank == 1
    assert failed_checks(check_records(records), records) == ("steps",)


def test_another_learning_rate_on_the_command_line_is_another_table():
    recipe = {"name": "tiny", "image_size": 32, "batch_size": 32, "learning_rate": 2e-3}
    assert protocol(recipe=recipe)["sha256"] != protocol()["sha256"]
