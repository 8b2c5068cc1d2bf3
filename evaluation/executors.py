"""Executors play the independent runs of a comparison: in this process, in several, or on other machines."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from ralseg.evaluation.play import Job, Plan, Played, Player
from ralseg.foundation import RalsegError

Executor = Callable[[Plan, Sequence[Job]], Iterator[tuple[Job, Played]]]
"""Takes what all runs share and the runs, and yields each run with what `Player.play` gave, in any order.

A `Player` needs nothing but its `Plan`, and both `Plan` and `Job` can be pickled; so can what `play` returns. Only the
process that iterates writes files.
"""


def local_processes(count: int) -> Executor:
    """An executor that plays on this machine.

    Args:
        count: how many processes play at once; with 1, or with a single run, it is this process.
    """

    def execute(plan: Plan, jobs: Sequence[Job]) -> Iterator[tuple[Job, Played]]:
        if count == 1 or len(jobs) < 2:
            player = Player(plan)
            for job in jobs:
                yield job, player.play(job)
            return
        executor = ProcessPoolExecutor(
            min(count, len(jobs)), multiprocessing.get_context("spawn"), initializer=_start, initargs=(plan,)
        )
        try:
            futures = {executor.submit(_play, job): job for job in jobs}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise RalsegError(
                "a game process was ended from outside, perhaps for lack of memory; run again with processes=1 to go on"
            ) from error
        finally:
            executor.shutdown(cancel_futures=True)

    return execute


_plan: Plan
_player: Player | None = None


def _start(plan: Plan) -> None:
    # Ctrl-C reaches every process of the terminal, and the parent deals with it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _plan
    _plan = plan


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _play(job: Job) -> Played:
    global _player
    # Made with the first run, not at the start, whose errors would break the pool without a word of what is wrong.
    _player = _player or Player(_plan)
    return _player.play(job)
