"""Cut a row of ops of which rules put some on a NeuronCore of the user's choice.

Ops are ordered by the least core that they can be on, so that contiguous stages can obey; stages
may be empty. Casts of ours stay where they are as far as their readers permit, since no rule names
them: rules for all ops of a cut give the cut again. The cut has the least bottleneck that the rules
allow, then the fewest bytes across.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from xdsl.ir import Operation

from ranvier.dialects.diagnostics import Code
from ranvier.passes.analysis.dataflow import operands_of
from ranvier.passes.analysis.locations import describe
from ranvier.passes.errors import PassError
from ranvier.passes.partition_pipeline.balance import Profile
from ranvier.passes.rewriting.implicit_casts import is_implicit
from ranvier.passes.rewriting.marks import core_of

INFINITE = float("inf")


def pinned_order(ops: Sequence[Operation], cores: int) -> list[Operation]:
    """The ops by the least core that each can be on; stable, so that it stays an order of uses.

    Raises PassError if an op is on an earlier core than one that it reads from, or on none.
    """
    least: dict[Operation, tuple[int, Operation | None]] = {}
    for op in ops:
        makers = (v.owner for v in operands_of(op) if isinstance(v.owner, Operation))
        read = [least[maker] for maker in makers if maker in least]
        floor, cause = max(read, key=lambda entry: entry[0], default=(0, None))
        core = core_of(op)
        if core is not None:
            check_core(op, core, cores)
            if core < floor and cause is not None:
                raise PassError(
                    Code.RULE_IMPOSSIBLE,
                    f"rules put {describe(op)} on core {core}, but what it reads comes from "
                    f"{describe(cause)} on core {floor}",
                )
            floor, cause = core, op
        least[op] = floor, cause
    found = {op: core for op, (core, _) in least.items()}
    hold_casts(ops, found)
    return sorted(ops, key=found.__getitem__)


def hold_casts(ops: Sequence[Operation], least: dict[Operation, int]) -> None:
    """Raise the cores of implicit casts to those of the ops before them, up to their readers'."""
    reached: list[int] = []
    for op in ops:
        own = least[op]
        reached.append(max(own, reached[-1]) if reached else own)
    for op, before in zip(reversed(ops), reversed(reached), strict=True):
        if is_implicit(op):
            readers = [least[u.operation] for u in op.results[0].uses if u.operation in least]
            least[op] = max(least[op], min(before, *readers)) if readers else least[op]


def check_core(op: Operation, core: int, cores: int) -> None:
    if core >= cores:
        raise PassError(
            Code.RULE_IMPOSSIBLE,
            f"rules put {describe(op)} on core {core}; the pipeline has cores 0 to {cores - 1}",
        )


def windows_of(pins: Mapping[int, int], count: int, stages: int) -> list[tuple[int, int]]:
    """For each bound between stages, between which positions the pins leave it.

    `pins` are cores by position, in order of both.
    """
    windows: list[tuple[int, int]] = []
    for bound in range(1, stages):
        before = [position for position, core in pins.items() if core < bound]
        after = [position for position, core in pins.items() if core >= bound]
        windows.append((max(before, default=-1) + 1, min(after, default=count)))
    return windows


def cut_pinned(profile: Profile, windows: Sequence[tuple[int, int]]) -> list[int]:
    """Bounds of one stage more than there are windows, in which empty stages may be."""
    cap = _bottleneck(profile, windows)
    count = len(profile)
    ends = [*windows, (count, count)]
    best, origins = [0.0] + [INFINITE] * count, list[list[int]]()
    for low, high in ends:
        following, origin = [INFINITE] * (count + 1), [0] * (count + 1)
        starts: deque[int] = deque()
        traffic = [best[i] + (profile.crossing[i] if 0 < i < count else 0) for i in range(count)]
        for end in range(high + 1):
            if end:  # the starts of least traffic that a stage may have, the best in front
                while starts and traffic[starts[-1]] > traffic[end - 1]:
                    starts.pop()
                starts.append(end - 1)
            while starts and profile.cost(starts[0], end) > cap:
                starts.popleft()
            if end >= low:
                following[end], origin[end] = best[end], end  # an empty stage
                if starts and traffic[starts[0]] < best[end]:
                    following[end], origin[end] = traffic[starts[0]], starts[0]
        origins.append(origin)
        best = following
    bounds = [count]
    for origin in reversed(origins):
        bounds.append(origin[bounds[-1]])
    return bounds[::-1]


def _bottleneck(profile: Profile, windows: Sequence[tuple[int, int]]) -> float:
    """The least cost of the costliest stage, by bisection of the cap that a cut can keep to."""
    low, high = 0.0, profile.cost(0, len(profile))
    while (middle := low + (high - low) / 2) not in (low, high):
        if _fits(profile, windows, middle):
            high = middle
        else:
            low = middle
    return high


def _fits(profile: Profile, windows: Sequence[tuple[int, int]], cap: float) -> bool:
    """Whether each stage can keep to the cap: how far a bound can be moves with the one before."""
    nearest, farthest = 0, 0
    for low, high in [*windows, (len(profile), len(profile))]:
        nearest, farthest = max(nearest, low), min(profile.reach(farthest, cap), high)
        if farthest < nearest:
            return False
    return True
