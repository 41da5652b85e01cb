"""The messages of remote agents against their schema and their page; and the backlog that survives broken connections."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from tests.transceiver.agent_stand_in import COMMAND, EVENT, SCHEMA, Memory
from trioice.transceiver.agent_backlog import EVENTS, WINDOW, Backlog
from trioice.transceiver.agent_messages import Blunder, plain, read_command

PAGE = (Path(__file__).parent.parent.parent / "docs/reference/agents.md").read_text()
EVENTS_PART, COMMANDS_PART = PAGE.split("## Commands")[0], PAGE.split("## Commands")[1]
RATE = 8000


def examples(text: str) -> list[str]:
    return [line for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("example", examples(EVENTS_PART))
def test_an_event_on_the_page_is_as_the_schema_says(example: str) -> None:
    EVENT.validate(json.loads(example))
    with pytest.raises(ValidationError):
        EVENT.validate({**json.loads(example), "type": "nothing"})


@pytest.mark.parametrize("example", examples(COMMANDS_PART))
def test_a_command_on_the_page_is_as_the_schema_says_and_is_understood(example: str) -> None:
    COMMAND.validate(json.loads(example))
    read_command(example)


def test_the_page_has_all_types() -> None:
    for direction, text in (("to_agent", EVENTS_PART), ("from_agent", COMMANDS_PART)):
        names = [reference["$ref"].rpartition("/")[2] for reference in SCHEMA["$defs"][direction]["oneOf"]]
        types = {SCHEMA["$defs"][name]["properties"]["type"]["const"] for name in names}
        assert {json.loads(example)["type"] for example in examples(text)} == types


@given(
    st.dictionaries(
        st.sampled_from(["type", "fade_ms", "name"]),
        st.one_of(st.sampled_from(["clear", "mark", "pause", "stats"]), st.integers(), st.floats(), st.none()),
    )
)
def test_what_the_schema_refuses_is_a_blunder_and_nothing_else_is(fields: dict[str, object]) -> None:
    try:
        read_command(json.dumps(fields))
    except Blunder:
        assert not COMMAND.is_valid(fields)
    else:
        assert COMMAND.is_valid(fields)


@given(st.text())
def test_no_text_does_more_than_blunder(text: str) -> None:
    with pytest.raises(Blunder):
        read_command(text)


def test_what_json_cannot_tell_is_not_told() -> None:
    assert plain({"voice": ["alto"]}) == {"voice": ["alto"]}
    assert plain(object()) is None
    assert plain(float("nan")) is None


def frame(number: int) -> bytes:
    return number.to_bytes(2, "little") * 160


@given(st.lists(st.sampled_from(["audio", "event", "take", "ask", "confirm", "break"]), max_size=300), st.data())
def test_over_any_breaks_an_agent_has_all_in_order_once(steps: list[str], data: st.DataObject) -> None:
    backlog, agent = Backlog(RATE, 100.0), Memory()
    sent: list[str | bytes] = []  # on this connection, and how many of it have come
    frames = events = came = 0
    asked: int | None = None

    def arrive(count: int) -> None:
        nonlocal came
        for message in sent[came:count]:
            agent.take(message)
        came = max(came, count)

    for step in [*steps, "break", *["take", "ask", "confirm"] * 400]:
        match step:
            case "audio":
                frames += 1
                backlog.add_audio(160 * (frames - 1), frame(frames))
            case "event":
                events += 1
                backlog.add_event("error", {"reason": str(events)})
            case "take":
                message = backlog.take()
                if message is not None:
                    sent.append(message)
            case "ask":
                asked = backlog.taken
                arrive(len(sent))
            case "confirm":
                if asked is not None:
                    backlog.confirm(asked)
            case _:
                arrive(data.draw(st.integers(came, len(sent))))
                sent.clear()
                came, asked = 0, None
                position, told = backlog.rewind()
                resumed = {"type": "resumed", "position": position, "event": told, "received": 0, "commands": 0}
                common = {"protocol": 1, "call": "", "codec": "", "rate": RATE, "patience": 0, "ahead": 0}
                agent.take(json.dumps({**resumed, **common, "session": None}))
    arrive(len(sent))
    assert bytes(agent.audio) == b"".join(frame(number) for number in range(1, frames + 1))
    assert [event["reason"] for event in agent.events] == [str(number) for number in range(1, events + 1)]


def test_no_more_than_a_window_is_sent_without_a_confirmation() -> None:
    backlog = Backlog(RATE, 100.0)
    for number in range(500):
        backlog.add_audio(160 * number, frame(number))
    taken = 0
    while backlog.take() is not None:
        taken += 1
    assert taken * 0.02 == pytest.approx(WINDOW)
    assert backlog.is_full
    backlog.confirm(1)
    assert backlog.take() == frame(taken)
    assert backlog.take() is None


def test_of_too_much_the_oldest_is_dropped_and_told_as_a_gap() -> None:
    backlog, agent = Backlog(RATE, 1.0), Memory()
    backlog.add_event("error", {"reason": "before"})
    for number in range(60):
        backlog.add_audio(160 * number, frame(number))
    assert backlog.waiting == pytest.approx(1.0)
    while (message := backlog.take()) is not None:
        agent.take(message)
    assert [event["type"] for event in agent.events] == ["error", "gap"]
    assert agent.events[1] == {"type": "gap", "event": 2, "position": 0, "samples": 1600, "kind": "dropped"}
    assert bytes(agent.audio) == bytes(3200) + b"".join(frame(number) for number in range(10, 60))
    assert backlog.dropped == 1600
    assert backlog.rewind() == (0, 0)
    backlog.take()
    backlog.take()
    assert backlog.take() == frame(10)  # and no second gap


def test_of_too_many_events_the_oldest_are_dropped() -> None:
    backlog = Backlog(RATE, 1.0)
    backlog.add_audio(0, frame(1))
    for number in range(EVENTS + 5):
        backlog.add_event("error", {"reason": str(number)})
    assert backlog.take() == frame(1)
    assert json.loads(str(backlog.take()))["reason"] == "5"
