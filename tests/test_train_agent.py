import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ralseg.agents.query_policy import load_policy
from ralseg.foundation import read_json
from ralseg.train_agent import main

WORLD = [
    "features=compact", "dataset.images=40", "dataset.size=[96,128]", "network=small_fpn", "loss=plain",
    "game.unit=[24,32]", "game.slates=2",
    "protocol.counts={state: 5, train: 5, compare: 6, dev: 2}", "network.widths=[8,8,8,8,8]", "network.pyramid=8",
    "theta0.fit.steps=3", "theta0.fit.batch=4", "game.candidates=3", "game.budget=4", "game.learn.batch=2",
    "comparison.processes=1", "run=runs/x",
]  # fmt: skip
TINY = [
    *WORLD, "training.episodes=2", "training.streams=1", "training.processes=1", "agent.warm_up=2",
    "agent.batch_size=2", "comparison.draws=2",
]  # fmt: skip
POLICIES = ["learned", "random", "entropy", "margin", "class_truth"]


# Of the session, not of the module: xdist moves tests about, and would make what all here share once more each time.
@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """An empty folder, and a cache that all tests here share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RALSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield tmp_path_factory.mktemp("place")


@pytest.fixture
def elsewhere(place, tmp_path, monkeypatch):
    """Everything is written into an empty folder of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def played(place):
    """A training and its comparison; gives the run folder and what was printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        # Its own: no test that comes before may have left its theta_0 there.
        patch.setenv("RALSEG_CACHE", str(place / "cache"))
        yield place / "runs/x", door(TINY)


def door(overrides):
    """Go through the door, which must succeed; gives what it prints."""
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr(sys.stdout, "write", lines.append)
        assert main(overrides) == 0
    return "".join(lines)


def files(folder):
    """Path -> content of all files below a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_run_folder(played):
    folder, _ = played
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "splits.json", "data.json", "policy.json", "policy.safetensors", "checkpoint", "tensorboard",
        "comparison",
    }  # fmt: skip
    record = read_json(folder / "config.json")
    assert record["overrides"] == TINY and record["config"]["agent"]["warm_up"] == 2
    splits = read_json(folder / "splits.json")
    assert [len(splits[role]) for role in ("state", "train", "compare", "dev")] == [5, 5, 6, 2]
    assert load_policy(folder).description["observation"]["features"] == {"preset": "compact"}
    log = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [point.step for point in log.Scalars("game/return")] == [2, 4]


def test_the_comparison(played):
    folder, output = played
    comparison = folder / "comparison"
    with (comparison / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["policy"] for row in rows) == sorted(POLICIES * 2) and {row["units"] for row in rows} == {"4"}
    # 5 images of D_T and 4 of D_R, 16 units each.
    assert {row["policy"]: int(row["label_cost_of_policy"]) for row in rows}["learned"] == 9 * 16
    assert (comparison / "curves.png").read_bytes().startswith(b"\x89PNG")
    table = output[output.index("partial, budget 4") :]
    for name, text in zip(POLICIES, ("learned ", "random ", "entropy ", "margin ", "class_truth*"), strict=True):
        mean = sum(float(row["miou"]) for row in rows if row["policy"] == name) / 2
        (line,) = (line for line in table.splitlines() if line.strip().startswith(text))
        assert f"{mean:.2f}" in line


def test_progress_and_what_to_do_next_are_printed(played):
    _, output = played
    data, images, void, classes, *_ = output.splitlines()
    assert data == "streets: 40 images, 96 x 128 (height x width); all with labels"
    assert images == "images: D_S 5, D_T 5, D_V 6, dev 2, D_R 4, twin 4, test 5"
    assert void.startswith("void: ") and classes.startswith("classes in % of the labelled pixels: sky ")
    assert "game partial, loss plain; run folder runs/x" in output
    for text in ("theta_0: step 3/3", "episode 2/2, step 4: mIoU", "10/10 class_truth, draw 1: mIoU dev"):
        assert text in output
    assert "evaluate_policy.py 'policies=[random,run:runs/x]'" in output.splitlines()[-1]


def test_the_same_command_again_finds_all_done(played, monkeypatch):
    folder, _ = played
    monkeypatch.chdir(folder.parents[1])
    before = files(folder)
    output = door(TINY)
    assert "draw 1:" not in output and "theta_0" not in output and "class_truth*" in output
    # Drawn again from the same rows: only pictures and event files may differ.
    after = files(folder)
    kept = [path for path in before if "tensorboard" not in path.parts and path.suffix != ".png"]
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}


def test_what_is_compared_may_change(played, tmp_path, monkeypatch):
    # A copy: other tests read the run as it was, whichever comes first.
    folder = tmp_path / "runs/x"
    shutil.copytree(played[0], folder)
    monkeypatch.chdir(tmp_path)
    weights = (folder / "policy.safetensors").read_bytes()
    output = door([*TINY, "comparison.policies=[random,least_confidence]", "comparison.draws=1"])
    assert "least_confidence, draw 0:" in output and "random, draw 0:" not in output
    assert (folder / "policy.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("override", "key"), [("loss=balanced", "loss"), ("game.slates=1", "game"), ("agent.gamma=0.5", "agent")]
)
def test_a_folder_of_another_configuration_is_refused(played, monkeypatch, capsys, override, key):
    folder, _ = played
    monkeypatch.chdir(folder.parents[1])
    before = files(folder)
    assert main([*TINY, override]) == 2
    message = f"train_agent: runs/x holds a run with another {key}; choose another folder with run=<folder>\n"
    assert capsys.readouterr().err == message and files(folder) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.episodes=3", "train.episodes is not a setting; the top level has dataset, "),
        (
            "training.episode=3",
            "training has seed, episodes, streams, networks, processes, tensorboard (did you mean training.epis",
        ),
        (
            "agent=dqn",
            "agent=dqn is unknown; choose from ddqn, ralis, ralis_coherent, ralseg, regression, sb3_dqn, sb3_ppo",
        ),
        ("+agent.gama=1", "agent.gama"),
        ("training.episodes=0", "training.episodes=0 is out of range; it must be 1 or more"),
        ("training.streams=3", "training.streams=3 must be at most training.episodes=2"),
        (
            "agent.prior_of=disagreement",
            "agent.prior=2 is a weight of a candidate's disagreement, which features=compact do not",
        ),
        ("training.networks=2", "training.networks=2 must be at most training.streams=1"),
        ("training.processes=2", "training.processes=2 must be 1 or as many as training.streams=1"),
        ("comparison.fit.options.steps=0", "comparison.fit.options.steps=0 is out of range"),
    ],
)
def test_bad_input_is_one_line_and_status_2(elsewhere, capsys, override, message):
    assert main([*TINY, override]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert not Path("runs").exists()


def test_streams_of_several_networks(elsewhere, capsys):
    several = ["training.streams=2", "training.networks=2", "comparison.policies=[]", "comparison.draws=1"]
    assert main([*TINY[1:], *several, "features.components=4"]) == 2
    assert "training.networks=2: the embeddings of different networks are not alike" in capsys.readouterr().err
    assert main([*WORLD, "agent=sb3_ppo", "training.episodes=2", *several]) == 2
    assert "Stable-Baselines3 plays one game, set 1" in capsys.readouterr().err
    noisy = ["features=noisy", "features.extra=[disagreement]", "agent.prior_of=disagreement"]
    door([*TINY[1:], *several, *noisy])
    mixed = load_policy("runs/x").network.state_dict()
    door([*TINY[1:], *several, *noisy, "training.networks=1", "run=runs/y"])
    alone = load_policy("runs/y").network.state_dict()
    assert any((mixed[name] != alone[name]).any() for name in mixed)


@pytest.mark.parametrize("agent", ["sb3_ppo", "sb3_dqn"])
def test_stable_baselines3(elsewhere, place, agent):
    small = {"sb3_ppo": ["agent.n_steps=2", "agent.epochs=1"], "sb3_dqn": ["agent.updates_per_step=1"]}[agent]
    output = door([
        *WORLD, f"agent={agent}", *small, "agent.batch_size=2", "training.episodes=1", "training.streams=1",
        "training.processes=1", "comparison.policies=[random]", "comparison.draws=1",
    ])  # fmt: skip
    assert "2/2 random, draw 0:" in output and load_policy("runs/x").description["options"]["algorithm"] == agent


def test_help_needs_no_torch():
    code = (
        "import sys; from ralseg.train_agent import main; assert main(['--help']) == 0; "
        "assert not {'torch', 'tianshou', 'matplotlib'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    for text in (
        "train_agent.py agent=ralis",
        "agent: ddqn, ralis, ralis_coherent, ralseg, regression, sb3_dqn, sb3_ppo",
        "  episodes: ",
    ):
        assert text in found.stdout
