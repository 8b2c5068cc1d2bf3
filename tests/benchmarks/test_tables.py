"""Every table in a tiny setting: it runs, its last line is JSON with the documented keys, `--out` holds the same."""

import json
import math
import os
import subprocess
import sys
import time
from argparse import Namespace
from itertools import product

import numpy as np
import pytest
from scipy.stats import spearmanr

from ralseg.agents.acquisitions import names
from ralseg.benchmarks import (
    acquisitions,
    batches,
    cityscapes,
    clicks,
    forecast,
    games,
    growth,
    learners,
    loop,
    memory,
    references,
    reward,
    same_work,
    selection,
    theta0,
    two_stage,
)
from ralseg.benchmarks.fresh import in_fresh_process
from ralseg.benchmarks.generated import GeneratedStore
from ralseg.benchmarks.growth import exponent
from ralseg.benchmarks.measure import Clock, alternate, batch_dqn, configured, cpu_seconds_of, peak_megabytes
from ralseg.benchmarks.precision import compared
from ralseg.benchmarks.run import facts, main, markdown
from ralseg.configs import composed
from ralseg.foundation import RalsegError, read_json
from ralseg.segmentation.networks import SmallFPN


class InThisProcess:
    """In the place of a pool of processes, which would not see what a test has patched."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    map = staticmethod(map)


@pytest.fixture
def run(capsys, tmp_path):
    """Runs a table at the least share of its work; returns the JSON of its last line."""

    def measured(table, *overrides, share="0.001"):
        path = tmp_path / "results" / f"{table}.json"
        assert main([table, "--share", share, "--out", str(path), *overrides]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert json.loads(path.read_text()) == found
        assert found["table"] == table and found["threads"] == 1
        assert {"command", "date", "commit", "torch", "processor", "flags"} <= set(found)
        return found

    return measured


@pytest.fixture
def in_this_process(monkeypatch):
    """Children cost seconds of imports each: their functions are called here, and trainings play in one process."""
    plain = games.train
    monkeypatch.setattr(games, "train", lambda *args, **kwargs: plain(*args, **(kwargs | {"processes": 1})))
    calls = []

    def call(function, cache=None, **arguments):
        calls.append(function.__name__)
        result = json.loads(json.dumps(function(**arguments)))
        return {"result": result, "cpu_seconds": float(10 + result["steps"]) if "steps" in dict_of(result) else 1.0}

    for module in (games, memory, acquisitions, selection, cityscapes, two_stage):
        monkeypatch.setattr(module, "in_fresh_process", call)
    return calls


def dict_of(result):
    """The result where it is a dict."""
    return result if isinstance(result, dict) else {}


def test_same_work(run, small, monkeypatch):
    # A processor that does not multiply bfloat16 in hardware takes a minute for ten large convolutions.
    monkeypatch.setattr(same_work, "convolution_rate", lambda dtype: 100.0)
    overrides = [override for override in small if not override.startswith("features")]
    found = run("same_work", *overrides, "network=small_fpn", "game.unit=[48,64]", "game.learn.crops.size=[64,64]")
    for name in ("fp32", "bf16"):
        assert found[f"speedup_{name}"] == found["step_seconds"]["reference"] / found["step_seconds"][name]
        rates = found["gflop_per_second"][name]
        assert found[f"share_{name}"] == rates["forward"] / rates["convolution"]
    gflop, images = found["gflop"], found["images"]
    extra = gflop["reference_step"] - gflop["our_step"]
    assert extra == pytest.approx((images["candidates"] + images["state"]) * gflop["forward"])
    for name, phases in found["seconds"].items():
        assert found["step_seconds"][name] == pytest.approx(sum(phases.values()))
        assert set(phases) == {"features", "choice", "training", "reward"}


def test_games(run, small, in_this_process, monkeypatch):
    monkeypatch.setattr(games, "ROUNDS", 1)
    monkeypatch.setattr(games, "TRAININGS", 1)
    found = run("games", *small)
    for seconds in found["step_seconds"].values():
        parts = ("learn", "reward", "observe", "rest")
        assert seconds["step"] == pytest.approx(sum(seconds[part] for part in parts), rel=0.2)
        assert min(seconds.values()) > 0
    assert set(found["step_seconds"]) == {"frozen", "partial", "full"}
    for game in ("partial", "frozen"):
        assert found["from_nothing"][game]["steps"] == 8
        assert found["from_nothing"][game]["peak_megabytes"]["parent"] > 50
        pair = found["processes"][game]
        rates, whole = pair["steps_per_cpu_second"], pair["steps_per_cpu_second_with_start"]
        assert pair["ratio"] == rates["2"] / rates["1"] > 0
        # The stand-in takes 10 s for the start and one for each of 8 steps.
        assert whole == {"1": pytest.approx(8 / 18), "2": pytest.approx(8 / 18)}


def test_from_nothing(run, small, in_this_process):
    found = run("from_nothing", *small, "game=frozen", "training.processes=1", "training.streams=2")
    assert (found["game"], found["processes"]) == ("frozen", 1)
    assert found["steps"] > 0 and found["cpu_seconds"] > 0
    assert in_this_process == ["training"]


def test_growth(run, monkeypatch):
    monkeypatch.setattr(growth, "ROUNDS", 1)
    found = run("growth", share="0.01")
    for line in found["growth"]:
        ratios = np.divide(line["sizes"][1:], line["sizes"][:-1])
        assert (ratios == ratios[0]).all() and ratios[0] > 1
        assert len(line["seconds"]) == len(line["sizes"]) and min(line["seconds"]) > 0
        assert math.isfinite(line["exponent"])


def test_memory(run, small, in_this_process, monkeypatch):
    monkeypatch.setattr(memory, "CITY", {"size": (128, 256), "unit": (16, 16), "scale": 0.5})
    found = run("memory", *small, share="0.02")
    assert set(found["env"]) == {"frozen", "partial", "full"}
    # 16 steps of 3 x 3 candidates: mask int8, signal float32, choice int64, features float16.
    state, candidate = 5 * 16 * (11 + 4 + 4), 9 * (11 + 4 + 10 + 10 + 4 + 11)
    assert found["training"]["replay"] == pytest.approx(16 * (9 * 5 + 3 * 8 + 2 * (state + candidate)) / 1e6)
    assert found["kl"]["units"] == 512
    compared = found["comparison"]
    assert compared["draws"] == 1 and compared["policies"] == len(names()) - 3 and compared["megabytes"] > 100
    assert [(p["cut"], p["images"]) for p in found["pools"]] == list(product(("full", "partial"), (16, 20, 52)))
    assert all(pool["units"] == 128 * pool["images"] for pool in found["pools"])
    assert all(pool["megabytes"] > 50 and pool["score_seconds"] > 0 for pool in found["pools"])


def test_cityscapes(run, in_this_process, monkeypatch):
    monkeypatch.setattr(cityscapes, "SIZE", (256, 512))
    small = ("network=small_fpn", "network.widths=[8,8,8,8,8]", "network.pyramid=8", "features.components=4")
    found = run("cityscapes", *small, "game.unit=[64,64]", "game.learn.batch=2", "theta0.fit.batch=2")
    assert in_this_process == ["read", "one_step", "evaluate"]
    assert found["sizes"]["counts"] == {"state": 8, "train": 8, "reward": 8, "compare": 36, "dev": 0}
    # Images at half their size, labels at their own: 64 of each.
    assert found["processes"]["files"]["store_megabytes"] == pytest.approx(64 * (128 * 256 * 3 + 256 * 512) / 1e6)
    for process in found["processes"].values():
        assert min(process["seconds"].values()) > 0 and process["peak_megabytes"] > 50


def test_acquisitions(run, small, in_this_process, monkeypatch):
    # No acquisition changes the game that it chooses in, so all can choose in the same two.
    offered, kept = acquisitions.offered, {}

    def once(overrides, offer):
        if offer not in kept:
            kept[offer] = offered(overrides, offer)
        return kept[offer]

    monkeypatch.setattr(acquisitions, "offered", once)
    found = run("acquisitions", *small, "network.dropout=0.5")["acquisitions"]
    assert set(found) == set(names())
    for at in found.values():
        assert at["step"]["candidates"] == 9
        assert at["pool"]["candidates"] == 160
        assert at["step"]["peak_megabytes"] > 50
        assert at["pool"]["over_entropy"] == at["pool"]["seconds"] / found["entropy"]["pool"]["seconds"]


def test_precision(run, small):
    found = run("precision", *small)
    assert found["steps"] == 2 == len(found["rewards"]["bfloat16"])
    assert found["largest"] < 5


def test_theta0(run, small, monkeypatch):
    monkeypatch.setattr(theta0, "NETWORKS", {"a": ["theta0.fit.steps=4"], "b": ["network.pyramid=16"]})
    found = run("theta0", *small, share="0.5")["networks"]
    assert [len(runs) for runs in found.values()] == [2, 2]
    assert [runs[0]["steps"] for runs in found.values()] == [2, 2]
    mious = {run["miou"][split] for runs in found.values() for run in runs for split in ("dev", "reward")}
    assert len(mious) == 8
    assert all(0 < miou < 100 for miou in mious)


def test_clicks(run, small):
    found = run("clicks", *small)
    assert found["images"] == 2 and found["unit"] == [24, 32]
    assert set(found["true"]) == {"1", "1.5", "3"}
    for true in found["true"].values():
        kinds = sum(true[kind] for kind in ("vertices", "intersections", "classes"))
        assert true["total"]["mean"] == pytest.approx(kinds)
    for rho in found["rank_correlation"].values():
        assert -1 <= rho["low"] <= rho["rho"] <= rho["high"] <= 1


def test_the_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 9, (20, 6))
    other = one + rng.integers(0, 9, (20, 6))
    found = clicks.rank_correlation(one, other)
    assert found["rho"] == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert found["low"] < found["rho"] < found["high"]


def test_forecast(run):
    found = run("forecast")["folders"]
    assert found["camvid_curves"]["curves"] == 1
    near = found["camvid_curves"]["up to as many labels again"]
    assert near["forecasts"] == 27 and near["width"]["0.8"] < near["width"]["0.95"]
    assert main(["forecast", "dataset=camvid"]) == 2


def test_recommend(run):
    found = run("recommend", "dataset=streets", "dataset.images=150", "dataset.size=[60,80]")
    names = [pool["name"] for pool in found["pools"]]
    assert names[0] == "spread evenly" and len(names) == len(set(names)) == 7
    assert {pool["made"] for pool in found["pools"]} == {"diverse", "redundant"}
    assert all(pool["low"] <= pool["in_sequence"] <= pool["high"] for pool in found["pools"])
    # Drawn streets have no sequence, so that their runs are no runs; copies are copies.
    assert [pool["said"] for pool in found["pools"] if "copies" in pool["name"]] == ["redundant"] * 2


def test_loop(run, tmp_path, monkeypatch):
    """Two rounds of each project, then the same again from what is on disk."""
    monkeypatch.setattr(loop, "FOLDER", tmp_path / "loop")
    monkeypatch.setattr(loop, "ProcessPoolExecutor", InThisProcess)
    tiny = (
        "dataset.images=24", "dataset.size=[60,80]", "protocol.counts={state: 2, train: 2, compare: 8, dev: 4}",
        "network=small_fpn", "project.network=small_fpn", "project.dataset.unit_size=[30,20]", "project.per_round=16",
        "project.fit.steps=2", "project.fit.steps_per_megapixel=0", "project.fit.batch=2", "project.fit.encoder_rate=1",
        "project.fit.crops.size=[32,32]",
    )  # fmt: skip
    found = run("loop", *tiny)
    assert [row["seed"] for row in found["all_labels"]] == [0, 1]
    assert {row["units"] for row in found["all_labels"]} == {64} and found["all_labels"][0]["share"] == 1
    for row in found["rows"]:
        assert row["units"] == 16 * row["round"] and row["clicks"] > 0
    for each in found["to"]:
        for cell in each["less"].values():
            assert cell["interval"][0] <= cell["less"] <= cell["interval"][1]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "loop").rglob("*") if path.is_file()}
    assert run("loop", *tiny)["rows"] == found["rows"]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "loop").rglob("*") if path.is_file()}


def test_labels_to_a_goal_are_read_between_rounds():
    rows = [
        {"by": by, "seed": seed, "units": 10 * (i + 1), "clicks": 100 * (i + 1), "miou": miou}
        for by, curve in (("random", (20, 30, 40)), ("margin", (20, 40)))
        for seed in (0, 1)
        for i, miou in enumerate(curve)
    ]
    found = loop._reached(rows, [{"miou": 50.0}, {"miou": 70.0}], 0.7)
    units = found["less"]["units"]
    assert units["each"] == {"random": [25.0, 30.0], "margin": [17.5, 20.0]}
    assert found["short"] == {"random": 1, "margin": 1}
    assert (units["random"], units["margin"], units["less"]) == (27.5, 18.75, 8.75)


def test_forecasts_that_are_surely_right_or_wrong():
    labels = np.arange(1, 9) * 48
    flat, jump = np.full(8, 50.0), np.append(np.full(4, 50.0), np.full(4, 90.0))
    for curve, held in ((flat, 1), (jump, 0)):
        near = forecast.coverage([(labels[:5], curve[:5])])["up to as many labels again"]
        assert near["held"] == {"0.8": held, "0.95": held} and near["forecasts"] == 1
    assert forecast.coverage([(labels, flat)])["beyond"] is None


def test_references(run, small):
    two_turns = ("game.slates=3", "game.budget=6", "game.informed_steps=2", "game.look_ahead_steps=1")
    runs = run("references", *small, *two_turns)["runs"]
    played = {*references.ACQUISITIONS, *references.CREDITED}
    assert {row["pool"] for row in runs} == set(references.ROLES) and {row["policy"] for row in runs} == played
    assert len(runs) == 2 * len(played) * 2 * 2
    assert {(row["budget"], row["units"]) for row in runs} == {(3.0, 3), (6.0, 6)}
    margin = references.less(runs, "train", "margin", 6, "dev")
    assert (margin.mean, margin.low, margin.high) == (0, 0, 0)
    table = references.rows({"runs": runs})
    assert [len(line) for line in table if line] == [5] * (2 * (1 + len(played)))


def test_reward(run, small, monkeypatch):
    monkeypatch.setattr(reward, "STATES", (0, 1))
    monkeypatch.setattr(reward, "LATER", (1, 2))
    found = run("reward", *small, "game.slates=3", "game.budget=9")
    assert len(found["turns"]) == 2 * 2 * 2 * 2
    assert {(row["turn"], row["later"], row["first"]) for row in found["turns"]} == set(
        product((0, 1), (1, 2), ("margin", "random"))
    )
    ends = {(game["by"], game["seed"]): game for game in found["games"]}
    assert set(ends) == set(product(("margin", *reward.JUDGES), (0, 1)))
    assert [len(line) for line in reward.rows(found)] == [6] * 5 + [0] + [3] * 3


def test_what_tells_a_turn_from_another():
    """Two games and two states by hand: the level of a state belongs to no policy and counts as no noise."""
    gains = {"margin": [3.0, 5.0, 1.0, 1.0], "random": [2.0, 2.0, 1.0, -1.0]}
    turns = [
        {"seed": seed, "turn": turn, "later": 1, "first": name, "dev": values[2 * (turn > 0) + seed]}
        for name, values in gains.items()
        for turn, seed in product((0, 5), (0, 1))
    ]
    found = reward.apart(turns, 1, "dev")
    paired = np.std([1, 0, 3, 2], ddof=1)
    unpaired = math.sqrt((2 + 0) / 2 + (0 + 2) / 2)
    assert found["mean"] == 1.5 and found["paired"] == pytest.approx(paired)
    assert found["unpaired"] == pytest.approx(unpaired)
    assert found["pairs"] == pytest.approx((2 * paired / 1.5) ** 2)
    assert found["games"] == pytest.approx((2 * unpaired / 1.5) ** 2)


def test_batches(run, monkeypatch):
    sizes = {"high": (SmallFPN, (64, 32)), "wide": (SmallFPN, (32, 64))}
    monkeypatch.setattr(batches, "NETWORKS", sizes)
    monkeypatch.setattr(batches, "WINDOW", (32, 32))
    table = run("batches")
    found, trained = table["seconds_an_image"], table["seconds_a_window"]
    assert len(found) == len(trained) == 2
    for seconds in trained.values():
        assert list(seconds) == ["float32", "bfloat16"] and min(seconds.values()) > 0
    for kinds in found.values():
        assert {precision: list(seconds) for precision, seconds in kinds.items()} == {
            "float32": ["1", "2"],
            "bfloat16": ["1", "2"],
        }
        assert min(min(seconds.values()) for seconds in kinds.values()) > 0


def test_selection(run, in_this_process):
    found = run("selection", share="0.002")
    assert in_this_process == ["centres"] * 4 + ["herd"] * 2
    clouds = found["k_center"] + found["k_center of images"] + found["max_herding"]
    assert [(line["points"], line["picks"]) for line in clouds] == [*[(200, 10)] * 2, *[(100, 10)] * 4]
    for line in found["lazy_and_dense"]:
        assert line["first_equal"] and min(line["seconds"].values()) > 0
        assert line["coverage"]["lazy"] == pytest.approx(line["coverage"]["dense"], rel=1e-9)
    assert [line["picks"] for line in found["separated"]] == [3, 5]
    assert all(line["same"] and line["size"] == [46, 92] for line in found["separated"])


def test_regions_of_ripu_as_published():
    assert selection.regions_per_round(1024, 2048, 0.022) == 1026
    assert selection.regions_per_round(1024, 2048, 0.05) == 2331
    # A share that comes out even is not rounded up by the error of a float: 10 x 9 x 0.3 / 3 = 9.
    assert selection.regions_per_round(10, 9, 0.3, rounds=3, side=1) == 9
    assert selection.regions_per_round(10, 9, 0.31, rounds=3, side=1) == 10


def test_two_stage(run, in_this_process, monkeypatch):
    monkeypatch.setattr(two_stage, "CANDIDATES", 60)
    monkeypatch.setattr(two_stage, "SIZE", (256, 256))
    found = run("two_stage", share="0.003")
    assert in_this_process == ["coverage", "coverage", "one_round", "one_round"]
    assert {(each["points"], each["picks"]) for each in found["coverage"]} == {(55, 28)}
    for each, images in zip(found["rounds"], (8, 9), strict=True):
        # A tenth of a pixel an image, rounded up.
        assert (each["images"], each["candidates"], each["chosen"]) == (images, 60 * images, 1)
        assert 0 < each["before"] < each["megabytes"]
    assert found["runs"] == []


def test_two_stage_plays_runs_on_a_data_set(in_this_process, tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path))
    counts = "protocol.counts={state: 3, train: 3, compare: 11, dev: 4}"
    tiny = ["dataset=streets", "dataset.images=40", "dataset.size=[96,128]", counts, "budgets=[0.2]", "splits=[dev]"]
    plain, noisy = two_stage.runs_apart(tiny)
    assert in_this_process == ["one_run", "one_run"]
    assert (plain["policy"], noisy["policy"]) == ("herded_margin", "herded_two_stage_edald")
    # D_S, dev and D_V; and D_V under five draws of noise.
    assert (plain["passes"], noisy["passes"]) == (3 + 4 + 11, 3 + 4 + 11 + 5 * 11)
    assert all(min(each["seconds"], each["source_seconds"]) > 0 for each in (plain, noisy))


def test_learners(run, small, monkeypatch):
    monkeypatch.setattr(learners, "STEPS", 1)
    monkeypatch.setattr(learners, "BATCH", 2)
    found = run("learners", *small, "network=small_fpn")["encoder"]
    for each in found.values():
        assert set(each) == {"supervised", "mean_teacher", "s4gan", "u2pl"}
        for of in each.values():
            assert of["ratio"] == of["seconds"] / each["supervised"]["seconds"] > 0


def test_selection_takes_no_overrides(capsys):
    assert main(["selection", "dataset=camvid"]) == 2
    assert "leave out dataset=camvid" in capsys.readouterr().err


def test_rewards_compared():
    """By hand: differences of 0, 0.01, -0.03, 0."""
    found = compared(np.array([1.0, -0.005, 0.5, 0]), np.array([1.0, 0.005, 0.47, 0]))
    assert found["mean"] == pytest.approx(-0.005)
    assert found["largest"] == pytest.approx(0.03)
    assert (found["same_sign"], found["same_sign_of_clear"], found["clear_steps"]) == (0.75, 1, 2)
    assert found["within_0.02"] == 0.75


@pytest.mark.parametrize("power", [1, 1.5, 2])
def test_exponent_is_found_whatever_the_constant(power):
    sizes = 100 * 2.0 ** np.arange(5)
    for constant in (0, 3, 20):
        assert exponent(sizes, constant + 0.002 * sizes**power) == pytest.approx(power, abs=1e-6)


def test_exponent_of_what_does_not_grow():
    assert exponent([1, 2, 4, 8], [1, 1.01, 0.99, 1.005]) == 0


def test_growth_takes_no_overrides(capsys):
    assert main(["growth", "dataset=camvid"]) == 2
    assert "leave out dataset=camvid" in capsys.readouterr().err


def test_share_is_checked(capsys):
    assert main(["growth", "--share", "1.5"]) == 2
    assert "--share=1.5 is out of range" in capsys.readouterr().err


def test_no_folder_of_anybodys_in_a_result(capsys):
    arguments = Namespace(table="games", overrides=["dataset=camvid", "dataset.root=/secret"], share=1.0)
    assert facts(arguments)["command"] == "uv run benchmarks/run.py games dataset=camvid dataset.root=<folder>"


# Functions that need no torch, which takes seconds to import.
def test_fresh_process(tmp_path, monkeypatch):
    """It has its own threads' setting and cache, gives JSON, and costs its children's CPU seconds as well."""
    monkeypatch.setenv("RALSEG_CACHE", "ours")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    settings = ("import json, os; json.dump([os.environ[n] for n in ('OMP_NUM_THREADS', 'RALSEG_CACHE')], "
                "open('settings.json', 'w'))")  # fmt: skip
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    for cache, expected in ((None, "ours"), (tmp_path, str(tmp_path))):
        found = in_fresh_process(subprocess.call, cache, args=[sys.executable, "-c", settings], cwd=str(tmp_path))
        assert found["result"] == 0
        assert json.loads((tmp_path / "settings.json").read_text()) == ["1", expected]
    assert in_fresh_process(subprocess.call, args=[sys.executable, "-c", burn])["cpu_seconds"] > 0.5


def test_fresh_process_that_fails(capfd):
    with pytest.raises(RalsegError, match="read_json ended with status 1"):
        in_fresh_process(read_json, path="nowhere.json")
    assert "nowhere.json" in capfd.readouterr().err


def test_what_is_no_process():
    with pytest.raises(RalsegError, match="process nobody is not in /proc"):
        peak_megabytes(process="nobody")


def test_agents_of_stable_baselines3_are_not_measured(small):
    with pytest.raises(RalsegError, match="agent=sb3_ppo is not measured by these tables"):
        batch_dqn(composed("train_agent", ["agent=sb3_ppo"]))


def test_seconds_of_a_process():
    assert cpu_seconds_of(os.getpid()) == pytest.approx(time.process_time(), abs=0.2)


def test_works_alternate():
    order = []
    found = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 3, "b": 3}


def test_clock_adds_up_and_passes_through():
    class Owner:
        def twice(self, number, *, again=2):
            return number * again

    owner, clock = Owner(), Clock()
    clock.watch(owner, "twice", "phase")
    assert owner.twice(3) == 6 and owner.twice(3, again=3) == 9
    assert 0 <= clock.seconds["phase"] < 1


def test_defaults_of_a_group_give_way_to_another_choice(tmp_path):
    found = configured(("dataset.images=50", "game.slates=7"), ["dataset.images=33"])
    assert (found["dataset"]["images"], found["game"]["slates"]) == (33, 7)
    found = configured(("dataset.images=50", "game.slates=7"), ["dataset=folder", f"dataset.root={tmp_path}"])
    assert "images" not in found["dataset"] and found["game"]["slates"] == 7


def test_generated_images_and_labels_move_together():
    """Image i shows what label i says: both are the scene, shifted and mirrored alike."""
    store = GeneratedStore(40, (96, 128), scale=0.5)
    assert store.image(0).shape == (48, 64, 3) and store.label(0).shape == store.size(0) == (96, 128)
    for i in (8, 12, 28, 36):
        shifts = [
            (shift, mirrored)
            for shift in range(0, 128, 2)
            for mirrored in (False, True)
            if np.array_equal(moved(store.label(0), shift, mirrored), store.label(i))
        ]
        assert shifts
        assert any(np.array_equal(moved(store.image(0), s // 2, m), store.image(i)) for s, m in shifts)
    counts = np.bincount(store.label(5).ravel(), minlength=256)[:19]
    np.testing.assert_array_equal(store.class_counts()[5], counts)


def test_generated_classes_beyond_those_that_are_drawn():
    store = GeneratedStore(9, (96, 128), classes=40)
    assert {int(store.label(i).max()) for i in range(4)} == {39}


def moved(array, shift, mirrored):
    """An image shifted round, then mirrored."""
    turned = np.roll(array, shift, axis=1)
    return turned[:, ::-1] if mirrored else turned


def test_tables_are_markdown():
    rows = [["name", "s"], ["a", 1.23456], ["long name", 2], [], ["b", "c"]]
    assert markdown(rows) == [
        "| name      |     s |",
        "| --------- | ----: |",
        "| a         | 1.235 |",
        "| long name |     2 |",
        "",
        "| b   |   c |",
        "| --- | --: |",
    ]
