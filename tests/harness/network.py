"""Hosts in network namespaces: each with an interface on a public and one on a private network, both switched in a namespace
of their own. Nothing of it touches the machine's network, and all of it goes with the namespaces. Needs root."""

import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import select
import socket
import struct
import subprocess
import threading

from . import leftovers
from .needs import needs

PUBLIC, PRIVATE = "public", "private"
# For documentation (RFC 5737), and private (RFC 1918).
ADDRESSES = {PUBLIC: "192.0.2.{}", PRIVATE: "10.77.0.{}"}
BRIDGES = {PUBLIC: "br-public", PRIVATE: "br-private"}

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


class Host:
    """A namespace by its name; `number` is the last part of its addresses."""

    def __init__(self, network, name, number):
        self.network, self.name, self.number = network, name, number
        self.namespace = f"{network.tag}-{name}"

    def address(self, kind):
        return ADDRESSES[kind].format(self.number)

    @contextlib.contextmanager
    def within(self):
        """The calling thread is in the namespace: sockets that it makes stay there."""
        with open(f"/var/run/netns/{self.namespace}") as there, open("/proc/thread-self/ns/net") as home:
            _enter(there)
            try:
                yield
            finally:
                _enter(home)

    def command(self, *words):
        """To start a program there; its process id is the program's."""
        return [needs("ip"), "netns", "exec", self.namespace, *words]

    def run(self, *words, **options):
        return subprocess.run(self.command(*words), capture_output=True, **{"timeout": 300, **options})

    def cut(self, *kinds):
        """Takes the plugs out."""
        for kind in kinds or (PUBLIC, PRIVATE):
            self.network.ip("link", "set", f"{self.name}-{kind[:3]}", "down")

    def mend(self, *kinds):
        for kind in kinds or (PUBLIC, PRIVATE):
            self.network.ip("link", "set", f"{self.name}-{kind[:3]}", "up")

    def bytes(self, kind):
        """What went through its plug so far: in and out, as the host sees it."""
        done = self.network.ip("-s", "-j", "link", "show", "dev", f"{self.name}-{kind[:3]}")
        counts = json.loads(done)[0]["stats64"]
        # The other end of the pair counts the other way.
        return counts["tx"]["bytes"], counts["rx"]["bytes"]


def _enter(namespace):
    if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """`Network(["n1", "n2"])`: these hosts, and `client`, which is on the public network alone."""

    def __init__(self, names):
        self.tag = f"pigeonair-{os.getpid()}-{next(_numbers)}"
        self.switch = f"{self.tag}-switch"
        self.hosts, self.made = {}, []
        leftovers.remember(self)
        try:
            self.make(self.switch)
            for bridge in BRIDGES.values():
                self.ip("link", "add", bridge, "type", "bridge")
                self.ip("link", "set", bridge, "up")
            for number, name in enumerate(names, 1):
                self.plug(name, number, PUBLIC, PRIVATE)
            self.client = self.plug("client", 200, PUBLIC)
        except BaseException:
            self.remove()
            raise

    def make(self, namespace):
        _ip("netns", "add", namespace)
        self.made.append(namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")

    def plug(self, name, number, *kinds):
        host = Host(self, name, number)
        self.make(host.namespace)
        for kind in kinds:
            end = f"{name}-{kind[:3]}"
            self.ip("link", "add", end, "type", "veth", "peer", "name", kind, "netns", host.namespace)
            self.ip("link", "set", end, "master", BRIDGES[kind], "up")
            _ip("-n", host.namespace, "addr", "add", f"{host.address(kind)}/24", "dev", kind)
            _ip("-n", host.namespace, "link", "set", kind, "up")
        self.hosts[name] = host
        return host

    def ip(self, *words):
        """In the namespace of the switch."""
        return _ip("-n", self.switch, *words)

    def __getitem__(self, name):
        return self.hosts[name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        leftovers.forget(self)
        while self.made:
            # One that cannot be removed must not keep the others.
            with contextlib.suppress(AssertionError):
                _ip("netns", "del", self.made.pop())


def _ip(*words):
    done = subprocess.run([needs("ip"), *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


class Capture:
    """Every frame that a bridge sees while the capture runs, as its bytes from the IP header on; at most `bytes_max`."""

    def __init__(self, network, kind, bytes_max=256 << 20):
        self.frames, self.left = [], bytes_max
        self.ending, self.stop_end = os.pipe()
        with Switch(network).within():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
            self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            self.socket.bind((BRIDGES[kind], 0))
            # A bridge hands frames between its ports past its own device, unless it listens to everything.
            network.ip("link", "set", BRIDGES[kind], "promisc", "on")
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            readable, _, _ = select.select([self.socket, self.ending], [], [])
            if self.socket in readable:
                frame = self.socket.recv(1 << 17)
                self.left -= len(frame)
                if self.left > 0:
                    self.frames.append(frame)
            elif readable:
                return

    def stop(self):
        """The frames. An error when some are missing: what is not there proves nothing then."""
        os.close(self.stop_end)
        self.thread.join(30)
        # PACKET_STATISTICS: packets, drops.
        _, dropped = struct.unpack("II", self.socket.getsockopt(263, 6, 8))
        self.socket.close()
        os.close(self.ending)
        assert dropped == 0 and self.left > 0, f"the capture lost frames: {dropped}, {self.left} bytes left"
        return self.frames


class Switch(Host):
    """The namespace that the bridges are in."""

    def __init__(self, network):
        super().__init__(network, "switch", 0)


def needs_namespaces():
    """A skip without root; namespaces are there wherever Linux is."""
    import unittest

    if os.geteuid() != 0 or not pathlib.Path("/proc/self/ns/net").exists():
        raise unittest.SkipTest("needs root: network namespaces")
    needs("ip")
