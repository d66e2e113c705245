"""Messages that can be recognised, and senders that remember which of them were acknowledged."""

import hashlib
import random
import re
import socket
import threading

from .node import LMTP, SMTP

ALICE, BOB = "alice@example.org", "bob@example.org"

# Header fields that a receiver puts in front (RFC 5321 section 4.4).
TRACE = re.compile(rb"\A(?:(?:Return-Path|Received|Delivered-To):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*", re.I)


def without_trace(message):
    return message[TRACE.match(message).end():]


def make(identity, size=2_000, seed=None, subject="test"):
    """A message of about `size` octets with CRLF line ends, lines that begin with dots among them."""
    generator = random.Random(seed if seed is not None else identity)
    head = (
        f"From: <{BOB}>\r\nTo: <{ALICE}>\r\nSubject: {subject}\r\nMessage-ID: <{identity}@test.invalid>\r\n"
        f"Date: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\n"
    )
    lines, length = [], len(head)
    while length < size:
        line = "".join(generator.choices("abcdefghijklmnopqrstuvwxyz ", k=generator.randrange(1, 76)))
        line = generator.choice(["", "", "", "", ".", "..", "From "]) + line
        lines.append(line)
        length += len(line) + 2
    return (head + "\r\n".join(lines) + "\r\n").encode()


def identity_of(message):
    match = re.search(rb"^Message-I[dD]: <([^@>]*)@", message, re.M)
    return match[1].decode() if match else None


def digest(message):
    return hashlib.sha256(message).hexdigest()


def stuffed(message):
    return re.sub(rb"(?m)^\.", b"..", message)


class Refused(Exception):
    """A reply that was not wanted; `code` and `text`."""

    def __init__(self, code, text, command):
        super().__init__(f"{command!r} was answered {code} {text}")
        self.code, self.text = code, text


class Smtp:
    """A plain SMTP or LMTP client without any policy: smtplib hides what the tests want to see."""

    def __init__(self, node, port=SMTP, timeout=60, hello=None):
        self.socket = node.connect(port, timeout)
        self.file = self.socket.makefile("rb")
        self.expect(220, "the greeting")
        self.hello = self.command(hello or ("LHLO test.invalid" if port == LMTP else "EHLO test.invalid"), 250)

    def reply(self):
        lines = []
        while True:
            line = self.file.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("closed in the middle of a reply")
            lines.append(line[4:].rstrip().decode(errors="replace"))
            if line[3:4] != b"-":
                return int(line[:3]), "\n".join(lines)

    def expect(self, code, command):
        got, text = self.reply()
        if got != code:
            raise Refused(got, text, command)
        return text

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode() + b"\r\n")

    def command(self, line, code):
        self.send(line)
        return self.expect(code, line)

    def deliver(self, message, recipients=(ALICE,), sender=BOB, parameters=""):
        """One message by DATA; the reply's text. A 250 here is the promise that the tests are about."""
        self.begin(recipients, sender, parameters)
        return self.finish(message)

    def begin(self, recipients=(ALICE,), sender=BOB, parameters=""):
        self.command(f"MAIL FROM:<{sender}>{parameters}", 250)
        for recipient in recipients:
            self.command(f"RCPT TO:<{recipient}>", 250)
        self.command("DATA", 354)

    def finish(self, message):
        self.send(stuffed(message) + b".\r\n")
        return self.expect(250, "end of data")

    def close(self):
        self.file.close()
        self.socket.close()

    def quit(self):
        self.command("QUIT", 221)
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Load:
    """Sessions that send without end and remember what was acknowledged."""

    def __init__(self, node, sessions, name="load", size=2_000, recipients=(ALICE,)):
        self.node, self.name, self.size, self.recipients = node, name, size, recipients
        self.acknowledged = {}
        self.sent = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(index,), daemon=True) for index in range(sessions)]
        for thread in self.threads:
            thread.start()

    def _run(self, index):
        count = 0
        while not self.stopping.is_set():
            try:
                with Smtp(self.node) as session:
                    for _ in range(100):
                        if self.stopping.is_set():
                            return
                        identity = f"{self.name}.{index}.{count}"
                        count += 1
                        message = make(identity, random.Random(identity).randrange(300, 2 * self.size))
                        with self.lock:
                            self.sent += 1
                        session.deliver(message, self.recipients)
                        with self.lock:
                            self.acknowledged[identity] = digest(message)
            except (OSError, ConnectionError, ValueError, Refused):
                # The node is down or going down: that is what the tests do to it.
                self.stopping.wait(0.05)

    def count(self):
        with self.lock:
            return len(self.acknowledged)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
        return self.acknowledged


def stream_large(node, size, identity, port=SMTP):
    """Sends one message of `size` octets without having it in memory; its digest as it should be stored."""
    head = f"From: <{BOB}>\r\nMessage-ID: <{identity}@test.invalid>\r\n\r\n".encode()
    line = (identity * 20)[:70].encode() + b"\r\n"
    block = line * 900
    hashing = hashlib.sha256(head)
    with Smtp(node, port, timeout=300) as session:
        session.command(f"MAIL FROM:<{BOB}> SIZE={size}", 250)
        session.command(f"RCPT TO:<{ALICE}>", 250)
        session.command("DATA", 354)
        session.send(head)
        left = size - len(head)
        while left >= len(block):
            session.send(block)
            hashing.update(block)
            left -= len(block)
        last = line * (left // len(line))
        session.send(last + b".\r\n")
        hashing.update(last)
        session.expect(250, "end of data")
    return hashing.hexdigest()


def socket_closed(connection, seconds=10):
    """Whether the peer closes within this time; what it sends before is thrown away."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
        return True
    except socket.timeout:
        return False
    except OSError:
        return True


def recipient_answer(node, address):
    """What RCPT answers for an address: the code."""
    session = Smtp(node)
    try:
        session.command("MAIL FROM:<>", 250)
        session.send(f"RCPT TO:<{address}>")
        return session.reply()[0]
    finally:
        session.close()
