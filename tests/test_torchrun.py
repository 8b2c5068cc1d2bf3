"""The commands on several processes, as torchrun starts them."""

import csv
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

TINY = [
    "dataset.images=40", "dataset.size=[96,128]", "network=small_fpn", "network.widths=[8,16,16,16,16]",
    "protocol.counts={state: 5, train: 5, compare: 6, dev: 2}", "game=full", "game.unit=[24,32]", "game.slates=4",
    "theta0.fit.steps=40", "theta0.fit.batch=4", "game.candidates=3", "game.budget=24", "game.learn.batch=4",
    "game.learn.steps=5", "processes=1", "draws=2", "policies=[random,class_truth]",
]  # fmt: skip


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a comparison in a folder on some processes."""
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def started(processes, run, *overrides):
        launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}"] if processes > 1 else []
        command = [sys.executable, *launcher, "-m", "ralseg.evaluate_policy", *TINY, f"run={run}", *overrides]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, start_new_session=True, cwd=tmp_path, **pipes)

    return started


def rows(folder: Path) -> dict[tuple[str, ...], float]:
    """(run, budget, split) -> mIoU."""
    with open(folder / "results.csv") as file:
        found = list(csv.DictReader(file))
    keys = [(row["run_id"], row["budget_units"], row["split"]) for row in found]
    assert max(Counter(keys).values()) == 1
    return {key: float(row["miou"]) for key, row in zip(keys, found, strict=True)}


@pytest.mark.long
def test_a_comparison_goes_on_with_another_number_of_processes(start, tmp_path):
    # The first one is played by one process; the others are killed and gone on with by more or fewer.
    expected = {}
    for first, then in ((1, 1), (2, 1), (1, 2)):
        run = tmp_path / f"{first}-{then}"
        begun = start(first, run)
        assert begun.stdout is not None
        if (first, then) != (1, 1):
            while (line := begun.stdout.readline()) and not line.startswith("2/4"):
                pass
            # torchrun ends its processes with the same signal.
            begun.send_signal(signal.SIGTERM)
            begun.communicate()
            assert 0 < len(rows(run)) < 8
            begun = start(then, run)
        output = begun.communicate(timeout=300)
        assert begun.returncode == 0, output
        assert output[0].count("4/4") == 1
        found = rows(run)
        expected = expected or found
        assert found.keys() == expected.keys() and len(found) == 8
        for key, miou in found.items():
            other = next(of for of in expected if of[1:] == key[1:] and of[0][:-12] == key[0][:-12] and of != key)
            # Rounding is all that differs, which moves mIoU less than another draw does.
            assert abs(miou - expected[key]) <= abs(expected[other] - expected[key])


FAULT = """
from ralseg.foundation import RalsegError
from ralseg.segmentation.collectives import rank
from ralseg.segmentation.learners import SupervisedLearner

class Failing(SupervisedLearner):
    def objective(self, *arguments):
        if rank() == 1:
            raise RalsegError("this process has a fault of its own")
        return super().objective(*arguments)
"""


def test_a_process_that_fails_ends_the_command(start, tmp_path):
    (tmp_path / "fault.py").write_text(FAULT)
    begun = start(2, tmp_path / "run", "learner._target_=fault.Failing")
    output, errors = begun.communicate(timeout=120)
    assert begun.returncode == 1 and "1/4" not in output
    assert "evaluate_policy: process 1: this process has a fault of its own\n" in errors
