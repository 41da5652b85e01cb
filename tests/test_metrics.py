"""The Prometheus text format: families together, labels escaped, numbers readable."""

from trioice.metrics import Sample, exposition


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
