"""Cut a row of costs into contiguous stages: least bottleneck first, then fewest crossing bytes.

Both steps are exact and take time linear in the row, up to the logarithm of a binary search: how
much fits into a stage grows with the cap that is put on it, and greedy filling meets a cap if
anything does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(frozen=True)
class Profile:
    """A row of ops: seconds and weight bytes of each, and bytes that a cut before it sends on."""

    seconds: Sequence[float]
    weights: Sequence[int]
    crossing: Sequence[int]
    capacity: int
    """Bytes of weights that a stage keeps resident; the excess is loaded anew each time."""
    seconds_per_byte: float
    _seconds: list[float] = field(init=False, default_factory=list[float])
    _weights: list[int] = field(init=False, default_factory=list[int])

    def __post_init__(self) -> None:
        self._seconds.extend(accumulate(self.seconds, initial=0.0))
        self._weights.extend(accumulate(self.weights, initial=0))

    def __len__(self) -> int:
        return len(self.seconds)

    def cost(self, low: int, high: int) -> float:
        """Seconds of a stage of the ops `low` to `high - 1`."""
        excess = max(0, self._weights[high] - self._weights[low] - self.capacity)
        return self._seconds[high] - self._seconds[low] + excess * self.seconds_per_byte

    def reach(self, low: int, cap: float) -> int:
        """The last `high` with `cost(low, high) <= cap`."""
        return (
            bisect_right(range(low, len(self) + 1), cap, key=lambda high: self.cost(low, high))
            + low
            - 1
        )


def cut(profile: Profile, stages: int) -> list[int]:
    """Bounds of at most so many stages: 0, the first op of each later stage, the number of ops."""
    return _fewest_bytes(profile, stages, bottleneck(profile, stages))


def bottleneck(profile: Profile, stages: int) -> float:
    """The least possible cost of the costliest of at most so many contiguous stages.

    Searches between a bound that no cut undercuts and one that a cut achieves, until they meet.
    """
    low, high = 0.0, profile.cost(0, len(profile))
    while low < high:
        middle = low + (high - low) / 2
        achieved, overflow = _fill(profile, stages, middle)
        if achieved is None:
            low = overflow
        elif achieved < high:
            high = achieved
        else:
            break
    return high


def _fill(profile: Profile, stages: int, cap: float) -> tuple[float | None, float]:
    """Fill stages up to the cap: the cost achieved, or None and the least cap that differs."""
    start, worst, overflow = 0, 0.0, float("inf")
    for _ in range(stages):
        end = profile.reach(start, cap)
        worst = max(worst, profile.cost(start, end))
        if end == len(profile):
            return worst, overflow
        overflow = min(overflow, profile.cost(start, end + 1))
        start = end
    return None, overflow


def _fewest_bytes(profile: Profile, stages: int, cap: float) -> list[int]:
    """The cut within the cap that sends the fewest bytes, then has the fewest stages.

    `best[i]` is the least traffic of a cut of the first `i` ops; one round per stage, each with a
    sliding minimum over the starts from which op `i - 1` is within reach.
    """
    count = len(profile)
    infinite = float("inf")
    reach = [profile.reach(low, cap) for low in range(count)]
    best: list[float] = [0.0] + [infinite] * count
    rounds: list[list[int]] = []
    finals: list[float] = []
    for _ in range(min(stages, max(1, count))):
        traffic = [
            best[i] + (profile.crossing[i] if i else 0) if i < count else infinite
            for i in range(count + 1)
        ]
        window: deque[int] = deque()
        following = [infinite] * (count + 1)
        origin = [0] * (count + 1)
        for end in range(1, count + 1):
            while window and traffic[window[-1]] > traffic[end - 1]:
                window.pop()
            window.append(end - 1)
            while reach[window[0]] < end:
                window.popleft()
            following[end], origin[end] = traffic[window[0]], window[0]
        rounds.append(origin)
        finals.append(following[count])
        best = following
    chosen = min(range(len(finals)), key=lambda k: finals[k])
    bounds = [count]
    for origin in reversed(rounds[: chosen + 1]):
        bounds.append(origin[bounds[-1]])
    return bounds[::-1]
