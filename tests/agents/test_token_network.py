from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ralseg.agents.networks import build_network
from ralseg.agents.options import BatchDQNOptions
from ralseg.agents.query_policy import QueryPolicy, load_policy, save_policy
from ralseg.agents.token_network import TokenQueryNetwork
from ralseg.agents.training import train
from ralseg.agents.trivial import TrivialEnv
from ralseg.features import TokenLayout
from ralseg.foundation import RalsegError

torch.set_num_threads(1)
LAYOUT = {"state_tokens": 2, "state_free": 3, "candidate_tokens": 4, "candidate_free": 5}


def observation(classes=6, batch=2, units=7, slates=3, size=4, seed=0):
    """Rows of 2 or 4 numbers per class, part by part, then 3 or 5 others."""
    rng = np.random.default_rng(seed)
    return {
        "state": rng.random((batch, units, 2 * classes + 3), np.float32),
        "candidates": rng.random((batch, slates, size, 4 * classes + 5), np.float32),
        "mask": (rng.random((batch, slates, size)) < 0.7).astype(np.int8),
    }


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = TokenQueryNetwork(**LAYOUT, prior=-2.0, prior_column=-2).eval()
    obs = observation(seed=5)
    network.fit_inputs(obs["state"], obs["candidates"], obs["mask"])
    return network


def permuted_classes(rows, tokens, order):
    columns = [part * len(order) + place for part in range(tokens) for place in order]
    return np.concatenate([rows[..., columns], rows[..., tokens * len(order) :]], axis=-1)


def test_classes_and_units_may_change_places(network):
    obs = observation()
    order, units = [4, 0, 5, 1, 3, 2], [6, 1, 0, 2, 5, 4, 3]
    other = {
        "state": permuted_classes(obs["state"], 2, order)[:, units],
        "candidates": permuted_classes(obs["candidates"], 4, order),
        "mask": obs["mask"],
    }
    with torch.no_grad():
        values = network(obs)
        assert torch.allclose(network(other), values, atol=1e-5)
        # A candidate's classes beside the state's of other classes are another observation.
        mixed = {**obs, "candidates": other["candidates"]}
        assert not torch.allclose(network(mixed), values, atol=1e-4)


def test_one_set_of_weights_for_any_sizes(network):
    for classes, units, slates, size in [(2, 1, 1, 1), (11, 240, 3, 4), (19, 3, 5, 2), (40, 9, 2, 7)]:
        values = network(observation(classes, 1, units, slates, size))
        assert values.shape == (1, slates, size)
        assert torch.isfinite(values).all()


def scaled(rows, scale):
    return ((rows - scale.mean) / scale.deviation).clamp(-8, 8)


def with_roots(token):
    return [*token.tolist(), *np.sqrt(token).tolist()]


def slow_joined(network, row, state):
    """What the network makes of one candidate's own numbers, one class after the other."""
    tokens = [torch.tensor(with_roots(row[c:12:3])) for c in range(3)]
    own = [(network.from_token(scaled(t, network.token_scale)) + s).relu() for t, s in zip(tokens, state, strict=True)]
    by_share = sum(float(row[c]) * own[c] for c in range(3))
    return torch.cat([by_share, sum(own) / 3, scaled(torch.tensor(row[12:]), network.free_scale)])


def slow_state(network, rows, c):
    """What the state says of one class."""
    inputs = [torch.tensor([*with_roots(unit[c:6:3]), *unit[6:].tolist()]) for unit in rows]
    hidden = [torch.nn.Linear.forward(network.state_token, scaled(r, network.state_scale)).relu() for r in inputs]
    return network.from_state(torch.stack(hidden).mean(0))


@torch.no_grad()
def test_values_against_a_loop(network):
    obs = observation(classes=3)
    network.from_token.forward = lambda rows: torch.nn.Linear.forward(network.from_token, rows)
    network.from_candidate.forward = lambda rows: torch.nn.Linear.forward(network.from_candidate, rows)
    found = network(obs)
    for b in range(2):
        rows, open_ = obs["candidates"][b], obs["mask"][b] == 1
        state = [slow_state(network, obs["state"][b], c) for c in range(3)]
        margins = rows[..., -2][open_]
        for k in range(3):
            joined = [slow_joined(network, rows[k, n], state) for n in range(4)]
            slate = sum(joined[n] for n in range(4) if open_[k, n]) / max(1, open_[k].sum())
            for n in range(4):
                hidden = network.from_candidate(joined[n])
                expected = network.head[-1](
                    torch.nn.Linear.forward(network.head[1], (hidden + network.from_slate(slate)).relu()).relu()
                )
                prior = -2 * (rows[k, n, -2] - margins.mean()) / margins.std() if open_[k, n] else 0
                assert float(found[b, k, n]) == pytest.approx(float(expected) + prior, abs=1e-4)


def test_other_rows_are_refused(network):
    obs = observation()
    with pytest.raises(RalsegError, match="a candidate of 28 numbers is not 4 per class and 5 more"):
        network({**obs, "candidates": obs["candidates"][..., :28]})
    with pytest.raises(RalsegError, match="the state has 6 classes and the candidates have 5"):
        network({**obs, "candidates": obs["candidates"][..., :25]})
    with pytest.raises(RalsegError, match="needs numbers per class; set features=transferable"):
        TokenQueryNetwork(**{**LAYOUT, "state_tokens": 0})
    for column in (None, 3, -6):
        with pytest.raises(RalsegError, match=rf"prior_column={column} must be its index among a candidate's last 5"):
            TokenQueryNetwork(**LAYOUT, prior=1.0, prior_column=column)


def test_a_policy_is_saved_and_plays_other_classes(network, tmp_path):
    save_policy(tmp_path, network, observation={}, options={})
    obs = {key: array[0] for key, array in observation(classes=19, units=50).items()}
    chosen, again = (
        policy.select(SimpleNamespace(observation=obs), np.random.default_rng(0))
        for policy in (QueryPolicy(network, {}), load_policy(tmp_path))
    )
    np.testing.assert_array_equal(chosen, again)


def test_it_learns(tmp_path):
    """The trivial game's rows of four numbers, read as two classes with one number each and two others."""
    options = BatchDQNOptions(network="tokens", hidden=16, warm_up=24, gamma=0.0, learning_rate=3e-3)
    layout = TokenLayout(1, 2, 1, 2)
    result = train(TrivialEnv, options, tmp_path, seed=0, episodes=24, tokens=layout, tensorboard=False)
    assert np.mean([entry["return"] for entry in result.history[-4:]]) > 0.85 * TrivialEnv().best_return


def test_it_needs_to_know_the_rows():
    space = TrivialEnv().observation_space
    with pytest.raises(RalsegError, match="network=tokens reads numbers per class; pass the layout"):
        build_network(BatchDQNOptions(network="tokens"), space)
    built = build_network(BatchDQNOptions(network="tokens", prior=2.0), space, 3, TokenLayout(1, 2, 1, 2))
    assert isinstance(built, TokenQueryNetwork)
    # The last of a row, wherever that is with other classes.
    assert built.arguments["prior_column"] == -1
