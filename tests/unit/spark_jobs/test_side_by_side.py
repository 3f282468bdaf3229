import threading

import pytest

from spark_jobs.side_by_side import side_by_side


def test_both_run_at_the_same_time():
    both_run = threading.Barrier(2, timeout=30)

    def meeting(name):
        both_run.wait()
        return name

    assert side_by_side(lambda: meeting("one"), lambda: meeting("other")) == ("one", "other")


@pytest.mark.parametrize("failing", ["one", "other"])
def test_an_error_is_raised_once_both_have_ended(failing):
    has_begun, ended = threading.Barrier(2, timeout=30), []

    def part(name):
        has_begun.wait()
        if name == failing:
            raise ValueError(name)
        threading.Event().wait(0.1)
        ended.append(name)

    with pytest.raises(ValueError, match=f"^{failing}$"):
        side_by_side(lambda: part("one"), lambda: part("other"))
    assert ended == [{"one": "other", "other": "one"}[failing]]
