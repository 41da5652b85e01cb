"""What a program counts, as Prometheus reads it: the text exposition format, version 0.0.4."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["counter", "gauge"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@attrs.frozen(kw_only=True)
class Sample:
    """One value of one metric, told apart from the metric's other values by its labels."""

    name: str
    kind: Kind
    help: str
    value: float
    labels: Mapping[str, str] = attrs.field(factory=dict)


def exposition(samples: Iterable[Sample]) -> str:
    """Write `samples` down; those of one name stand together, under the help and the kind of the first of them."""
    families: dict[str, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.name, []).append(sample)
    return "".join(_family(name, family) for name, family in families.items())


def _family(name: str, samples: list[Sample]) -> str:
    head = f"# HELP {name} {_escaped(samples[0].help)}\n# TYPE {name} {samples[0].kind}\n"
    return head + "".join(f"{name}{_labels(sample.labels)} {sample.value:.15g}\n" for sample in samples)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels.items()) + "}"


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
