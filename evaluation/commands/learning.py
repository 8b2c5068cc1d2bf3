"""The command `train_agent.py`: train theta_0, learn a policy with live progress, compare it at the end."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console

from ralseg.agents.options import SB3Options, agent_options
from ralseg.agents.progress import Progress
from ralseg.agents.query_network import PublishedQueryNetwork
from ralseg.configs.identity import identity
from ralseg.envs import EnvFactory, Pool, World
from ralseg.evaluation.commands.comparing import FitPlan, compare_and_report, show_data
from ralseg.evaluation.data_record import check_data, write_data
from ralseg.evaluation.policies import make_policies, make_policy
from ralseg.evaluation.readings import check_log, log_path
from ralseg.evaluation.request import checked_request
from ralseg.evaluation.run_folder import COMPARISON, opened, run_folder
from ralseg.evaluation.training_record import CONFIG, write_record
from ralseg.foundation import Count, RalsegError, Range, Settings, checked, read_json, settings
from ralseg.foundation.torchrun import started
from ralseg.segmentation.devices import single_thread

SILENCE = 5.0
"""Seconds between progress lines where the output is no terminal."""


@dataclass(frozen=True)
class TrainingOptions(Settings, group="training"):
    """How much is played.

    Attributes:
        seed: of the agent: network, exploration, replay and the draws of its episodes (theta_0 has the root seed).
        episodes: games played on D_T.
        streams: games played side by side; part of the result.
        networks: how many theta_0 the streams play with in turn, those of the root seeds `seed`, `seed` + 1, ...
        processes: 1, or as many as streams; not part of the result.
        tensorboard: whether to log to TensorBoard.
    """

    seed: Annotated[int, Range(0)] = 0
    episodes: Count = 40
    streams: Count = 2
    networks: Count = 1
    processes: Count = 2
    tensorboard: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.streams > self.episodes:
            raise RalsegError(f"streams={self.streams} must be at most episodes={self.episodes}; lower streams")
        if self.networks > self.streams:
            raise RalsegError(f"networks={self.networks} must be at most streams={self.streams}")
        if self.processes not in (1, self.streams):
            raise RalsegError(f"processes={self.processes} must be 1 or as many as streams={self.streams}")
        if self.processes > 1 and started() > 1:
            raise RalsegError(
                f"training.processes={self.processes} plays several games at once, but the {started()} processes that "
                "torchrun started train together in one game after the other; set training.processes=1"
            )


def learn_and_compare(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Learn the policy that a configuration describes and compare it; a run folder that is there is continued.

    Args:
        config: composed from `train_agent.yaml`.
        overrides: kept beside it in the run folder.

    Raises:
        RalsegError: for bad settings, before anything is written; or if the run folder is of other settings.
    """
    single_thread()
    console = Console(width=None if sys.stdout.isatty() else 120)
    options = agent_options(config["agent"])
    training = settings(TrainingOptions, config["training"], "training")
    checked(bool, config["resume"], "resume")
    folder = run_folder(config)
    log = log_path(config["comparison"]["readings"], folder / COMPARISON, "comparison.")
    world = World(config)
    world.check()
    _check_agent(options, world)
    _check_networks(options, training, world)
    _check_comparison(config)
    # The comparison has a folder that `evaluate_policy.py` could be given, too.
    with opened(folder, "training"), opened(folder / COMPARISON, "comparison"):
        _check_folder(folder, config)
        check_data(folder, world)
        check_data(folder / COMPARISON, world)
        if "test" in config["comparison"]["splits"]:
            check_log(log, "comparison.")
        _announce(world, folder, console)
        write_record(folder, world, overrides)
        write_data(folder, world)
        with _Ticker(console) as ticker:
            _learn(world, options, training, folder, ticker)
        check_data(folder, World(config))
        learned = replace(make_policy(f"run:{folder}"), name="learned")
        compare_and_report({**config, **config["comparison"]}, folder / COMPARISON, console, [learned])
    console.print(
        f"The policy is in {folder}. Compare it further: evaluate_policy.py 'policies=[random,run:{folder}]' ...",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _announce(world: World, folder: Path, console: Console) -> None:
    show_data(world, console)
    cut = world.config["game"]["learn"]["cut"]
    console.print(f"game {cut}, loss {world.config['loss']}; run folder {folder}", highlight=False)
    for note in world.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)


def _check_comparison(config: Mapping[str, Any]) -> None:
    """Refuse a comparison that could not be played after the training."""
    comparison = config["comparison"]
    fit = settings(FitPlan, comparison["fit"], "comparison.fit")
    policies = make_policies(comparison["policies"], comparison["only"]) if comparison["policies"] else []
    asked = {name: comparison[name] for name in ("draws", "budgets", "splits", "processes")}
    checked_request({**config, **comparison}, policies, fit_draws=fit.draws, where="comparison.", **asked)


def _learn(world: World, options: Any, training: TrainingOptions, folder: Path, ticker: "_Ticker") -> None:
    config = world.config
    # What no agent learns from is not computed; Stable-Baselines3's learn from the env's reward alone.
    signal = {} if isinstance(options, SB3Options) else asdict(options.signal)
    hindsight = {"credit": bool(signal.get("credit")), "reference": bool(signal.get("reference"))}
    configs = [{**config, "seed": config["seed"] + n} for n in range(training.networks)]
    factories = [EnvFactory(one, "train", **hindsight, data=world.store.digest) for one in configs]
    for one in (World(one, world.store.digest) for one in configs):
        # Trained here once, so that the games' processes find them in the cache.
        one.theta0("train", ticker.pretraining("theta_0"))
        if hindsight["reference"] and one.game_options.reference == "reducible_loss":
            one.informed("train", ticker.pretraining("informed network"))
    observation = {"features": config["features"], "dataset": config["dataset"]}
    shared = {"seed": training.seed, "episodes": training.episodes, "observation": observation}
    shared |= {"tensorboard": training.tensorboard, "on_step": ticker.progress}
    if isinstance(options, SB3Options):
        # Stable-Baselines3 is only imported where it is asked for: it takes seconds, as tianshou does.
        from ralseg.agents.sb3 import train_sb3

        train_sb3(factories[0], options, folder, **shared)
    else:
        from ralseg.agents.training import train

        train(
            [factories[stream % training.networks] for stream in range(training.streams)],
            options,
            folder,
            prior_column=world.spec.prior_column(options.prior_of),
            tokens=world.spec.token_layout,
            streams=training.streams,
            processes=training.processes,
            resume=config["resume"],
            **shared,
        )


def _check_agent(options: Any, world: World) -> None:
    """What an agent needs of the features, seen before anything is trained."""
    if isinstance(options, SB3Options):
        return
    spec = world.spec
    if options.network == "published":
        # The published network reads published observations alone; to see that, it is built.
        units = len(Pool(world.store, world.images("state"), world.unit))
        PublishedQueryNetwork(units, spec.state_width, spec.candidate_width, options.gate_features)
        if "kl_unlabelled" not in spec.candidate_parts[-1]:
            raise RalsegError(
                "agent.network=published takes a candidate's last numbers for its KL histograms, and these features "
                f"end in {spec.candidate_parts[-1]}; set features=published or agent.network=compact"
            )
        return
    if options.network == "tokens" and spec.token_layout is None:
        raise RalsegError(
            "agent.network=tokens reads numbers per class and such as mean the same with any network, and features="
            f"{world.config['features']['preset']} hold others; set features=transferable"
        )
    if options.prior and spec.prior_column(options.prior_of) is None:
        has = {
            "margin": "features=embedding, compact or transferable",
            "disagreement": "features=noisy, or agent.prior_of=margin",
        }
        raise RalsegError(
            f"agent.prior={options.prior:g} is a weight of a candidate's {options.prior_of}, which features="
            f"{world.config['features']['preset']} do not hold; set {has[options.prior_of]} or agent.prior=0"
        )


def _check_networks(options: Any, training: TrainingOptions, world: World) -> None:
    """Several theta_0 need several games, and observations that mean the same in all of them."""
    if training.networks > 1 and isinstance(options, SB3Options):
        raise RalsegError("training.networks is for agents of several streams; Stable-Baselines3 plays one game, set 1")
    if training.networks > 1 and world.spec.holds_embedding:
        raise RalsegError(
            f"training.networks={training.networks}: the embeddings of different networks are not alike; take features "
            "without, e.g. features=transferable with agent=transferable"
        )


def _check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """A run folder belongs to one configuration; what is compared afterwards may change."""
    path = folder / CONFIG
    if not path.exists():
        return
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise RalsegError(f"{path}: not the configuration of a training; choose another folder with run=<folder>")
    before, now = identity(record["config"], "folder"), identity(config, "folder")
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing:
        raise RalsegError(
            f"{folder} holds a run with another {', '.join(differing)}; choose another folder with run=<folder>"
        )


class _Ticker:
    """Progress: one line that is rewritten in a terminal, a line every few seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console, self._status, self._last = console, None, 0.0

    def __enter__(self) -> "_Ticker":
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, text: str, last: bool = False) -> None:
        """Show where things stand; `last` is never dropped."""
        now = time.monotonic()
        if self._status is not None:
            self._status.update(text)
        if (self._status is None and now - self._last >= SILENCE) or last:
            self._console.print(text, highlight=False, soft_wrap=True)
            self._last = now

    def pretraining(self, what: str) -> Callable[[int, int], None]:
        """Shows the progress of a network's pretraining, (step, steps)."""
        return lambda step, steps: self.tell(f"{what}: step {step}/{steps}", step == steps)

    def progress(self, at: Progress) -> None:
        """Show the progress of learning."""
        left = "?" if at.seconds_left is None else f"{at.seconds_left / 60:.1f} min"
        exploration = "" if at.exploration is None else f", exploration {at.exploration:.2f}"
        text = (
            f"episode {at.episode}/{at.episodes}, step {at.env_steps}: mIoU {at.miou:.2f}, "
            f"return {at.episode_return:+.2f}{exploration}, {at.steps_per_second:.2f} steps/s, {left} left"
        )
        self.tell(text, last=at.episode >= at.episodes and at.seconds_left is not None and at.seconds_left <= 0)
