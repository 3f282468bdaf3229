import pytest

from bentos.serve import main


def test_a_setting_that_does_not_fit_is_one_sentence(monkeypatch):
    monkeypatch.setenv("FOREBAY_SERVING_FUSION", "ranked")
    with pytest.raises(
        SystemExit, match="error: a setting in the environment doesn't fit: FOREBAY_SERVING_FUSION='ranked'"
    ):
        main()
