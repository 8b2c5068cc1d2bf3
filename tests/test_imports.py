"""Imports stay quick: the libraries of another floor are loaded only by modules that use them."""

import subprocess
import sys

import pytest


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ralseg.foundation", {"torch", "hydra", "cv2", "scipy", "pandas"}),
        ("ralseg.configs", {"torch", "hydra", "cv2", "scipy", "pandas"}),
        ("ralseg.features", {"torch", "hydra", "pandas"}),
        ("ralseg.features.view", {"torch", "hydra", "cv2", "scipy", "pandas"}),
        ("ralseg.annotation.page", {"torch", "hydra", "scipy", "pandas"}),
        ("ralseg.stats", {"torch", "hydra", "cv2", "pandas"}),
        ("ralseg.agents.acquisitions", {"torch", "hydra", "cv2", "tianshou"}),
        ("ralseg.evaluation.summary", {"torch", "hydra", "cv2", "tianshou", "matplotlib"}),
    ],
)
def test_a_floor_loads_only_what_it_needs(module, absent):
    loaded = set(run(f"import sys, {module}; print(*sys.modules)").split())
    assert module in loaded
    assert not absent & loaded
