"""What a program counts, as Prometheus reads it: the text exposition format, version 0.0.4."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@attrs.frozen(kw_only=True)
class Sample:
    """One value of one metric, told apart from the metric's other values by its labels; those of a histogram by a suffix as well."""

    name: str
    kind: Kind
    help: str
    value: float
    labels: Mapping[str, str] = attrs.field(factory=dict)
    suffix: str = ""


class Histogram:
    """How often a value was how large. `bounds` are the buckets' upper ends, ascending; what is above the last is counted as well.

    There is a series for each combination of labels that was ever observed, so labels must have few values.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._help, self._bounds = name, text, tuple(bounds)
        self._counts: dict[
            tuple[tuple[str, str], ...], list[int]
        ] = {}  # labels → values in each bucket, and above the last
        self._sums: dict[tuple[tuple[str, str], ...], float] = {}

    def observe(self, value: float, **labels: str) -> None:
        """Count a value."""
        key = tuple(labels.items())
        if key not in self._counts:
            self._counts[key], self._sums[key] = [0] * (len(self._bounds) + 1), 0.0
        self._counts[key][bisect_left(self._bounds, value)] += 1  # a value at a bound is within it
        self._sums[key] += value

    def samples(self) -> Iterator[Sample]:
        """Tell each series: how many values were up to each bound, their sum, and how many there were."""
        ends = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        for key, counts in self._counts.items():
            labels, count = dict(key), 0
            for end, within in zip(ends, counts, strict=True):
                count += within
                yield self._sample("_bucket", count, {**labels, "le": end})
            yield self._sample("_sum", self._sums[key], labels)
            yield self._sample("_count", count, labels)

    def _sample(self, suffix: str, value: float, labels: Mapping[str, str]) -> Sample:
        return Sample(name=self._name, kind="histogram", help=self._help, value=value, labels=labels, suffix=suffix)


def exposition(samples: Iterable[Sample]) -> str:
    """Write `samples` down; those of one name stand together, under the help and the kind of the first of them."""
    families: dict[str, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.name, []).append(sample)
    return "".join(_family(name, family) for name, family in families.items())


def _family(name: str, samples: list[Sample]) -> str:
    head = f"# HELP {name} {_escaped(samples[0].help)}\n# TYPE {name} {samples[0].kind}\n"
    return head + "".join(f"{name}{sample.suffix}{_labels(sample.labels)} {sample.value:.15g}\n" for sample in samples)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels.items()) + "}"


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
