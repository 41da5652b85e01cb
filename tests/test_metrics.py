"""The Prometheus text format: families together, labels escaped, numbers readable."""

from collections.abc import Sequence

import pytest

from trioice.metrics import Histogram, Sample, exposition


def test_samples_of_a_name_stand_together_under_one_head() -> None:
    samples = [
        Sample(name="drops_total", kind="counter", help="What was dropped.", value=3, labels={"reason": "replayed"}),
        Sample(name="calls", kind="gauge", help="Calls.", value=0.5),
        Sample(name="drops_total", kind="counter", help="", value=2**53, labels={"reason": "odd", "layer": "srtp"}),
    ]
    assert exposition(samples) == (
        "# HELP drops_total What was dropped.\n"
        "# TYPE drops_total counter\n"
        'drops_total{reason="replayed"} 3\n'
        'drops_total{reason="odd",layer="srtp"} 9.00719925474099e+15\n'
        "# HELP calls Calls.\n"
        "# TYPE calls gauge\n"
        "calls 0.5\n"
    )


def test_help_and_labels_are_escaped() -> None:
    sample = Sample(name="a", kind="gauge", help='a\\b\n"c"', value=2, labels={"l": 'a\\b\n"c"'})
    assert exposition([sample]) == '# HELP a a\\\\b\\n"c"\n# TYPE a gauge\na{l="a\\\\b\\n\\"c\\""} 2\n'


def test_nothing_is_nothing() -> None:
    assert exposition([]) == ""


def test_a_histogram_counts_each_value_in_its_bucket_and_in_those_above() -> None:
    histogram = Histogram("took_seconds", "What it took.", (0.1, 0.25, 1.0))
    for value in (0.05, 0.1, 0.2, 1.0, 7.0):
        histogram.observe(value, step="keys")
    histogram.observe(0.5, step="answer")
    assert exposition(histogram.samples()) == (
        "# HELP took_seconds What it took.\n"
        "# TYPE took_seconds histogram\n"
        'took_seconds_bucket{step="keys",le="0.1"} 2\n'
        'took_seconds_bucket{step="keys",le="0.25"} 3\n'
        'took_seconds_bucket{step="keys",le="1"} 4\n'
        'took_seconds_bucket{step="keys",le="+Inf"} 5\n'
        'took_seconds_sum{step="keys"} 8.35\n'
        'took_seconds_count{step="keys"} 5\n'
        'took_seconds_bucket{step="answer",le="0.1"} 0\n'
        'took_seconds_bucket{step="answer",le="0.25"} 0\n'
        'took_seconds_bucket{step="answer",le="1"} 1\n'
        'took_seconds_bucket{step="answer",le="+Inf"} 1\n'
        'took_seconds_sum{step="answer"} 0.5\n'
        'took_seconds_count{step="answer"} 1\n'
    )


@pytest.mark.parametrize("bounds", [(), (1.0,)])
def test_a_histogram_that_saw_nothing_tells_nothing(bounds: Sequence[float]) -> None:
    assert list(Histogram("took_seconds", "What it took.", bounds).samples()) == []


def test_a_value_without_labels_is_counted() -> None:
    histogram = Histogram("size", "How large.", (1.0,))
    histogram.observe(1.5)
    assert 'size_bucket{le="1"} 0\nsize_bucket{le="+Inf"} 1\nsize_sum 1.5\nsize_count 1\n' in exposition(
        histogram.samples()
    )
