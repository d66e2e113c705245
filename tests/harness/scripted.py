"""A backend that breaks off: it speaks IMAP, POP3 and LMTP as far as a login and a message go, to a byte that each of its
addresses has of its own, and from there on it closes, talks nonsense or says nothing.

The address that was connected to (127.V.H.L) says how: V is what it does (see `address`), H and L the number of bytes before.
"""

import base64
import collections
import contextlib
import hmac
import os
import re
import socket
import threading

from . import leftovers, scram

CLOSES, NONSENSE, SILENT, WHOLE = 1, 2, 3, 4
SALT = b"0123456789abcdef"
NONSENSE_BYTES = b"\xff\0\x1b[2J garbage\r\n"
# Beyond any patience of a node's: who does not end a connection by then leaks it.
PATIENCE = 90


def address(how, count):
    return f"127.{how}.{count >> 8}.{count & 255}"


class Broken(Exception):
    pass


class Dialogue:
    """One connection, up to its byte."""

    def __init__(self, connection):
        self.connection, self.file = connection, connection.makefile("rb")
        how, high, low = map(int, connection.getsockname()[0].split(".")[1:])
        self.how, self.left = how, None if how == WHOLE else high << 8 | low
        # Of all that was said: how much, and how much before the last time.
        self.sent, self.before_last = 0, 0

    def say(self, data):
        data = data if isinstance(data, bytes) else data.encode()
        self.before_last, self.sent = self.sent, self.sent + len(data)
        if self.left is None or len(data) <= self.left:
            if self.left is not None:
                self.left -= len(data)
            return self.connection.sendall(data)
        self.connection.sendall(data[: self.left] + (NONSENSE_BYTES if self.how == NONSENSE else b""))
        raise Broken

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Broken
        return line[:-2]

    def scram(self, key, prompt, first):
        """From the client's first message to its empty last one."""
        bare = base64.b64decode(first).decode().split(",", 2)[2]
        nonce = bare.rpartition("r=")[2] + base64.b64encode(os.urandom(9)).decode()
        server_first = f"r={nonce},s={base64.b64encode(SALT).decode()},i=4096"
        self.say(prompt + base64.b64encode(server_first.encode()) + b"\r\n")
        without_proof = base64.b64decode(self.line()).decode().rpartition(",p=")[0]
        said = f"{bare},{server_first},{without_proof}".encode()
        proof = b"v=" + base64.b64encode(hmac.digest(scram.keys(key, SALT, 4096)[2], said, "sha256"))
        self.say(prompt + base64.b64encode(proof) + b"\r\n")
        assert self.line() == b""


def imap(dialogue, key):
    dialogue.say("* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=SCRAM-SHA-256] ready\r\n")
    assert dialogue.line().startswith(b"I ID (")
    dialogue.say("* ID NIL\r\nI OK done\r\n")
    dialogue.scram(key, b"+ ", dialogue.line().removeprefix(b"L AUTHENTICATE SCRAM-SHA-256 "))
    dialogue.say("* CAPABILITY IMAP4rev1\r\nL OK in\r\n")


def pop3(dialogue, key):
    dialogue.say("+OK [XCLIENT] ready\r\n")
    assert dialogue.line().startswith(b"XCLIENT ")
    dialogue.say("+OK\r\n")
    dialogue.scram(key, b"+ ", dialogue.line().removeprefix(b"AUTH SCRAM-SHA-256 "))
    dialogue.say("+OK in\r\n")


def lmtp(dialogue, key):
    dialogue.say("220 fake LMTP\r\n")
    assert dialogue.line().startswith(b"LHLO ")
    dialogue.say("250-fake\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-XPIGEON\r\n250 AUTH SCRAM-SHA-256\r\n")
    dialogue.scram(key, b"334 ", dialogue.line().removeprefix(b"AUTH SCRAM-SHA-256 "))
    dialogue.say("235 2.7.0 in\r\n")
    assert dialogue.line().startswith(b"MAIL FROM:")
    dialogue.say("250 2.1.0 ok\r\n")
    recipient = re.match(rb"RCPT TO:<([^>]*)>", dialogue.line())[1].decode()
    dialogue.say("250 2.1.5 ok\r\n")
    last = False
    while not last:
        size, last = re.fullmatch(rb"BDAT (\d+)( LAST)?", dialogue.line()).groups()
        dialogue.file.read(int(size))
        dialogue.say("250 2.0.0 done\r\n")
    return recipient


class Scripted:
    """Listens at once; `key`: of the node that comes."""

    def __init__(self, key):
        self.key, self.lock, self.failures = key, threading.Lock(), []
        # By protocol: connections that the node has not ended yet.
        self.kept = collections.Counter()
        # By protocol, of whole dialogues: how much was said, and how much before the last time.
        self.whole = {}
        # Messages that a whole dialogue was had about, by recipient.
        self.brought = collections.Counter()
        self.listeners, self.ports = [], {}
        leftovers.remember(self)
        for protocol, speak in [("imap", imap), ("pop3", pop3), ("lmtp", lmtp)]:
            listener = socket.create_server(("0.0.0.0", 0), backlog=4096)
            self.listeners.append(listener)
            self.ports[protocol] = listener.getsockname()[1]
            threading.Thread(target=self.accept, args=(listener, protocol, speak), daemon=True).start()

    def addresses(self, how, count):
        """For pigeonPrivateAddress."""
        return [f"{protocol}://{address(how, count)}:{port}" for protocol, port in self.ports.items()]

    def accept(self, listener, protocol, speak):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection, protocol, speak), daemon=True).start()

    def serve(self, connection, protocol, speak):
        with self.lock:
            self.kept[protocol] += 1
        connection.settimeout(PATIENCE)
        try:
            if not connection.getsockname()[0].startswith("127."):
                return
            dialogue = Dialogue(connection)
            try:
                recipient = speak(dialogue, self.key)
                if dialogue.how == WHOLE:
                    self.whole[protocol] = (dialogue.sent, dialogue.before_last)
                    if recipient:
                        with self.lock:
                            self.brought[recipient] += 1
            except Broken:
                pass
            if dialogue.how != SILENT:
                # The node may have gone already: it only looks whether somebody is there.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            # The node ends its side, too; at once where something went wrong, which is what is looked at.
            while dialogue.how != WHOLE and connection.recv(65536):
                pass
        except ConnectionError:
            pass
        except Exception as error:
            self.failures.append(f"{protocol} {connection.getsockname()}: {error!r}")
        finally:
            connection.close()
            with self.lock:
                self.kept[protocol] -= 1

    def remove(self):
        leftovers.forget(self)
        for listener in self.listeners:
            # A thread in accept() is not woken by close() alone.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
