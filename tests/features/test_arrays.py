"""What the functions do where the host cannot look: on the meta device, which has no data, and with its eyes shut."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ralseg.features import (
    UNIT_FEATURES,
    UnitGrid,
    balanced_entropy_map,
    class_map,
    confidence_map,
    edald_as_released_map,
    edald_map,
    entropy_map,
    entropy_pools,
    impurity_map,
    margin_map,
    mutual_information_map,
    predicted_shares,
    released_counts,
    released_entropy_map,
    released_entropy_pools,
    ripu_map,
    symmetric_divergence_map,
    uncertainty_summary,
    unit_features,
    unit_impurity,
    window_mean,
)
from ralseg.features.arrays import cast, check_finite, constant, namespace, on_host
from ralseg.features.softmax_maps import Softmax
from ralseg.foundation import Kept, RalsegError

GRID = UnitGrid(36, 50, 12, 25)
LOGITS = np.random.default_rng(0).normal(scale=3, size=(3, 5, 18, 25)).astype(np.float32)
EMBEDDING = np.random.default_rng(1).normal(size=(3, 7, 9, 10)).astype(np.float32)

# Every function that takes tensors, of logits (3, 5, 18, 25): (the function, the shape of what it gives).
FUNCTIONS = {
    "softmax": (lambda x: Softmax(x).probabilities, (3, 5, 18, 25)),
    "class_map": (class_map, (3, 18, 25)),
    "entropy_map": (entropy_map, (3, 18, 25)),
    "margin_map": (margin_map, (3, 18, 25)),
    "confidence_map": (confidence_map, (3, 18, 25)),
    "mutual_information_map": (lambda x: mutual_information_map(torch.stack([x, x / 2])), (3, 18, 25)),
    "balanced_entropy_map": (lambda x: balanced_entropy_map(torch.stack([x, x / 2])), (3, 18, 25)),
    "symmetric_divergence_map": (lambda x: symmetric_divergence_map(x, torch.stack([x, x / 2])), (3, 18, 25)),
    "edald_map": (lambda x: edald_map(x, torch.stack([x, x / 2])), (3, 18, 25)),
    "edald_as_released_map": (lambda x: edald_as_released_map(x, torch.stack([x, x / 2])), (3, 18, 25)),
    "released_entropy_map": (released_entropy_map, (3, 18, 25)),
    "impurity_map": (lambda x: impurity_map(x[:, 0].to(torch.uint8), 5, 2), (3, 18, 25)),
    "window_mean": (lambda x: window_mean(x[:, 0], 2), (3, 18, 25)),
    "ripu_map": (lambda x: ripu_map(x, 2), (3, 18, 25)),
    "unit_impurity": (lambda x: unit_impurity(x[:, 0]), (3, 18)),
    "pool": (GRID.pool, (3, 5, 6)),
    "average": (GRID.average, (3, 5, 6)),
    "pool_vectors": (lambda x: GRID.pool_vectors(x.permute(0, 2, 3, 1)), (3, 6, 5)),
    "predicted_shares": (lambda x: predicted_shares(x[:, 0].to(torch.uint8), GRID, 5), (3, 6, 5)),
    "entropy_pools": (lambda x: entropy_pools(x[:, 0], GRID), (3, 6, 192)),
    "released_entropy_pools": (lambda x: released_entropy_pools(x[:, 0], GRID), (3, 6, 192)),
    "uncertainty_summary": (lambda x: uncertainty_summary(x[:, 0], x[:, 1], GRID), (3, 6, 4)),
    "released_counts": (lambda x: released_counts(x[..., 0]), (3, 5, 19)),
}


class Device(TorchDispatchMode):
    """Refuses what makes a device wait for the host, and what brings data from one to the other."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal.default", "unique")

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name, keywords = str(function), keywords or {}
        assert not any(wait in name for wait in self.waits), f"{name} waits for the host"
        for tensor in tree_leaves((arguments, keywords)):
            assert not isinstance(tensor, torch.Tensor) or tensor.device.type == "meta", f"{name} reads the host"
        return function(*arguments, **keywords)


def on_device(function, *arrays):
    """The function on the meta device, its constants made by a first call."""
    tensors = [torch.from_numpy(array).to("meta") for array in arrays]
    function(*tensors)
    with Device():
        return function(*tensors)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_waits_for_the_host(name):
    function, shape = FUNCTIONS[name]
    found = on_device(function, LOGITS)
    assert found.shape == shape
    assert found.device.type == "meta"


@pytest.mark.parametrize("grid", [GRID, UnitGrid.of_images(36, 50), UnitGrid.of_pixels(36, 50)])
def test_no_unit_feature_waits_for_the_host(grid):
    needs = set(UNIT_FEATURES) - (set() if grid.unit_height > 1 else {"released_entropy"})
    noisy = np.stack([LOGITS, 2 * LOGITS])
    found = on_device(
        lambda logits, maps, noisy: unit_features(logits, (maps,), grid, needs, noisy), LOGITS, EMBEDDING, noisy
    )
    assert set(found) == set(needs)
    for array in found.values():
        assert array.device.type == "meta"
        assert array.dtype == torch.float32
        assert array.shape[:2] == (3, len(grid))


def test_the_device_of_these_tests_refuses_to_wait():
    meta = torch.ones(3, device="meta")
    with Device():
        with pytest.raises(AssertionError, match="reads the host"):
            meta + torch.ones(3)
        for wait in (lambda: bool(meta.sum() > 0), lambda: meta.nonzero(), lambda: meta.masked_select(meta > 0)):
            with pytest.raises(AssertionError, match="waits for the host"):
                wait()
        with pytest.raises(NotImplementedError, match="nonzero"):
            meta[meta > 0]


@pytest.fixture
def blind(monkeypatch):
    """Arrays of the host that are treated as a device's: nothing looks at their values."""
    for module in ("arrays", "class_shares"):
        monkeypatch.setattr(f"ralseg.features.{module}.on_host", lambda array: False)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("grid", [UnitGrid(36, 50, 12, 25), UnitGrid(18, 25, 9, 25)])
@pytest.mark.parametrize("at", [(1, 0, 0), (4, 17, 24), (2, 9, 12)])
def test_what_is_not_finite_reaches_every_row(bad, grid, at, kind, blind):
    """One pixel of one class, one entry of one embedding: no maximum, comparison or floor may hide it."""
    logits, maps = LOGITS.copy(), EMBEDDING.copy()
    logits[(1, *at)], maps[1, 3, 4, 5] = bad, bad
    y, x = at[1] * grid.height // 18, at[2] * grid.width // 25
    found = unit_features(kind(logits), (kind(maps),), grid, UNIT_FEATURES, kind(np.stack([logits, logits])))
    for name, rows in found.items():
        finite = np.isfinite(kind.back(rows))
        assert finite[[0, 2]].all(), name
        assert not finite[1].all(axis=1)[grid.index_map[(y, x) if name != "embedding" else (4, 12)]], name


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_not_finite_reaches_every_map(kind, blind):
    logits = LOGITS.copy()
    logits[1, 2, 3, 4] = np.nan
    for function in (entropy_map, margin_map, confidence_map):
        finite = np.isfinite(kind.back(function(kind(logits))))
        assert not finite[1, 3, 4]
        assert finite.sum() == finite.size - 1
    noisy = np.stack([LOGITS, logits])
    assert not np.isfinite(kind.back(mutual_information_map(kind(noisy))))[1, 3, 4]
    assert class_map(kind(logits))[1, 3, 4] == 5


def test_constants_are_made_once_for_each_kind_type_and_device():
    calls = []

    def make(number):
        calls.append(number)
        return np.arange(number) / 2

    double, single = np.zeros(1), np.zeros(1, np.float32)
    for like in (double, single, torch.zeros(1), torch.zeros(1, device="meta")):
        found = constant(like, make, 3)
        assert found is constant(like, make, 3)
        assert (namespace(found), found.dtype, found.device) == (namespace(like), like.dtype, like.device)
    np.testing.assert_array_equal(constant(torch.zeros(1), make, 3), [0, 0.5, 1])
    assert calls == [3] * 4
    constant(double, make, 4)
    assert calls == [3] * 4 + [4]


def test_constants_of_whole_numbers_keep_their_type():
    assert constant(np.zeros(1), np.arange, 3).dtype == np.int64
    assert constant(torch.zeros(1), np.arange, 3).dtype == torch.int64


def test_the_host_is_known(kind):
    assert on_host(kind(LOGITS))
    assert not on_host(torch.zeros(1, device="meta"))
    with pytest.raises(RalsegError, match="mend it"):
        check_finite(kind([1.0, np.inf]), "mend it")
    check_finite(torch.full((2,), np.nan, device="meta"), "mend it")


def test_casting_keeps_what_fits(kind):
    array = kind(LOGITS)
    same = cast(array, "float32")
    assert (same is array) if kind.name == "numpy" else same.data_ptr() == array.data_ptr()
    assert kind.back(cast(array, "float64"), np.float64).shape == LOGITS.shape


def test_numpy_needs_no_torch():
    code = (
        "import sys, numpy as np; from ralseg.features import UnitGrid, unit_features;"
        "unit_features(np.zeros((1, 2, 4, 4)), (), UnitGrid(4, 4, 2, 2), {'shares', 'uncertainty'});"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_constants_are_shared_and_bounded(monkeypatch):
    monkeypatch.setattr("ralseg.features.arrays._constants", Kept(1000, replace=True))
    made = []

    def ones(number, size):
        made.append(number)
        return np.ones(size)

    like = np.zeros(1, np.float32)
    first = constant(like, ones, 0, 100)
    assert first.dtype == np.float32
    assert constant(like, ones, 0, 100) is first
    assert constant(torch.zeros(1), ones, 0, 100).dtype == torch.float32
    constant(like, ones, 1, 100)  # the third of 400 bytes
    assert constant(like, ones, 0, 100) is not first
    assert made == [0, 0, 1, 0]
