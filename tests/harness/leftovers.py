"""What must not stay behind when the tests are stopped in the middle: nodes that run, file systems that are mounted."""

import atexit
import contextlib
import signal

_kept = []


def remember(thing):
    """`thing.remove()` is called at the end of the program, the youngest first, unless it is forgotten before."""
    _kept.append(thing)


def forget(thing):
    if thing in _kept:
        _kept.remove(thing)


@atexit.register
def _remove_all():
    while _kept:
        # One that cannot be removed must not keep the others.
        with contextlib.suppress(Exception):
            _kept.pop().remove()


def _end(*_):
    # `timeout` sends it twice, to the process and to its group: the second must not interrupt the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


# SIGTERM ends the program as Ctrl-C does: with its exit handlers, and through unittest.
signal.signal(signal.SIGTERM, _end)
