"""One owner per folder: a lock that says who holds it and that ends with its process."""

import os
import shlex
import socket
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from ralseg.foundation.errors import RalsegError
from ralseg.foundation.files import made_folder, read_json, remove_temporaries, unwritable, write_json

LOCK, OWNER = ".lock", ".owner.json"


@contextmanager
def owned(folder: str | Path, setting: str = "run") -> Iterator[None]:
    """Hold a folder, so that no other process writes into it until the block ends.

    The system's lock on `.lock` decides, so that a dead process holds nothing; `.owner.json` beside it says whose it
    is. Both are removed at the end, and so is the folder if it was made here and stayed empty. Who holds a folder
    already, in the same thread, holds it once more.

    Args:
        folder: the folder; made if it does not exist.
        setting: the setting that names it, for messages.

    Raises:
        RalsegError: if another process or thread holds the folder, or it cannot be written.
    """
    folder = Path(folder)
    mend = f"choose another folder with {setting}=<folder>"
    lock = FileLock(folder.resolve() / LOCK, is_singleton=True)
    if lock.is_locked:
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(made_folder(folder))
            # A file that cannot be made would look to filelock like one that another process holds.
            (folder / LOCK).touch()
            lock.acquire(blocking=False)
        except Timeout:
            raise RalsegError(f"{folder} is in use by {_holder(folder)}; wait for it, stop it, or {mend}") from None
        except OSError as error:
            raise unwritable(folder, error, mend) from error
        stack.callback(_release, lock, folder)
        # A folder below it may have an owner of its own, who is writing there.
        remove_temporaries(folder, spared=LOCK)
        write_json(folder / OWNER, _myself())
        yield


def _release(lock: BaseFileLock, folder: Path) -> None:
    with suppress(OSError):
        (folder / OWNER).unlink(missing_ok=True)
        # While it is locked: who has opened it sees then that it is gone, and makes another one.
        (folder / LOCK).unlink()
    lock.release()


def _myself() -> dict[str, str | int]:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = datetime.now().astimezone().isoformat(" ", "minutes")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command}


def _holder(folder: Path) -> str:
    try:
        owner = read_json(folder / OWNER)
        command = textwrap.shorten(owner["command"], 200)
        return f"process {owner['pid']} on {owner['host']} since {owner['since']} ({command})"
    # It has the lock, but has not written its name yet.
    except (RalsegError, KeyError, TypeError):
        return "another process"
