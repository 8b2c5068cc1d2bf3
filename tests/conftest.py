"""Fixtures that every floor uses."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from ralseg.segmentation.devices import single_thread

single_thread()
cv2.setNumThreads(1)

TESTS = Path(__file__).parent
CAMVID = TESTS.parents[1] / "shared/data/camvid"
CLIPS = {"train": ("0001TP", "0006R0", "0016E5"), "val": ("0016E5",), "test": ("0001TP", "Seq05VD")}
IMAGES = {"train": 24, "val": 7, "test": 6}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items):
    """Mark the tests that slow.txt lists."""
    slow = {line for line in (TESTS / "slow.txt").read_text().splitlines() if not line.startswith("#")}
    for item in items:
        name = item.nodeid.partition("[")[0].partition("::")[2]
        if f"{item.path.relative_to(TESTS).as_posix()}::{name}" in slow:
            item.add_marker("slow")


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The folder of the real CamVid, or the test is skipped."""
    if not CAMVID.is_dir():
        pytest.skip("CamVid is not here")
    return CAMVID


def write_camvid(root: Path, size: tuple[int, int] = (180, 240)) -> Path:
    """Write a small tree in SegNet's layout: every class in every label, void in the last rows."""
    rng = np.random.default_rng(0)
    height, width = size
    number = 0
    for subset, clips in CLIPS.items():
        for folder in (subset, f"{subset}annot"):
            (root / folder).mkdir(parents=True)
        for i in range(IMAGES[subset]):
            number += 30
            name = f"{clips[i % len(clips)]}_{number:06d}.png"
            coarse = np.sort(rng.integers(0, 11, (height // 6, width // 6), np.uint8), axis=0)
            label = coarse.repeat(6, 0).repeat(6, 1)
            label[0, :11], label[-2:] = np.arange(11), 11
            image = (20 * label[..., None] + rng.integers(0, 30, (height, width, 3))).astype(np.uint8)
            cv2.imwrite(str(root / subset / name), image)
            cv2.imwrite(str(root / f"{subset}annot" / name), label)
    return root


@pytest.fixture
def camvid_tree(tmp_path: Path) -> Path:
    """A generated tree in SegNet's layout: 24, 7 and 6 images of 180 x 240 (height x width) from CamVid's clips."""
    return write_camvid(tmp_path / "camvid")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A real browser, or the test is skipped."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    # Only here, as most tests need no browser.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def refused(tmp_path, capfd, own_cache) -> Callable[..., str]:
    """Goes through a door and gives the one line that it says; the run folder must stay as empty as it was.

    The door is "train" or "evaluate"; overrides follow. Those that name a run folder come after the default one.
    """
    from ralseg import evaluate_policy, train_agent

    doors = {"train": train_agent.main, "evaluate": evaluate_policy.main}

    def go(door: str, *overrides: str) -> str:
        run = tmp_path / "run"
        assert doors[door]([f"run={run}", *overrides]) == 2
        said = capfd.readouterr().err.strip().splitlines()
        assert len(said) == 1, said
        assert "Traceback" not in said[0]
        assert not run.exists() or not list(run.rglob("*"))
        return said[0]

    return go
