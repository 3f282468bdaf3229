"""Which release is the canary, under which conditions, and what became of earlier ones."""

import hashlib
import shutil
from collections.abc import Set
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forebay.atomic_file import write_atomically
from forebay.canary.observations import Observation, Observations, note, read_observations
from forebay.canary.verdict import Comparison, compare
from forebay.errors import ReleaseError

__all__ = ["Canary", "CanaryRegistry", "Ending", "Outcome"]

_OUTCOME = "outcome.json"


class Canary(BaseModel):
    """A release on trial.

    The conditions are written down with it: all retrievers follow the same ones, whatever their environment says.
    """

    model_config = ConfigDict(frozen=True)

    release_id: str
    """The release."""
    against: str
    """The current release, which it is compared with; beside any other one it isn't searched."""
    share: float = Field(gt=0, le=0.5)
    """Share of the searches that it answers."""
    min_searches: int
    """Searches that must be compared before it is promoted."""
    max_slowdown: float
    """Largest ratio of its latency (p95) to the current release's."""
    hours: float
    """Time after which it is overdue."""
    began_at: datetime
    """When it became the canary."""
    waiting: str = ""
    """Release that passed its gate meanwhile, and is next; empty where there is none."""

    @property
    def trial_id(self) -> str:
        """Name of this trial: a release may be tried twice."""
        return f"{self.release_id}-{self.began_at.astimezone(UTC):%Y%m%dT%H%M%S%f}"

    def question_hash(self, question: str) -> str:
        """Give 16 hexadecimal digits for a question that can't be compared with those of other releases."""
        data = question.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=8, key=self.release_id.encode()).hexdigest()

    def takes(self, question: str) -> bool:
        """Say whether it answers a question: always the same, in every process and after every restart."""
        return int(self.question_hash(question), 16) < self.share * 2**64

    def is_overdue(self, at: datetime) -> bool:
        """Say whether it has taken longer than it should."""
        return at - self.began_at > timedelta(hours=self.hours)


class Ending(StrEnum):
    """How a trial ended."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    SUPERSEDED = "superseded"


class Outcome(BaseModel):
    """A trial that has ended."""

    model_config = ConfigDict(frozen=True)

    canary: Canary
    """What was tried."""
    ending: Ending
    """How it ended."""
    reason: str
    """Why."""
    comparison: Comparison
    """Figures at the end."""
    ended_at: datetime
    """When."""


class CanaryRegistry:
    """The canary's pointer, beside the current release's, and one folder a trial."""

    def __init__(self, releases: Path) -> None:
        self._pointer = releases / "canary"
        self._current = releases / "current"
        self._trials = releases / "trials"

    def current(self) -> Canary | None:
        """Read which release is the canary; None without one, and beside another current release than its own.

        Raises:
            ReleaseError: the pointer is damaged.
        """
        try:
            canary = Canary.model_validate_json(self._pointer.read_bytes())
            current_id = self._current.read_text("utf-8").strip()
        except FileNotFoundError:
            return None
        except ValidationError as exc:
            raise ReleaseError(
                f"the canary's pointer {self._pointer} is damaged, so no canary is searched; delete it, and the next "
                "run of the pipeline makes it anew."
            ) from exc
        return canary if canary.against == current_id else None

    def write(self, canary: Canary) -> None:
        """Make a release the canary, or change what is known about it, at once for all readers."""
        write_atomically(self._pointer, canary.model_dump_json(indent=2))

    def note(self, canary: Canary, observation: Observation) -> None:
        """Note how a search went.

        Raises:
            OSError: it can't be written.
        """
        note(self._trials / canary.trial_id, observation)

    def observations(self, canary: Canary) -> Observations:
        """Read what all retrievers noted."""
        return read_observations(self._trials / canary.trial_id)

    def record(self, canary: Canary, ending: Ending, reason: str) -> Outcome:
        """Write down how a trial ends; `clear` ends it."""
        found = compare(self.observations(canary).searches)
        outcome = Outcome(canary=canary, ending=ending, reason=reason, comparison=found, ended_at=datetime.now(UTC))
        write_atomically(self._trials / canary.trial_id / _OUTCOME, outcome.model_dump_json(indent=2))
        return outcome

    def clear(self) -> None:
        """Remove the pointer: no search goes to a canary any more."""
        self._pointer.unlink(missing_ok=True)

    def end(self, canary: Canary, ending: Ending, reason: str) -> Outcome:
        """Write down how a trial ended, and end it."""
        outcome = self.record(canary, ending, reason)
        self.clear()
        return outcome

    def last_outcome(self, release_id: str) -> Outcome | None:
        """Read how the last trial of a release ended; None where it was never tried."""
        found: list[Outcome] = []
        for path in self._trials.glob(f"{release_id}-*/{_OUTCOME}"):
            try:
                found.append(Outcome.model_validate_json(path.read_bytes()))
            except (FileNotFoundError, ValidationError):
                continue
        return max(found, key=lambda outcome: outcome.ended_at, default=None)

    def rejection(self, release_id: str) -> Outcome | None:
        """Read why a release was rolled back; None where its last trial ended otherwise, or there was none."""
        last = self.last_outcome(release_id)
        return last if last is not None and last.ending is Ending.ROLLED_BACK else None

    def forget_all_but(self, release_ids: Set[str]) -> None:
        """Remove the trials of other releases."""
        for folder in self._trials.glob("*"):
            if folder.name.rpartition("-")[0] not in release_ids:
                shutil.rmtree(folder)
