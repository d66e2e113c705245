"""A node in front of servers of other makers: its key, and a tree that says whose accounts are there."""

import os
import re

from . import scram
from .mail import ALICE


def in_front_of(key, servers, owners, users=()):
    """For Node(configure=...): a node n1 with this key that keeps what nobody else does. `servers`: private addresses by the
    name of their node. `owners`: by address, the node and further lines of the record. `users`: names of further accounts, with
    alice's password."""

    def configure(node):
        (node.directory / "cluster-key").write_text(key)
        (node.directory / "cluster-key").chmod(0o600)
        with open(node.directory / "pigeon.toml", "a") as file:
            file.write('\n[cluster]\nnode = "n1"\nkey_file = "cluster-key"\n')
        ldif = node.directory / "users.ldif"
        tree = ldif.read_text().rstrip("\n") + "\n"
        alice = re.search(r"dn: uid=alice,.*?(?=\n\n|\Z)", tree, re.S)[0]
        for user in users:
            # The same but for the name and the id.
            tree += "\n" + re.sub("entryUUID: .*\n", "", alice.replace("alice", user).replace("Alice", user)) + "\n"
        for address, (owner, more) in {ALICE: ("n1", ""), **owners}.items():
            line = f"mail: {address}\n"
            assert line in tree, address
            tree = tree.replace(line, f"{line}mailHost: {owner}\n{more}")
        tree += f"\ndn: cn=n1,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n1\npigeonKey: {scram.verifier(key)}\n"
        for name, addresses in servers.items():
            tree += f"\ndn: cn={name},dc=example,dc=org\nobjectClass: pigeonServer\ncn: {name}\n"
            tree += "".join(f"pigeonPrivateAddress: {address}\n" for address in addresses)
        new = ldif.with_suffix(".new")
        new.write_text(tree)
        os.replace(new, ldif)

    return configure
