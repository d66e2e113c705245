"""What must not stay behind when the tests are stopped in the middle: nodes that run, file systems that are mounted."""

import atexit
import contextlib
import signal
import subprocess

_kept = []


def remember(thing):
    """`thing.remove()` is called at the end of the program, the youngest first, unless it is forgotten before."""
    _kept.append(thing)


def forget(thing):
    if thing in _kept:
        _kept.remove(thing)


def end(process, seconds=30):
    """SIGTERM to a server that somebody else wrote, if it still runs; SIGKILL where that is not enough. Its children are its own affair."""
    if process and process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(seconds)


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
