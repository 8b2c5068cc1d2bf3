"""A comparison: every policy on D_V, from the same theta_0, on the same draws."""

import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ralseg.envs import FromGame, Pool, World
from ralseg.envs.build import own_parts
from ralseg.evaluation.gallery import gallery_images, write_maps
from ralseg.evaluation.play import SUPERVISED, Job, Plan, Player
from ralseg.evaluation.policies import NamedPolicy, check_policies, make_policies
from ralseg.evaluation.readings import code_version, log_reading
from ralseg.evaluation.results import (
    ALL,
    Results,
    ResultsStore,
    Row,
    bought_path,
    file_name,
    load_results,
    write_bought,
)
from ralseg.foundation import RalsegError, write_json
from ralseg.segmentation.labels import revealed
from ralseg.segmentation.learners import FitOptions

SPLITS = ("dev", "test")
READINGS = "results/test_readings.csv"
# What the rows of a run depend on; features belong to a trained policy and are in its weights' digest.
_KEYS = (
    "dataset", "taxonomy", "protocol", "network", "theta0", "game", "loss", "input_scale", "seed", "device",
    "precision",
)  # fmt: skip


@dataclass(frozen=True)
class RunDone:
    """What `on_run` is told.

    Attributes:
        policy: name of the policy.
        seed: of the run.
        rows: of the run.
        done: runs that are done, those of earlier calls included.
        total: runs of the comparison.
        seconds_left: estimate; None after the first run.
    """

    policy: str
    seed: int
    rows: list[Row]
    done: int
    total: int
    seconds_left: float | None


def compare(
    config: Mapping[str, Any],
    policies: Sequence[str | Mapping[str, Any] | NamedPolicy] | str,
    folder: str | Path,
    *,
    draws: int,
    budgets: Sequence[float] | None = None,
    splits: Sequence[str] = SPLITS,
    processes: int = 1,
    fit_draws: int = 0,
    supervised: bool = False,
    fit: FitOptions | None = None,
    why: str = "",
    readings: str | Path = READINGS,
    command: str | None = None,
    on_run: Callable[[RunDone], None] | None = None,
    on_pretraining: Callable[[str, int, int], None] | None = None,
) -> Results:
    """Compare policies.

    Runs whose rows the folder holds already are not played again: a comparison that was killed goes on, and one can be
    widened by policies or draws. The same arguments give the same rows with any number of processes.

    Args:
        config: a composed configuration of either door, plain values.
        policies: see `make_policies`; or policies made elsewhere, which must be picklable with more than one process.
        folder: gets `results.csv`, `comparison.json`, `bought/` and `gallery/`.
        draws: runs of every policy; run i meets the draws of seed i.
        budgets: where the network is evaluated, in `game.budget_measure`; None: at `game.budget` alone; 0 is theta_0.
            In units each but the largest is a multiple of `game.slates`; in other measures the network is evaluated at
            the first turn that reaches the budget.
        splits: "dev", "test" or both; an empty dev is left out and noted.
        processes: how many play at once; 1: this one.
        fit_draws: runs (the first ones) after which, at each budget, a fresh network is trained to convergence from
            theta_0 on D_S and what was bought.
        supervised: whether the same is done, once, with all labels of D_V.
        fit: how; None: the defaults.
        why: what test is read for; default: the door and the policies.
        readings: the log of readings of test.
        command: what was typed to get here, for the report.
        on_run: called after every run.
        on_pretraining: called with (what, step, steps) while theta_0, or a network that a reference needs, is trained.

    Raises:
        RalsegError: if an argument is out of range, a policy cannot play this game or has learned on images that it
            would be judged on, the folder's results are damaged or of another data set, or a process was killed.
    """
    ready = [policy for policy in policies if isinstance(policy, NamedPolicy)]
    single = isinstance(policies, str | Mapping)
    entries = policies if single else [entry for entry in policies if entry not in ready]
    named = [*ready, *(make_policies(entries) if entries or not ready else [])]
    folder, fit = Path(folder), fit or FitOptions(steps_per_megapixel=50, patience=4)
    config, budgets = _with_budgets(config, budgets)
    for name, value, least in (("draws", draws, 1), ("processes", processes, 1), ("fit.draws", fit_draws, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise RalsegError(f"{name}={value!r} is out of range; it is a whole number, {least} or more")
    check_policies(named, config)
    world = World(config)
    world.check(observed=False)
    world.check_noises(reducer.noise for entry in named for reducer in entry.policy.needs)
    splits, notes = playable_splits(world, splits)
    pool = Pool(world.store, world.images("compare"), world.unit)
    _check_budgets(world, pool, budgets)
    for entry in named:
        _check_unseen(entry, world, splits)
    plan = Plan(config, tuple(budgets), splits, fit, code_version())
    jobs = _jobs(plan, named, draws, fit_draws, supervised)
    store = ResultsStore(folder, world.dataset.classes)
    waiting = [job for job in jobs if not _is_done(job, plan, store, folder)]
    write_json(
        folder / "comparison.json",
        {
            "config": config,
            "classes": world.dataset.classes,
            "policies": list(dict.fromkeys(job.name for job in jobs)),
            "references": [entry.name for entry in named if entry.sees_truth],
            "splits": splits,
            "budgets": budgets,
            "fit": asdict(fit),
            "run_ids": [run_id for job in jobs for run_id in (job.run_id, job.fit_id) if run_id],
            "pool": {
                "units": len(pool),
                "class_pixels": revealed(world.store, pool.images.tolist()).class_counts.tolist(),
            },
            "command": command,
            "gallery": [world.store.names[image] for image in gallery_images(world)],
            "notes": [*world.notes, *notes],
        },
    )
    if waiting:
        # Trained here once, so that the processes find it in the cache.
        world.theta0("compare", on_pretraining and partial(on_pretraining, "theta_0"))
        if any(FromGame("reducible_loss") in job.policy.policy.needs for job in waiting if job.policy):
            world.informed("compare", on_pretraining and partial(on_pretraining, "informed network"))
        names = " ".join(dict.fromkeys(job.name for job in waiting))
        if "test" in splits:
            log_reading(readings, why or f"evaluate_policy {names}", names, len(waiting))
    begun = None
    for number, (job, rows, bought, maps) in enumerate(_played(plan, waiting, processes), 1):
        if bought is not None:
            write_bought(folder, job.run_id, bought)
            write_maps(folder, job.run_id, maps)
        store.put(rows)
        if on_run is not None:
            # Counted from the first run's end: what comes before it, processes and caches, is paid once.
            begun = begun or time.perf_counter()
            left = (time.perf_counter() - begun) / (number - 1) * (len(waiting) - number) if number > 1 else None
            on_run(RunDone(job.name, job.seed, rows, len(jobs) - len(waiting) + number, len(jobs), left))
    return load_results(folder)


def _with_budgets(config: Mapping[str, Any], budgets: Sequence[float] | None) -> tuple[dict[str, Any], list[float]]:
    budgets = [config["game"]["budget"]] if budgets is None else budgets
    if isinstance(budgets, str) or not budgets or any(isinstance(b, bool | str) or b < 0 for b in budgets):
        raise RalsegError(f"budgets={budgets} is not a list of numbers, 0 or more, e.g. budgets=[240,480]")
    budgets = sorted(set(budgets))
    return {**config, "game": {**config["game"], "budget": budgets[-1]}}, budgets


def _check_budgets(world: World, pool: Pool, budgets: Sequence[float]) -> None:
    options = world.game_options
    most = {"units": len(pool), "pixels": pool.pixels, "share": 1}[options.budget_measure]
    if budgets[-1] > most:
        raise RalsegError(f"budget {budgets[-1]} is more than D_V has, {most} {options.budget_measure}; lower it")
    uneven = [budget for budget in budgets[:-1] if budget % options.slates]
    if options.budget_measure == "units" and uneven:
        raise RalsegError(
            f"budget {uneven[0]} is no multiple of game.slates={options.slates}, the units that a turn buys; "
            "only the largest budget may be uneven"
        )


def playable_splits(world: World, splits: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The splits that the protocol has, of those asked for, and a note on each that is left out.

    Raises:
        RalsegError: for an unknown split, or if none is left.
    """
    if isinstance(splits, str) or not splits or not set(splits) <= set(SPLITS):
        raise RalsegError(f"splits={splits} is unknown; choose from [{', '.join(SPLITS)}]")
    kept = tuple(split for split in SPLITS if split in splits and world.images(split))
    if not kept:
        raise RalsegError("splits=[dev], but the protocol has no dev; add test or choose another protocol")
    return kept, [f"the protocol has no {split}; it is left out" for split in splits if split not in kept]


def _check_unseen(entry: NamedPolicy, world: World, played: Sequence[str]) -> None:
    """No image that a policy learned on may be bought or judged on; another data set has other images."""
    if entry.training is None or not entry.training.shares_images_with(world.config):
        return
    judging = {name for role in ("compare", *played) for name in getattr(world.splits, role)}
    if seen := entry.training.learned_on & judging:
        raise RalsegError(
            f"{entry.name} learned on {len(seen)} images that it would be judged on, e.g. {min(seen)!r}; "
            "set protocol as in its training"
        )


def _jobs(plan: Plan, policies: Sequence[NamedPolicy], draws: int, fit_draws: int, supervised: bool) -> list[Job]:
    facts = [{key: plan.config[key] for key in _KEYS} | own_parts(plan.config), plan.budgets]
    # Draw by draw, so that whatever is there of a comparison under way is paired.
    jobs = []
    for seed in range(draws):
        for entry in policies:
            cost = entry.training.label_cost if entry.training else 0
            stem = f"{file_name(entry.name)}-{'' if entry.training_seed is None else f's{entry.training_seed}-'}d{seed}"
            own = [*facts, entry.identity]
            fitted = f"{stem}-fit-{_digest([*own, asdict(plan.fit)])}" if seed < fit_draws else None
            jobs.append(Job(entry, seed, f"{stem}-{_digest(own)}", fitted, cost))
    if supervised:
        jobs.append(Job(None, 0, None, f"{SUPERVISED}-fit-{_digest([facts[0], asdict(plan.fit)])}"))
    return jobs


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]


def _is_done(job: Job, plan: Plan, store: ResultsStore, folder: Path) -> bool:
    budgets = plan.budgets if job.policy else (ALL,)
    wanted = [
        (run_id, budget, split)
        for run_id in (job.run_id, job.fit_id)
        if run_id
        for budget in budgets
        for split in plan.splits
    ]
    bought = job.run_id is None or bought_path(folder, job.run_id).exists()
    return bought and all(key in store.rows for key in wanted)


def _played(plan: Plan, jobs: Sequence[Job], processes: int) -> Iterator[tuple]:
    if processes == 1 or len(jobs) < 2:
        player = Player(plan)
        for job in jobs:
            yield job, *player.play(job)
        return
    executor = ProcessPoolExecutor(
        min(processes, len(jobs)), multiprocessing.get_context("spawn"), initializer=_start, initargs=(plan,)
    )
    try:
        futures = {executor.submit(_play, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], *future.result()
    except BrokenProcessPool as error:
        raise RalsegError(
            "a game process was ended from outside, perhaps for want of memory; run again to go on, with processes=1"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


_player: Player


def _start(plan: Plan) -> None:
    # Ctrl-C reaches every process of the terminal: this one has nothing to say about it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _player
    _player = Player(plan)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _play(job: Job) -> tuple:
    return _player.play(job)
