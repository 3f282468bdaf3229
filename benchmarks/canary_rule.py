"""How often the canary's rule rolls back good and bad releases: simulated searches, looked at every tenth one."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import report
from forebay.canary.verdict import FINAL_LEVEL, INTERIM_LEVEL, Paired

_SEARCHES = 500
_LOOK = 10
_TRIALS = 4000
# Share of the searches that go badly in the canary only, and in the current release only.
_CASES = [(0.01, 0.01), (0.05, 0.05), (0.10, 0.10), (0.02, 0.0), (0.03, 0.0), (0.05, 0.0), (0.05, 0.01), (0.10, 0.05)]


def main() -> None:
    """Simulate; the last line is one JSON object."""
    rng = np.random.default_rng(0)
    figures = {}
    for worse, better in _CASES:
        ends = [_end(rng.random(_SEARCHES), worse, better) for _ in range(_TRIALS)]
        rolled_back = [end for end in ends if end]
        share = len(rolled_back) / _TRIALS
        median = float(np.median(rolled_back)) if rolled_back else None
        print(f"{worse:.0%} worse, {better:.0%} better: {share:.2%} rolled back, after {median} searches", flush=True)
        figures[f"rolled_back_{worse:.2f}_{better:.2f}"] = round(share, 4)
    report({"searches": _SEARCHES, "trials": _TRIALS, **figures})


def _end(draws: np.ndarray, worse: float, better: float) -> int:
    """Give the search after which a canary is rolled back; 0 where it isn't."""
    only_canary, only_current = np.cumsum(draws < worse), np.cumsum((draws >= worse) & (draws < worse + better))
    for at in range(_LOOK, _SEARCHES + 1, _LOOK):
        new, old = int(only_canary[at - 1]), int(only_current[at - 1])
        paired = Paired(canary=new, current=old, only_canary=new, only_current=old)
        if paired.is_worse(at, FINAL_LEVEL if at == _SEARCHES else INTERIM_LEVEL):
            return at
    return 0


if __name__ == "__main__":
    main()
