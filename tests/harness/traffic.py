"""Mail and logins without end over all nodes of a cluster, and a record of what was promised and of what failed."""

import collections
import contextlib
import imaplib
import poplib
import random
import threading
import time

from .mail import Refused, Smtp, digest, make
from .node import IMAP, POP3
from .reading import compare

# How long a client waits for a node that may be stopped.
PATIENCE = 60


class Cut(Exception):
    """A session ended without a word after its login: what it was redirected to has died under it."""


@contextlib.contextmanager
def logged_in():
    try:
        yield
    except (OSError, EOFError, imaplib.IMAP4.abort) as error:
        raise Cut(repr(error)) from error
    except poplib.error_proto as error:
        # As poplib has it.
        raise Cut(repr(error)) if str(error) == "-ERR EOF" else error from error


class Traffic:
    """`senders` and `readers`: threads a node. Nothing is sent twice, so nothing may be there twice."""

    def __init__(self, machines, senders=2, readers=1, pause=0.0, size=3_000, avoided=(), moving=False):
        self.machines, self.pause, self.size = machines, pause, size
        self.lock, self.stopping = threading.Lock(), threading.Event()
        # address -> identity -> digest.
        self.acknowledged = collections.defaultdict(dict)
        self.sent, self.logins = 0, 0
        # (what, node, addresses, when it began, when it failed, error)
        self.failures = []
        # Nodes that nobody connects to for now, as a balancer would have it; and whose sessions are not looked at.
        self.avoided = set(avoided)
        # Where accounts move a session that is ended by that comes again, once, and is counted.
        self.moving, self.cuts = moving, 0
        self.threads = []
        for node in machines.nodes.values():
            self.join(node, senders, readers)

    def join(self, node, senders=2, readers=1):
        new = [threading.Thread(target=self.send, args=(node, index), daemon=True) for index in range(senders)]
        new += [threading.Thread(target=self.read, args=(node, index), daemon=True) for index in range(readers)]
        self.threads += new
        for thread in new:
            thread.start()

    def going(self, node):
        """Whether to go on; waits while the node is avoided or not there."""
        while not self.stopping.is_set():
            if node.process and node.name not in self.avoided:
                return True
            self.stopping.wait(0.02)
        return False

    def failed(self, what, node, addresses, began, error):
        with self.lock:
            self.failures.append((what, node.name, tuple(addresses), began, time.monotonic(), error))
        self.stopping.wait(0.05)

    def send(self, node, index):
        generator, count, session = random.Random(f"{node.name}.{index}"), 0, None
        recipients, size, began = (), 0, time.monotonic()
        while self.going(node):
            try:
                began = time.monotonic()
                recipients = ()
                session = session or Smtp(node, timeout=PATIENCE)
                for _ in range(generator.randrange(1, 20)):
                    if node.name in self.avoided or self.stopping.is_set():
                        break
                    began = time.monotonic()
                    recipients = generator.sample(list(self.machines.accounts), generator.choice([1, 1, 1, 3]))
                    identity = f"{node.name}.{index}.{count}"
                    count += 1
                    # Now and then one that is streamed.
                    size = 300_000 if generator.random() < 0.02 else generator.randrange(300, 2 * self.size)
                    message = make(identity, size)
                    session.deliver(message, recipients, f"{node.name}.{index}@elsewhere.example")
                    with self.lock:
                        self.sent += 1
                        for recipient in recipients:
                            self.acknowledged[recipient][identity] = digest(message)
                    if self.pause:
                        self.stopping.wait(self.pause)
                session.quit()
                session = None
            except (OSError, ValueError, Refused) as error:
                self.failed("mail", node, [*recipients, f"{size} octets"], began, error)
                if session:
                    session.close()
                session = None

    def read(self, node, index):
        generator = random.Random(f"{node.name}.{index}.read")
        while self.going(node):
            user = generator.choice(list(self.machines.accounts))
            login = generator.choice([self.login, self.login, self.login_pop3])
            began = time.monotonic()
            try:
                try:
                    login(node, user)
                except (OSError, EOFError, imaplib.IMAP4.abort, Cut):
                    if not self.moving:
                        raise
                    self.cuts += 1
                    login(node, user)
                with self.lock:
                    self.logins += 1
            except (OSError, EOFError, imaplib.IMAP4.error, poplib.error_proto, Cut) as error:
                self.failed("login", node, [user], began, error)
            if self.pause:
                self.stopping.wait(self.pause)

    def login(self, node, user, timeout=PATIENCE):
        with node.reach():
            connection = imaplib.IMAP4(node.host, IMAP, timeout=timeout)
        try:
            connection.login(user, self.machines.accounts[user][0])
            with logged_in():
                connection.select("INBOX", readonly=True)
                connection.logout()
        finally:
            # logout has closed it already where all went well.
            with contextlib.suppress(OSError):
                connection.shutdown()

    def login_pop3(self, node, user, timeout=PATIENCE):
        with node.reach():
            connection = poplib.POP3(node.host, POP3, timeout=timeout)
        try:
            connection.user(user)
            try:
                connection.pass_(self.machines.accounts[user][0])
            except poplib.error_proto as error:
                # Another reader has the maildrop, which takes but one (RFC 2449 section 8.1.2): an answer like any other,
                # after which the server closes (RFC 1939 section 4).
                if "[IN-USE]" not in str(error):
                    raise
            else:
                with logged_in():
                    connection.stat()
                    connection.quit()
        finally:
            with contextlib.suppress(OSError):
                connection.close()

    def count(self):
        with self.lock:
            return self.sent

    def take_failures(self):
        with self.lock:
            failures, self.failures = self.failures, []
        return failures

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(2 * PATIENCE)
            assert not thread.is_alive(), "a client hangs"

    def wrong(self, through):
        """What is not as it was promised, in sentences; read through one node."""
        sentences = []
        for user, messages in self.acknowledged.items():
            password = self.machines.accounts[user][0]
            sentences += [f"{user}: {sentence}" for sentence in compare(messages, through, user, password)]
        return sentences
