from pathlib import Path

import numpy as np
import pytest

from ralseg.segmentation import store as module
from ralseg.segmentation.store import MappedFile

SIZE = 60_000_000


@pytest.fixture
def content():
    return np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)


@pytest.fixture
def file(tmp_path, content):
    path = tmp_path / "pixels.bin"
    path.write_bytes(content.tobytes())
    return MappedFile(path)


def resident(name):
    """Bytes of the mapping of a file that this process holds."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(name):
            return 1024 * next(int(below.split()[1]) for below in lines if below.startswith("Rss:"))
    raise AssertionError(f"{name} is not mapped")


def parts(length):
    return [(start, min(start + length, SIZE)) for start in range(0, SIZE, length)]


@pytest.mark.parametrize("limit", [1, 700_000, 1 << 28])
def test_releasing_pages_does_not_change_what_is_read(file, content, limit, monkeypatch):
    monkeypatch.setattr(module, "RESIDENT_BYTES", limit)
    views = {part: file.read(*part) for part in parts(500_000)}
    for (start, end), view in views.items():
        np.testing.assert_array_equal(view, content[start:end])
        np.testing.assert_array_equal(file.read(start, end), content[start:end])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="resident pages are read from /proc")
def test_only_pages_read_since_the_last_release_are_held(file, monkeypatch):
    monkeypatch.setattr(module, "RESIDENT_BYTES", 10_000_000)
    most = 0
    for part in parts(1_000_000):
        file.read(*part).sum()
        most = max(most, resident("pixels.bin"))
    # A fault brings up to 4 MB of neighbours along.
    assert 5_000_000 < most < 20_000_000
    monkeypatch.setattr(module, "RESIDENT_BYTES", 1 << 28)
    for part in parts(1_000_000):
        file.read(*part).sum()
    assert resident("pixels.bin") > 0.9 * SIZE


def test_an_empty_file_has_no_bytes(tmp_path):
    path = tmp_path / "empty.bin"
    path.touch()
    assert len(MappedFile(path)) == 0


def test_views_cannot_be_written_to(file):
    with pytest.raises(ValueError, match="read-only"):
        file.read(0, 10)[0] = 1
