"""Reading mail back through IMAP and POP3, and comparing it with what was sent."""

import collections
import imaplib
import poplib
import re

from .mail import ALICE, digest, identity_of, without_trace
from .node import IMAP, PASSWORD, POP3

imaplib._MAXLINE = 10_000_000
poplib._MAXLINE = 100_000


def imap(node, user=ALICE, password=PASSWORD):
    with node.reach():
        connection = imaplib.IMAP4(node.host, node.port(IMAP), timeout=120)
    connection.login(user, password)
    return connection


def pop3(node, user=ALICE, password=PASSWORD):
    with node.reach():
        connection = poplib.POP3(node.host, node.port(POP3), timeout=120)
    connection.user(user)
    connection.pass_(password)
    return connection


def messages(node, user=ALICE, mailbox="INBOX", batch=500, password=PASSWORD):
    """All messages of a mailbox, each as (uid, flags, bytes)."""
    connection = imap(node, user, password)
    try:
        count = int(connection.select(mailbox, readonly=True)[1][0])
        for first in range(1, count + 1, batch):
            last = min(first + batch - 1, count)
            kind, data = connection.fetch(f"{first}:{last}", "(UID FLAGS BODY.PEEK[])")
            assert kind == "OK", data
            for item in data:
                if isinstance(item, tuple):
                    head = item[0].decode()
                    uid = int(re.search(r"UID (\d+)", head)[1])
                    flags = set(re.search(r"FLAGS \(([^)]*)\)", head)[1].split())
                    yield uid, flags, item[1]
    finally:
        connection.logout()


def stored(node, user=ALICE, password=PASSWORD):
    """Digest of each message without its trace header, by identity; and the identities that are there twice."""
    found, seen = {}, collections.Counter()
    for _, _, message in messages(node, user, password=password):
        identity = identity_of(message)
        seen[identity] += 1
        found[identity] = digest(without_trace(message))
    return found, [identity for identity, count in seen.items() if count > 1]


def compare(acknowledged, node, user=ALICE, password=PASSWORD):
    """What is wrong between what was acknowledged and what is there: a list of sentences, empty when all is well."""
    found, twice = stored(node, user, password)
    lost = [identity for identity in acknowledged if identity not in found]
    changed = [identity for identity in acknowledged if identity in found and found[identity] != acknowledged[identity]]
    wrong = []
    for sentence, identities in [
        ("acknowledged and lost", lost), ("changed", changed), ("there twice", twice),
    ]:
        if identities:
            wrong.append(f"{len(identities)} of {len(acknowledged)} {sentence}: {', '.join(map(str, identities[:5]))}")
    return wrong
