"""A clock that compares fairly, and the line of the table that comes of it."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table. The spread is that of the ratio or, without a peer, of our own throughput."""

    operation: str
    ours: str
    peer: str
    ratio: str
    spread: str


def interleaved(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each job in each repeat. Every repeat runs all jobs, and each starts with another one.

    The clock counts processor time of the whole process: other programs on the machine disturb it little, and
    a job that starts threads gains nothing by them.
    """
    for job in jobs.values():
        job()  # the first run of each fills caches and buffers
    order, seconds = list(jobs), {name: [] for name in jobs}
    for _ in range(repeats):
        for name in order:
            start = time.process_time()
            jobs[name]()
            seconds[name].append(time.process_time() - start)
        order.append(order.pop(0))
    return seconds


def compare(
    operation: str,
    unit: str,
    amount: int,
    ours: Callable,
    peer: Callable,
    repeats: int,
    peer_amount: int | None = None,
) -> Row:
    """Throughputs, and how many times the peer's is ours.

    Each call does ``amount`` of ``unit``, or the peer's ``peer_amount``.
    """
    share = 1 if peer_amount is None else amount / peer_amount
    seconds = interleaved({"ours": ours, "peer": peer}, repeats)
    ratios = [share * theirs / mine for mine, theirs in zip(seconds["ours"], seconds["peer"], strict=True)]
    mine, theirs = (statistics.median(seconds[name]) for name in ("ours", "peer"))
    return Row(
        operation,
        f"{short(amount / mine)} {unit}/s",
        f"{short(amount / share / theirs)} {unit}/s",
        f"{share * theirs / mine:.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
    )


def short(number: float) -> str:
    """Three significant digits, with thousands marked."""
    number = float(f"{number:.3g}")
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def alone(operation: str, unit: str, amount: int, ours: Callable, repeats: int) -> Row:
    """Throughput where there is nothing to compare with."""
    rates = [amount / s for s in interleaved({"ours": ours}, repeats)["ours"]]
    spread = f"{short(min(rates))} to {short(max(rates))}"
    return Row(operation, f"{short(statistics.median(rates))} {unit}/s", "-", "-", spread)
