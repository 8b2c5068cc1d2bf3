"""Encoders of timm: stages, packaged weights, and what is refused."""

import re

import pytest
import timm
import torch
from safetensors.torch import save_file

from ralseg.foundation import RalsegError
from ralseg.segmentation.networks import EncoderFPN, SmpNetwork, encoders, read_tensors
from ralseg.segmentation.networks.encoders import PACKAGED, timm_encoder

LITE0 = "tf_efficientnet_lite0"
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
STAGES = (1, 2, 2, 3, 3, 4, 1)


@pytest.mark.parametrize("name", [LITE0, "resnet18", "mobilenetv3_small_100", "regnety_002"])
def test_the_stages_are_timms_features(name):
    encoder = timm_encoder(name, None)
    model = timm.create_model(name, features_only=True).eval()
    x = torch.randn(1, 3, 70, 50, generator=torch.Generator().manual_seed(0))
    stages = encoder.stages.eval()
    # The same modules are in both, in the same order.
    model.load_state_dict(dict(zip(model.state_dict(), stages.state_dict().values(), strict=True)))
    with torch.no_grad():
        for stage, wanted in zip(stages, model(x), strict=True):
            x = stage(x)
            torch.testing.assert_close(x, wanted)
    assert (encoder.widths, encoder.strides) == (tuple(model.feature_info.channels()), (2, 4, 8, 16, 32))


def test_each_packaged_tensor_has_its_place():
    """The names, written out, against the order that is used."""
    wanted = {}
    for key, tensor in packaged().items():
        if block := re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
            number, part, leaf = int(block[1]), block[2], block[3]
            stage = next(s for s in range(7) if number < sum(STAGES[: s + 1]))
            name = (BLOCKS if number else FIRST_BLOCK)[part]
            wanted[f"blocks.{stage}.{number - sum(STAGES[:stage])}.{name}.{leaf}"] = tensor
        else:
            part, leaf = key.split(".")
            wanted[f"{OUTSIDE[part]}.{leaf}"] = tensor
    model = timm.create_model(LITE0)
    model.load_state_dict(wanted)
    model.eval()
    stages = timm_encoder(LITE0, "imagenet").stages.eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model.bn2(model.conv_head(torch.nn.Sequential(*stages)(x)))
        torch.testing.assert_close(found, model.forward_features(x), rtol=0, atol=0)


def packaged():
    held = PACKAGED[LITE0]
    return read_tensors(str(encoders.files(held.package) / held.path))


def test_another_file_in_the_package_is_refused(monkeypatch):
    held = PACKAGED[LITE0]
    monkeypatch.setitem(PACKAGED, LITE0, encoders.Packaged(held.package, held.path, "0" * 64))
    with pytest.raises(RalsegError, match="not the file that ralseg was tested with; install efficientnet_lite0"):
        timm_encoder(LITE0, "imagenet")


def test_a_checkpoint_of_timm(tmp_path):
    torch.manual_seed(3)
    model = timm.create_model("resnet18", num_classes=7)
    save_file(model.state_dict(), tmp_path / "resnet18.safetensors")
    stages = EncoderFPN(5, "resnet18", str(tmp_path / "resnet18.safetensors")).stages
    assert torch.equal(stages[0][0].weight, model.conv1.weight)
    assert torch.equal(stages[4][0][1].conv2.weight, model.layer4[1].conv2.weight)
    with pytest.raises(
        RalsegError, match=r"resnet18\.safetensors: tensor .*; it is not a checkpoint of timm's tf_efficientnet_"
    ):
        EncoderFPN(5, LITE0, str(tmp_path / "resnet18.safetensors"))


def test_the_encoders_of_smp_get_the_same_weights(tmp_path):
    torch.manual_seed(3)
    images = torch.randn(1, 3, 64, 96)
    own = EncoderFPN(5, LITE0, "imagenet").eval()
    network = SmpNetwork(5, "fpn", f"tu-{LITE0}", imagenet="imagenet").eval()
    assert (network.mean, network.std) == (own.mean, own.std)
    # DeepLabv3+ has stride 16 in the place of 32 from the fourth stage on.
    dilated = SmpNetwork(5, "deeplabv3plus", f"tu-{LITE0}", imagenet="imagenet").eval()
    for level, maps in enumerate(own.run_stages(images, 0, 5)):
        assert torch.equal(network.run_stages(images, 0, 5)[level], maps)
        assert level == 4 or torch.equal(dilated.run_stages(images, 0, 5)[level], maps)
    model = timm.create_model("resnet18", num_classes=7)
    path = str(tmp_path / "resnet18.safetensors")
    save_file(model.state_dict(), path)
    for encoder in ("resnet18", "tu-resnet18"):
        body = SmpNetwork(5, "fpn", encoder, imagenet=path).encoder
        assert torch.equal(getattr(body, "model", body).layer4[1].conv2.weight, model.layer4[1].conv2.weight)
        with pytest.raises(RalsegError, match=r"resnet18\.safetensors: tensor .* it is not a checkpoint of"):
            SmpNetwork(5, "fpn", encoder.replace("18", "50"), imagenet=path)


@pytest.mark.parametrize(
    ("encoder", "weights", "message"),
    [
        (
            "resnet19",
            None,
            r"network\.encoder=resnet19 with network\.weights=None cannot be had \(RuntimeError: Unknown model",
        ),
        ("convnext_atto", None, r"has strides \(4, 8, 16, 32\), not 2, 4, 8, 16 and 32; choose another"),
        (LITE0, "nowhere.pth", r"nowhere\.pth: no such checkpoint"),
    ],
)
def test_what_cannot_be_had(encoder, weights, message):
    with pytest.raises(RalsegError, match=message):
        EncoderFPN(5, encoder, weights)
