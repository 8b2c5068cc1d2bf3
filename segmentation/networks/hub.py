"""Weights from huggingface.co, or at once a clear word that it cannot be reached."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

TIMEOUT = 5
"""Seconds within which the hub must answer."""


@contextmanager
def weights_hub(encoder: str, pretrained: bool) -> Iterator[None]:
    """Let libraries make an encoder in the block, from huggingface.co where they need it.

    The hub is asked once whether it is there. If it is not, only its cache on this disk is read: left to themselves the
    libraries would ask for most of a minute and write a line each time.

    Args:
        encoder: timm's name; one that begins with "hf-hub:" is described on the hub, whatever its weights.
        pretrained: whether weights are loaded.

    Raises:
        ConnectionError: if the hub does not answer and the cache lacks a file.
    """
    if not pretrained and not encoder.startswith("hf-hub:"):
        yield
        return
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ConnectionError(f"{constants.ENDPOINT} cannot be reached and its cache lacks the encoder") from error
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    try:
        urlopen(Request(address, method="HEAD"), timeout=TIMEOUT).close()
    except HTTPError:
        return True
    except URLError as error:
        # The hub's own client may trust other certificates.
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
    return True
