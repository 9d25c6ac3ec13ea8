"""The list of metrics, and metrics that only a record describes."""

import pytest
from records import protocol, record

from bench.compare import compare
from bench.metric import METRICS, Metric, described, metric
from bench.report import page
from bench.report.table import Table

EDGES = Metric(
    name="edge_error",
    label="edge error",
    kind="pooled",
    digits=1,
    unit="%",
    factor=100.0,
    note="measured on outlines",
)


def with_edges(name, *values):
    """Runs of a plugin's metric, which nothing but their protocol describes."""
    shared = protocol(metrics={"edge_error": EDGES.described()})
    runs = [record(name, seed, 25.0 + 0.1 * seed, protocol=shared) for seed in range(len(values))]
    for run, value in zip(runs, values, strict=True):
        run.metrics["edge_error"] = value
    return runs


def test_a_metric_that_only_the_protocol_describes_has_a_column_and_a_note():
    table = Table.of(with_edges("gsq", 0.25, 0.26, 0.27))
    assert "edge_error" not in METRICS
    for text in (page.markdown(table), page.excerpt(table), page.terminal(table)):
        assert "edge error % ↓" in text
        assert "26.0 ± 1.0" in text
    heads = page.markdown(table).splitlines()[2]
    assert heads.index("kid_scattering_v1") < heads.index("edge error") < heads.index("usage")
    assert "`edge_error`: measured on outlines" in page.markdown(table)
    assert "`edge_error`: measured on outlines" in page.excerpt(table)


def test_such_a_metric_is_compared_over_seeds_in_its_own_direction():
    runs = with_edges("gsq", 0.25, 0.26, 0.27) + with_edges("fsq", 0.50, 0.52, 0.51)
    (line,) = (
        line for line in compare(runs, ["gsq", "fsq"]).splitlines() if "edge error %" in line
    )
    assert "-25 " in line
    assert "3 seeds" in line
    assert "lower; a claim" in line


def test_a_key_belongs_to_the_longest_family_that_it_starts_with():
    assert described("fd_infinity_vgg16").function == METRICS["fd_infinity"].function
    assert described("kid_vgg16").head == "kid_vgg16 x 1000 ↓"
    assert described("psnr_db").head == "PSNR dB ↑"
    assert described("usage").head == "usage %"
    assert described("no such metric") == Metric(name="no such metric")


def test_a_description_of_a_later_version_is_understood():
    description = EDGES.described() | {"colour": "red"}
    assert described("edge_error", {"edge_error": description}) == EDGES


def test_a_name_is_taken_once(monkeypatch):
    monkeypatch.setattr("bench.metric.METRICS", dict(METRICS))
    function = metric("edge_error", digits=3)(lambda images, reconstruction: images)
    assert metric("edge_error")(function) is function
    with pytest.raises(ValueError, match="'edge_error' is taken"):
        metric("edge_error")(lambda images, reconstruction: images)


def test_an_unknown_kind_lists_the_known():
    with pytest.raises(ValueError, match=r"kind must be one of .*'set'.*, got 'sets'"):
        Metric(name="x", kind="sets")
