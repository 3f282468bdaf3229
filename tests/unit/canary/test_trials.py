from datetime import UTC, datetime, timedelta

import pytest

from forebay.canary.observations import Observation, note, read_observations
from forebay.canary.settling import Place, introduce, reject_by_hand, settle
from forebay.canary.trials import Canary, CanaryRegistry, Ending
from forebay.canary.verdict import Verdict
from forebay.errors import ReleaseError
from forebay.releases import Evaluation, ReleaseRegistry
from forebay.settings import PathSettings, ReleaseSettings
from tests.releases import sealed_release

_ON = ReleaseSettings(canary_share=0.1, canary_min_searches=100)
_OFF = ReleaseSettings()


@pytest.fixture
def paths(tmp_path):
    return PathSettings(data=tmp_path)


@pytest.fixture
def registry(paths):
    return ReleaseRegistry(paths.releases)


@pytest.fixture
def canaries(paths):
    return CanaryRegistry(paths.releases)


@pytest.fixture
def saved(registry, paths):
    """Saves releases of one shard each, and gives their ids."""

    def save(*contents, ndcg10=0.5):
        evaluation = Evaluation(questions=5, ndcg10=ndcg10, questions_hash="q")
        manifests = [sealed_release(paths.shards, content, evaluation=evaluation) for content in contents]
        return [registry.save(manifest).release_id for manifest in manifests]

    return save


def _compared(canaries, searches=100, **fields):
    canary = canaries.current()
    for number in range(searches):
        canaries.note(canary, Observation(question=str(number), ms=(1.0, 1.0), **fields))


def _canary(**changes):
    values = {
        "release_id": "0123456789abcdef",
        "against": "f" * 16,
        "share": 0.2,
        "min_searches": 100,
        "max_slowdown": 1.5,
        "hours": 24,
        "began_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Canary(**(values | changes))


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5])
def test_the_share_of_the_questions_is_near_the_setting(share):
    canary = _canary(share=share)
    taken = sum(canary.takes(f"question {number}") for number in range(20_000))
    # Four standard deviations of a fair draw.
    assert abs(taken / 20_000 - share) < 4 * (share * (1 - share) / 20_000) ** 0.5


def test_a_question_goes_to_the_same_release_in_every_process_and_another_canary_draws_anew():
    questions = [f"question {number}" for number in range(1000)]
    read = Canary.model_validate_json(_canary().model_dump_json())
    assert [read.takes(question) for question in questions] == [_canary().takes(question) for question in questions]
    other = _canary(release_id="fedcba9876543210")
    both = sum(read.takes(question) and other.takes(question) for question in questions)
    assert 10 < both < 80
    assert isinstance(read.takes("\ud800"), bool)


def test_without_a_share_a_release_is_promoted_at_once(saved, registry, canaries, paths):
    first, second = saved("c1", "c2")
    assert introduce(first, paths, _OFF) is Place.CURRENT
    assert introduce(second, paths, _OFF) is Place.CURRENT
    assert (registry.current_id(), registry.previous_id()) == (second, first)
    assert sorted(path.name for path in paths.releases.iterdir() if path.suffix != ".json") == ["current", "previous"]
    assert settle(paths, _OFF) is None


def test_the_first_release_is_no_canary_and_the_second_is(saved, registry, canaries, paths):
    first, second = saved("c1", "c2")
    assert introduce(first, paths, _ON) is Place.CURRENT
    assert introduce(second, paths, _ON) is Place.CANARY
    assert registry.current_id() == first
    canary = canaries.current()
    assert (canary.release_id, canary.against, canary.share, canary.min_searches) == (second, first, 0.1, 100)
    # A run in which nothing changed begins no new trial.
    assert introduce(second, paths, _ON) is Place.CANARY
    assert canaries.current() == canary


def test_a_damaged_release_is_no_canary(saved, canaries, paths):
    first, second = saved("c1", "c2")
    introduce(first, paths, _ON)
    segment = paths.shards / "s000" / "c2" / "segment"
    segment.write_bytes(b"x" + segment.read_bytes()[1:])
    with pytest.raises(ReleaseError, match=f"{second} is damaged, so {first} stays"):
        introduce(second, paths, _ON)
    assert canaries.current() is None


def test_a_canary_that_is_not_worse_is_promoted(saved, registry, canaries, paths):
    first, second = saved("c1", "c2")
    introduce(first, paths, _ON)
    introduce(second, paths, _ON)
    _compared(canaries, 99)
    assert settle(paths, _ON).verdict is Verdict.WAIT
    assert registry.current_id() == first
    _compared(canaries, 100)
    settled = settle(paths, _ON)
    assert (settled.verdict, settled.comparison.searches) == (Verdict.PROMOTE, 100)
    assert (registry.current_id(), registry.previous_id(), canaries.current()) == (second, first, None)
    assert canaries.last_outcome(second).ending is Ending.PROMOTED
    assert canaries.rejection(second) is None


def test_a_worse_canary_is_rolled_back_and_not_tried_again(saved, registry, canaries, paths):
    first, second = saved("c1", "c2")
    introduce(first, paths, _ON)
    introduce(second, paths, _ON)
    _compared(canaries, 20, poor=(True, False))
    assert settle(paths, _ON).verdict is Verdict.ROLL_BACK
    assert (registry.current_id(), canaries.current()) == (first, None)
    outcome = canaries.rejection(second)
    assert outcome.reason.startswith("20 of 20 searches found nothing near enough in the canary only")
    assert outcome.comparison.poor.only_canary == 20
    for settings in (_ON, _OFF):
        with pytest.raises(ReleaseError, match=f"{second} was a canary and was rolled back .20 of 20.*{first} stays"):
            introduce(second, paths, settings)
    assert (registry.current_id(), canaries.current()) == (first, None)


def test_a_canary_whose_files_changed_meanwhile_is_rolled_back(saved, registry, canaries, paths):
    first, second = saved("c1", "c2")
    introduce(first, paths, _ON)
    introduce(second, paths, _ON)
    _compared(canaries)
    (paths.shards / "s000" / "c2" / "segment").write_bytes(b"")
    settled = settle(paths, _ON)
    assert settled.verdict is Verdict.ROLL_BACK
    assert "damaged" in settled.reason
    assert (registry.current_id(), canaries.rejection(second).reason) == (first, settled.reason)


@pytest.mark.parametrize(("poor", "current"), [((False, False), 1), ((True, False), 0)])
def test_a_newer_release_waits_and_is_next(saved, registry, canaries, paths, poor, current):
    ids = saved("c1", "c2", "c3", "c4")
    for release_id in ids[:2]:
        introduce(release_id, paths, _ON)
    trial = canaries.current().trial_id
    assert [introduce(release_id, paths, _ON) for release_id in ids[2:]] == [Place.WAITING] * 2
    assert canaries.current().trial_id == trial
    _compared(canaries, poor=poor)
    assert settle(paths, _ON).next == ids[3]
    assert registry.current_id() == ids[current]
    canary = canaries.current()
    assert (canary.release_id, canary.against, canary.waiting) == (ids[3], ids[current], "")


def test_a_release_that_waited_is_not_next_if_it_is_worse_than_the_promoted_one(saved, registry, canaries, paths):
    (first,), (second,), (third,) = saved("c1"), saved("c2", ndcg10=0.6), saved("c3")
    for release_id in (first, second, third):
        introduce(release_id, paths, _ON)
    _compared(canaries)
    assert settle(paths, _ON).next == ""
    assert (registry.current_id(), canaries.current()) == (second, None)


def test_an_overdue_canary_stays_until_a_newer_release_takes_its_place(saved, registry, canaries, paths):
    first, second, third = saved("c1", "c2", "c3")
    introduce(first, paths, _ON)
    introduce(second, paths, _ON)
    began = canaries.current()
    canaries.write(began.model_copy(update={"began_at": began.began_at - timedelta(hours=25)}))
    assert settle(paths, _ON).verdict is Verdict.WAIT
    assert canaries.current().release_id == second
    assert introduce(third, paths, _ON) is Place.CANARY
    assert (registry.current_id(), canaries.current().release_id) == (first, third)
    assert canaries.last_outcome(second).ending is Ending.SUPERSEDED


def test_a_corpus_that_changed_back_ends_the_canary(saved, registry, canaries, paths):
    first, second = saved("c1", "c2")
    introduce(first, paths, _ON)
    introduce(second, paths, _ON)
    assert introduce(first, paths, _ON) is Place.CURRENT
    assert canaries.current() is None
    assert canaries.last_outcome(second).ending is Ending.SUPERSEDED
    assert introduce(second, paths, _ON) is Place.CANARY


def test_a_canary_counts_beside_its_own_current_release_only(saved, registry, canaries, paths):
    first, second, third = saved("c1", "c2", "c3")
    introduce(first, paths, _ON)
    introduce(second, paths, _ON)
    registry.promote(third, shards=paths.shards)
    assert canaries.current() is None
    assert settle(paths, _ON) is None


def test_a_damaged_pointer_is_a_named_error(saved, canaries, paths):
    for release_id in saved("c1", "c2"):
        introduce(release_id, paths, _ON)
    (paths.releases / "canary").write_text("{")
    with pytest.raises(ReleaseError, match=r"canary's pointer .* is damaged"):
        canaries.current()


def test_figures_of_an_earlier_trial_of_the_same_release_do_not_count(saved, canaries, paths):
    first, second = saved("c1", "c2")
    introduce(first, paths, _ON)
    introduce(second, paths, _ON)
    _compared(canaries)
    introduce(first, paths, _ON)
    introduce(second, paths, _ON)
    assert canaries.observations(canaries.current()).searches == []
    assert settle(paths, _ON).verdict is Verdict.WAIT


def test_rolled_back_by_hand_is_rejected(saved, canaries, paths):
    first, second = saved("c1", "c2")
    introduce(first, paths, _ON)
    assert reject_by_hand(paths) is None
    introduce(second, paths, _ON)
    assert reject_by_hand(paths).reason == "rolled back by hand"
    assert canaries.rejection(second) is not None


def test_files_of_several_processes_are_added_up_and_a_question_counts_once(tmp_path):
    note(tmp_path, Observation(question="1", poor=(True, False)))
    note(tmp_path, Observation(question="2"))
    (mine,) = tmp_path.iterdir()
    # Another replica's: one question that is known, a new one, and a line that was torn with its process.
    theirs = Observation(question="1"), Observation(question="3"), Observation(given_up="it broke")
    text = "\n".join(line.model_dump_json(exclude_defaults=True) for line in theirs)
    (tmp_path / "zz-1.jsonl").write_text(f'{text}\n{{"question":"4","po')
    seen = read_observations(tmp_path)
    assert mine.name < "zz"
    assert [(line.question, line.poor) for line in seen.searches] == [
        ("1", (True, False)),
        ("2", (False, False)),
        ("3", (False, False)),
    ]
    assert seen.given_up == ["it broke"]
