import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ralseg.agents.options import BatchDQNOptions
from ralseg.agents.query_policy import load_policy
from ralseg.agents.training import train
from ralseg.agents.trivial import TrivialEnv
from ralseg.foundation import RalsegError

torch.set_num_threads(1)
OPTIONS = BatchDQNOptions(warm_up=16, n_step=2, prioritised=True, target_update=7, learning_rate_floor=0.1)
WEIGHTS = replace(OPTIONS, explore_by="weights")
PLAIN = BatchDQNOptions(warm_up=16, gamma=0.0, optimiser="sgd", replay_half=False, replay_size=30)
EPISODES = 7


def run(folder, options=OPTIONS, seed=5, **arguments):
    return train(TrivialEnv, options, folder, **{"seed": seed, "episodes": EPISODES, "tensorboard": False} | arguments)


def weights(folder):
    return load_file(folder / "policy.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def killer(after):
    """Raises in the middle of a round."""

    def on_step(progress):
        if progress.env_steps >= after:
            raise KeyboardInterrupt

    return on_step


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def test_training_is_deterministic_and_depends_on_its_seed(whole, tmp_path):
    folder, result = whole
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    again = run(tmp_path / "again")
    assert same(weights(folder), weights(tmp_path / "again"))
    assert again.history == result.history
    run(tmp_path / "other", seed=6)
    assert not same(weights(folder), weights(tmp_path / "other"))


def test_training_leaves_global_generators_alone(tmp_path):
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    expected = np.random.RandomState(3).rand(), torch.random.get_rng_state()
    run(tmp_path)
    assert np.random.rand() == expected[0]  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), expected[1])


def test_one_process_and_one_for_each_stream_give_the_same_weights(whole, tmp_path):
    result = run(tmp_path, processes=2)
    assert same(weights(whole[0]), weights(tmp_path))
    assert result.history == whole[1].history


@pytest.mark.parametrize("options", [OPTIONS, PLAIN, WEIGHTS], ids=["bootstrapped", "regression", "noisy weights"])
@pytest.mark.parametrize("after", [10, 27, 41])
def test_a_resumed_training_ends_like_an_uninterrupted_one(whole, tmp_path, options, after):
    folder, result = whole
    if options is not OPTIONS:
        folder = tmp_path / "whole"
        result = run(folder, options)
    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(cut, options, on_step=killer(after))
    assert not (cut / "policy.json").exists()
    resumed = run(cut, options)
    assert same(weights(folder), weights(cut))
    assert resumed.history == result.history
    assert (resumed.env_steps, resumed.updates) == (result.env_steps, result.updates)
    assert not list(cut.rglob("*.pkl")) and not list(cut.rglob("*.pt"))
    assert len(list((cut / "checkpoint").glob("state-*"))) == 1


SCRIPT = """
import os, signal, sys, torch
torch.set_num_threads(1)
from ralseg.agents.options import BatchDQNOptions
from ralseg.agents.training import train
from ralseg.agents.trivial import TrivialEnv
options = BatchDQNOptions(warm_up=16, n_step=2, prioritised=True, target_update=7, learning_rate_floor=0.1)
def on_step(progress):
    if progress.env_steps >= 30:
        os.kill(os.getpid(), signal.SIGKILL)
train(TrivialEnv, options, sys.argv[1], seed=5, episodes=7, tensorboard=False, on_step=on_step)
"""


def test_a_training_killed_by_the_system_resumes(whole, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    record = json.loads((tmp_path / "checkpoint" / "checkpoint.json").read_text())
    assert (record["round"], record["env_steps"]) == (2, 24)
    run(tmp_path)
    assert same(weights(whole[0]), weights(tmp_path))


def test_an_observation_with_tuples_resumes(tmp_path):
    for _ in range(2):
        result = run(tmp_path, observation={"features": ("shares", "entropy")}, episodes=2)
    assert len(result.history) == 2


def test_a_finished_training_is_not_played_again(whole):
    folder, result = whole
    before = weights(folder)
    again = run(folder, on_step=killer(0))
    assert again.history == result.history
    assert same(before, weights(folder))


def test_other_settings_are_refused_by_name(whole, tmp_path):
    folder, _ = whole
    with pytest.raises(RalsegError, match=r"started with options.gamma=0.8, not 0.5"):
        run(folder, replace(OPTIONS, gamma=0.5))
    with pytest.raises(RalsegError, match="started with seed=5, not 6"):
        run(folder, seed=6)
    with pytest.raises(RalsegError, match="started with streams=2, not 1"):
        run(folder, streams=1)
    with pytest.raises(RalsegError, match=r"observation.classes=None, not 11"):
        run(folder, observation={"classes": 11})
    with pytest.raises(RalsegError, match="holds a training of 4 rounds"):
        run(folder, resume=False)
    with pytest.raises(RalsegError, match="processes is 3; it must be 1 or the number of streams, 2"):
        run(tmp_path, processes=3)
    with pytest.raises(RalsegError, match="streams at most episodes"):
        run(tmp_path, streams=9)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_step=killer(30))
    rows = tmp_path / "checkpoint" / "rows-00001.safetensors"
    content = rows.read_bytes()
    rows.write_bytes(content[: len(content) // 2])
    with pytest.raises(RalsegError, match=r"rows-00001.safetensors: missing or damaged"):
        run(tmp_path)
    rows.unlink()
    with pytest.raises(RalsegError, match=r"rows-00001.safetensors: missing or damaged"):
        run(tmp_path)


def test_a_game_that_fails_in_its_process_is_reported(tmp_path):
    with pytest.raises(RalsegError, match="game stream 0: ValueError: negative dimensions"):
        train(partial(TrivialEnv, slates=-1), OPTIONS, tmp_path, seed=0, episodes=2, processes=2)


def test_history_has_every_episode(whole):
    _, result = whole
    assert [entry["episode"] for entry in result.history] == list(range(EPISODES))
    assert result.env_steps == sum(entry["steps"] for entry in result.history) == 6 * EPISODES
    for entry in result.history:
        assert entry["miou"] == pytest.approx(100 * entry["return"] / 6)
    # Updates start with the step that completes the warm-up; a stepped stream brings four.
    assert result.updates == 4 * (result.env_steps - 16 + 2)


def test_updates_wait_for_the_first_target_of_many_steps(tmp_path):
    seen = []
    run(tmp_path, replace(PLAIN, gamma=0.9, n_step=30, warm_up=2, batch_size=2), episodes=4, on_step=seen.append)
    assert [p.loss is None for p in seen] == [True] * 5 + [False] * 7


def test_progress_is_reported(tmp_path):
    seen = []
    run(tmp_path, on_step=seen.append)
    assert [p.env_steps for p in seen] == [*range(2, 37, 2), *range(37, 43)]
    assert seen[0].exploration == 1.0 and seen[-1].exploration == pytest.approx(0.05)
    assert seen[0].loss is None and seen[-1].loss > 0
    assert seen[-1].episode == seen[-1].episodes == EPISODES
    assert [p.seconds_left is None for p in seen[:7]] == [True] * 6 + [False]
    assert seen[-1].seconds_left == 0 < seen[7].seconds_left


def test_tensorboard_has_every_point_once_after_a_resume(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tensorboard=True, on_step=killer(30))
    run(tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("agent/epsilon")] == [12, 24, 36, 42]
    assert [e.step for e in events.Scalars("game/return")] == [12, 12, 24, 24, 36, 36, 42]
    shares = [events.Scalars(f"class_share/{c:02d}")[-1].value for c in range(2)]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    for tag in ("game/miou", "game/refused", "agent/learning_rate", "agent/mean_q", "speed/env_steps_per_second"):
        assert events.Scalars(tag)
    assert [e.value for e in events.Scalars("agent/loss")][-1] > 0


def test_policy_carries_the_observation_and_the_options(tmp_path):
    run(tmp_path, observation={"classes": 11})
    description = load_policy(tmp_path).description
    assert description["observation"] == {"classes": 11}
    assert description["options"]["n_step"] == 2
    assert description["options"]["algorithm"] == "batch_dqn"
