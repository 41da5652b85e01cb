"""The cases that the lab measures: who calls whom, and over what."""

from collections.abc import Mapping
from typing import Final

import attrs

from bench.lab.chromium import SPED
from bench.lab.clients import ClientName

LOSS: Final = 0.25
"""Each way, so that 44 of 100 questions and answers are not both there."""


@attrs.frozen(kw_only=True)
class Case:
    """One of them. `options` are the transceiver's, `trial` is a field trial of Chromium's, `loss` a probability for each direction.

    With `echoes`, the same calls are made once more to an echo: from click to sound.
    """

    title: str
    client: ClientName = "chromium"
    trial: str = ""
    options: tuple[str, ...] = ()
    relayed: bool = False
    loss: float = 0.0
    echoes: bool = True


CASES: Final[Mapping[str, Case]] = {
    "1.2": Case(title="DTLS 1.2 forced", options=("--dtls-version", "1.2")),
    "default": Case(title="default"),
    "sped": Case(title="SPED", trial=SPED),
    "relay": Case(title="default, relayed", relayed=True),
    "sped-relay": Case(title="SPED, relayed", trial=SPED, relayed=True),
    "firefox": Case(title="Firefox", client="firefox"),
    "pair": Case(title="Chromium calls Chromium", client="pair", echoes=False),
    "sped-pair": Case(title="Chromium calls Chromium, SPED", client="pair", trial=SPED, echoes=False),
    "default-loss": Case(title="default", loss=LOSS, echoes=False),
    "sped-loss": Case(title="SPED", trial=SPED, loss=LOSS, echoes=False),
}
