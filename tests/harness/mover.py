"""The inside of a move, as another node speaks it (proxy/proto/src/transfer.rs): to stop in the middle of one, or say it late."""

import base64
import hmac
import os
import re
import socket
import struct
import uuid

from . import scram

STATES = ["unused", "here", "arrived", "incoming", "handing over", "moved", "given up", "awaited"]


def account_id(tree, address):
    """The entryUUID of the entry with this address."""
    for entry in re.split(r"\n\n+", tree):
        if f"mail: {address}\n" in entry + "\n":
            if found := re.search(r"(?m)^entryUUID: (.*)$", entry):
                return found[1]
            dn = re.search(r"(?m)^dn: (.*)$", entry)[1]
            return str(uuid.uuid5(uuid.NAMESPACE_X500, dn.lower()))
    raise AssertionError(address)


class Mover:
    """A connection to a node's backend, proven to be node `name`, about one account."""

    def __init__(self, port, name, key, user, account):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.file = self.socket.makefile("rwb")
        self.line()
        self.say(f'a ID ("x-proxy-ttl" "1" "x-forward-id" "{account}" "x-forward-move" "1")')
        while not self.line().startswith("a "):
            pass
        header = f"n,a={user},"
        bare = f"n={name},r={base64.b64encode(os.urandom(18)).decode()}"
        self.say("b AUTHENTICATE SCRAM-SHA-256")
        assert self.line().startswith("+")
        self.say(base64.b64encode((header + bare).encode()).decode())
        first = base64.b64decode(self.line()[2:]).decode()
        fields = dict(field.split("=", 1) for field in first.split(","))
        client, stored, _ = scram.keys(key, base64.b64decode(fields["s"]), int(fields["i"]))
        last = f"c={base64.b64encode(header.encode()).decode()},r={fields['r']}"
        signature = hmac.digest(stored, f"{bare},{first},{last}".encode(), "sha256")
        proof = base64.b64encode(bytes(one ^ other for one, other in zip(client, signature))).decode()
        self.say(base64.b64encode(f"{last},p={proof}".encode()).decode())
        assert self.line().startswith("+")
        self.say("")
        answer = self.line()
        assert answer.startswith("b OK"), answer

    def line(self):
        line = self.file.readline().decode()
        assert line, "it closed"
        return line.rstrip("\r\n")

    def say(self, line):
        self.file.write(line.encode() + b"\r\n")
        self.file.flush()

    def frame(self, kind, payload=b""):
        self.file.write(struct.pack("<BI", kind, len(payload)) + payload)
        self.file.flush()
        kind, length = struct.unpack("<BI", self.file.read(5))
        return kind, self.file.read(length)

    def order(self, kind, payload):
        """True when it is done, else why not."""
        kind, payload = self.frame(kind, payload)
        return {22: lambda: True, 23: payload.decode}[kind]()

    def ask(self, about=bytes(16)):
        """How it stands, whether it came by the move asked about, and the other end."""
        kind, said = self.frame(1, about)
        assert kind == 16, (kind, said)
        return STATES[said[0]], {0: False, 1: True, 2: None}[said[1]], said[19:].decode()

    def image(self):
        """Why it is refused; None when it is not."""
        kind, said = self.frame(2)
        return said.decode() if kind == 23 else None

    def hand_over(self, number, place):
        return self.order(4, number + place.encode())

    def taken(self, number):
        return self.order(5, number)

    def declined(self, number):
        return self.order(6, number)

    def abandon(self, number):
        return self.order(7, number)

    def stand_aside(self, before, number, place):
        return self.order(8, before + number + place.encode())

    def close(self):
        self.file.close()
        self.socket.close()
