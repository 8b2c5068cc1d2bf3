import numpy as np
import pytest

from ralseg.features import (
    UNIT_FEATURES,
    UnitGrid,
    class_map,
    entropy_map,
    entropy_pools,
    margin_map,
    predicted_shares,
    released_counts,
    released_entropy_pools,
    uncertainty_summary,
    unit_features,
)
from ralseg.foundation import RalsegError

GRID = UnitGrid(36, 50, 12, 16)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(3, 5, 18, 25)).astype(np.float32)
EMBEDDING = (RNG.normal(size=(3, 4, 18, 25)).astype(np.float32), RNG.normal(size=(3, 7, 5, 6)).astype(np.float32))


def test_widths_and_values():
    # 50 columns leave border units of 2 pixels, too narrow for the released pools.
    grid = UnitGrid(36, 48, 12, 16)
    found = unit_features(LOGITS, EMBEDDING, grid, set(UNIT_FEATURES))
    widths = {name: array.shape for name, array in found.items()}
    assert widths == {
        "shares": (3, 9, 5),
        "entropy": (3, 9, 192),
        "uncertainty": (3, 9, 4),
        "embedding": (3, 9, 11),
        "released_counts": (3, 9, 6),
        "released_entropy": (3, 9, 192),
    }
    assert all(array.dtype == np.float32 for array in found.values())
    entropy = entropy_map(LOGITS)
    shares = predicted_shares(class_map(LOGITS), grid, 5)
    np.testing.assert_array_equal(found["shares"], shares)
    np.testing.assert_allclose(found["released_counts"], released_counts(shares * 192), rtol=1e-6)
    np.testing.assert_array_equal(found["entropy"], entropy_pools(entropy, grid))
    np.testing.assert_array_equal(found["released_entropy"], released_entropy_pools(entropy, grid))
    np.testing.assert_array_equal(found["uncertainty"], uncertainty_summary(entropy, margin_map(LOGITS), grid))
    np.testing.assert_array_equal(found["embedding"][1, :, :4], grid.pool(EMBEDDING[0][1]).T)
    np.testing.assert_array_equal(found["embedding"][2, :, 4:], grid.pool(EMBEDDING[1][2]).T)


@pytest.mark.parametrize("name", sorted(set(UNIT_FEATURES) - {"released_entropy"}))
def test_only_what_is_needed_and_the_same_alone(name):
    alone = unit_features(LOGITS, EMBEDDING, GRID, {name})
    assert set(alone) == {name}
    both = unit_features(LOGITS, EMBEDDING, GRID, {name, "shares", "entropy"})
    np.testing.assert_array_equal(alone[name], both[name])


def test_images_do_not_mix():
    needs = {"shares", "entropy", "uncertainty", "embedding"}
    whole = unit_features(LOGITS, EMBEDDING, GRID, needs)
    single = unit_features(LOGITS[1:2], tuple(m[1:2] for m in EMBEDDING), GRID, needs)
    for name in needs:
        np.testing.assert_allclose(single[name][0], whole[name][1], rtol=1e-5, atol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(RalsegError, match=r"no feature \['colour'\]; choose from shares"):
        unit_features(LOGITS, (), GRID, {"colour"})
    with pytest.raises(RalsegError, match="give \\(images, classes, height, width\\)"):
        unit_features(LOGITS[0], (), GRID, {"shares"})
    with pytest.raises(RalsegError, match="embedding maps"):
        unit_features(LOGITS, (), GRID, {"embedding"})
    with pytest.raises(RalsegError, match="embedding maps"):
        unit_features(LOGITS, (EMBEDDING[0][:2],), GRID, {"embedding"})
    with pytest.raises(RalsegError, match="NaN"):
        unit_features(np.full_like(LOGITS, np.nan), (), GRID, {"uncertainty"})
