import random

from trioice.agenda import Agenda
from trioice.sansio import NEVER


def test_what_is_due_comes_earliest_first_and_once() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.set("b", 2.0)
    agenda.set("a", 1.0)
    agenda.set("c", 3.0)
    assert agenda.deadline == 1.0
    assert agenda.due(2.0) == ["a", "b"]
    assert agenda.due(2.0) == []
    assert agenda.deadline == 3.0


def test_a_deadline_may_be_moved_and_removed() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.set("a", 1.0)
    agenda.set("a", 5.0)
    assert agenda.deadline == 5.0
    agenda.set("a", 2.0)
    assert agenda.deadline == 2.0
    agenda.set("a", NEVER)
    assert (agenda.deadline, agenda.due(100.0)) == (NEVER, [])
    agenda.set("never set", NEVER)


def test_it_is_a_dictionary_sorted_by_time_and_its_memory_is_bounded() -> None:
    rng = random.Random(1)
    agenda: Agenda[int] = Agenda()
    model: dict[int, float] = {}
    for now in range(3000):
        for _ in range(10):
            key, deadline = rng.randrange(50), now + rng.random() * 30
            agenda.set(key, deadline)
            model[key] = deadline
        due = agenda.due(float(now))
        assert due == sorted((k for k in model if model[k] <= now), key=model.__getitem__)
        for key in due:
            del model[key]
        assert agenda.deadline == min(model.values(), default=NEVER)
        assert len(agenda._heap) <= 64 + 4 * 50 + 1
