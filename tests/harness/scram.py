"""SCRAM-SHA-256 (RFC 5802, RFC 7677) as a client speaks it, from Python's own hashes: a second opinion on the node's."""

import base64
import hashlib
import hmac
import os

ITERATIONS = 4096


def keys(password, salt, iterations):
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return client, hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")


def verifier(password):
    """A value of authPassword (RFC 5803)."""
    salt = os.urandom(16)
    _, stored, server = keys(password, salt, ITERATIONS)
    text = [base64.b64encode(value).decode() for value in (salt, stored, server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{text[0]}${text[1]}:{text[2]}"


class Client:
    """`answer` takes the server's words in turn, and gives the client's; None when it has nothing more to say."""

    def __init__(self, user, password):
        self.user, self.password = user, password
        self.step = 0
        self.proven = False

    def answer(self, challenge):
        self.step += 1
        if self.step == 1:
            self.bare = f"n={self.user},r={base64.b64encode(os.urandom(18)).decode()}"
            return ("n,," + self.bare).encode()
        if self.step == 2:
            server_first = challenge.decode()
            fields = dict(field.split("=", 1) for field in server_first.split(","))
            client, stored, server = keys(self.password, base64.b64decode(fields["s"]), int(fields["i"]))
            last = f"c=biws,r={fields['r']}"
            said = f"{self.bare},{server_first},{last}".encode()
            signature = hmac.digest(stored, said, "sha256")
            proof = bytes(one ^ other for one, other in zip(client, signature))
            self.expected = b"v=" + base64.b64encode(hmac.digest(server, said, "sha256"))
            return f"{last},p={base64.b64encode(proof).decode()}".encode()
        assert challenge == self.expected, f"the server proves nothing: {challenge}"
        self.proven = True
        return b""
