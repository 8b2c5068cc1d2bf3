"""The diffusion source, against a reference of guided-diffusion's UNet that shares nothing with it."""

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ralseg.configs import composed
from ralseg.envs import World
from ralseg.evaluate_policy import main as evaluate_policy
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.learners import LearnerImages
from ralseg.segmentation.networks import read_tensors
from ralseg.segmentation.sources import MIRRORED, PLAIN, DiffusionSource, KeptMaps, Variant, guided_diffusion
from ralseg.segmentation.sources.convert_diffusion import main as convert
from ralseg.segmentation.sources.diffusion import decoded, q_sample
from ralseg.segmentation.sources.guided_diffusion import SIGNAL, Layout, converted, unet
from ralseg.segmentation.store import ImageStore
from ralseg.tools.train_diffusion import SMALL, trained

reference = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("adm_reference", Path(__file__).with_name("adm_reference.py"))
)
spec.loader.exec_module(reference)

TINY = {"channels": 32, "multipliers": (1, 1, 2), "residual_blocks": 2, "attention": (1, 2), "head": 16}
"""Levels with and without attention, with and without more channels, and heads of two numbers: 2 and 4."""
FULL = {"channels": 256, "multipliers": (1, 1, 2, 2, 4, 4), "residual_blocks": 2, "attention": (3, 4, 5), "head": 64}
CHOSEN = {"blocks": [2, 4, 6], "timesteps": [50, 250]}
IMAGE = np.random.default_rng(0).integers(0, 256, (21, 30, 3), np.uint8)


@pytest.fixture(scope="module")
def tensors():
    return reference.random_tensors(**TINY)


@pytest.fixture(scope="module")
def checkpoint(tensors, tmp_path_factory):
    """The tiny network as guided-diffusion would save it."""
    path = tmp_path_factory.mktemp("adm") / "adm.pt"
    torch.save(tensors, path)
    return str(path)


def source_of(checkpoint, **options):
    return DiffusionSource(checkpoint, **TINY | CHOSEN | options)


@pytest.fixture(scope="module")
def source(checkpoint):
    return source_of(checkpoint)


def errors(tensors, sizes, side, timesteps, dtype=torch.float32):
    """The relative error of each block of the decoder, and of the output, against the reference."""
    layout = Layout(**sizes)
    with torch.device("meta"):
        network = unet(layout)
    weights = {name: tensor.to(dtype) for name, tensor in converted(tensors, layout, "here").items()}
    network.load_state_dict(weights, strict=True, assign=True)
    network.eval()
    if dtype == torch.float64:
        network.time_proj.register_forward_hook(lambda module, given, angles: angles.double())
    noisy = torch.randn(len(timesteps), 3, side, side, generator=torch.Generator().manual_seed(1)).to(dtype)
    times = torch.tensor(timesteps)
    with torch.no_grad():
        expected, out = reference.outputs({n: t.to(dtype) for n, t in tensors.items()}, noisy, times, **sizes)
        found = list(decoded(network, noisy, times, range(layout.outputs)))
        pairs = zip([*found, network(noisy, times).sample], [*expected, out], strict=True)
        sides = {block.shape[-1] * layout.output(number)[1] for number, block in enumerate(found)}
        widths = [block.shape[1] for block in found]
        assert sides == {side}
        assert widths == [layout.output(number)[0] for number in range(layout.outputs)]
        return [((a - b).norm() / b.norm()).item() for a, b in pairs]


class TestConversion:
    def test_every_block_of_the_decoder_is_that_of_the_reference(self, tensors):
        found = errors(tensors, TINY, 16, [50, 250])
        assert len(found) == 10
        assert max(found) < 1e-5

    def test_without_rounding_they_are_equal(self, tensors):
        assert max(errors(tensors, TINY, 16, [0, 999], torch.float64)) < 1e-12

    @pytest.mark.parametrize(
        "sizes",
        [
            {"channels": 64, "multipliers": (1, 2), "residual_blocks": 1, "attention": (0,), "head": 32},
            {"channels": 32, "multipliers": (1, 3, 2), "residual_blocks": 3, "attention": (), "head": 32},
            {"channels": 32, "multipliers": (1,), "residual_blocks": 1, "attention": (0,), "head": 8},
        ],
    )
    def test_other_sizes(self, sizes):
        assert max(errors(reference.random_tensors(**sizes), sizes, 8, [700])) < 1e-5

    def test_the_order_of_attention_matters(self, tensors, monkeypatch):
        monkeypatch.setattr(guided_diffusion, "of_all_heads", lambda rows, head: rows.chunk(3))
        found = errors(tensors, TINY, 16, [50, 250])
        # Loaded without a word, and wrong everywhere.
        assert min(found) > 0.01

    @pytest.mark.long
    def test_the_released_sizes(self):
        tensors = reference.random_tensors(**FULL)
        assert sum(tensor.numel() for tensor in tensors.values()) == 552_814_086
        assert Layout() == Layout(**FULL)
        found = errors(tensors, FULL, 64, [150])
        print(f"relative errors: {', '.join(f'{error:.1e}' for error in found)}")
        assert len(found) == 19
        assert max(found) < 1e-5

    def test_the_command_writes_what_a_source_reads(self, checkpoint, source, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr("ralseg.segmentation.sources.convert_diffusion.Layout", lambda: Layout(**TINY))
        path = tmp_path / "new" / "adm.safetensors"
        assert convert([checkpoint, str(path)]) == 0
        assert capsys.readouterr().err == ""
        again = source_of(str(path))
        assert again.key == source.key
        assert all(map(torch.equal, again.maps(IMAGE, PLAIN), source.maps(IMAGE, PLAIN)))
        assert convert([checkpoint, str(tmp_path / "adm.pt")]) == 2
        assert "must end in .safetensors" in capsys.readouterr().err

    def test_the_command_refuses_in_one_line(self, checkpoint, tmp_path):
        place = "ralseg.segmentation.sources.convert_diffusion"
        command = [sys.executable, "-m", place, checkpoint, str(tmp_path / "adm.safetensors")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        # The tiny network is not of the released sizes.
        assert "is missing" in done.stderr
        assert not list(tmp_path.iterdir())

    def test_half_precision_is_read_as_float32(self, tensors, checkpoint, source, tmp_path):
        torch.save({name: tensor.half() for name, tensor in tensors.items()}, tmp_path / "half.pt")
        half = source_of(str(tmp_path / "half.pt"))
        assert {tensor.dtype for tensor in half.network.state_dict().values()} == {torch.float32}
        assert half.key != source.key


QKV = "input_blocks.4.1.qkv.weight"
DAMAGE = {
    "missing": (lambda t: t.pop(QKV), r"adm\.pt: tensor input_blocks\.4\.1\.qkv\.weight is missing \(1 in all\)"),
    "unknown": (lambda t: t.update({"label_emb.weight": torch.ones(3)}), r"tensor label_emb\.weight is unknown"),
    "no name": (lambda t: t.update({3: torch.ones(3)}), "tensor 3 is unknown"),
    "shape": (lambda t: t.update({QKV: torch.ones(96, 32)}), r"shape \(96, 32\), not \(96, 32, 1\)"),
    "kind": (lambda t: t.update({QKV: torch.ones(96, 32, 1, dtype=torch.int8)}), "holds int8, not float32"),
    "complex": (lambda t: t.update({QKV: torch.ones(96, 32, 1) * 1j}), "holds complex64, not float32"),
    "NaN": (lambda t: t[QKV].fill_(math.nan), "holds NaN or infinities"),
    "nowhere": (lambda t: t.update({QKV: torch.ones(96, 32, 1, device="meta")}), "holds no values"),
    "sparse": (lambda t: t.update({QKV: torch.ones(96, 32, 1).to_sparse()}), "holds no values"),
    "empty": (dict.clear, "tensor .* is missing"),
    "other": (lambda t: (t.clear(), t.update(weight=torch.ones(2))), r"is missing \(\d+ in all\)"),
    "code": (lambda t: t.update(run=print), "it holds something else than tensors"),
    "nested": (lambda t: t.update(state={"a": torch.ones(1)}), "save the network's state_dict alone"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_or_hostile_checkpoint_is_refused(case, tensors, tmp_path):
    change, message = DAMAGE[case]
    damaged = {name: tensor.clone() for name, tensor in tensors.items()}
    change(damaged)
    torch.save(damaged, tmp_path / "adm.pt")
    with pytest.raises(RalsegError, match=message) as caught:
        source_of(str(tmp_path / "adm.pt"))
    assert "\n" not in str(caught.value)


def test_damaged_bytes_are_refused(checkpoint, tensors, tmp_path):
    data = Path(checkpoint).read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    save_file({"conv_in.weight": torch.ones(32, 3, 3, 3)}, tmp_path / "one.safetensors")
    for name in ("cut.pt", "text.safetensors", "one.safetensors", "none.pt"):
        with pytest.raises(RalsegError, match=name) as caught:
            source_of(str(tmp_path / name))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": [9]}, r"source\.blocks\[0\]=9 is out of range; it must be 0 to 8"),
        ({"blocks": []}, r"source\.blocks=\[\] must be one or more"),
        ({"blocks": [4, 2]}, r"source\.blocks=\[4, 2\] must be one or more, in ascending order"),
        ({"timesteps": [1000]}, r"source\.timesteps\[0\]=1000 is out of range; it must be 0 to 999"),
        ({"timesteps": [50, 50]}, r"source\.timesteps=\[50, 50\] must be one or more, in ascending order"),
        ({"seed": -1}, r"source\.seed=-1 is out of range"),
        ({"precision": "half"}, r"source\.precision='half' is unknown; choose from auto, float32, bfloat16, float16"),
        ({"channels": 40}, r"source\.channels=40 must be a multiple of 32"),
        ({"multipliers": ()}, r"source\.multipliers=\[\] must begin with 1"),
        ({"multipliers": (2, 1, 2)}, r"source\.multipliers=\[2, 1, 2\] must begin with 1"),
        ({"multipliers": (1, 0, 2)}, r"source\.multipliers\[1\]=0 is out of range"),
        ({"attention": (1, 3)}, r"source\.attention=\[1, 3\] must be levels from 0 to 2"),
        ({"head": 24}, r"source\.head=24 does not divide the 32 channels of level 1"),
        ({"residual_blocks": 3}, "is missing"),
    ],
)
def test_settings_out_of_range(checkpoint, options, message):
    with pytest.raises(RalsegError, match=message) as caught:
        source_of(checkpoint, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_line_that_says_how_to_install_it(checkpoint, monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "diffusers.models.unets.unet_2d", None)
    said = refused("evaluate", *PLAYED, f"source.file={checkpoint}")
    assert "source=diffusion needs the package diffusers; install it with `uv sync --extra diffusion`" in said


def test_the_package_is_imported_by_this_source_alone():
    code = "import sys, ralseg.segmentation.sources, ralseg.envs; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class TestNoise:
    def test_the_signal_left_is_that_of_step_after_step(self):
        # x_t = sqrt(1 - b_t) x_(t - 1) + sqrt(b_t) noise, from the variances 1e-4 to 0.02.
        mean, variance = 1.0, 0.0
        for step in range(1000):
            beta = 1e-4 + (0.02 - 1e-4) * step / 999
            mean, variance = mean * math.sqrt(1 - beta), variance * (1 - beta) + beta
            assert SIGNAL[step].item() == pytest.approx(mean**2, rel=1e-9)
            assert 1 - SIGNAL[step].item() == pytest.approx(variance, rel=1e-9)

    def test_images_and_noise_are_mixed_by_the_closed_formula(self):
        clean, noise = torch.rand(3, 4, 5) * 2 - 1, torch.randn(3, 4, 5)
        found = q_sample(clean, torch.tensor([0, 150, 999]), noise)
        for row, step in zip(found, (0, 150, 999), strict=True):
            share = math.prod(1 - (1e-4 + (0.02 - 1e-4) * s / 999) for s in range(step + 1))
            expected = math.sqrt(share) * clean + math.sqrt(1 - share) * noise
            torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-6)

    def test_one_noise_is_shared_by_images_and_timesteps(self, source, monkeypatch):
        seen = []
        monkeypatch.setattr(
            "ralseg.segmentation.sources.diffusion.q_sample",
            lambda clean, times, noise: seen.append((clean, noise)) or q_sample(clean, times, noise),
        )
        black = np.zeros_like(IMAGE)
        for image in (IMAGE, black, np.full_like(IMAGE, 255)):
            source.maps(image, PLAIN)
        source.maps(black, Variant("diffusion", 0))
        (_, first), (dark, second), (light, third), (_, draw) = seen
        assert torch.equal(first, second)
        assert torch.equal(first, third)
        assert not torch.equal(first, draw)
        assert first.shape == (3, 24, 32)
        assert (dark.unique().tolist(), light.unique().tolist()) == ([-1.0], [1.0])
        assert abs(first.mean()) < 0.1
        assert first.std() == pytest.approx(1, abs=0.05)

    def test_draws_differ_and_repeat(self, checkpoint, source):
        plain, *draws = (source.maps(IMAGE, v) for v in (PLAIN, *(Variant("diffusion", m) for m in range(3))))
        again = source_of(checkpoint)
        # In another order, from another object.
        for draw in (2, 0, 1):
            assert all(map(torch.equal, again.maps(IMAGE, Variant("diffusion", draw)), draws[draw]))
        assert all(map(torch.equal, again.maps(IMAGE, PLAIN), plain))
        firsts = [maps[0] for maps in (plain, *draws)]
        for place, one in enumerate(firsts):
            for other in firsts[:place]:
                assert (one - other).norm() > 0.01 * one.norm()
        other_seed = source_of(checkpoint, seed=1).maps(IMAGE, PLAIN)
        assert not torch.equal(other_seed[0], plain[0])

    def test_other_variants_are_refused(self, source):
        with pytest.raises(RalsegError, match="has no variant 'mirrored'; choose from plain, diffusion"):
            source.maps(IMAGE, MIRRORED)


class TestMaps:
    def test_they_are_blocks_of_the_decoder_the_finest_first_and_timesteps_in_order(self, source, tensors):
        # An image that needs no rim.
        image = np.ascontiguousarray(np.pad(IMAGE, ((0, 3), (0, 2), (0, 0))))
        noise = torch.from_numpy(source._noise(PLAIN, 24, 32))
        clean = torch.from_numpy(image).permute(2, 0, 1) / 127.5 - 1
        found = source.maps(image, PLAIN)
        for step, time in enumerate((50, 250)):
            noisy = q_sample(clean, torch.tensor([time]), noise)
            blocks, _ = reference.outputs(tensors, noisy, torch.tensor([time]), **TINY)
            for map_, block in zip(found, (6, 4, 2), strict=True):
                (expected,) = blocks[block]
                own = map_[step * len(expected) : (step + 1) * len(expected)]
                torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("size", [(24, 32), (21, 30), (1, 9), (5, 40), (33, 4)])
    def test_an_image_of_any_size(self, checkpoint, source, size):
        image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
        maps = source.maps(image, PLAIN)
        assert source.widths == (64, 64, 128)
        assert source.stride == 1
        expected = [(w, -(-size[0] // s), -(-size[1] // s)) for w, s in zip(source.widths, (1, 2, 2), strict=True)]
        assert [tuple(m.shape) for m in maps] == expected
        assert all(m.dtype == torch.float32 and m.isfinite().all() for m in maps)

    def test_what_is_added_is_the_image_reflected(self, source):
        rows, columns = [*range(21), 19, 18, 17], [*range(30), 28, 27]
        whole = source.maps(IMAGE[rows][:, columns], PLAIN)
        for found, expected in zip(source.maps(IMAGE, PLAIN), whole, strict=True):
            assert torch.equal(found, expected[:, : found.shape[1], : found.shape[2]])

    def test_blocks_after_the_last_are_not_computed(self, checkpoint):
        source, computed = source_of(checkpoint, blocks=[2]), []
        assert (source.stride, source.widths) == (2, (128,))
        for number, block in enumerate(source.network.up_blocks):
            block.resnets[0].register_forward_hook(lambda *_, n=number: computed.append(n))
        source.maps(IMAGE, PLAIN)
        assert set(computed) == {0}

    def test_the_key_is_that_of_weights_and_settings(self, checkpoint, source, tensors, tmp_path):
        assert source_of(checkpoint).key == source.key
        changed = {name: tensor.clone() for name, tensor in tensors.items()}
        changed["middle_block.0.in_layers.0.bias"][3] += 1e-3
        torch.save(changed, tmp_path / "adm.pt")
        others = [
            {"seed": 1}, {"blocks": [2, 4]}, {"timesteps": [50]}, {"precision": "bfloat16"}, {"precision": "float16"},
        ]  # fmt: skip
        keys = [source_of(checkpoint, **other).key for other in others] + [source_of(str(tmp_path / "adm.pt")).key]
        assert len({source.key, *keys}) == 7

    @pytest.mark.parametrize(("precision", "error"), [("bfloat16", 0.03), ("float16", 0.005)])
    def test_half_the_precision_is_close(self, checkpoint, source, precision, error):
        half, norms = source_of(checkpoint, precision=precision), []
        for module in half.network.modules():
            if isinstance(module, torch.nn.GroupNorm):
                module.register_forward_hook(lambda module, given, out: norms.append((module, given[0], out)))
        for found, expected in zip(half.maps(IMAGE, PLAIN), source.maps(IMAGE, PLAIN), strict=True):
            assert found.dtype == getattr(torch, precision)
            distance = (found.float() - expected).norm() / expected.norm()
            assert 0 < distance < error
        # Norms: what float32 gives, rounded once at most.
        unit = torch.finfo(getattr(torch, precision)).eps
        assert norms
        for module, given, out in norms:
            with torch.no_grad():
                exact = torch.nn.functional.group_norm(given.float(), 32, module.weight, module.bias, module.eps)
            torch.testing.assert_close(out.float(), exact, rtol=unit, atol=1e-5)


PLAYED = [
    "dataset=streets", "dataset.images=40", "dataset.size=[96,128]", "input_scale=0.25", "source=diffusion",
    "source.channels=32", "source.multipliers=[1,1,2]", "source.attention=[1,2]", "source.head=16",
    "source.blocks=[2,4]", "source.timesteps=[50,250]", "network=pixel_mlp", "loss=plain",
    "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}", "theta0.fit.steps=3", "theta0.fit.batch=4",
    "game=frozen", "game.unit=pixel", "game.draw=uniform", "game.slates=2", "game.candidates=3", "game.budget=4",
    "game.learn.steps=1", "game.learn.batch=2", "draws=1", "fit.draws=1", "fit.supervised=false", "fit.options.steps=2",
    "splits=[dev]", "processes=1",
]  # fmt: skip


def counted(monkeypatch):
    """Images x timesteps that went through a network, by what the pass was for."""
    passes, inner = {}, DiffusionSource.maps

    def maps(self, image, variant):
        rows = []
        hook = self.network.conv_in.register_forward_hook(lambda module, given, out: rows.append(len(out)))
        try:
            return inner(self, image, variant)
        finally:
            hook.remove()
            key = image.tobytes(), variant
            passes[key] = passes.get(key, 0) + sum(rows)

    monkeypatch.setattr(DiffusionSource, "maps", maps)
    return passes


def test_a_game_passes_each_image_once_per_noise_and_timestep(checkpoint, tmp_path, monkeypatch, own_cache):
    passes = counted(monkeypatch)
    policies = "policies=[{edald: {noise: {kind: diffusion, draws: 3}}}]"
    command = [*PLAYED, f"source.file={checkpoint}", policies]
    assert evaluate_policy([*command, f"run={tmp_path / 'run'}"]) == 0
    offered = {image for image, variant in passes if variant != PLAIN}
    others = {image for image, _ in passes} - offered
    assert len(offered) >= 2
    draws = [PLAIN, *(Variant("diffusion", draw) for draw in range(3))]
    assert passes == {(i, v): 2 for i in offered for v in draws} | {(i, PLAIN): 2 for i in others}
    # Nothing is passed again by another command.
    passes.clear()
    assert evaluate_policy([*command, f"run={tmp_path / 'again'}"]) == 0
    # But for one image, whose maps are looked at before the game and not kept.
    assert list(passes.values()) == [2]


def test_its_maps_are_kept_like_those_of_others(source, tmp_path):
    streets = Streets(10, (96, 128))
    store = ImageStore(streets, streets.names, 0.25, tmp_path / "store")
    maps = KeptMaps(source, LearnerImages(store), torch.device("cpu"), Variant("diffusion", 1))
    expected = source.maps(store.image(3), Variant("diffusion", 1))
    assert all(torch.equal(a[0], b) for a, b in zip(maps([3]), expected, strict=True))
    assert maps.pixels(3, np.array([[0, 0], [5, 7]]), store.size(3)).shape == (2, sum(source.widths))


def test_the_configuration_is_the_published_one():
    config = composed("train_agent", ["source=diffusion", "source.file=x", "device=cuda", "precision=bfloat16"])[
        "source"
    ]
    assert (config["blocks"], config["timesteps"]) == ([5, 8, 12, 17], [50, 150, 250])
    assert (config["device"], config["precision"]) == ("cuda", "bfloat16")
    sizes = {name: config[name] for name in ("channels", "multipliers", "residual_blocks", "attention", "head")}
    assert Layout(**{n: tuple(v) if isinstance(v, list) else v for n, v in sizes.items()}) == Layout(**FULL)
    outputs = [Layout().output(block) for block in config["blocks"]]
    assert outputs == [(1024, 8), (512, 4), (256, 2), (256, 1)]
    assert 3 * sum(width for width, _ in outputs) == 6144


def test_a_wrong_checkpoint_is_refused_before_anything_is_trained(checkpoint, refused):
    said = refused("evaluate", *PLAYED, f"source.file={checkpoint}", "source.residual_blocks=1")
    assert "is not a checkpoint of an unconditional UNet of guided-diffusion with 32 channels times 1, 1, 2" in said
    World(composed("evaluate_policy", [*PLAYED, f"source.file={checkpoint}"])).check(observed=False)


def test_a_small_network_learns_and_becomes_a_source(tmp_path):
    streets = Streets(10, (96, 128))
    images = np.stack([streets.load(name)[0] for name in streets.names])
    network, losses = trained(images, SMALL, 40, side=32, batch=4)
    assert losses[0] == pytest.approx(1, abs=0.1)
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "adm.safetensors"
    )
    made = DiffusionSource(str(tmp_path / "adm.safetensors"), [1, 3, 5], [50], **vars(SMALL))
    assert [m.shape[0] for m in made.maps(IMAGE, PLAIN)] == [32, 64, 64]
    assert read_tensors(tmp_path / "adm.safetensors").keys() == made.network.state_dict().keys()
