"""Training of the batch-mode double DQN in rounds of one episode per game stream, with a checkpoint after each."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ralseg.agents.batch_dqn import BatchModeDQN, UpdateStats
from ralseg.agents.checkpoint import load_checkpoint, read_record, save_checkpoint
from ralseg.agents.collection import MakeEnv, Observation, Step, Streams, open_streams
from ralseg.agents.networks import build_network
from ralseg.agents.options import BatchDQNOptions
from ralseg.agents.progress import Progress, TrainingResult, seconds_left
from ralseg.agents.query_network import QueryNetwork
from ralseg.agents.query_policy import save_policy
from ralseg.agents.replay import OBSERVATION, PrioritisedReplay, Replay, as_stored
from ralseg.agents.training_log import TrainingLog
from ralseg.features import TokenLayout
from ralseg.foundation import RalsegError, generator, integer


def train(
    make_env: MakeEnv | Sequence[MakeEnv],
    options: BatchDQNOptions,
    run_folder: str | Path,
    *,
    seed: int,
    episodes: int,
    streams: int = 2,
    processes: int = 1,
    observation: dict[str, Any] | None = None,
    prior_column: int | None = None,
    tokens: TokenLayout | None = None,
    tensorboard: bool = True,
    on_step: Callable[[Progress], None] | None = None,
    resume: bool = True,
) -> TrainingResult:
    """Train a query network; the same arguments give the same weights, even if the training is killed and resumed.

    Episode e is played on game stream e mod `streams`, with the seed of the random stream `("episode", e)`. A round is
    one episode on every game stream; the streams step together. Epsilon and learning rate follow the share of episodes
    played before the round.

    Args:
        make_env: makes the env, or a sequence with one maker per stream, e.g. for games of several networks with the
            same observation space; must be picklable (a dataclass with `__call__`) unless `processes` is 1.
        options: the settings.
        run_folder: the folder for `checkpoint/`, `tensorboard/`, `policy.safetensors` and `policy.json`.
        seed: root seed of network, exploration, replay and episodes.
        episodes: number of episodes over all streams.
        streams: number of game streams; another number gives other weights.
        processes: 1 plays the streams in turn in this process, `streams` gives each its own spawned process; the
            weights are the same.
        observation: how the observation is made, JSON values; stored in `policy.json` and compared on resume.
        prior_column: the index of `options.prior_of` among a candidate's features; needed with `options.prior`.
        tokens: the layout of an observation's rows; needed for `options.network=tokens`.
        tensorboard: whether to write TensorBoard files.
        on_step: called after every step of the streams.
        resume: whether to continue from a checkpoint in `run_folder`; False refuses a folder that holds one.

    Raises:
        RalsegError: if an argument is out of range, the checkpoint has other settings, or the env breaks its contract
            (wrong spaces, a reward that is not finite, a missing credit, a truncated episode).
    """
    if episodes < 1 or streams < 1 or streams > episodes:
        raise RalsegError(
            f"episodes is {episodes} and streams {streams}; both must be at least 1, streams at most episodes"
        )
    if processes not in (1, streams):
        raise RalsegError(f"processes is {processes}; it must be 1 or the number of streams, {streams}")
    folder = Path(run_folder)
    observation = observation or {}
    settings = {"options": asdict(options), "seed": seed, "episodes": episodes, "streams": streams}
    settings = json.loads(json.dumps(settings | {"observation": observation}))  # as a checkpoint restores them
    record = read_record(folder / "checkpoint", settings)
    if record and not resume:
        raise RalsegError(f"{folder}: holds a training of {record['round']} rounds; resume it or choose another folder")
    with (
        open_streams(make_env, streams, processes) as games,
        TrainingLog(folder / "tensorboard", record["env_steps"] if record else None, tensorboard) as log,
    ):
        network = partial(build_network, options, games.observation_space, prior_column, tokens)
        training = _Training(games, options, folder, settings, network, on_step)
        if record:
            training.restore(record)
        training.run(log)
    save_policy(folder, training.network, observation=observation, options=asdict(options))
    return TrainingResult(folder, training.network, training.env_steps, training.algorithm.updates, training.history)


class _Training:
    """The loop and its counters."""

    def __init__(
        self,
        games: Streams,
        options: BatchDQNOptions,
        folder: Path,
        settings: dict[str, Any],
        network: Callable[[], QueryNetwork],
        on_step: Callable[[Progress], None] | None,
    ) -> None:
        self.games, self.options, self.folder, self.settings, self.on_step = games, options, folder, settings, on_step
        self.seed, self.episodes, self.streams = settings["seed"], settings["episodes"], settings["streams"]
        with torch.random.fork_rng():
            torch.manual_seed(integer(self.seed, "query network"))
            self.network = network()
        self.algorithm = BatchModeDQN(self.network, options, generator(self.seed, "exploration"))
        kind: Callable[..., Replay] = Replay
        if options.prioritised:
            kind = partial(PrioritisedReplay, alpha=options.priority_alpha, beta=options.priority_beta)
        rng = generator(self.seed, "replay")
        self.replay = kind(options.replay_size, self.streams, rng=rng, n_step=options.n_step)
        self.round = self.env_steps = 0
        self.history: list[dict[str, float]] = []
        self.stats: UpdateStats | None = None

    def restore(self, record: dict[str, Any]) -> None:
        """Continue after the last complete round."""
        load_checkpoint(self.folder / "checkpoint", record, self.algorithm, self.replay)
        self.round, self.env_steps, self.history = record["round"], record["env_steps"], record["history"]

    def run(self, log: TrainingLog) -> None:
        """Play the remaining rounds."""
        self.begun, self.first_steps = time.perf_counter(), self.env_steps
        rounds = -(-self.episodes // self.streams)
        while self.round < rounds:
            self.algorithm.set_progress(self.round * self.streams / self.episodes)
            rows = self._play_round(log)
            self.round += 1
            record = {"settings": self.settings, "env_steps": self.env_steps, "history": self.history}
            save_checkpoint(self.folder / "checkpoint", self.round, self.algorithm, self.replay, rows, record)

    def _play_round(self, log: TrainingLog) -> list[dict[str, np.ndarray]]:
        first = self.round * self.streams
        running = np.arange(min(self.streams, self.episodes - first))
        totals = [{"episode": first + int(i), "steps": 0, "return": 0.0, "miou": 0.0, "refused": 0} for i in running]
        shares: list[Any] = [0.0 for _ in running]
        observations = self.games.reset({int(i): integer(self.seed, "episode", first + int(i)) for i in running})
        self.algorithm.begin(len(running))
        rows = []
        step = 0
        while len(running):
            seen = {key: np.stack([o[key] for o in observations]) for key in OBSERVATION}
            act = self.algorithm.choose(seen, running)
            results = self.games.step({int(i): choice for i, choice in zip(running, act, strict=True)})
            row = self._row(observations, act, results, running, first, step)
            self.replay.add(row)
            rows.append(row)
            self.env_steps += len(running)
            step += 1
            for i, (_, reward, _, _, info) in zip(running, results, strict=True):
                total = totals[i]
                total["steps"] += 1
                total["return"] += float(reward)
                total["miou"] = float(info["miou"])
                total["refused"] += int(info["refused"])
                shares[i] = shares[i] + info["class_shares"]
            self._learn(len(running))
            self._report([totals[i] for i in running], first + len(totals))
            for i in running[row["terminated"]]:
                log.episode(self.env_steps, totals[i], shares[i] / totals[i]["steps"])
            observations = [result[0] for result in results if not result[2]]
            running = running[~row["terminated"]]
        log.round(self.env_steps, self.algorithm, self.stats, self._speed())
        self.history.extend(totals)
        return rows

    def _row(
        self,
        observations: list[Observation],
        act: np.ndarray,
        results: list[Step],
        running: np.ndarray,
        first: int,
        step: int,
    ) -> dict[str, np.ndarray]:
        entries = []
        for i, observation, (_, reward, _, truncated, info) in zip(running, observations, results, strict=True):
            where = f"episode {first + i}, step {step}"
            if not np.isfinite(float(reward)):
                raise RalsegError(f"{where}: the env's reward is {reward}; fix the env or its learner")
            if truncated:
                raise RalsegError(
                    f"{where}: the env truncated the episode; it must end by termination only (no TimeLimit)"
                )
            stored = as_stored(observation, self.options.replay_half, where)
            entries.append(stored | {"signal": self.algorithm.signal(float(reward), info, stored, where)})
        row = {key: np.stack([entry[key] for entry in entries]) for key in entries[0]}
        return row | {
            "act": act.astype(np.int64),
            "rew": np.array([float(result[1]) for result in results], np.float64),
            "terminated": np.array([result[2] for result in results], bool),
            "stream": running.astype(np.int64),
            "step": np.full(len(running), step),
        }

    def _learn(self, stepped: int) -> None:
        if self.env_steps < self.options.warm_up:
            return
        if self.env_steps - stepped < self.options.warm_up:
            self.algorithm.fit_inputs(self.replay.take(self.replay.rows()))
        if not len(self.replay.drawable()):  # no row has the n steps of its target yet
            return
        for _ in range(stepped * self.options.updates_per_step):
            self.stats = self.algorithm.update(self.replay, self.options.batch_size)
            if not np.isfinite(self.stats.loss):
                raise RalsegError(
                    f"the loss is {self.stats.loss} after {self.algorithm.updates} updates; lower learning_rate"
                )

    def _speed(self) -> float:
        return (self.env_steps - self.first_steps) / max(1e-9, time.perf_counter() - self.begun)

    def _report(self, totals: list[dict[str, float]], begun: int) -> None:
        if self.on_step is None:
            return
        speed = self._speed()
        self.on_step(
            Progress(
                episode=begun,
                episodes=self.episodes,
                env_steps=self.env_steps,
                miou=float(np.mean([total["miou"] for total in totals])),
                episode_return=float(np.mean([total["return"] for total in totals])),
                exploration=self.algorithm.epsilon,
                loss=self.stats.loss if self.stats else None,
                steps_per_second=speed,
                seconds_left=seconds_left(self.history, self.episodes, self.env_steps, speed),
            )
        )
