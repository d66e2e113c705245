"""What a node holds in memory: for large messages on their way in, and for connections that wait."""

import threading
import time

from .mail import ALICE, digest, identity_of, stream_large, without_trace
from .node import IMAP, IMAPS, PASSWORD, POP3, SMTP, Node, raise_file_limit, wait_until
from .reading import messages


def large_messages(senders, megabytes, report=print):
    """Growth of resident memory while `senders` send one message of `megabytes` each, all at once."""
    with Node() as node:
        stream_large(node, 1 << 20, "memory.warm")
        baseline = node.memory("VmRSS")
        node.reset_peak()
        digests, failures = {}, []

        def send(index):
            try:
                digests[f"memory.{index}"] = stream_large(node, megabytes << 20, f"memory.{index}")
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=send, args=(index,)) for index in range(senders)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
        growth = node.memory("VmHWM") - baseline
        assert not failures, failures
        report(f"{senders} x {megabytes} MiB in {seconds:.1f} s: grew by {growth / (1 << 20):.1f} MiB from "
               f"{baseline / (1 << 20):.1f} MiB")
        found, twice = read_back(node)
        assert not twice and all(found.get(name) == value for name, value in digests.items()), "messages are not whole"
        return growth


def read_back(node):
    """Digests by identity, one message at a time: the reader has each in memory."""
    found, twice = {}, []
    for _, _, message in messages(node, batch=1):
        identity = identity_of(message)
        if identity in found:
            twice.append(identity)
        found[identity] = digest(without_trace(message))
    return found, twice


class Idle:
    """Connections that have said something and are silent since."""

    def __init__(self, node, standard, tls=False):
        self.node, self.standard, self.tls = node, standard, tls
        self.sockets = []

    def open(self, count, talk, parallel=32):
        """`talk(socket)` brings a connection into the state in which it then waits."""
        lock, failures, left = threading.Lock(), [], [count]

        def work():
            while True:
                with lock:
                    if left[0] == 0 or failures:
                        return
                    left[0] -= 1
                try:
                    connection = self.node.connect(self.standard, 120)
                    if self.tls:
                        connection = self.node.tls().wrap_socket(connection)
                    talk(connection)
                    with lock:
                        self.sockets.append(connection)
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(parallel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[:3]

    def close(self):
        for connection in self.sockets:
            connection.close()
        self.sockets.clear()


def read_until(connection, mark):
    received = b""
    while mark not in received:
        piece = connection.recv(4096)
        assert piece, f"closed before {mark!r}: {received!r}"
        received += piece
    return received


def imap_selected(idle):
    def talk(connection):
        read_until(connection, b"\r\n")
        connection.sendall(f"a LOGIN {ALICE} {PASSWORD}\r\nb SELECT INBOX\r\n".encode())
        received = read_until(connection, b"\r\nb ")
        while not received.endswith(b"\r\n"):
            received += connection.recv(4096)
        assert b"\r\nb OK" in received, received
        if idle:
            connection.sendall(b"c IDLE\r\n")
            read_until(connection, b"+ ")
    return talk


def greeted(connection):
    read_until(connection, b"\r\n")


KINDS = {
    # name: (port, TLS, what to say, bytes allowed)
    "imap-selected": (IMAP, False, imap_selected(False), 8 * 1024),
    "imap-idle": (IMAP, False, imap_selected(True), 8 * 1024),
    "imap-greeted": (IMAP, False, greeted, 2 * 1024),
    "pop3-greeted": (POP3, False, greeted, 2 * 1024),
    "smtp-greeted": (SMTP, False, greeted, 2 * 1024),
    # Measured and printed; rustls alone needs 2 to 3 KiB.
    "imaps-idle": (IMAPS, True, imap_selected(True), None),
}


def idle_connections(kind, count, report=print, configure=None):
    """User memory per waiting connection, and what is allowed."""
    standard, tls, talk, allowed = KINDS[kind]
    raise_file_limit()
    with Node(configure=configure) as node:
        idle = Idle(node, standard, tls)
        try:
            # What is made once (buffers, caches, the account) is not a connection's.
            idle.open(min(200, count), talk)
            wait_until(lambda: settled(node), 30, "memory settles")
            before = node.memory("RssAnon")
            idle.open(count, talk)
            wait_until(lambda: settled(node), 30, "memory settles")
            each = (node.memory("RssAnon") - before) / count
        finally:
            idle.close()
        report(f"{kind}: {count} connections, {each:.0f} bytes of user memory each"
               + (f" (allowed {allowed})" if allowed else ""))
        return each, allowed


def settled(node):
    first = node.memory("RssAnon")
    time.sleep(0.5)
    return abs(node.memory("RssAnon") - first) < 64 * 1024

