"""Crashes under load: of the process, and of the power. What was acknowledged has to be there afterwards."""

import contextlib
import fcntl
import os
import pathlib
import struct
import subprocess
import tempfile
import time

from . import leftovers
from .mail import Load
from .node import Node, wait_until
from .reading import compare

# FS_IOC_SHUTDOWN of ext4 and xfs; 2 (NOLOGFLUSH) drops what was not flushed, as a power cut does.
FS_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2


def kill_rounds(rounds, sessions=20, seconds=1.0, report=print):
    """Kills the node with SIGKILL under load, again and again; what is wrong at the end, as sentences."""
    with Node() as node:
        load = Load(node, sessions)
        wrong, slowest = [], 0.0
        for index in range(rounds):
            before = load.count()
            wait_until(lambda: load.count() > before, 60, "a message is acknowledged")
            time.sleep(seconds)
            node.kill()
            started = time.monotonic()
            # No repair step: the same command again.
            node.start()
            slowest = max(slowest, time.monotonic() - started)
            report(f"round {index + 1}: {load.count()} acknowledged so far")
        acknowledged = load.stop()
        wrong += compare(acknowledged, node)
        report(f"{len(acknowledged)} acknowledged of {load.sent} sent, {rounds} kills, slowest start {slowest:.2f} s")
        if slowest > 30:
            wrong.append(f"a start took {slowest:.1f} s")
        return wrong


class LoopDisk:
    """A file system in a file on a loop device, so that it can be cut off or filled."""

    def __init__(self, megabytes, kind="ext4"):
        self.directory = tempfile.mkdtemp(prefix="pigeonair-disk-")
        self.image = os.path.join(self.directory, "image")
        self.mount_point = os.path.join(self.directory, "mount")
        os.mkdir(self.mount_point)
        self.kind, self.device = kind, None
        leftovers.remember(self)
        with open(self.image, "wb") as image:
            image.truncate(megabytes << 20)
        make = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}[kind]
        self._run(*make, self.image)
        self.mount()

    @staticmethod
    def _run(*command):
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def mount(self):
        self.device = self._run("losetup", "--find", "--show", self.image)
        self._run("mount", "-t", self.kind, self.device, self.mount_point)

    def unmount(self):
        if self.device:
            self._run("umount", self.mount_point)
            self._run("losetup", "--detach", self.device)
            self.device = None

    def cut_power(self):
        directory = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(directory, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(directory)

    def remove(self):
        leftovers.forget(self)
        with contextlib.suppress(AssertionError):
            self.unmount()
        if self.device is None:
            for path in (self.image,):
                os.unlink(path)
            os.rmdir(self.mount_point)
            os.rmdir(self.directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def power_cut_rounds(rounds, kind="ext4", sessions=20, seconds=1.0, megabytes=2048, report=print):
    """Cuts the power of the file system under load, again and again; what is wrong at the end, as sentences."""
    with LoopDisk(megabytes, kind) as disk:
        node = Node(directory=pathlib.Path(disk.mount_point, "data"))
        try:
            load = Load(node, sessions, name="power")
            for index in range(rounds):
                before = load.count()
                wait_until(lambda: load.count() > before, 60, "a message is acknowledged")
                time.sleep(seconds)
                disk.cut_power()
                # The node must acknowledge nothing from here on; give it the time to get that wrong.
                time.sleep(0.3)
                node.kill()
                disk.unmount()
                disk.mount()
                node.start()
                report(f"round {index + 1}: {load.count()} acknowledged so far")
            acknowledged = load.stop()
            wrong = compare(acknowledged, node)
            report(f"{len(acknowledged)} acknowledged of {load.sent} sent, {rounds} power cuts on {kind}")
            return wrong
        finally:
            node.remove()
            log = node.log_path
            log.unlink(missing_ok=True)
            log.parent.rmdir()
