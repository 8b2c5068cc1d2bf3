"""DeepLabv3+ on Wider-ResNet-38: its published size, a slow reference of all of it, its weights and its dropout."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.labels import revealed
from ralseg.segmentation.learners import FitOptions, LearnerImages, LearnOptions, SupervisedLearner, TrainingSet
from ralseg.segmentation.networks import DeepLabWRN38
from ralseg.segmentation.networks.deeplab_wrn38 import ChannelDropout
from ralseg.segmentation.store import ImageStore

WIDTH = 2
# As the repository of NVIDIA writes them: module, blocks, input, convolutions, stride, dilation.
MODULES = [
    (2, 3, 64, (128, 128), 1, 1),
    (3, 3, 128, (256, 256), 1, 1),
    (4, 6, 256, (512, 512), 2, 1),
    (5, 3, 512, (512, 1024), 1, 2),
    (6, 1, 1024, (512, 1024, 2048), 1, 4),
    (7, 1, 2048, (1024, 2048, 4096), 1, 4),
]


def published_shapes(width=64):
    """name -> shape of each published tensor of the trunk, with the last norm and the classifier."""

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)

    shapes = {"mod1.conv1.weight": (width, 3, 3, 3)}
    for module, blocks, inputs, widths, stride, _ in MODULES:
        before, *after = (channels * width // 64 for channels in (inputs, *widths))
        for block in range(1, blocks + 1):
            name = f"mod{module}.block{block}"
            if (stride > 1 and block == 1) or before != after[-1]:
                shapes[f"{name}.proj_conv.weight"] = (after[-1], before, 1, 1)
            norm(f"{name}.bn1", before)
            sides = (3, 3) if len(after) == 2 else (1, 3, 1)
            for i, (channels, side) in enumerate(zip(after, sides, strict=True)):
                if i:
                    norm(f"{name}.convs.bn{i + 1}", before)
                shapes[f"{name}.convs.conv{i + 1}.weight"] = (channels, before, side, side)
                before = channels
    norm("bn_out", before)
    return shapes | {"classifier.fc.weight": (1000, before), "classifier.fc.bias": (1000,)}


@pytest.fixture(scope="module")
def checkpoint():
    """Random tensors in the published names; maps keep about their size from block to block."""
    rng = np.random.default_rng(0)

    def drawn(name, shape):
        if len(shape) > 1:
            return rng.normal(0, np.sqrt(1 / np.prod(shape[1:])), shape)
        low, high = (-0.3, 0.3) if name.endswith(("bias", "mean")) else (0.6, 1.4)
        return rng.uniform(low, high, shape)

    return {name: torch.tensor(drawn(name, shape)).float() for name, shape in published_shapes(WIDTH).items()}


@pytest.fixture
def written(checkpoint, tmp_path):
    """The path of the checkpoint as a file."""
    save_file(checkpoint, tmp_path / "trunk.safetensors")
    return str(tmp_path / "trunk.safetensors")


def convolved(x, weight, stride=1, dilation=1):
    """A convolution that keeps the size, over stride, as a sum over the kernel: (B, I, h, w) x (O, I, k, k)."""
    weight = weight.double().numpy()
    reach = dilation * (weight.shape[2] // 2)
    padded = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    height, width = x.shape[2:]
    total = 0.0
    for i, j in np.ndindex(*weight.shape[2:]):
        top, left = i * dilation, j * dilation
        window = padded[:, :, top : top + height, left : left + width]
        total = total + np.einsum("bihw,oi->bohw", window, weight[:, :, i, j])
    return total[:, :, ::stride, ::stride]


def activated(x, tensors, name):
    mean, var, weight, bias = (
        tensors[f"{name}.{part}"].double().numpy()[:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return np.maximum((x - mean) / np.sqrt(var + 1e-5) * weight + bias, 0)


def published_maps(tensors, x):
    """The outputs of mod1 to mod7, in float64, from tensors in the published names."""
    maps = [convolved(x, tensors["mod1.conv1.weight"])]
    for module, blocks, _, widths, stride, dilation in MODULES:
        x = maps[-1]
        if module < 4:
            padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
            height, width = x.shape[2:]
            shifted = [padded[:, :, i : i + height, j : j + width] for i, j in np.ndindex(3, 3)]
            x = np.max(shifted, axis=0)[:, :, ::2, ::2]
        for block in range(1, blocks + 1):
            name, step = f"mod{module}.block{block}", stride if block == 1 else 1
            active = activated(x, tensors, f"{name}.bn1")
            projection = tensors.get(f"{name}.proj_conv.weight")
            shortcut = x if projection is None else convolved(active, projection, step)
            made = convolved(active, tensors[f"{name}.convs.conv1.weight"], step, dilation)
            for i in range(2, len(widths) + 1):
                made = activated(made, tensors, f"{name}.convs.bn{i}")
                made = convolved(made, tensors[f"{name}.convs.conv{i}.weight"], 1, dilation)
            x = shortcut + made
        maps.append(x)
    return maps


@pytest.mark.parametrize("size", [(64, 64), (33, 50)])
def test_the_trunk_is_the_published_one(checkpoint, written, size):
    network = DeepLabWRN38(5, written, width=WIDTH, decoder=8).eval()
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network.run_stages(images, 0, 7)
    expected = published_maps(checkpoint, images.double().numpy())
    for own, wanted in zip(found, expected, strict=True):
        assert own.std() > 0.1
        np.testing.assert_allclose(own.numpy(), wanted, rtol=1e-3, atol=1e-4)
    assert network.pretrained and not DeepLabWRN38(5, width=WIDTH, decoder=8).pretrained


def test_the_decoder_is_the_published_one():
    torch.manual_seed(0)
    network = DeepLabWRN38(5, width=1, decoder=4).eval()
    tensors = network.state_dict()
    low, high = (
        np.random.default_rng(0).normal(size=(2, 2, 40, 60)),
        np.random.default_rng(1).normal(size=(2, 64, 10, 15)),
    )

    def unit(x, name, dilation=1):
        names = {
            f"{name}.{part}": tensors[f"{name}.1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        }
        return activated(convolved(x, tensors[f"{name}.0.weight"], 1, dilation), names, name)

    whole = np.broadcast_to(unit(high.mean((2, 3), keepdims=True), "pooled"), (2, 4, 10, 15))
    rates = [1, 12, 24, 36]
    branches = [unit(high, f"pyramid.{i}", rate) for i, rate in enumerate(rates)]
    merged = torch.tensor(convolved(np.concatenate([whole, *branches], axis=1), tensors["merge.weight"]))
    merged = functional.interpolate(merged, size=(40, 60), mode="bilinear").numpy()
    x = np.concatenate([convolved(low, tensors["detail.weight"]), merged], axis=1)
    x = unit(unit(x, "refine.0"), "refine.1")
    with torch.no_grad():
        made = network.decode([torch.tensor(low).float(), torch.tensor(high).float()])
    np.testing.assert_allclose(made.numpy(), x, rtol=1e-3, atol=1e-4)
    assert network.pyramid[0][0].kernel_size == (1, 1) and tensors["detail.weight"].shape == (48, 2, 1, 1)


def test_the_published_size():
    with torch.device("meta"):
        network = DeepLabWRN38(19).eval()
        images = torch.empty(1, 3, 253, 509)
        maps = network.run_stages(images, 0, 7)
        logits = network((images,)).logits
    trunk = {name: np.prod(shape) for name, shape in published_shapes().items() if "running" not in name}
    trunk = sum(count for name, count in trunk.items() if not name.startswith(("bn_out", "classifier")))
    assert sum(p.numel() for p in network.stages.parameters()) == trunk == 105_062_720
    pyramid = 256 * (4096 * (1 + 1 + 3 * 9) + 5 * 2)
    decoder = 256 * 5 * 256 + 128 * 48 + 256 * (304 * 9 + 2) + 256 * (256 * 9 + 2) + 256 * 19
    # Other papers give 137.1 million.
    assert sum(p.numel() for p in network.parameters()) == trunk + pyramid + decoder == 137_103_936
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 253, 509),
        (128, 127, 255),
        (256, 64, 128),
        *((channels, 32, 64) for channels in (512, 1024, 2048, 4096)),
    ]
    assert logits.shape == (1, 19, 127, 255)


@pytest.mark.parametrize(("stage", "offsets"), [(4, range(-12, 13, 2)), (5, [-4, 0, 4]), (6, [-4, 0, 4])])
def test_what_a_dilated_stage_sees(stage, offsets):
    network = DeepLabWRN38(5, width=1, decoder=4).eval()
    x = torch.randn(1, network.widths[stage - 1], 31, 31, requires_grad=True)
    network.stages[stage](x)[0, :, 15, 15].sum().backward()
    seen = x.grad[0].abs().sum(0).nonzero() - 15
    assert {tuple(place) for place in seen.tolist()} == {(i, j) for i in offsets for j in offsets}


@pytest.mark.parametrize("kind", ["module.{}", "{}"])
@pytest.mark.parametrize("norms", ["0.", ""])
@pytest.mark.parametrize("old", [False, True])
def test_files_as_they_are_distributed(checkpoint, tmp_path, kind, norms, old):
    def spelled(name):
        start, found, end = name.rpartition(".")
        return kind.format(f"{start}{found}{norms}{end}" if "bn" in start else name)

    tensors = {spelled(name): tensor for name, tensor in checkpoint.items()}
    path = tmp_path / "wider_resnet38.pth.tar"
    around = {"epoch": 90, "arch": "wider", "state_dict": tensors, "optimizer": {"state": {0: torch.ones(2)}}}
    torch.save(around, path, _use_new_zipfile_serialization=not old)
    loaded = DeepLabWRN38(5, str(path), width=WIDTH).stages.state_dict()
    loaded = {name: tensor for name, tensor in loaded.items() if not name.endswith("num_batches_tracked")}
    for name, tensor in loaded.items():
        number, _, rest = name.partition(".")
        assert torch.equal(tensor, checkpoint[f"mod{int(number) + 1}.{rest}"]), name
    assert len(loaded) == len(checkpoint) - 6  # but bn_out and the classifier


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mod7.block1.convs.bn3.bias": None}, r"mod7\.block1\.convs\.bn3\.bias is missing \(1 in all\)"),
        ({"mod8.block1.bn1.bias": torch.ones(2)}, r"mod8\.block1\.bn1\.bias is unknown"),
        ({"mod1.conv1.weight": torch.ones(64, 3, 3, 3)}, r"has shape \(64, 3, 3, 3\), not \(2, 3, 3, 3\)"),
        ({"mod2.block1.bn1.bias": torch.ones(2).long()}, r"holds int64, not float32"),
        ({"mod2.block1.bn1.bias": torch.ones(2) / 0}, r"mod2\.block1\.bn1\.bias holds NaN or infinities"),
    ],
)
def test_other_checkpoints_are_refused(checkpoint, tmp_path, change, message):
    tensors = {name: tensor for name, tensor in (checkpoint | change).items() if tensor is not None}
    torch.save(tensors, tmp_path / "trunk.pth")
    with pytest.raises(RalsegError, match=rf"trunk\.pth: tensor .*{message}"):
        DeepLabWRN38(5, str(tmp_path / "trunk.pth"), width=WIDTH)
    with pytest.raises(RalsegError, match=r"nowhere\.pth: no such checkpoint; give another file as network\.weights"):
        DeepLabWRN38(5, "nowhere.pth", width=WIDTH)


def test_channels_are_dropped_in_training_alone(written):
    torch.manual_seed(0)
    network = DeepLabWRN38(5, written, width=WIDTH, decoder=8).eval()
    layers = [module for module in network.modules() if isinstance(module, ChannelDropout)]
    assert [layer.share for layer in layers] == [0.3, 0.5]
    seen = []
    for layer in layers:
        layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    images = torch.randn(8, 3, 64, 64)

    def logits(seed=None):
        seen.clear()
        drop = None if seed is None else torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return network((images,), drop=drop).logits

    plain = logits()
    assert all(torch.equal(before, after) for before, after in seen)
    assert torch.equal(logits(3), logits(3)) and not torch.equal(logits(3), logits(4))
    for share, (before, after) in zip((0.3, 0.5), seen, strict=True):
        dropped, alive = ((maps == 0).all(-1).all(-1) == empty for maps, empty in ((after, True), (before, False)))
        assert dropped[alive].float().mean() == pytest.approx(share, abs=0.1)
        torch.testing.assert_close(after, before * ~dropped[..., None, None] / (1 - share))
    assert torch.equal(logits(), plain)
    network.train()
    assert not torch.equal(logits(), logits())


@pytest.mark.parametrize(("shares", "drops"), [((0.3, 0.5), True), ((0.0, 0.5), True), ((0.0, 0.0), False)])
def test_the_dropped_channels_follow_the_learners_seed(tmp_path, shares, drops):
    streets = Streets(9, (64, 64))
    store = ImageStore(streets, streets.names, 0.5, tmp_path)

    def weights(share_of_training):
        torch.manual_seed(0)
        network = DeepLabWRN38(11, backbone_dropout=share_of_training, width=1, decoder=4)
        learner = SupervisedLearner(network, LearnerImages(store), LearnOptions(cut="full"))
        torch.manual_seed(np.random.default_rng().integers(2**31))
        options = FitOptions(steps=2, batch=2, crops=Crops((32, 32)))
        for fit in (options, dataclasses.replace(options, train_batch_norm=False)):
            learner.fit(TrainingSet(revealed(store, [0]), []), fit, np.random.default_rng(0))
        return network.drops, network.stages[6].block1.convs.conv3.weight.detach().clone()

    (own, first), (_, again), (_, without) = weights(shares), weights(shares), weights((0.0, 0.0))
    assert own == drops and torch.equal(first, again)
    assert torch.equal(first, without) != drops
