"""Several nodes over one tree: real processes that redirect to each other over loopback."""

import os
import secrets

from . import scram
from .node import BACKEND_IMAP, BACKEND_LMTP, BACKEND_POP3, STATUS, Node, wait_until

CONFIGURATION = """
[cluster]
node = "{name}"
key_file = "cluster-key"

[[listener]]
address = "127.0.0.1:{imap}"
service = "backend-imap"
redirectors = ["127.0.0.0/8"]

[[listener]]
address = "127.0.0.1:{pop3}"
service = "backend-pop3"
redirectors = ["127.0.0.0/8"]

[[listener]]
address = "127.0.0.1:{lmtp}"
service = "backend-lmtp"
redirectors = ["127.0.0.0/8"]
"""


class Cluster:
    """`owners`: which node each address of the quickstart's tree belongs to. `lines`: of each node's configuration."""

    def __init__(self, names, owners, lines=""):
        self.nodes, self.keys, self.owners, self.lines = {}, {}, dict(owners), lines
        # Further lines of a node's entry; verifiers, made once.
        self.more, self.verifiers = {}, {}
        # Where an address's account was before, as pigeonPreviousHost has it: one value, or a list.
        self.previous = {}
        try:
            for name in names:
                self.keys[name] = secrets.token_hex(32)
                self.nodes[name] = Node(configure=lambda node, name=name: self.configure(node, name))
            self.tree = self.nodes[names[0]].directory.joinpath("users.ldif").read_text()
            self.hold()
        except BaseException:
            self.remove()
            raise

    def configure(self, node, name):
        key = node.directory / "cluster-key"
        key.write_text(self.keys[name] + "\n")
        key.chmod(0o600)
        with open(node.directory / "pigeon.toml", "a") as file:
            ports = {"imap": node.offset + BACKEND_IMAP, "pop3": node.offset + BACKEND_POP3,
                     "lmtp": node.offset + BACKEND_LMTP}
            file.write(CONFIGURATION.format(name=name, **ports) + self.lines)

    def server(self, name):
        offset = self.nodes[name].offset
        return (
            f"dn: cn={name},dc=example,dc=org\nobjectClass: pigeonServer\ncn: {name}\n"
            f"pigeonPrivateAddress: imap://127.0.0.1:{offset + BACKEND_IMAP}\n"
            f"pigeonPrivateAddress: pop3://127.0.0.1:{offset + BACKEND_POP3}\n"
            f"pigeonPrivateAddress: lmtp://127.0.0.1:{offset + BACKEND_LMTP}\n"
            f"pigeonPrivateAddress: status://127.0.0.1:{offset + STATUS}\n"
            f"pigeonKey: {self.verifiers.setdefault(self.keys[name], scram.verifier(self.keys[name]))}\n"
            f"{self.more.get(name, '')}"
        )

    def hold(self, change=lambda tree: tree, names=None):
        """Gives all nodes, or these, the tree with its owners and the server_map, and waits until it is in force there."""
        tree = self.tree
        for address, owner in self.owners.items():
            line = f"mail: {address}\n"
            assert line in tree, address
            previous = self.previous.get(address, [])
            previous = [previous] if isinstance(previous, str) else previous
            previous = "".join(f"pigeonPreviousHost: {place}\n" for place in previous)
            tree = tree.replace(line, f"{line}mailHost: {owner}\n{previous}")
        tree = change(tree.rstrip("\n") + "\n\n" + "\n".join(self.server(name) for name in self.nodes))
        for node in [self.nodes[name] for name in names or self.nodes]:
            if node.process is None:
                (node.directory / "users.ldif").write_text(tree)
                continue
            before = node.metric("pigeon_control_data_generation")
            new = node.directory / "users.ldif.new"
            new.write_text(tree)
            os.replace(new, node.directory / "users.ldif")
            in_force = lambda node=node, before=before: node.metric("pigeon_control_data_generation") > before  # noqa: E731
            wait_until(in_force, 30, "the tree is in force")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def __getitem__(self, name):
        return self.nodes[name]

    def remove(self):
        for node in self.nodes.values():
            node.remove()
