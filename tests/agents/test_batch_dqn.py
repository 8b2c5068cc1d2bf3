import copy
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from ralseg.agents.batch_dqn import BatchModeDQN, standardise
from ralseg.agents.env_spaces import env_spaces
from ralseg.agents.networks import build_network
from ralseg.agents.options import BatchDQNOptions, Signal, agent_options
from ralseg.agents.query_policy import load_policy
from ralseg.agents.replay import OBSERVATION, PrioritisedReplay, Replay, as_stored
from ralseg.agents.training import train
from ralseg.agents.trivial import TrivialEnv
from ralseg.configs import composed
from ralseg.foundation import RalsegError, generator

torch.set_num_threads(1)
STREAMS = 2


def played(options, steps=22, seed=0, size=200):
    """A replay of two streams of random play, the rows in it in order for each stream, and a fresh algorithm."""
    rng = np.random.default_rng(seed)
    envs = [TrivialEnv(slates=3, size=4, steps=6, closed=0.4) for _ in range(STREAMS)]
    torch.manual_seed(seed)
    network = build_network(options, envs[0].observation_space)
    algorithm = BatchModeDQN(network, options, generator(seed, "exploration"))
    kind, exponents = Replay, {}
    if options.prioritised:
        kind, exponents = PrioritisedReplay, {"alpha": options.priority_alpha, "beta": options.priority_beta}
    replay = kind(size, STREAMS, rng=generator(seed, "replay"), n_step=options.n_step, **exponents)
    rows = [[] for _ in envs]
    observations = [env.reset(seed=n)[0] for n, env in enumerate(envs)]
    for _ in range(steps):
        entries = []
        for n, env in enumerate(envs):
            act = rng.integers(0, 4, 3)
            after, reward, terminated, _, _ = env.step(act)
            mask = observations[n]["mask"]
            signal = np.where(mask == 1, rng.standard_normal(mask.shape), 0).astype(np.float32)
            entry = as_stored(observations[n], False, "") | {
                "act": act, "rew": reward, "terminated": terminated, "signal": signal, "stream": n
            }  # fmt: skip
            entries.append(entry)
            rows[n].append(entry)
            observations[n] = env.reset()[0] if terminated else after
        replay.add({key: np.stack([entry[key] for entry in entries]) for key in entries[0]})
    for parameter in algorithm.target.parameters() if algorithm.target else []:
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return replay, rows, algorithm


def slow_target(rows, t, slate, candidate, algorithm, options):
    """The target of one candidate, from the definition, one number at a time."""

    def q(network, row, k):
        obs = {key: row[key][None] for key in ("state", "candidates", "mask")}
        with torch.no_grad():
            return network(obs)[0, k].numpy().astype(float)

    total, discount = float(rows[t]["signal"][slate, candidate]), 1.0
    for i in range(options.n_step):
        if i:
            total += discount * float(rows[t + i]["signal"][slate, rows[t + i]["act"][slate]])
        discount *= options.gamma
        if rows[t + i]["terminated"]:
            return total
    after = rows[t + options.n_step]
    online, target = q(algorithm.network, after, slate), q(algorithm.target, after, slate)
    selector = online if options.double == "textbook" else target
    evaluator = online if options.double == "paper" else target
    open_ = [j for j in range(len(online)) if after["mask"][slate, j] == 1]
    return total + (discount * evaluator[max(open_, key=lambda j: selector[j])] if open_ else 0.0)


@pytest.mark.parametrize(
    ("gamma", "n_step", "double"),
    [(0.9, 1, "textbook"), (0.9, 1, "paper"), (0.9, 3, "textbook"), (0.9, 3, "none"), (0.0, 1, "textbook")],
)
def test_targets_are_those_of_a_loop(gamma, n_step, double):
    options = BatchDQNOptions(gamma=gamma, n_step=n_step, double=double)
    replay, rows, algorithm = played(options)
    indices = np.unique(replay.sample(2000))
    returns = algorithm.targets(replay, indices)
    empty_next = 0
    for index, found in zip(indices, returns.numpy(), strict=True):
        stream, t = divmod(int(index), 100)
        for slate in range(3):
            for candidate in range(4):
                expected = slow_target(rows[stream], t, slate, candidate, algorithm, options) if gamma else float(
                    rows[stream][t]["signal"][slate, candidate]
                )  # fmt: skip
                assert found[slate, candidate] == pytest.approx(expected, abs=1e-5)
        after = rows[stream][t + 1] if t + 1 < len(rows[stream]) else None
        empty_next += after is not None and not after["mask"].any(axis=1).all()
    assert empty_next > 0  # slates that are empty at the next step are among what was checked


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("prioritised", [False, True])
def test_rows_without_a_stored_follower_are_never_drawn(n_step, prioritised):
    # Steps 18 to 21 of each stream belong to an episode that still runs.
    replay, _, _ = played(BatchDQNOptions(n_step=n_step, prioritised=prioritised))
    drawn = set(np.unique(replay.sample(5000)))
    usable = set(range(22 - n_step))
    assert drawn == usable | {100 + row for row in usable}


def test_a_full_replay_keeps_the_newest_rows():
    replay, rows, _ = played(BatchDQNOptions(), steps=22, size=20)
    assert len(replay) == 20
    kept = {float(replay.arrays["state"][i, 0, 0]) for i in range(10)}
    assert kept == {float(row["state"][0, 0]) for row in rows[0][-10:]}
    drawn = np.unique(replay.sample(2000))
    newest = 21 % 10
    assert set(drawn) == set(range(20)) - {newest, 10 + newest}
    following = replay.take(replay.next(np.array([0])))["state"][0, 0, 0]
    assert float(following) == float(rows[0][21]["state"][0, 0])


def test_prioritised_replay_draws_in_proportion_to_priorities():
    replay, _, _ = played(BatchDQNOptions(prioritised=True, priority_alpha=1.0))
    replay.prioritise(np.arange(21), np.full(21, 1.0))
    replay.prioritise(100 + np.arange(21), np.full(21, 3.0))
    share = (replay.sample(20_000) >= 100).mean()
    assert share == pytest.approx(0.75, abs=0.02)


def test_importance_undoes_the_preference_by_hand():
    """Priorities 1, 4 and 16 under alpha 0.5 are drawn as 1 to 2 to 4; beta 0.5 weighs them by 1 / sqrt of that."""
    replay, _, _ = played(BatchDQNOptions(prioritised=True, priority_alpha=0.5, priority_beta=0.5))
    replay.prioritise(np.arange(3), np.array([1.0, 4.0, 16.0]))
    np.testing.assert_allclose(replay.importance(np.arange(3)), [1, 0.5**0.5, 0.5], rtol=1e-6)
    # The largest weight is that of the batch, not of the replay.
    np.testing.assert_allclose(replay.importance(np.array([2, 1])), [0.5**0.5, 1], rtol=1e-6)


@pytest.mark.parametrize("prioritised", [False, True])
def test_an_update_weighs_each_step_by_its_importance(prioritised, monkeypatch):
    options = BatchDQNOptions(prioritised=prioritised, priority_beta=1.0)
    replay, _, algorithm = played(options)
    given = []
    learn = algorithm.learn
    monkeypatch.setattr(algorithm, "learn", lambda *arguments: given.append(arguments) or learn(*arguments))
    if prioritised:
        replay.prioritise(np.arange(44), np.linspace(0.1, 3, 44))
    drawn = copy.deepcopy(replay).sample(8)
    before = replay.weight.copy() if prioritised else None
    algorithm.update(replay, 8)
    assert len(given[0]) == (3 if prioritised else 2)
    if prioritised:
        expected = 1 / before[drawn]
        np.testing.assert_allclose(given[0][2], expected / expected.max(), rtol=1e-6)
        changed = np.flatnonzero(replay.weight != before)
        assert set(changed) == set(drawn)


@pytest.mark.parametrize("learn_from", ["chosen", "all"])
@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_loss_is_over_what_may_be_learned_from(learn_from, loss):
    options = BatchDQNOptions(learn_from=learn_from, loss=loss, gamma=0.9)
    replay, _, algorithm = played(options)
    indices = np.arange(12)
    batch, targets = replay.take(indices, (*OBSERVATION, "act")), algorithm.targets(replay, indices)
    with torch.no_grad():
        values = algorithm.network(batch).numpy()
    losses, refused = [], 0
    for b in range(12):
        for k in range(3):
            for j in range(4):
                open_ = bool(batch["mask"][b, k, j])
                chosen = bool(batch["act"][b, k] == j)
                refused += chosen and not open_
                if open_ and (chosen or learn_from == "all"):
                    error = abs(values[b, k, j] - float(targets[b, k, j]))
                    losses.append(error**2 if loss == "squared" else (error**2 / 2 if error < 1 else error - 0.5))
    assert refused > 0
    assert algorithm.learn(batch, targets)[0].loss == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_members_of_an_ensemble_learn_as_if_alone(weighted):
    # Without bootstrap, momentum or a clip one member's step does not know of the others.
    options = BatchDQNOptions(gamma=0.0, members=2, optimiser="sgd", momentum=0.0, gradient_clip=1e9)
    replay, _, algorithm = played(options)
    indices = np.arange(12)
    alone = copy.deepcopy(algorithm.network.members[1])
    batch, targets = replay.take(indices, (*OBSERVATION, "act")), algorithm.targets(replay, indices)
    weight = torch.linspace(0.2, 1, 12) if weighted else None
    stats, per_step = algorithm.learn(batch, targets, weight)
    learned = batch["mask"].bool()
    errors = alone(batch) - targets
    each = torch.where(errors.abs() < 1, errors**2 / 2, errors.abs() - 0.5) * learned
    weighted = each * weight[:, None, None] if weighted else each
    (weighted.sum() / learned.sum()).backward()
    for own, parameter in zip(algorithm.network.members[1].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(own, parameter - options.learning_rate * parameter.grad, rtol=1e-4, atol=1e-7)
    assert 0 < stats.loss < 10
    assert per_step.shape == (12,)


@pytest.mark.parametrize(("prior_of", "sign"), [("margin", -1), ("disagreement", 1)])
def test_a_prior_prefers_uncertain_candidates(prior_of, sign):
    space = TrivialEnv(slates=3, size=4).observation_space
    network = build_network(BatchDQNOptions(prior=2.0, prior_of=prior_of), space, prior_column=0)
    assert network.prior_weight == 2 * sign


def test_exploration_takes_open_candidates_and_each_slate_for_itself():
    options = BatchDQNOptions()
    replay, _, algorithm = played(options)
    obs = replay.take(np.arange(20))
    mask = obs["mask"].numpy()
    algorithm.epsilon = 0.5
    greedy = algorithm.greedy(obs)
    acts = np.stack([algorithm.explore(greedy, mask) for _ in range(400)])
    open_ = np.take_along_axis(mask[None].repeat(400, 0), acts[..., None], -1)[..., 0]
    assert (open_ | ~mask.any(-1)).all()
    wide = (mask.sum(-1) == 4).nonzero()
    changed = acts[:, wide[0], wide[1]] != greedy[wide]
    assert changed.mean() == pytest.approx(0.5 * 3 / 4, abs=0.03)
    row = next(r for r in range(20) if (mask[r].sum(-1) == 4).sum() >= 2)
    first, second = (acts[:, row, k] != greedy[row, k] for k in np.flatnonzero(mask[row].sum(-1) == 4)[:2])
    assert (first & second).mean() == pytest.approx(0.375**2, abs=0.06)


def test_disturbed_weights_play_a_whole_episode():
    replay, _, algorithm = played(BatchDQNOptions(explore_by="weights", hidden=64))
    obs = replay.take(np.arange(20))
    before = {name: tensor.clone() for name, tensor in algorithm.network.state_dict().items()}
    algorithm.epsilon = 0.5
    algorithm.begin(2)
    games = np.arange(20) % 2
    acts = algorithm.choose(obs, games)
    np.testing.assert_array_equal(acts, algorithm.choose(obs, games))
    swapped = algorithm.choose(obs, 1 - games)
    assert (acts != swapped).any() and (acts != algorithm.greedy(obs)).any()
    # The order of the games does not matter, and the network itself is untouched.
    order = np.random.default_rng(0).permutation(20)
    mixed = algorithm.choose({key: part[order] for key, part in obs.items()}, games[order])
    np.testing.assert_array_equal(mixed, acts[order])
    assert all(torch.equal(tensor, before[name]) for name, tensor in algorithm.network.state_dict().items())
    algorithm.begin(2)
    assert (algorithm.choose(obs, games) != acts).any()


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_noise_on_the_weights_is_epsilon_times_their_size(epsilon):
    algorithm = played(BatchDQNOptions(explore_by="weights", hidden=128))[2]
    algorithm.epsilon = epsilon
    algorithm.begin(1)
    (player,) = algorithm._players
    pairs = zip(player.named_parameters(), algorithm.network.parameters(), strict=True)
    apart = {name: ((noisy - plain).detach(), plain.detach()) for (name, noisy), plain in pairs}
    change, plain = apart["head.1.weight"]
    assert change.square().mean().sqrt().item() == pytest.approx(
        epsilon * plain.square().mean().sqrt().item(), rel=0.02
    )
    assert change.mean().item() == pytest.approx(0, abs=0.03 * epsilon)


def test_target_network_follows_with_its_buffers():
    algorithm = played(BatchDQNOptions(network="published", gate_features=2, target_update=3, batch_size=4))[2]
    replay = played(BatchDQNOptions())[0]
    online, target = algorithm.network, algorithm.target
    differs = []
    for _ in range(4):
        before = {name: tensor.clone() for name, tensor in online.state_dict().items()}
        algorithm.update(replay, 8)
        same = all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
        differs.append(not same)
    assert differs == [False, True, True, False]


def test_epsilon_and_learning_rate_follow_the_training():
    algorithm = played(BatchDQNOptions(learning_rate=1e-2, learning_rate_floor=0.1, exploration_share=0.5))[2]
    seen = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        algorithm.set_progress(progress)
        seen.append((algorithm.epsilon, algorithm.optimiser.param_groups[0]["lr"]))
    np.testing.assert_allclose([e for e, _ in seen], [1.0, 0.525, 0.05, 0.05])
    np.testing.assert_allclose([r for _, r in seen][::3], [1e-2, 1e-3])
    assert seen[2][1] == pytest.approx(0.0055)


def test_a_warm_start_is_regression_until_its_end():
    replay, _, algorithm = played(BatchDQNOptions(gamma=0.9, gamma_from=0.5))
    indices = np.unique(replay.sample(2000))

    signal = replay.take(indices, ("signal",))["signal"]
    assert torch.equal(algorithm.targets(replay, indices), signal)
    algorithm.set_progress(0.49)
    assert torch.equal(algorithm.targets(replay, indices), signal)
    algorithm.set_progress(0.5)
    from_the_start = played(BatchDQNOptions(gamma=0.9))[2]
    expected = from_the_start.targets(replay, indices)
    assert torch.equal(algorithm.targets(replay, indices), expected)
    assert not torch.equal(expected, signal)


def test_standardise_is_over_open_candidates():
    mask = np.array([[1, 1, 0], [1, 0, 0]], np.int8)
    result = standardise(np.array([[1.0, 2.0, 99.0], [6.0, 99.0, 99.0]]), mask)
    deviation = np.sqrt((4 + 1 + 9) / 3)
    np.testing.assert_allclose(result, np.array([[-2, -1, 0], [3, 0, 0]]) / deviation, rtol=1e-6)
    assert not standardise(np.full((2, 3), 0.1), mask).any()
    assert not standardise(np.ones((2, 3)), np.zeros((2, 3))).any()


def test_half_precision_refuses_what_it_cannot_hold():
    obs = TrivialEnv().reset(seed=0)[0]
    stored = as_stored(obs, True, "here")
    assert stored["state"].dtype == np.float16
    np.testing.assert_allclose(stored["candidates"], obs["candidates"], rtol=1e-3, atol=1e-4)
    obs["candidates"][0, 0, 0] = 70_000
    assert as_stored(obs, False, "here")["candidates"][0, 0, 0] == 70_000
    with pytest.raises(RalsegError, match=r"here: the observation's candidates .* replay_half=false"):
        as_stored(obs, True, "here")


def test_trivial_env_keeps_its_contract():
    check_env(TrivialEnv(), skip_render_check=True)


def greedy_returns(policy, env):
    """The returns of 20 episodes that were not trained on."""
    returns = []
    for seed in range(20):
        obs, done, total = env.reset(seed=10_000 + seed)[0], False, 0.0
        while not done:
            act = policy.select(SimpleNamespace(observation=obs), np.random.default_rng(0))
            obs, reward, done, _, _ = env.step(np.maximum(act, 0))
            total += reward
        returns.append(total)
    return returns


@pytest.mark.parametrize(
    ("settings", "episodes"),
    [
        ({}, 24),
        ({"gamma": 0.0}, 24),
        ({"gamma": 0.3, "members": 3}, 24),
        ({"signal": {"credit": 0.0, "reference": 1.0}, "gamma": 0.0, "prioritised": True}, 24),
        ({"signal": {"reward": 1.0, "reference": 0.0}, "learn_from": "chosen", "gamma": 0.3}, 80),
        (
            {
                "network": "published", "gate_features": 1, "optimiser": "sgd", "learning_rate": 1e-2, "gamma": 0.3,
                "loss": "squared", "learn_from": "chosen", "signal": {"credit": 1.0, "reference": 0.0},
            },
            24,
        ),
    ],
    ids=["credit", "regression", "ensemble", "reference", "shared-reward", "published"],
)  # fmt: skip
def test_agent_solves_the_trivial_env(tmp_path, settings, episodes):
    options = agent_options({"warm_up": 24, **settings})
    train(TrivialEnv, options, tmp_path, seed=0, episodes=episodes, tensorboard=False)
    returns = greedy_returns(load_policy(tmp_path), TrivialEnv())
    # Random choice among the open candidates returns about 1.4.
    assert np.mean(returns) > 0.9 * TrivialEnv().best_return


class DelayedEnv(TrivialEnv):
    """One slate of a decoy (0.3 at once), an investment (1.0 three steps later) and a blank, in an order of chance.

    The state says how many steps are left and what is due in 1, 2 and 3 steps, so that the game is a Markov decision
    process. Of its 6 steps the first 3 can invest: the best return is 3 x 1.0 + 3 x 0.3, that of the decoy 6 x 0.3.
    """

    best_return = 3.9

    def __init__(self):
        super().__init__(slates=1, size=3, steps=6, closed=0.0)

    def reset(self, *, seed=None, options=None):
        self._due = [0.0, 0.0, 0.0]
        return super().reset(seed=seed, options=options)

    def step(self, action):
        kind = int(self._candidates[0, int(action[0]), :2] @ [1, 2])
        *self._due, reward = 1.0 * (kind == 2), *self._due
        reward += 0.3 * (kind == 1)
        result = super().step(action)
        return self._observation(), reward, *result[2:]

    def _draw(self):
        kinds = self.np_random.permutation(3)
        self._mask = np.ones((1, 3), np.int8)
        self._candidates = np.zeros((1, 3, 4), np.float32)
        self._candidates[0, np.arange(3), :2] = np.eye(3, dtype=np.float32)[kinds][:, 1:]
        self._state = np.tile(np.array([self.steps - self._step, *self._due], np.float32), (6, 1))


@pytest.mark.parametrize("gamma", [0.9, 0.0])
def test_a_delayed_reward_needs_a_discount_above_0(tmp_path, gamma):
    options = agent_options(
        {
            "signal": {"reward": 1.0, "reference": 0.0}, "learn_from": "chosen", "gamma": gamma, "warm_up": 24,
            "hidden": 16, "learning_rate": 5e-3, "target_update": 25, "updates_per_step": 2,
        }
    )  # fmt: skip
    train(DelayedEnv, options, tmp_path, seed=2, episodes=40, tensorboard=False)
    mean_return = np.mean(greedy_returns(load_policy(tmp_path), DelayedEnv()))
    if gamma:
        assert mean_return > 0.9 * DelayedEnv.best_return
    else:
        # Now is all that counts: the decoy, at every step.
        assert mean_return == pytest.approx(6 * 0.3)


def test_the_prior_does_not_enter_the_learned_part(tmp_path):
    options = agent_options({"warm_up": 24, "gamma": 0.0, "prior": 3.0})
    # Column 1 is noise: a prior on it misleads the whole Q-value, and must leave the learned part alone.
    train(TrivialEnv, options, tmp_path, seed=0, episodes=24, tensorboard=False, prior_column=1)
    network, env = load_policy(tmp_path).network, TrivialEnv(closed=0)
    observations = [env.reset(seed=seed)[0] for seed in range(40)]
    obs = {key: np.stack([o[key] for o in observations]) for key in observations[0]}
    with torch.no_grad():
        values, prior = network(obs), network.prior(obs)
    good = torch.from_numpy(obs["candidates"][..., 0].argmax(-1))
    assert ((values - prior).argmax(-1) == good).float().mean() > 0.95
    assert (values.argmax(-1) == good).float().mean() < 0.8


class BadEnv(TrivialEnv):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.fault == "reward":
            reward = float("nan")
        if self.fault == "truncated":
            truncated = True
        if self.fault == "no credit":
            del info["candidate_credit"]
        if self.fault == "credit":
            info["candidate_credit"][0, 0] = np.inf
        if self.fault == "state":
            self._state[0, 0] = np.nan
            obs = self._observation()
        return obs, reward, terminated, truncated, info


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("reward", "episode 0, step 0: the env's reward is nan"),
        ("truncated", "truncated the episode"),
        ("no credit", r"no info\['candidate_credit'\]"),
        ("credit", "not finite"),
        ("state", "step 1: the observation's state contains"),
    ],
)
def test_a_broken_env_is_refused(tmp_path, fault, message):
    options = BatchDQNOptions(signal=Signal(credit=1.0, reference=0.0))
    with pytest.raises(RalsegError, match=message):
        train(lambda: BadEnv(fault), options, tmp_path, seed=0, episodes=2, tensorboard=False)
    assert not (tmp_path / "policy.json").exists()


class OtherSpaces(TrivialEnv):
    def __init__(self, **others):
        super().__init__()
        self.action_space = others.pop("action", self.action_space)
        self.observation_space = spaces.Dict({**self.observation_space.spaces, **others})


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            {"action": spaces.MultiDiscrete([5, 4])},
            r"action space is MultiD.*must be MultiDiscrete\(\[N\] \* K\)",
        ),
        ({"action": spaces.Discrete(5)}, r"action space is Discrete\(5\); it must be MultiDiscrete"),
        ({"mask": spaces.MultiBinary((2, 5))}, r"observation space holds mask=MultiBinary.*; it must be a Box"),
    ],
)
def test_an_env_with_other_spaces_is_refused(tmp_path, others, message):
    with pytest.raises(RalsegError, match=message):
        train(lambda: OtherSpaces(**others), BatchDQNOptions(), tmp_path, seed=0, episodes=2, tensorboard=False)
    env = TrivialEnv()
    env.observation_space = spaces.Dict({"state": env.observation_space["state"]})
    with pytest.raises(RalsegError, match=r"space is Dict.*; it must be a Dict of state, candidates and mask"):
        env_spaces(env)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 1.2}, "^agent.gamma=1.2 is out of range; it must be 0 to 1$"),
        ({"learning_rate": 0}, "agent.learning_rate=0 is out of range; it must be above 0 and at most 1"),
        ({"double": "both"}, "agent.double='both' is unknown; choose from textbook, paper, none"),
        ({"gama": 0.5}, "agent.gama is unknown"),
        ({"signal": {"rewards": 1.0}}, "agent.signal.rewards is unknown"),
        ({"signal": {"reference": 0.0}}, "^agent: signal is 0 throughout"),
        ({"signal": {"reference": 0.0, "reward": 1.0}}, "learn_from=chosen"),
        ({"batch_size": 2.5}, "agent.batch_size=2.5 must be a whole number"),
        ({"warm_up": 4}, "^agent.warm_up=4 must be at least agent.batch_size=16"),
        ({"n_step": 0}, "agent.n_step=0 is out of range; it must be 1 to 50"),
        ({"target_update": 0}, "agent.target_update=0 is out of range; it must be 1 or more$"),
        ({"algorithm": "dqn"}, "agent.algorithm='dqn' is unknown; choose from batch_dqn, sb3_ppo, sb3_dqn"),
        ({"gamma": float("nan")}, "agent.gamma=nan is out of range"),
        ({"prior_of": "entropy"}, "agent.prior_of='entropy' is unknown; choose from margin, disagreement"),
        ({"prior": -1.0}, "agent.prior=-1.0 is out of range; it must be 0 to 1000"),
        ({"gamma": 0.0, "gamma_from": 0.5}, "gamma_from is the share .*; set gamma above 0, too"),
        ({"network": "published", "prior": 1.0}, "^agent.network=published has no prior; set agent.prior=0"),
        ({"network": "published", "members": 2}, "set agent.members=1 for agent.network=published"),
        ({"network": "tokens", "members": 2}, "set agent.members=1 for agent.network=tokens"),
        ({"members": 0}, "agent.members=0 is out of range; it must be 1 to 50"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(RalsegError, match=message):
        agent_options(settings)


@pytest.mark.parametrize("name", ["ralseg", "ddqn", "regression", "ralis", "sb3_ppo", "sb3_dqn"])
def test_every_configuration_of_an_agent_is_valid(name):
    settings = composed("train_agent", [f"agent={name}"])["agent"]
    options = agent_options(settings)
    assert {key: asdict(options)[key] for key in settings} == settings


def test_the_yaml_lists_every_setting_with_its_default():
    listed = composed("train_agent", ["agent=ddqn"])["agent"]
    assert listed == asdict(BatchDQNOptions())
