"""The one error type that users meet."""


class RalsegError(ValueError):
    """Bad input, refused before anything is written.

    The message is one sentence or two: the thing, the place, the mend. The doors print it alone, without a traceback.
    """
