"""A comparison: every policy plays on D_V, from the same theta_0 and with the same draws."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ralseg.configs.identity import identity
from ralseg.envs import World
from ralseg.evaluation.data_record import check_data, write_data
from ralseg.evaluation.executors import Executor, local_processes
from ralseg.evaluation.gallery import gallery_images, write_maps
from ralseg.evaluation.play import Job, Plan
from ralseg.evaluation.policies import NamedPolicy, make_policies
from ralseg.evaluation.readings import check_log, code_version, log_path, log_reading
from ralseg.evaluation.request import SPLITS, checked_request
from ralseg.evaluation.results import (
    ALL,
    SUPERVISED,
    Results,
    ResultsStore,
    Row,
    bought_path,
    file_name,
    load_results,
    write_bought,
)
from ralseg.evaluation.run_folder import opened
from ralseg.foundation import write_json
from ralseg.segmentation.labels import revealed
from ralseg.segmentation.learners import FitOptions


@dataclass(frozen=True)
class RunDone:
    """What `on_run` gets after each run.

    Attributes:
        policy: name of the policy.
        seed: of the run.
        rows: of the run.
        done: number of finished runs, including those of earlier calls.
        total: number of runs in the comparison.
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
    readings: str | Path | None = None,
    command: str | None = None,
    executor: Executor | None = None,
    on_start: Callable[[World], None] | None = None,
    on_run: Callable[[RunDone], None] | None = None,
    on_pretraining: Callable[[str, int, int], None] | None = None,
) -> Results:
    """Compare policies.

    Runs whose rows are already in the folder are not played again, so a killed comparison can go on and a finished one
    can be widened by policies or draws. The same arguments give the same rows with any number of processes.

    Args:
        config: a composed configuration of either door, plain values.
        policies: see `make_policies`; or policies made elsewhere, which must be picklable with more than one process.
        folder: gets `results.csv`, `comparison.json`, `data.json`, `bought/` and `gallery/`; it is held against other
            processes meanwhile (see `ralseg.foundation.owned`).
        draws: runs of every policy; run i meets the draws of seed i.
        budgets: where the network is evaluated, in `game.budget_measure`; None: at `game.budget` alone; 0 is theta_0.
            In units each but the largest is a multiple of `game.slates`; in other measures the network is evaluated at
            the first turn that reaches the budget.
        splits: "dev", "test" or both; an empty dev is left out and noted.
        processes: number of processes that play at once; with 1 it is this one.
        fit_draws: number of runs, the first ones, after which, at each budget, a fresh network is trained to
            convergence from theta_0 on D_S and what was bought.
        supervised: whether one network is also trained in this way with all labels of D_V.
        fit: how networks are trained to convergence; None: the defaults.
        why: the purpose of reading test, for the log; by default the command and the policies.
        readings: the log of readings of test; None: `test_readings.csv` in the folder.
        command: the command line, for the report.
        executor: plays the runs, in the place of `processes` on this machine; see `ralseg.evaluation.executors`.
        on_start: called with the world when all is checked, before anything is written.
        on_run: called after every run.
        on_pretraining: called with (what, step, steps) while theta_0, or a network that a reference needs, is trained.

    Raises:
        RalsegError: if an argument is out of range, a policy cannot play this game or has learned on images that it
            would be judged on, the folder is in use, cannot be written, or holds damaged results, those of other data
            or other files, the data changes meanwhile, or a process was killed.
    """
    ready = [policy for policy in policies if isinstance(policy, NamedPolicy)]
    entries: Any = policies
    if not isinstance(policies, str | Mapping):
        entries = [entry for entry in policies if entry not in ready]
    named = [*ready, *(make_policies(entries) if entries or not ready else [])]
    folder, fit = Path(folder), fit or FitOptions(steps_per_megapixel=50, patience=4)
    log = log_path(readings, folder)
    asked = {"draws": draws, "budgets": budgets, "splits": splits, "processes": processes, "fit_draws": fit_draws}
    request = checked_request(config, named, **asked)
    world, splits, pool = request.world, request.splits, request.pool
    plan = Plan(request.config, request.budgets, splits, fit, code_version(), world.store.digest)
    jobs = _jobs(plan, named, draws, fit_draws, supervised)
    with opened(folder, "comparison"):
        check_data(folder, world)
        if "test" in splits:
            check_log(log)
        if on_start is not None:
            on_start(world)
        store = ResultsStore(folder, world.dataset.classes)
        waiting = [job for job in jobs if not _is_done(job, plan, store, folder)]
        write_json(
            folder / "comparison.json",
            {
                "config": request.config,
                "classes": world.dataset.classes,
                "policies": list(dict.fromkeys(job.name for job in jobs)),
                "references": [entry.name for entry in named if entry.sees_truth],
                "splits": splits,
                "budgets": request.budgets,
                "fit": asdict(fit),
                "run_ids": [run_id for job in jobs for run_id in (job.run_id, job.fit_id) if run_id],
                "pool": {
                    "units": len(pool),
                    "class_pixels": revealed(world.store, pool.images.tolist()).class_counts.tolist(),
                },
                "command": command,
                "gallery": [world.store.names[image] for image in gallery_images(world)],
                "notes": [*world.notes, *request.notes],
            },
        )
        write_data(folder, world)
        if waiting:
            _train_once(world, waiting, on_pretraining)
            names = " ".join(dict.fromkeys(job.name for job in waiting))
            if "test" in splits:
                log_reading(log, why or f"evaluate_policy {names}", names, len(waiting))
        begun = None
        execute = executor or local_processes(processes)
        for number, (job, (rows, bought, maps)) in enumerate(execute(plan, waiting), 1):
            if bought is not None and job.run_id is not None:
                write_bought(folder, job.run_id, bought)
                write_maps(folder, job.run_id, maps)
            store.put(rows)
            if on_run is not None:
                # Counted from the first run's end: what comes before it, processes and caches, is paid once.
                begun = begun or time.perf_counter()
                left = (time.perf_counter() - begun) / (number - 1) * (len(waiting) - number) if number > 1 else None
                on_run(RunDone(job.name, job.seed, rows, len(jobs) - len(waiting) + number, len(jobs), left))
        return load_results(folder)


def _train_once(world: World, waiting: Sequence[Job], on_pretraining: Callable[[str, int, int], None] | None) -> None:
    """Train what all runs need, so that the processes find it in the cache."""
    world.theta0("compare", on_pretraining and partial(on_pretraining, "theta_0"))
    needs = {reducer.name for job in waiting if job.policy for reducer in job.policy.policy.needs}
    if "reducible_loss" in needs:
        world.informed("compare", on_pretraining and partial(on_pretraining, "informed network"))


def _jobs(plan: Plan, policies: Sequence[NamedPolicy], draws: int, fit_draws: int, supervised: bool) -> list[Job]:
    facts = [identity(plan.config, "run"), plan.budgets]
    # Draw by draw, so that whatever is there of a comparison under way is paired.
    jobs = []
    for seed in range(draws):
        for entry in policies:
            cost = entry.training.label_cost if entry.training else 0
            stem = f"{file_name(entry.name)}-{'' if entry.training_seed is None else f's{entry.training_seed}-'}d{seed}"
            own = [*facts, entry.identity]
            fitted = f"{stem}-fit-{_digest([*own, plan.fit.facts()])}" if seed < fit_draws else None
            jobs.append(Job(entry, seed, f"{stem}-{_digest(own)}", fitted, cost))
    if supervised:
        jobs.append(Job(None, 0, None, f"{SUPERVISED}-fit-{_digest([facts[0], plan.fit.facts()])}"))
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
