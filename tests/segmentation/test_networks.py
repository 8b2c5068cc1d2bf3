import dataclasses
import re
import urllib.error
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50

from ralseg.features.prediction import Noise
from ralseg.foundation import RalsegError
from ralseg.segmentation.networks import (
    CUTS,
    DeepLabWRN38,
    EncoderFPN,
    InferenceTwin,
    RalisFPN,
    SmallFPN,
    SmpNetwork,
    read_tensors,
)
from ralseg.segmentation.networks.weights import load_imagenet, load_weights


def images_of(height, width, batch=2, seed=0):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def move_statistics(network):
    """Batch norm as after some training: its averages and weights are no longer 0 and 1."""
    generator = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.add_(0.2 * torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.mul_(0.7 + torch.rand(module.running_var.shape, generator=generator))
            if module.affine:
                module.weight.data.mul_(0.7 + 0.6 * torch.rand(module.weight.shape, generator=generator))
                module.bias.data.add_(0.2 * torch.randn(module.bias.shape, generator=generator))


class NetworkContract:
    """What every network keeps; a subclass says how to make one."""

    sizes = [(64, 96), (50, 70), (33, 32)]
    unfolded = 0  # batch norms that follow no convolution

    def make(self, classes=5, dropout=0.0):
        raise NotImplementedError

    @pytest.fixture
    def network(self):
        torch.manual_seed(0)
        network = self.make()
        network.add_frozen_head(8)
        return network.eval()

    @pytest.mark.parametrize("place", range(3))
    def test_shapes_at_any_size(self, network, place):
        height, width = self.sizes[place]
        with torch.no_grad():
            prediction = network(network.lower(images_of(height, width), "full"), "full")
        logits, embedding = prediction.logits, prediction.embedding
        assert logits.shape == (2, 5, *network.logit_size((height, width)))
        assert prediction.decoded.shape == (2, network.decoded, *logits.shape[-2:])
        assert prediction.noisy == {}
        assert [m.shape[1] for m in embedding] == [network.widths[level] for level in network.levels[1:]]
        sides = [m.shape[-1] for m in embedding]
        assert sides == sorted(sides, reverse=True)

    @pytest.mark.parametrize("cut", CUTS)
    def test_the_cut_changes_nothing(self, network, cut):
        images = images_of(*self.sizes[1])
        with torch.no_grad():
            whole = network(network.lower(images, "full"), "full")
            logits = network((images,)).logits
            found = network(network.lower(images, cut), cut)
        assert found.logits.shape == whole.logits.shape
        for own, other in zip(found.embedding, whole.embedding, strict=True):
            torch.testing.assert_close(own, other)
        if cut != "frozen":
            torch.testing.assert_close(found.logits, logits)
            torch.testing.assert_close(found.decoded, whole.decoded)

    @pytest.mark.parametrize("cut", CUTS)
    def test_the_last_layer_makes_the_logits(self, network, cut):
        with torch.no_grad():
            prediction = network(network.lower(images_of(64, 64), cut), cut)
            head = network.last_layer(cut)
            linear = functional.conv2d(prediction.decoded, head.weight, head.bias, padding=head.padding)
        torch.testing.assert_close(linear, prediction.logits)

    @pytest.mark.parametrize("cut", CUTS)
    def test_trained_is_exactly_what_forward_uses(self, network, cut):
        with torch.no_grad():
            maps = network.lower(images_of(64, 64), cut)
        network(maps, cut).logits.square().sum().backward()
        used = {name for name, p in network.named_parameters() if p.grad is not None}
        own = {id(p) for module in network.trained(cut) for p in module.parameters()}
        assert used == {name for name, p in network.named_parameters() if id(p) in own}
        assert used

    def test_no_parameter_is_without_a_place(self, network):
        parts = [*network.stage_modules(), *network.decoder_modules(), network.head, network.frozen_head]
        counted = [id(p) for part in parts for p in part.parameters()]
        assert sorted(counted) == sorted(id(p) for p in network.parameters())
        assert len(network.stage_modules()) == len(network.widths)

    def test_images_do_not_see_each_other(self, network):
        images = images_of(64, 64, batch=3)
        with torch.no_grad():
            torch.testing.assert_close(
                network((images,)).logits[1:2], network((images[1:2],)).logits, rtol=1e-4, atol=1e-4
            )

    def test_training_mode_moves_statistics_and_gives_gradients(self, network):
        network.train()
        before = [b.clone() for b in network.buffers()]
        network((images_of(64, 64),)).logits.sum().backward()
        assert any((b != a).any() for a, b in zip(before, network.buffers(), strict=True))
        assert all(p.grad is not None for module in network.trained("full") for p in module.parameters())

    @pytest.mark.parametrize("cut", CUTS)
    def test_the_inference_twin_predicts_the_same(self, network, cut):
        move_statistics(network)
        twin = InferenceTwin(network, "full", torch.float32)
        images = images_of(*self.sizes[1])
        with torch.no_grad():
            own, found = (n(n.lower(images, cut), cut) for n in (network, twin.network))
        torch.testing.assert_close(found.logits, own.logits, rtol=1e-3, atol=1e-3)
        assert sum(p.requires_grad for p in twin.network.parameters()) == 0
        assert network.frozen_head.norm is not twin.network.frozen_head.norm

    def test_the_inference_twin_follows(self, network):
        twin, images = InferenceTwin(network, "full", torch.float32), images_of(64, 64)
        move_statistics(network)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.95)
            own = network((images,)).logits
            assert (twin.network((images,)).logits - own).abs().max() > 0.05 * own.abs().max()
            twin.refresh()
            assert (twin.network((images,)).logits - own).abs().max() < 1e-4 * own.abs().max()

    def test_the_inference_twin_folds_batch_norm(self, network):
        norms = [
            sum(type(m) is nn.BatchNorm2d for m in n.modules())
            for n in (network, InferenceTwin(network, "full", torch.float32).network)
        ]
        # The norm of the frozen game's input follows no convolution.
        assert norms[1] - 1 <= self.unfolded < norms[0]

    def test_half_the_precision_keeps_the_sum_of_every_kernel(self, network):
        exact, rough = (InferenceTwin(network, "full", dtype).network for dtype in (torch.float32, torch.bfloat16))
        kernels = 0
        for own, found in zip(exact.modules(), rough.modules(), strict=True):
            if isinstance(own, nn.Conv2d) and found.weight.dtype == torch.bfloat16:
                first = 1 if own.kernel_size == (1, 1) else 2
                sums, kept = (m.weight.float().flatten(first).sum(-1) for m in (own, found))
                plain = own.weight.bfloat16().float().flatten(first).sum(-1)
                if own.weight[0].numel() > 1 and (plain - sums).abs().mean() > 1e-6:
                    assert (kept - sums).abs().mean() < 0.1 * (plain - sums).abs().mean()
                    kernels += 1
        assert kernels > 3

    def test_half_the_precision_moves_few_classes(self, network):
        move_statistics(network)
        twin, images = InferenceTwin(network, "full", torch.bfloat16), images_of(64, 96)
        with torch.no_grad():
            own, found = network((images,)).logits, twin.network((images,)).logits
        assert found.dtype == torch.float32
        assert (found - own).abs().max() < 0.1 * own.abs().max()
        best = own.topk(2, dim=1).values
        clear = best[:, 0] - best[:, 1] > 0.1 * own.std()
        assert (found.argmax(1) == own.argmax(1))[clear].float().mean() > 0.99

    @pytest.mark.parametrize("kind", ["dropout", "features"])
    @pytest.mark.parametrize("cut", CUTS)
    def test_noisy_predictions(self, cut, kind):
        torch.manual_seed(0)
        network = self.make(dropout=0.5)
        network.add_frozen_head(8)
        network.eval()

        def predict(seed, *noises):
            with torch.no_grad():
                generator = torch.Generator().manual_seed(seed)
                found = network(network.lower(images_of(64, 64), cut), cut)
                noisy = {noise: network.noisy(found, cut, noise, generator) for noise in noises}
                return dataclasses.replace(found, noisy=noisy)

        noise, often = Noise(kind, 3), Noise(kind, 200)
        first = predict(0, noise)
        noisy = first.noisy[noise]
        assert noisy.shape == (3, *first.logits.shape)
        assert (noisy[0] != noisy[1]).float().mean() > 0.5
        torch.testing.assert_close(noisy, predict(0, noise).noisy[noise], rtol=0, atol=0)
        assert (noisy != predict(1, noise).noisy[noise]).float().mean() > 0.5
        # Without noise it predicts as without draws; the draws scatter around that.
        torch.testing.assert_close(first.logits, predict(0).logits)
        many = predict(2, often).noisy[often]
        spread = many.std(0) / np.sqrt(200)
        assert ((many.mean(0) - first.logits).abs() < 5 * spread + 1e-6).float().mean() > 0.99

    def test_noise_by_dropout_needs_dropout(self, network):
        message = r"noisy predictions by dropout need a network trained with dropout; set network\.dropout=0\.1"
        prediction = network((images_of(64, 64),))
        with pytest.raises(RalsegError, match=message):
            network.noisy(prediction, "full", Noise("dropout", 2), torch.Generator())

    def test_the_frozen_game_needs_its_head(self):
        network = self.make().eval()
        for ask in (lambda: network.lower(images_of(64, 64), "frozen"), lambda: network.trained("frozen")):
            with pytest.raises(
                RalsegError, match="the frozen game needs a network with its MLP head; call add_frozen_head"
            ):
                ask()

    @pytest.mark.parametrize(
        ("options", "message"), [({"classes": 1}, "2 classes or more"), ({"dropout": 1.0}, "dropout=1.0")]
    )
    def test_arguments_out_of_range(self, options, message):
        with pytest.raises(RalsegError, match=message):
            self.make(**options)


class TestSmallFPN(NetworkContract):
    def make(self, classes=5, dropout=0.0):
        return SmallFPN(classes, dropout=dropout)

    def test_about_a_million_parameters(self):
        assert 0.8e6 < sum(p.numel() for p in SmallFPN(11).parameters()) < 1.1e6


class TestSmallFPNOfOtherWidths(NetworkContract):
    def make(self, classes=5, dropout=0.0):
        return SmallFPN(classes, widths=(8, 12, 16, 20, 24), pyramid=16, dropout=dropout)


@pytest.mark.parametrize(
    ("encoder", "cached"), [("tf_efficientnet_lite0", 5), ("tf_efficientnet_lite0", 3), ("resnet18", 4)]
)
class TestEncoderFPN(NetworkContract):
    @pytest.fixture(autouse=True)
    def _encoder(self, encoder, cached):
        self.encoder, self.cached = encoder, cached

    def make(self, classes=5, dropout=0.0):
        return EncoderFPN(classes, self.encoder, None, self.cached, 32, dropout)

    def test_the_inference_twin_folds_every_norm(self, network):
        twin = InferenceTwin(network, "full", torch.float32).network
        assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) > 20
        assert sum(isinstance(m, nn.BatchNorm2d) for m in twin.modules()) == 1  # of the frozen game's input


class TestRalisFPN(NetworkContract):
    sizes = [(32, 64), (34, 38), (33, 32)]

    def make(self, classes=5, dropout=0.0):
        return RalisFPN(classes, dropout=dropout)

    def test_the_published_size(self):
        with torch.device("meta"):
            network = RalisFPN(11)
            images = torch.empty(1, 3, 360, 480)
        assert sum(p.numel() for p in network.parameters()) == 28_526_027
        with FlopCounterMode(display=False) as flops:
            network((images,))
        assert flops.get_total_flops() / 1e9 == pytest.approx(67.5, abs=0.1)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_100"])
class SmpContract(NetworkContract):
    architecture = ""

    @pytest.fixture(autouse=True)
    def _encoder(self, encoder):
        self.encoder = encoder

    def make(self, classes=5, dropout=0.0):
        return SmpNetwork(classes, self.architecture, self.encoder, dropout)


class TestSmpFPN(SmpContract):
    architecture = "fpn"


class TestNarrowSmpFPN(SmpContract):
    architecture = "fpn"

    def make(self, classes=5, dropout=0.0):
        decoder = {"pyramid_channels": 64, "segmentation_channels": 32}
        network = SmpNetwork(classes, self.architecture, self.encoder, dropout, decoder=decoder)
        assert network.decoded == 32
        return network


class TestDeepLabV3Plus(SmpContract):
    architecture = "deeplabv3plus"


@pytest.mark.parametrize("cached", [1, 5, 7])
class TestDeepLabWRN38(NetworkContract):
    unfolded = 17  # the first of each block follows a sum or a pooling

    @pytest.fixture(autouse=True)
    def _cached(self, cached):
        self.cached = cached

    def make(self, classes=5, dropout=0.0):
        return DeepLabWRN38(classes, dropout=dropout, cached=self.cached, width=8, decoder=16)


def test_unknown_parts_of_the_library():
    with pytest.raises(
        RalsegError, match=r"network.architecture='unet' is unknown; choose from \['deeplabv3plus', 'fpn'\]"
    ):
        SmpNetwork(5, "unet")
    with pytest.raises(
        RalsegError, match=r"network.encoder=resnet19 is none of .* \(did you mean resnet1[058].*\?\); .* tu-<name>"
    ):
        SmpNetwork(5, "fpn", "resnet19")
    with pytest.raises(RalsegError, match=r"network.encoder=tu-nothing cannot be built as fpn \(RuntimeError: Unknown"):
        SmpNetwork(5, "fpn", "tu-nothing")
    with pytest.raises(RalsegError, match=r"network.decoder.segmentation_channels=48 is no multiple of 32"):
        SmpNetwork(5, "fpn", decoder={"segmentation_channels": 48})
    with pytest.raises(
        RalsegError, match=r"network.decoder has no \['widths'\] for 'deeplabv3plus'; choose from \['channels'\]"
    ):
        SmpNetwork(5, "deeplabv3plus", decoder={"widths": 64})


@pytest.mark.parametrize(
    ("network", "mean", "std"),
    [
        (SmallFPN(2), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        (EncoderFPN(2, weights=None), [0.5] * 3, [0.5] * 3),
    ],
    ids=["small_fpn", "lite0"],
)
def test_normalise(network, mean, std):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8))
    found = network.normalise(images)
    expected = (images.numpy() / 255 - mean) / std
    np.testing.assert_allclose(found.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def checkpoint():
    """Tensors in torchvision's names, drawn."""
    torch.manual_seed(5)
    return resnet50(weights=None).state_dict()


@pytest.fixture(params=["safetensors", "pth"])
def written(request, tmp_path):
    """Writes tensors to a file of either kind."""

    def write(tensors):
        path = tmp_path / f"resnet50.{request.param}"
        if request.param == "safetensors":
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        else:
            torch.save(tensors, path)
        return str(path)

    return write


def test_imagenet_weights_from_a_file(checkpoint, written):
    network = RalisFPN(5, imagenet=written(checkpoint))
    loaded = resnet50(weights=None)
    stem, first = network.stages[0], network.stages[1]
    pairs = [
        (stem[0], "conv1"),
        (stem[1], "bn1"),
        (first[1], "layer1"),
        *zip(network.stages[2:], ("layer2", "layer3", "layer4"), strict=True),
    ]
    for module, name in pairs:
        for key, value in module.state_dict().items():
            assert torch.equal(value, checkpoint[f"{name}.{key}"]), f"{name}.{key}"
    assert sum(len(module.state_dict()) for module, _ in pairs) + 2 == len(loaded.state_dict())


def test_a_checkpoint_of_another_network_is_refused(checkpoint, written):
    def without(*names):
        return {name: tensor for name, tensor in checkpoint.items() if name not in names}

    RalisFPN(5, imagenet=written(without("fc.weight", "fc.bias")))
    with pytest.raises(RalsegError, match=r"layer1.0.conv1.weight has shape \(1, 2\), not \(64, 64, 1, 1\)"):
        RalisFPN(5, imagenet=written(checkpoint | {"layer1.0.conv1.weight": torch.zeros(1, 2)}))
    with pytest.raises(
        RalsegError,
        match=r"tensor layer4.2.bn3.running_var is missing \(1 in all\); it is not a checkpoint of res",
    ):
        RalisFPN(5, imagenet=written(without("layer4.2.bn3.running_var")))


def test_only_the_tensors_of_a_network_are_loaded():
    network, tensors = nn.BatchNorm2d(2), {name: t + 1 for name, t in nn.BatchNorm2d(2).state_dict().items()}
    load_weights(network, tensors, "here", "a norm")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())
    load_weights(network, {n: t for n, t in tensors.items() if n != "num_batches_tracked"}, "here", "a norm")
    one = torch.ones(2)
    wrong = {
        "tensor scale is unknown (1 in all); it is not a checkpoint of a norm": {"scale": one},
        "tensor weight has shape (3,), not (2,)": {"weight": torch.ones(3)},
        "tensor weight holds int64, not float32": {"weight": one.long()},
        "tensor weight holds complex64, not float32": {"weight": one + 1j},
        "tensor bias holds NaN or infinities": {"bias": one / 0},
    }
    for message, change in wrong.items():
        with pytest.raises(RalsegError, match=f"there: {re.escape(message)}"):
            load_weights(network, tensors | change, "there", "a norm")
    with pytest.raises(RalsegError, match=r"there: tensor bias is missing \(1 in all\); it is not a checkpoint"):
        load_weights(network, {n: t for n, t in tensors.items() if n != "bias"}, "there", "a norm")
    load_weights(network, tensors | {"scale": one, "weight": one / 0}, "here", "a norm", more=True, optional=["weight"])


def test_a_packed_torch_file_is_refused(tmp_path):
    torch.save({"zeros": torch.zeros(1 << 20)}, tmp_path / "plain.pth")
    with ZipFile(tmp_path / "plain.pth") as plain, ZipFile(tmp_path / "packed.pth", "w", ZIP_DEFLATED) as packed:
        for part in plain.namelist():
            packed.writestr(part, plain.read(part))
    assert read_tensors(tmp_path / "plain.pth")["zeros"].shape == (1 << 20,)
    with pytest.raises(RalsegError, match=r"packed.pth: a packed archive"):
        read_tensors(tmp_path / "packed.pth")


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_damaged_or_missing_files(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(RalsegError, match=f"{name}: no such checkpoint"):
        read_tensors(path)
    path.write_bytes(b"\x08\x00\x00\x00 these are no weights")
    with pytest.raises(RalsegError, match=f"{name}: not a readable checkpoint"):
        read_tensors(path)


@pytest.mark.parametrize(
    "value",
    [
        [torch.zeros(2)],
        torch.zeros(2),
        {"model": {"conv1.weight": torch.zeros(2)}, "epoch": 3},
        {"state_dict": {"conv1.weight": 3}},
        {"state_dict": torch.zeros(2), "epoch": 3},
    ],
)
def test_files_that_hold_something_else_than_named_tensors(tmp_path, value):
    torch.save(value, tmp_path / "weights.pth")
    with pytest.raises(RalsegError, match=r"weights.pth: .*not"):
        RalisFPN(5, imagenet=str(tmp_path / "weights.pth"))


def test_the_state_dict_in_a_file_of_a_training(tmp_path):
    torch.save({"epoch": 3, "state_dict": {"bias": torch.ones(2)}, "optimizer": {}}, tmp_path / "last.pth.tar")
    assert read_tensors(tmp_path / "last.pth.tar")["bias"].tolist() == [1, 1]


class Unpicklable:
    """Stands for code in a checkpoint."""

    def __reduce__(self):
        return (print, ("code from a file was run",))


def test_nothing_is_unpickled(tmp_path, capsys):
    torch.save({"conv1.weight": Unpicklable()}, tmp_path / "weights.pth")
    with pytest.raises(RalsegError, match="not a readable checkpoint"):
        read_tensors(tmp_path / "weights.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), OSError("timed out"), RuntimeError("invalid hash value (expected 1)")]
)
def test_the_hub_cannot_be_reached(monkeypatch, error):
    class Unreachable:
        def get_state_dict(self, **_):
            raise error

    monkeypatch.setattr("torchvision.models.get_weight", lambda name: Unreachable())
    with pytest.raises(RalsegError, match=r"weights of resnet50 cannot be downloaded .*give the path"):
        load_imagenet(resnet50(weights=None), "hub", "resnet50")
