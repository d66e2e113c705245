"""What a test needs of the machine: a missing program is a failure in CI (CI=true) and a named skip elsewhere."""

import os
import shutil
import sys
import unittest

# How a program ends that could not do its work because something is missing, as for automake; ./test counts it as skipped.
SKIPPED = 77


def in_ci():
    return os.environ.get("CI") == "true"


def missing(what):
    if in_ci():
        raise AssertionError(f"missing: {what} (and CI=true allows no skips)")
    raise unittest.SkipTest(f"missing: {what}")


def program(name):
    """The path of a program, also of those in sbin that are not in everybody's PATH."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(name, path=path)


def needs(*names):
    """The paths of programs (one path for one name), or a skip."""
    paths = [program(name) or missing(name) for name in names]
    return paths[0] if len(paths) == 1 else paths


def needs_root(why):
    """For what only root may do (loop devices, mounts). Not every CI runs as root, so this is a skip everywhere."""
    if os.geteuid() != 0:
        raise unittest.SkipTest(f"needs root: {why}")
    if not os.path.exists("/dev/loop-control"):
        raise unittest.SkipTest(f"needs loop devices: {why}")


def ends(main):
    """Ends the program with what `main` returns; with `SKIPPED` and a line that says why where that is a skip."""
    try:
        sys.exit(main())
    except unittest.SkipTest as skip:
        print(f"skipped: {skip}")
        sys.exit(SKIPPED)
