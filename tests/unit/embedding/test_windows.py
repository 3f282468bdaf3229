import pytest

from forebay.embedding.windows import KEY_DIGITS, windowed_hashes, windows_of


@pytest.mark.parametrize(
    ("n_tokens", "expected"),
    [
        ([], []),
        ([3], [[0]]),
        ([3, 3, 4], [[0, 1, 2]]),
        ([3, 3, 5], [[0, 1], [2]]),
        ([5, 5, 5, 5, 1], [[0, 1], [2, 3], [4]]),
        # Longer than a window: alone.
        ([2, 11, 2], [[0], [1], [2]]),
        ([11, 11], [[0], [1]]),
    ],
)
def test_windows_are_as_full_as_they_get(n_tokens, expected):
    assert [list(window) for window in windows_of(n_tokens, 10)] == expected


def test_a_hash_names_the_window_and_the_place_in_it():
    hashes = list(windowed_hashes(["a", "b", "c"], [5, 5, 5], 10))
    first, second, third = (text_hash[:KEY_DIGITS] for text_hash in hashes)
    assert first == second != third
    assert [text_hash[KEY_DIGITS:] for text_hash in hashes] == [":0", ":1", ":0"]


def test_a_changed_neighbour_changes_every_hash_of_its_window_and_no_other():
    before = list(windowed_hashes(["a", "b", "c"], [5, 5, 5], 10))
    after = list(windowed_hashes(["a", "B", "c"], [5, 5, 5], 10))
    assert not {before[0], before[1]} & {after[0], after[1]}
    assert before[2] == after[2]


def test_texts_that_are_divided_otherwise_are_another_window():
    assert list(windowed_hashes(["ab", "c"], [1, 1], 10)) != list(windowed_hashes(["a", "bc"], [1, 1], 10))
