import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ralseg.agents.query_network import (
    CompactQueryNetwork,
    Ensemble,
    PublishedQueryNetwork,
    RowLinear,
    Standardise,
    masked,
)
from ralseg.agents.query_policy import QueryPolicy, load_policy, save_policy
from ralseg.foundation import RalsegError


def observation(batch=2, units=7, slates=3, size=4, state_features=5, candidate_features=6, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "state": rng.standard_normal((batch, units, state_features)).astype(np.float32),
        "candidates": rng.standard_normal((batch, slates, size, candidate_features)).astype(np.float32),
        "mask": (rng.random((batch, slates, size)) < 0.7).astype(np.int8),
    }


def single(obs, index=0):
    return {key: array[index] for key, array in obs.items()}


def test_published_network_has_the_papers_size():
    # 390,356 parameters are known for CamVid's sizes, of which 257 belong to a layer that is never used.
    network = PublishedQueryNetwork(state_units=240, state_features=204, candidate_features=268)
    assert sum(p.numel() for p in network.parameters()) == 390_356 - 257


def test_published_network_is_a_gated_score():
    torch.manual_seed(0)
    network = PublishedQueryNetwork(state_units=7, state_features=4, candidate_features=6, gate_features=2).eval()
    obs = observation(state_features=4)
    with torch.no_grad():
        values = network(obs)
        network.gate.linear.weight.zero_()
        network.gate.linear.bias.fill_(30.0)
        score = network(obs)
        network.gate.linear.bias.fill_(0.0)
        half = network(obs)
        network.gate.linear.bias.fill_(-30.0)
        shut = network(obs)
    assert values.shape == (2, 3, 4)
    assert torch.allclose(half, score / 2, atol=1e-6)
    assert shut.abs().max() < 1e-9 < score.abs().min()


def test_published_network_needs_kl_numbers():
    with pytest.raises(RalsegError, match="last 64 numbers"):
        PublishedQueryNetwork(state_units=7, state_features=4, candidate_features=64)


def test_compact_network_is_small_and_takes_any_state_slate_and_budget():
    network = CompactQueryNetwork(48, 300)
    assert sum(p.numel() for p in network.parameters()) <= 100_000
    network = CompactQueryNetwork(5, 6)
    for units, slates, size in [(7, 3, 4), (1, 1, 1), (20, 6, 2)]:
        assert network(observation(2, units, slates, size)).shape == (2, slates, size)


@pytest.mark.parametrize("context", [True, False])
def test_compact_network_follows_a_permutation_of_candidates_and_units(context):
    torch.manual_seed(1)
    network = CompactQueryNetwork(5, 6, context=context).eval()
    obs = observation()
    order, units = [2, 0, 3, 1], [6, 1, 0, 2, 5, 4, 3]
    permuted = {
        "state": obs["state"][:, units],
        "candidates": obs["candidates"][:, :, order],
        "mask": obs["mask"][:, :, order],
    }
    with torch.no_grad():
        assert torch.allclose(network(permuted), network(obs)[:, :, order], atol=1e-6)


def test_slate_context_sees_open_candidates_only():
    torch.manual_seed(2)
    obs = observation()
    obs["mask"][:] = 1
    obs["mask"][:, :, 3] = 0
    closed, opened = {**obs, "candidates": obs["candidates"].copy()}, {**obs, "candidates": obs["candidates"].copy()}
    closed["candidates"][:, :, 3] += 1
    opened["candidates"][:, :, 0] += 1
    for context in (True, False):
        network = CompactQueryNetwork(5, 6, context=context).eval()
        with torch.no_grad():
            plain, of_closed, of_open = (network(o)[:, :, 1] for o in (obs, closed, opened))
        assert torch.allclose(plain, of_closed, atol=1e-6)
        assert torch.allclose(plain, of_open, atol=1e-6) != context


def test_q_values_stay_finite_in_empty_slates():
    obs = observation()
    obs["mask"][:] = 0
    values = CompactQueryNetwork(5, 6)(obs)
    assert torch.isfinite(values).all()
    assert (masked(values, obs["mask"]) == -torch.inf).all()


@pytest.mark.parametrize("closed", [False, True])
def test_a_prior_adds_the_standardised_uncertainty_of_open_candidates(closed):
    torch.manual_seed(3)
    network = CompactQueryNetwork(5, 6, prior=-2.5, prior_column=4).eval()
    obs = observation()
    if closed:
        obs["mask"][1] = 0
    with torch.no_grad():
        with_prior, prior = network(obs), network.prior(obs)
        network.prior_weight = 0.0
        learned = network(obs)
    assert torch.allclose(with_prior, learned + prior, atol=1e-6)
    for b in range(2):
        open_ = obs["mask"][b] == 1
        margins = obs["candidates"][b, ..., 4][open_].astype(np.float64)
        expected = -2.5 * (margins - margins.mean()) / margins.std() if len(margins) else margins
        np.testing.assert_allclose(prior[b][torch.from_numpy(open_)], expected, atol=1e-5)
    assert (prior[torch.from_numpy(obs["mask"] == 0)] == 0).all()


def test_a_prior_of_equal_margins_is_nothing():
    network = CompactQueryNetwork(5, 6, prior=2.0, prior_column=0)
    obs = observation()
    obs["candidates"][..., 0] = 0.25
    assert network.prior(obs).abs().max() < 1e-3


@pytest.mark.parametrize("column", [None, -1, 6])
def test_a_prior_needs_to_know_where_the_margin_is(column):
    with pytest.raises(RalsegError, match="prior=2 is a weight of a candidate's margin or disagreement; prior_column="):
        CompactQueryNetwork(5, 6, prior=2.0, prior_column=column)


def test_an_ensemble_is_the_mean_of_its_members_and_is_saved_as_one(tmp_path):
    torch.manual_seed(4)
    network, obs = Ensemble(3, state_features=5, candidate_features=6, prior=2.0, prior_column=4), observation()
    network.fit_inputs(*obs.values())
    with torch.no_grad():
        each = [member(obs) for member in network.members]
        assert not torch.allclose(each[0], each[1], atol=1e-3)
        assert torch.equal(network.members_values(obs), torch.stack(each))
        assert torch.allclose(network(obs), sum(each) / 3, atol=1e-6)
        assert torch.equal(network.prior(obs), network.members[2].prior(obs))
        assert torch.equal(network.members[0].members_values(obs), each[0][None])
        save_policy(tmp_path, network, observation={}, options={})
        assert torch.equal(load_policy(tmp_path).network(obs), network(obs))
    with pytest.raises(RalsegError, match="candidate_features=6, this game has 9"):
        load_policy(tmp_path).select(SimpleNamespace(observation=single(observation(candidate_features=9))), None)


def test_inputs_are_scaled_to_open_candidates():
    obs = observation(batch=50)
    obs["candidates"][..., 1] = 3.0
    obs["candidates"][obs["mask"] == 0] = 1e6
    network = CompactQueryNetwork(5, 6)
    network.fit_inputs(obs["state"], obs["candidates"], obs["mask"])
    open_ = obs["candidates"][obs["mask"] == 1].astype(np.float64)
    deviation = open_.std(axis=0)
    deviation[1] = 1
    np.testing.assert_allclose(network.candidate_scale.mean, open_.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(network.candidate_scale.deviation, deviation, rtol=1e-5)
    scaled = network.candidate_scale(torch.from_numpy(obs["candidates"]))
    assert scaled.max() == Standardise(1).limit
    np.testing.assert_allclose(
        scaled[torch.from_numpy(obs["mask"]) == 1], ((open_ - open_.mean(axis=0)) / deviation), atol=1e-4
    )


def test_policy_chooses_the_best_open_candidate_and_nothing_in_an_empty_slate():
    network = CompactQueryNetwork(5, 6)
    obs = observation(slates=40)
    obs["mask"][0, 3] = 0
    chosen = QueryPolicy(network, {}).select(SimpleNamespace(observation=single(obs)), np.random.default_rng(0))
    with torch.no_grad():
        values = network(obs)[0].numpy()
    assert chosen.dtype == np.int64
    for slate, index in enumerate(chosen):
        open_ = np.flatnonzero(obs["mask"][0, slate])
        assert index == (max(open_, key=lambda j: values[slate, j]) if len(open_) else -1)
    assert chosen[3] == -1


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(3)
    network = CompactQueryNetwork(5, 6, hidden=16)
    network.fit_inputs(*observation().values())
    save_policy(tmp_path, network, observation={"classes": 11}, options={"gamma": 0.8})
    return tmp_path, network


def test_saved_policy_is_loaded_as_it_was(saved):
    folder, network = saved
    policy = load_policy(folder)
    with torch.no_grad():
        assert torch.equal(policy.network(observation()), network.eval()(observation()))
    assert policy.description["observation"] == {"classes": 11}
    assert policy.description["options"] == {"gamma": 0.8}
    assert policy.needs_observation


def test_a_missing_damaged_or_foreign_policy_is_refused(saved, tmp_path):
    folder, _ = saved
    with pytest.raises(RalsegError, match=r"policy.json: no such file"):
        load_policy(tmp_path / "nowhere")
    weights, description = folder / "policy.safetensors", folder / "policy.json"
    good, said = weights.read_bytes(), json.loads(description.read_text())
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(RalsegError, match="damaged"):
        load_policy(folder)
    weights.unlink()
    with pytest.raises(RalsegError, match=r"policy.safetensors: no such file"):
        load_policy(folder)
    weights.write_bytes(good)
    said["network"]["arguments"]["hidden"] = 32
    description.write_text(json.dumps(said))
    with pytest.raises(RalsegError, match="do not fit"):
        load_policy(folder)
    said["network"]["name"] = "other"
    description.write_text(json.dumps(said))
    with pytest.raises(RalsegError, match="the network 'other' is unknown"):
        load_policy(folder)
    description.write_text("[]")
    with pytest.raises(RalsegError, match="not a policy"):
        load_policy(folder)


def test_an_observation_of_other_width_is_refused(saved):
    policy = load_policy(saved[0])
    wrong = single(observation(candidate_features=9))
    with pytest.raises(RalsegError, match="candidate_features=6, this game has 9"):
        policy.select(SimpleNamespace(observation=wrong), np.random.default_rng(0))


@pytest.mark.parametrize("shape", [(3, 5), (2, 7, 5), (16, 3, 4, 5)])
def test_a_layer_of_rows_is_a_linear_layer(shape):
    torch.manual_seed(4)
    rows, linear = torch.randn(shape), torch.nn.Linear(5, 8)
    layer = RowLinear(5, 8)
    layer.load_state_dict(linear.state_dict())
    for each in (layer, linear):
        each(rows).square().sum().backward()
    assert torch.allclose(layer(rows), linear(rows), atol=1e-6)
    assert torch.allclose(layer.weight.grad, linear.weight.grad, rtol=1e-4, atol=1e-5)
    assert torch.allclose(layer.bias.grad, linear.bias.grad, rtol=1e-4, atol=1e-5)
