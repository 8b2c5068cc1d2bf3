import numpy as np
import pytest
import torch


class Kind:
    """Hands arrays over as one kind and takes the results back, sure that they are of it and float32 unless said."""

    def __init__(self, name):
        self.name = name

    def __call__(self, array):
        array = np.asarray(array)
        return array if self.name == "numpy" else torch.from_numpy(array)

    def back(self, result, dtype=np.float32):
        if self.name == "torch":
            assert isinstance(result, torch.Tensor)
            assert result.device == torch.device("cpu")
            assert not result.requires_grad
            result = result.numpy()
        assert isinstance(result, np.ndarray)
        assert result.dtype == dtype
        return result


@pytest.fixture(params=["numpy", "torch"])
def kind(request):
    return Kind(request.param)
