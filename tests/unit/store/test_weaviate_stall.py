import threading

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


def test_what_gets_on_is_left_alone():
    ends = []
    with ended_if_stalled(60, lambda: ends.append(1)) as get_on:
        get_on()
    assert not ends
