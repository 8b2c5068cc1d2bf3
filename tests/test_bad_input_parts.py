"""Bad parts at the two doors: devices, encoders, sources, classes and weights; one clear line, nothing written."""

import importlib
import inspect
import itertools
import pickle
import re
import struct
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from ralseg.segmentation.networks import SmallFPN, hub
from tests.test_bad_input import DOORS, STREETS

SMP, LITE0 = ["network=smp_fpn"], ["network=lite0", "network.weights=null", "theta0=state"]
MLP = ["network=pixel_mlp", "game=frozen", "source=timm", "source.pretrained=false"]
OWN = ["network=pixel_mlp", "game=frozen"]
SWIN = "swin_tiny_patch4_window7_224"
NETWORKS = "ralseg.segmentation.networks"
NO_HUB = "https://huggingface.co cannot be reached and its cache lacks the encoder"
DEVICE = "cannot be used (.*); set device=cpu, or device=cuda where there is a GPU"

PARTS = {
    # kind -> (overrides, what the line says)
    "GPU that is not there": (["device=cuda:9"], f"device='cuda:9' {DEVICE}"),
    "CPU by number": (["device=cpu:7"], "device='cpu:7' cannot be used (there is one CPU, whatever its cores)"),
    "device that holds no values": (["device=meta"], f"device='meta' {DEVICE}"),
    "device of another build of torch": (["device=xpu"], f"device='xpu' {DEVICE}"),
    "device that is a number": (["device=3"], f"device='3' {DEVICE}"),
    "device that is null": (["device=null"], "device=None must be a text"),
    "device that is a list": (["device=[cpu]"], "device=['cpu'] must be a text"),
    "device in capitals": (["device=CPU"], f"device='CPU' {DEVICE}"),
    "half precision": (["precision=half"], "precision='half' is unknown; choose from auto, float32, bfloat16"),
    "precision that is null": (["precision=null"], "precision=None is unknown; choose from auto"),
    "encoder with a typing error": (
        [*SMP, "network.encoder=resnet19"],
        "network.encoder=resnet19 is none of .*(did you mean resnet1.*tu-<name> for any of timm",
    ),
    "encoder that is a number": ([*SMP, "network.encoder=3"], "network.encoder=3 is none of segmentation-models"),
    "encoder that is null": ([*SMP, "network.encoder=null"], "network.encoder=None must be a text"),
    "encoder that timm lacks": ([*SMP, "network.encoder=tu-nothing"], "network.encoder=tu-nothing .*Unknown model"),
    "encoder of one stride": (
        [*SMP, "network.encoder=tu-vit_tiny_patch16_224"],
        "network.encoder=tu-vit_tiny_patch16_224 cannot be built as fpn (.*); choose another encoder, e.g. resnet18",
    ),
    "encoder from a folder that is not there": (
        [*SMP, "network.encoder=tu-local-dir:/nowhere"],
        "network.encoder=tu-local-dir:/nowhere .*/nowhere/config.json",
    ),
    "encoder without a stride": (
        [*LITE0, "network.encoder=convnext_atto"],
        "network.encoder=convnext_atto has strides (4, 8, 16, 32), not 2, 4, 8, 16 and 32; choose another",
    ),
    "encoder that is a path": (
        [*LITE0, "network.encoder=/etc/passwd"],
        "network.encoder=/etc/passwd with network.weights=None cannot be had (.*); choose another encoder of timm",
    ),
    "more stages than there are": ([*LITE0, "network.cached=9"], "network.cached=9 is out of range; it must be 1 to 5"),
    "architecture that does not exist": (
        [*SMP, "network.architecture=unet"],
        "network.architecture='unet' is unknown; choose from ['deeplabv3plus', 'fpn']",
    ),
    "decoder that is a number": ([*SMP, "network.decoder=3"], "network.decoder=3 must be a group of settings"),
    "decoder of another architecture": (
        [*SMP, "network.decoder.channels=64"],
        "network.decoder.channels is not a setting; network.decoder has pyramid_channels, segmentation_channels",
    ),
    "decoder of uneven groups": (
        [*SMP, "network.decoder.segmentation_channels=48"],
        "network.decoder.segmentation_channels=48 is no multiple of 32",
    ),
    "weights that an encoder lacks": (
        [*SMP, "network.imagenet=hub"],
        "network.imagenet=hub is unknown; resnet18 has imagenet, ssl, swsl, or give null or the path",
    ),
    "hub out of reach, timm": (
        ["network=lite0", "network.encoder=resnet18"],
        f"network.encoder=resnet18 .*{NO_HUB}.*give the path of a checkpoint as network.weights",
    ),
    "hub out of reach, smp": ([*SMP, "network.imagenet=imagenet"], f"{NO_HUB}); set network.imagenet=null"),
    "hub out of reach, source": (
        [*MLP, "source.encoder=tf_efficientnet_lite1", "source.pretrained=true"],
        f"source.encoder=tf_efficientnet_lite1 .*{NO_HUB}.*give the path of a checkpoint as source.file",
    ),
    "hub out of reach, an encoder's description": (
        [*LITE0, "network.encoder=hf-hub:nobody/nothing"],
        f"network.encoder=hf-hub:nobody/nothing .*{NO_HUB}",
    ),
    "hub out of reach, torchvision": (
        ["network=ralis_fpn", "network.imagenet=hub"],
        "network.imagenet=hub: the weights of resnet50 cannot be downloaded (.*give the path of a checkpoint",
    ),
    "source that timm lacks": ([*MLP, "source.encoder=nothing"], "source.encoder=nothing .*Unknown model (nothing)"),
    "levels that an encoder lacks": (
        [*MLP, "source.encoder=convnext_atto"],
        "source.levels=[1, 2, 3, 4]: convnext_atto has the levels 0 to 3; name these",
    ),
    "levels of letters": ([*MLP, "source.levels=[a]"], "source.levels[0]='a' must be a whole number"),
    "levels in disorder": (
        [*MLP, "source.levels=[3,1]"],
        "source.levels=[3, 1] must be one level or more",
    ),
    "no levels": ([*MLP, "source.levels=[]"], "source.levels=[] must be one level or more"),
    "one level without brackets": ([*MLP, "source.levels=3"], "source.levels=3 must be a list of values"),
    "source without its network": (
        ["source=timm", "source.pretrained=false", "game=frozen"],
        "a network with its own stages takes no other feature source.*set network=pixel_mlp with source=timm",
    ),
    "network without its source": (["network=pixel_mlp"], "a per-pixel network needs one; set network=pixel_mlp with"),
    "source in a game that trains stages": ([*MLP, "game=partial"], "a feature source is frozen .*; set game=frozen"),
    "network that is null": (["network._target_=null"], "network._target_=None must be a text"),
    "network that is a list": (["network._target_=[a]"], "network._target_=['a'] must be a text"),
    "network without its package": (["network._target_=SmallFPN"], "network._target_=SmallFPN cannot be found (No"),
    "network behind a colon": (
        [f"network._target_={NETWORKS}:SmallFPN"],
        "SmallFPN cannot be found (a colon is no part of a name); give package.module.Class",
    ),
    "network with other options": (
        [f"network._target_={NETWORKS}.RalisFPN"],
        f"network.widths is no option of {NETWORKS}.RalisFPN, which has dropout, imagenet; leave it out",
    ),
    "module that is no network": (
        ["network._target_=torch.nn.Identity"],
        f"network._target_=torch.nn.Identity does not derive from {NETWORKS}.SegmentationNetwork; name a class that",
    ),
    "function in place of a network": (
        ["network._target_=builtins.dict"],
        f"network._target_=builtins.dict does not derive from {NETWORKS}.SegmentationNetwork",
    ),
    "module in place of a learner": (
        ["learner._target_=os.path"],
        "learner._target_=os.path is neither a class nor a function; name one",
    ),
    "class that is no learner": (
        ["learner._target_=builtins.dict"],
        "learner._target_=builtins.dict has no reset, so it is no ralseg.segmentation.learners.Learner; name a class",
    ),
    "module in place of a source": (
        [*OWN, "source._target_=os"],
        "source._target_=os is neither a class nor",
    ),
    "class that is no source": (
        [*OWN, "source._target_=collections.Counter"],
        "source._target_=collections.Counter does not derive from ralseg.segmentation.sources.Source; name a",
    ),
    "source whose options are not given": (
        [*OWN, "source._target_=torch.nn.Conv2d"],
        "source._target_=torch.nn.Conv2d needs in_channels; give +source.in_channels=<value>",
    ),
    "source without widths": (
        [*OWN, "source._target_=ralseg.segmentation.sources.Source"],
        "source._target_=ralseg.segmentation.sources.Source has no key, which every",
    ),
    "class that is no data set": (
        ["dataset._target_=builtins.dict"],
        "dataset._target_=builtins.dict does not derive from ralseg.segmentation.datasets.Dataset; name a class that",
    ),
}
LARGE = {
    # Encoders that take a second to make.
    "encoder of one size": (
        [*SMP, f"network.encoder=tu-{SWIN}"],
        f"network.encoder=tu-{SWIN} cannot take an input of 48 x 64 (.*); choose one that takes images of any size",
    ),
    "encoder that cannot be dilated": (
        ["network=deeplabv3plus", "network.encoder=vgg11"],
        "network.encoder=vgg11 cannot be built as deeplabv3plus (.*); choose another encoder",
    ),
    "encoder of windows": (
        [*LITE0, "network.encoder=maxvit_tiny_tf_224"],
        "network.encoder=maxvit_tiny_tf_224 cannot take an input of 48 x 64 (.*divisible by window",
    ),
    "source of one size": (
        [*MLP, f"source.encoder={SWIN}", "source.levels=[0,1]"],
        f"source.encoder={SWIN} cannot take an input of 48 x 64 (.*); choose one made of convolutions",
    ),
}


@pytest.fixture(autouse=True)
def no_hub(tmp_path, monkeypatch):
    """A machine without a network and without anything fetched."""

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "_answers", lambda _: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def says(line, message):
    """Whether a line holds the parts of a message, which `.*` separates, in their order."""
    return re.search(".*".join(map(re.escape, message.split(".*"))), line)


def by_turns(kinds):
    """Each kind at one of the doors, which make the same parts; that they do is tested beside the settings."""
    return [(door, kind) for door, kind in zip(itertools.cycle(DOORS), kinds, strict=False)]


@pytest.mark.parametrize(("door", "kind"), by_turns(PARTS))
def test_bad_parts(refused, door, kind):
    overrides, message = PARTS[kind]
    line = refused(door, *STREETS, *overrides)
    assert says(line, message), line


@pytest.mark.parametrize("kind", LARGE)
def test_encoders_that_do_not_fit(refused, kind):
    overrides, message = LARGE[kind]
    line = refused("evaluate", *STREETS, *overrides)
    assert says(line, message), line


HEADERS = {"huge": struct.pack("<Q", 1 << 60) + b"{}", "deep": struct.pack("<Q", 1 << 16) + b"[" * (1 << 16)}
WEIGHTS = {
    # kind -> (name of the file, its bytes or None, what the line says after the name)
    "no file": ("none.pth", None, ": no such checkpoint; give another file as {setting}"),
    "empty": ("empty.safetensors", b"", ": not a readable checkpoint (.*header too small"),
    "empty, of torch": ("empty.pth", b"", ": not a readable checkpoint (EOFError.*; give another file as {setting}"),
    "code in a pickle": (
        "code.pth",
        pickle.dumps(re.compile("a")),
        ": not a readable checkpoint (it holds something else than tensors",
    ),
    "text": ("text.pth", b"hello", ": not a readable checkpoint ("),
    "header without end": ("huge.safetensors", HEADERS["huge"], ": not a readable checkpoint (.*header too large"),
    "deep header": ("deep.safetensors", HEADERS["deep"], ": not a readable checkpoint (.*invalid JSON in header"),
    "pickle under another name": ("pickle.safetensors", pickle.dumps([1]), ": not a readable checkpoint ("),
    "another network's": ("other.safetensors", save({"conv1.weight": torch.zeros(2)}), ": tensor .* is missing ("),
    "no tensors": ("none.safetensors", save({}), ": tensor .* is missing ("),
}
SETTINGS = {
    # what takes a file of weights -> the parts that it belongs to
    "theta0.file": [],
    "network.weights": ["network=lite0"],
    "network.imagenet": ["network=smp_fpn", "network.encoder=tu-resnet18"],
    "source.file": MLP,
}


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        *(("theta0.file", kind) for kind in WEIGHTS),
        *((setting, kind) for setting in list(SETTINGS)[1:] for kind in ("no file", "another network's")),
    ],
)
def test_bad_weights(refused, tmp_path, setting, kind):
    name, content, message = WEIGHTS[kind]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    line = refused("evaluate", *STREETS, *SETTINGS[setting], f"{setting}={tmp_path / name}")
    assert says(line, name + message.format(setting=setting)), line


def test_weights_of_other_classes(refused, tmp_path):
    (tmp_path / "five.safetensors").write_bytes(save({k: v.contiguous() for k, v in SmallFPN(5).state_dict().items()}))
    line = refused("evaluate", *STREETS, f"theta0.file={tmp_path / 'five.safetensors'}")
    assert says(line, "five.safetensors: tensor .* has shape (5, 48, 1, 1), not (11, 48, 1, 1)"), line


def kinds_of(module):
    """The bad inputs of a file, each once, whichever doors it is tried at."""
    for name, test in inspect.getmembers(module, inspect.isfunction):
        if name.startswith("test_") and "refused" in inspect.signature(test).parameters:
            for mark in (mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"):
                for values in mark.args[1]:
                    listed = values if isinstance(values, tuple) else (values,)
                    if kind := tuple(str(value) for value in listed if value not in DOORS):
                        yield module.__name__, name, *kind


def test_a_hundred_kinds_of_bad_input_are_tried():
    files = sorted(path.stem for path in Path(__file__).parent.glob("test_bad_*.py"))
    assert {"test_bad_input", "test_bad_input_parts", "test_bad_places"} <= set(files)
    kinds = {kind for file in files for kind in kinds_of(importlib.import_module(f"tests.{file}"))}
    assert len(kinds) >= 100
