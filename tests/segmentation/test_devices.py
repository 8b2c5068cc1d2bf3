import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from ralseg.foundation import RalsegError
from ralseg.segmentation.devices import compute_dtype, single_thread, to_device

CPU = torch.device("cpu")


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_named_precision_is_taken(precision, dtype):
    assert compute_dtype(precision, CPU) == dtype


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_asks_the_gpu(monkeypatch, supported, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert compute_dtype("auto", torch.device("cuda")) == dtype


def test_auto_is_float32_on_every_processor(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert compute_dtype("auto", CPU) == torch.float32


def test_auto_is_float32_on_an_unknown_device():
    assert compute_dtype("auto", torch.device("meta")) == torch.float32


def test_an_unknown_precision_is_refused():
    with pytest.raises(RalsegError, match="precision='fp8' is unknown; choose from auto, float32, bfloat16"):
        compute_dtype("fp8", CPU)


def test_arrays_become_tensors():
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tensor = to_device(array, CPU)
    assert (tensor.dtype, tensor.tolist()) == (torch.uint8, array.tolist())


def test_one_thread_for_torch_and_numpy():
    before = threadpool_info()
    # Within limits, at whose end the pools go back to what they were: other tests run after this one.
    with threadpool_limits(2):
        torch.set_num_threads(2)
        single_thread()
        assert torch.get_num_threads() == 1
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    assert threadpool_info() == before
