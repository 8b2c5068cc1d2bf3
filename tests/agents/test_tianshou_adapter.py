import copy

import numpy as np
import pytest
import torch
from tianshou.data import Collector, PrioritizedVectorReplayBuffer, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams

from ralseg.agents.batch_dqn import BatchModeDQN
from ralseg.agents.networks import build_network
from ralseg.agents.options import BatchDQNOptions
from ralseg.agents.replay import OBSERVATION, Replay
from ralseg.agents.tianshou_adapter import SlatePolicy, TianshouBatchDQN, _BufferRows
from ralseg.agents.trivial import TrivialEnv
from ralseg.foundation import RalsegError, generator

torch.set_num_threads(1)


def made(options):
    """An algorithm for the trivial env, its target network unlike the online one."""
    env = TrivialEnv()
    torch.manual_seed(0)
    core = BatchModeDQN(build_network(options, env.observation_space), options, generator(0, "exploration"))
    for parameter in core.target.parameters() if core.target else []:
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return TianshouBatchDQN(core, env.action_space)


def collected(algorithm, steps, buffer=None):
    """Two streams of random play in a buffer of tianshou's."""
    envs = DummyVectorEnv([TrivialEnv, TrivialEnv])
    envs.seed([3, 4])
    buffer = VectorReplayBuffer(400, 2) if buffer is None else buffer
    algorithm.core.epsilon = 1.0
    collector = Collector(algorithm.policy, envs, buffer, exploration_noise=True)
    collector.reset()
    collector.collect(n_step=steps)
    return collector, buffer


def returns(policy):
    """Of 20 episodes of greedy play in a collector."""
    envs = DummyVectorEnv([TrivialEnv])
    envs.seed(10_000)
    return Collector(policy, envs).collect(n_episode=20, reset_before_collect=True).returns


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("double", ["textbook", "paper"])
def test_targets_are_those_of_our_own_replay(n_step, double):
    """The same play, kept by tianshou and by us, gives the same targets to the last bit; 22 steps, 3.7 episodes."""
    algorithm = made(BatchDQNOptions(gamma=0.9, n_step=n_step, double=double))
    _, buffer = collected(algorithm, 44)
    own, rows = Replay(400, 2, rng=generator(0, "replay"), n_step=n_step), _BufferRows(buffer, algorithm.core)
    for step in range(22):
        pair = np.array([step, 200 + step])
        row = {key: column.numpy() for key, column in rows.take(pair, (*OBSERVATION, "act", "signal")).items()}
        own.add(row | {"terminated": buffer.terminated[pair], "stream": np.arange(2)})
    usable = own.drawable()
    everything = np.concatenate([np.arange(22), 200 + np.arange(22)])
    found = algorithm._preprocess_batch(buffer[everything], buffer, everything)
    at = {int(row): target for row, target in zip(found.rows, found.targets, strict=True)}
    # At n 1 the newest rows serve, too: tianshou keeps the observation that follows them.
    assert set(at) == set(everything) if n_step == 1 else set(at) >= set(usable)
    assert len(at) == 44 - 2 * (n_step - 1)
    expected = algorithm.core.targets(own, usable)
    assert torch.equal(torch.stack([at[int(row)] for row in usable]), expected)
    assert not torch.equal(expected, own.take(usable, ("signal",))["signal"])


def test_an_update_is_that_of_the_core():
    algorithm = made(BatchDQNOptions(gamma=0.9, prioritised=True))
    buffer = PrioritizedVectorReplayBuffer(400, 2, alpha=0.6, beta=0.4)
    collected(algorithm, 44, buffer)
    alone = copy.deepcopy(algorithm.core)
    algorithm.policy.is_within_training_step = True
    np.random.seed(2)  # noqa: NPY002
    batch, indices = copy.deepcopy(buffer).sample(8)
    np.random.seed(2)  # noqa: NPY002
    before = buffer.weight[np.arange(len(buffer))].copy()
    stats = algorithm.update(buffer, 8)
    rows = _BufferRows(buffer, alone)
    weight = torch.as_tensor(batch.weight, dtype=torch.float32)
    expected, errors = alone.learn(rows.take(indices, (*OBSERVATION, "act")), alone.targets(rows, indices), weight)
    assert stats.loss == expected.loss
    for own, parameter in zip(algorithm.core.network.parameters(), alone.network.parameters(), strict=True):
        assert torch.equal(own, parameter)
    assert not algorithm.core.network.training
    assert set(np.flatnonzero(buffer.weight[np.arange(len(buffer))] != before)) <= set(indices)
    last = {int(row): error for row, error in zip(indices, errors, strict=True)}
    for row, error in last.items():
        assert buffer.weight[row] == pytest.approx((error + np.finfo(np.float32).eps) ** 0.6, rel=1e-5)


def test_tianshous_trainer_trains_it():
    algorithm = made(BatchDQNOptions(gamma=0.3))
    before = returns(algorithm.policy).mean()
    collector, buffer = collected(algorithm, 40)
    algorithm.fit_inputs(buffer)
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=collector, max_epochs=1, epoch_num_steps=200, collection_step_num_env_steps=4,
            update_step_num_gradient_steps_per_sample=1.0, batch_size=16, verbose=False, show_progress=False,
            training_fn=lambda epoch, env_step: algorithm.core.set_progress(min(1.0, env_step / 200)),
        )
    )  # fmt: skip
    assert algorithm.core.updates == 200
    assert algorithm.core.epsilon == pytest.approx(0.05)
    assert before < 0.6 * TrivialEnv().best_return
    assert returns(algorithm.policy).mean() > 0.9 * TrivialEnv().best_return


def test_greedy_play_does_not_explore_and_stays_in_evaluation_mode():
    algorithm = made(BatchDQNOptions(network="published", gate_features=1))
    assert not algorithm.train().core.network.training
    assert isinstance(algorithm.policy, SlatePolicy)
    algorithm.core.epsilon = 1.0
    np.testing.assert_array_equal(returns(algorithm.policy), returns(algorithm.policy))


def test_noise_on_the_weights_is_refused():
    with pytest.raises(RalsegError, match="explore_by=weights disturbs the network for whole episodes"):
        made(BatchDQNOptions(explore_by="weights"))


def test_rows_without_the_steps_of_their_target_are_refused():
    algorithm = made(BatchDQNOptions(n_step=30))
    _, buffer = collected(algorithm, 4)
    with pytest.raises(RalsegError, match="no row of the batch has the 30 steps of its target yet; collect more"):
        algorithm._preprocess_batch(buffer[np.arange(2)], buffer, np.arange(2))
