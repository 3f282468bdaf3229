import pytest

from model_jobs.quantize_generator.checking import Findings, Question, judge

QUESTIONS = [Question("p", "How tall?", "330"), Question("p", "Who leads?", "anna")]
GOOD = ("It is 330 m tall.", "Anna leads.")


def test_a_model_that_is_as_good_passes() -> None:
    verdict = judge(Findings(20.0, GOOD), Findings(21.9, ("330", "It is Anna.")), QUESTIONS)
    assert verdict.passed
    assert (verdict.answers_same, verdict.answers_total) == (2, 2)
    assert verdict.ratio == pytest.approx(1.095)


def test_perplexity_that_is_more_than_a_tenth_higher_fails() -> None:
    verdict = judge(Findings(20.0, GOOD), Findings(22.1, GOOD), QUESTIONS)
    assert not verdict.passed
    assert "1.105 times" in verdict.reason


def test_perplexity_that_is_no_number_fails() -> None:
    assert not judge(Findings(20.0, GOOD), Findings(float("nan"), GOOD), QUESTIONS).passed


def test_a_question_that_is_no_longer_answered_fails() -> None:
    verdict = judge(Findings(20.0, GOOD), Findings(20.0, ("330", "EEEE")), QUESTIONS)
    assert not verdict.passed
    assert "'Who leads?'" in verdict.reason
    assert (verdict.answers_same, verdict.answers_total) == (1, 2)


def test_a_question_that_the_base_model_misses_does_not_count() -> None:
    verdict = judge(Findings(20.0, ("330", "Peter")), Findings(20.0, ("330", "Peter")), QUESTIONS)
    assert verdict.passed
    assert verdict.answers_total == 1


def test_a_base_model_that_answers_nothing_proves_nothing() -> None:
    verdict = judge(Findings(20.0, ("?", "?")), Findings(20.0, ("?", "?")), QUESTIONS)
    assert not verdict.passed
    assert "too few to compare" in verdict.reason
