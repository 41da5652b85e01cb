import pytest

from tests.srtp.packets import ENGINES, Engine
from trioice.srtp import PROFILES, Profile


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    value: Engine = request.param
    return value


@pytest.fixture(params=PROFILES.values(), ids=lambda profile: profile.name)
def profile(request: pytest.FixtureRequest) -> Profile:
    value: Profile = request.param
    return value
