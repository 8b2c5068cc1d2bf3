"""Everything in examples/ runs, and shows what it says it shows."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = [
    "dataset.images=40", "dataset.size=[96,128]", "network=small_fpn", "loss=plain",
    "protocol.counts={state: 5, train: 5, compare: 6, dev: 2}",
    "network.widths=[8,8,8,8,8]", "network.pyramid=8", "theta0.fit.steps=3", "theta0.fit.batch=4", "game.unit=[24,32]",
    "game.slates=2", "game.candidates=3", "game.budget=4", "game.learn.batch=2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An example writes into the folder that it is started in, and into a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))


def test_own_acquisition(monkeypatch, capsys):
    script = EXAMPLES / "own_acquisition.py"
    monkeypatch.setattr(sys, "argv", [str(script), *TINY, "run=runs/own", "draws=2"])
    runpy.run_path(str(script), run_name="__main__")
    printed = re.findall(r"^(\w+) +mIoU (\d+\.\d\d) on dev  (.*)$", capsys.readouterr().out, flags=re.M)
    assert {name: bool(difference) for name, _, difference in printed} == {
        "energy": True, "random": False, "margin": True,
    }  # fmt: skip
    assert Path("runs/own/results.csv").exists()


@pytest.mark.long
def test_slurm(capsys):
    script = EXAMPLES / "slurm.py"
    own = ["--cluster", "local", "--nodes", "1", "--gpus", "2", "--seeds", "2"]
    overrides = [*TINY, "policies=[random]", "draws=1", "fit.options.steps=4"]
    subprocess.run(
        [sys.executable, script, *own, *overrides], check=True, env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    )
    for run, count in (("supervised", 4), ("seed-0", 2), ("seed-1", 2)):
        assert len(Path(f"runs/{run}/results.csv").read_text().splitlines()) == 1 + count
    # The second task of the shared training has shown nothing.
    assert sum(" random " in path.read_text() for path in Path("runs/slurm").glob("*.out")) == 3


def test_what_slurm_is_asked_for(tmp_path, monkeypatch):
    for name, says in (("srun", ""), ("sbatch", "Submitted batch job $$")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {says}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLES / "slurm.py"), "device=cuda"])
    runpy.run_path(str(EXAMPLES / "slurm.py"), run_name="__main__")
    asked = {path.read_text() for path in Path("runs/slurm").glob("*submission*.sh")}
    together, array = sorted(asked, key=lambda text: "--array" in text)
    for part in ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--kill-on-bad-exit=1"):
        assert part in together
    for part in ("--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=1", "--array=0-2"):
        assert part in array


def test_notebook(monkeypatch, capsys):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)
    cells = json.loads((EXAMPLES / "train_and_compare.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    scope: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(code):
        exec(compile("".join(cell["source"]), f"code cell {number}", "exec"), scope)
        if "parameters" in cell["metadata"].get("tags", []):
            scope["overrides"] += [*TINY, "features.components=8", "training.episodes=2", "agent.warm_up=2"]
            scope["overrides"] += ["agent.batch_size=2", "comparison.budgets=[0,2,4]", "comparison.draws=2"]
    training, comparison = (plt.figure(number).axes[0] for number in plt.get_fignums())
    assert np.asarray(training.lines[0].get_xydata()).shape == (2, 2)
    curves = {line.get_label(): np.asarray(line.get_xydata()) for line in comparison.lines}
    assert set(curves) == {"learned", "random", "margin", "class_truth"}
    assert all(list(curve[:, 0]) == [0, 2, 4] for curve in curves.values())
    last = curves["random"][-1, 1]
    assert re.search(rf"^random +mIoU {last:.2f}  ", capsys.readouterr().out, flags=re.M)
    plt.close("all")
