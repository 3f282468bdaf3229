import threading
from types import SimpleNamespace

from forebay.store import weaviate_stall
from forebay.store.weaviate_stall import ended_if_stalled


def test_what_does_not_get_on_is_ended_again_and_again():
    ends = []
    ended = threading.Event()

    def end():
        ends.append(1)
        if len(ends) == 3:
            ended.set()

    with ended_if_stalled(0.01, end):
        assert ended.wait(10)
    n_ends = len(ends)
    assert not any(thread.name == "stall watch" for thread in threading.enumerate())
    assert len(ends) == n_ends


def test_what_gets_on_is_left_alone(monkeypatch):
    now, ends = [0.0], []
    monkeypatch.setattr(weaviate_stall, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with ended_if_stalled(0.05, lambda: ends.append(1)) as get_on:
        now[0] = 0.04
        get_on()
        now[0] = 0.08
        # Long enough for the watcher, which looks when the first 0.05 s are over.
        threading.Event().wait(0.3)
    assert not ends
