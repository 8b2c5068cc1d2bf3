"""The one type of error that users meet."""


class RalsegError(ValueError):
    """Bad input, refused before anything is written.

    Its message names the thing, the place and the remedy in a sentence or two. The doors print the message alone,
    without a traceback.
    """
