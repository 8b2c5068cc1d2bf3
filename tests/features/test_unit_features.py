import numpy as np
import pytest
import torch

from ralseg.features import (
    UNIT_FEATURES,
    UnitGrid,
    class_map,
    entropy_map,
    entropy_pools,
    margin_map,
    mutual_information_map,
    predicted_shares,
    released_counts,
    released_entropy_pools,
    uncertainty_summary,
    unit_features,
)
from ralseg.features.prediction import FEATURE_NOISE
from ralseg.features.softmax_maps import Softmax
from ralseg.features.unit_features import feature_reducers
from ralseg.foundation import RalsegError

GRID = UnitGrid(36, 50, 12, 16)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(3, 5, 18, 25)).astype(np.float32)
NOISY = LOGITS + np.random.default_rng(1).normal(size=(2, *LOGITS.shape)).astype(np.float32)
EMBEDDING = (RNG.normal(size=(3, 4, 18, 25)).astype(np.float32), RNG.normal(size=(3, 7, 5, 6)).astype(np.float32))


def features(kind, needs, grid=GRID, images=slice(None)):
    embedding = [kind(m[images]) for m in EMBEDDING]
    found = unit_features(kind(LOGITS[images]), embedding, grid, needs, kind(NOISY[:, images]))
    return {name: kind.back(array) for name, array in found.items()}


def test_widths_and_values(kind):
    # 50 columns leave border units of 2 pixels, too narrow for the released pools.
    grid = UnitGrid(36, 48, 12, 16)
    found = features(kind, set(UNIT_FEATURES), grid)
    widths = {name: array.shape for name, array in found.items()}
    assert widths == {
        "shares": (3, 9, 5),
        "probabilities": (3, 9, 5),
        "entropy": (3, 9, 192),
        "uncertainty": (3, 9, 4),
        "embedding": (3, 9, 11),
        "disagreement": (3, 9, 1),
        "released_counts": (3, 9, 6),
        "released_entropy": (3, 9, 192),
    }
    entropy = entropy_map(kind(LOGITS))
    shares = predicted_shares(class_map(kind(LOGITS)), grid, 5)
    np.testing.assert_array_equal(found["shares"], kind.back(shares))
    probabilities = np.moveaxis(kind.back(grid.pool(Softmax(kind(LOGITS)).probabilities)), -2, -1)
    np.testing.assert_allclose(found["probabilities"], probabilities, rtol=1e-5)
    np.testing.assert_allclose(found["probabilities"].sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(found["released_counts"], kind.back(released_counts(shares * 192)), rtol=1e-6)
    np.testing.assert_array_equal(found["entropy"], kind.back(entropy_pools(entropy, grid)))
    np.testing.assert_array_equal(found["released_entropy"], kind.back(released_entropy_pools(entropy, grid)))
    summary = uncertainty_summary(entropy, margin_map(kind(LOGITS)), grid)
    np.testing.assert_array_equal(found["uncertainty"], kind.back(summary))
    disagreement = kind.back(grid.pool(mutual_information_map(kind(NOISY))))
    np.testing.assert_allclose(found["disagreement"][..., 0], disagreement, rtol=1e-6)
    np.testing.assert_allclose(found["embedding"][1, :, :4], grid.pool(EMBEDDING[0][1]).T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["embedding"][2, :, 4:], grid.pool(EMBEDDING[1][2]).T, rtol=1e-4, atol=1e-6)


def test_border_units_count_their_own_pixels(kind):
    found = features(kind, {"released_counts", "shares"})
    counts = np.where(found["shares"] > 0, found["shares"] * GRID.areas[:, None], 1e-7)
    np.testing.assert_allclose(found["released_counts"][..., :-1], counts, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(UNIT_FEATURES) - {"released_entropy"}))
def test_only_what_is_needed_and_the_same_alone(name, kind):
    alone = features(kind, {name})
    assert set(alone) == {name}
    np.testing.assert_array_equal(alone[name], features(kind, {name, "shares", "entropy"})[name])


def test_as_reducers_they_take_whole_grids_and_one_reads_noise():
    found = feature_reducers(["disagreement", "shares", "entropy"])
    assert {reducer.name: (reducer.noise, reducer.whole_grid) for reducer in found} == {
        "shares": (None, True), "entropy": (None, True), "disagreement": (FEATURE_NOISE, True),
    }  # fmt: skip


def test_images_do_not_mix(kind):
    needs = {"shares", "entropy", "uncertainty", "embedding"}
    whole, single = features(kind, needs), features(kind, needs, images=slice(1, 2))
    for name in needs:
        np.testing.assert_allclose(single[name][0], whole[name][1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_as_a_network_leaves_them(dtype):
    """Channels last in memory, perhaps in half precision, within the network's autocast."""
    last = [torch.from_numpy(m).to(dtype).contiguous(memory_format=torch.channels_last) for m in (LOGITS, *EMBEDDING)]
    expected = unit_features(last[0].float(), [m.float() for m in last[1:]], GRID, UNIT_FEATURES[:5])
    with torch.autocast("cpu", torch.bfloat16):
        found = unit_features(last[0], last[1:], GRID, UNIT_FEATURES[:5])
    for name, array in found.items():
        assert array.dtype == torch.float32
        np.testing.assert_array_equal(array, expected[name])


def test_bad_input_is_refused(kind):
    logits = kind(LOGITS)
    with pytest.raises(RalsegError, match=r"no feature \['colour'\]; choose from shares"):
        unit_features(logits, (), GRID, {"colour"})
    with pytest.raises(RalsegError, match="give \\(images, classes, height, width\\)"):
        unit_features(logits[0], (), GRID, {"shares"})
    with pytest.raises(RalsegError, match="embedding maps"):
        unit_features(logits, (), GRID, {"embedding"})
    with pytest.raises(RalsegError, match="embedding maps"):
        unit_features(logits, (kind(EMBEDDING[0][:2]),), GRID, {"embedding"})
    with pytest.raises(RalsegError, match="disagreement is that of noisy predictions; give them"):
        unit_features(logits, (), GRID, {"disagreement"})
    with pytest.raises(RalsegError, match="NaN"):
        unit_features(logits * np.nan, (), GRID, {"uncertainty"})
    with pytest.raises(RalsegError, match="NaN"):
        unit_features(logits, (kind(EMBEDDING[0] * np.nan),), GRID, {"embedding"})
