"""The tools that people annotate with, each in an environment beside the project's own.

RALSEG_TOOLS=1 runs the tests that need them; the environments (1.3 GB) are made by uv in the cache once.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SPECS = {
    "coco": "pycocotools==2.0.11",
    "cvat": "cvat-sdk[masks]==2.80.0",
    "label-studio": "label-studio-sdk==2.1.2",
    "label-studio-server": "label-studio==1.23.2",
}

opted_in = pytest.mark.skipif(
    os.environ.get("RALSEG_TOOLS") != "1" or shutil.which("uv") is None,
    reason="needs uv and RALSEG_TOOLS=1, and installs annotation tools beside the project",
)


@pytest.fixture(scope="module")
def python_of():
    """Makes the environment of a tool, once and for all tests to come."""
    cache = Path(os.environ.get("RALSEG_CACHE", Path.home() / ".cache" / "ralseg")) / "tools"

    def make(name):
        folder = cache / name
        ready = folder / SPECS[name]
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run(["uv", "venv", "-q", "--python", "3.11", str(folder)], check=True)
            python = str(folder / "bin" / "python")
            subprocess.run(["uv", "pip", "install", "-q", "--python", python, SPECS[name], "numpy"], check=True)
            ready.touch()
        return folder / "bin" / "python"

    return make
