"""A cluster as an operator has it: each node a `pigeond run` in a network namespace of its own, with a public and a private
address and the standard ports; one tree for all; clients on the public network."""

import base64
import hashlib
import os
import pathlib
import secrets
import shutil
import tempfile
import uuid

from . import leftovers, scram
from .network import PRIVATE, PUBLIC, Network
from .node import STATUS, Node, pigeond, wait_until

DOMAIN = "example.org"

# The same on every node but for the three lines with what is its own.
CONFIGURATION = """\
hostname = "{name}.{domain}"

[control_data]
ldif = "{ldif}"

[[volume]]
id = "{name}"
path = "volume"
segment_bytes = "32 MiB"
reserve_bytes = "64 MiB"

[status]
address = "0.0.0.0:{status}"

[limits]
sessions_per_address_max = 10000

[cluster]
node = "{name}"
key_file = "cluster-key"
"""

LISTENERS = {"smtp": 25, "lmtp": 24, "imap": 143, "pop3": 110}
BACKENDS = {"backend-imap": 2143, "backend-pop3": 2110, "backend-lmtp": 2024}


def hashed(password):
    """Cheap, because many log in; with the same salt for all, because many are made."""
    salt = b"saltsalt"
    return "{SSHA256}" + base64.b64encode(hashlib.sha256(password.encode() + salt).digest() + salt).decode()


class Machine(Node):
    """One node; started and stopped by whoever made it."""

    def __init__(self, cluster, host, key):
        self.cluster, self.machine, self.name = cluster, host, host.name
        self.host, self.reach = host.address(PUBLIC), cluster.network.client.within
        # The standard ports, in a network namespace.
        self.offset = 0
        self.directory = cluster.directory / host.name
        self.directory.mkdir()
        self.log_path = self.directory / "node.log"
        self.process, self.temporary, self.key = None, None, key
        (self.directory / "cluster-key").write_text(key + "\n")
        (self.directory / "cluster-key").chmod(0o600)
        (self.directory / "pigeon.toml").write_text(self.configuration())
        leftovers.remember(self)

    def configuration(self):
        text = CONFIGURATION.format(name=self.name, domain=DOMAIN, ldif=self.cluster.ldif, status=STATUS)
        for service, port in LISTENERS.items():
            text += (f'\n[[listener]]\naddress = "{self.machine.address(PUBLIC)}:{port}"\nservice = "{service}"\n'
                     'trusted_networks = ["192.0.2.0/24"]\n')
        for service, port in BACKENDS.items():
            text += (f'\n[[listener]]\naddress = "{self.machine.address(PRIVATE)}:{port}"\nservice = "{service}"\n'
                     'redirectors = ["10.77.0.0/24"]\n')
        return text

    def server(self):
        """Its entry of the server_map."""
        return (f"dn: cn={self.name},dc=example,dc=org\nobjectClass: pigeonServer\ncn: {self.name}\n"
                f"pigeonPrivateAddress: {self.machine.address(PRIVATE)}\npigeonKey: {scram.verifier(self.key)}\n")

    def port(self, standard):
        return standard

    def start(self, wait=True):
        self.spawn(self.machine.command(
            pigeond(), "run", "--config", str(self.directory / "pigeon.toml"), "--create-volumes"), wait)


class Machines:
    """`names`: the nodes, all started unless `started` names those that are; `accounts`: address -> (password, node);
    `machine`: what makes a node."""

    def __init__(self, names, accounts, started=None, machine=Machine):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-test-"))
        # The nodes' own files keep out others; the directory itself is nobody's secret.
        self.ldif = self.directory / "users.ldif"
        self.accounts, self.nodes = dict(accounts), {}
        # Where an account was before it moved.
        self.previous = {}
        # In the tree, but not told to who sends and reads.
        self.new = {}
        self.hashes, self.server_map, self.network = {}, {}, None
        leftovers.remember(self)
        try:
            self.network = Network(names)
            for name in names:
                self.nodes[name] = machine(self, self.network[name], secrets.token_hex(32))
                self.server_map[name] = self.nodes[name].server()
            started = names if started is None else started
            self.server_map = {name: entry for name, entry in self.server_map.items() if name in started}
            self.write()
            for name in started:
                self.nodes[name].start(wait=False)
            for name in started:
                self.nodes[name].wait_ready()
        except BaseException:
            self.remove()
            raise

    def move(self, address, node):
        """In force with the next `change`."""
        password, self.previous[address] = self.accounts[address]
        self.accounts[address] = password, node

    def add(self, accounts):
        """For everybody to use once they are in force everywhere."""
        self.new = dict(accounts)
        self.change()
        self.accounts |= self.new
        self.new = {}

    def entry(self, address):
        password, node = self.accounts.get(address) or self.new[address]
        more = f"pigeonPreviousHost: {self.previous[address]}\n" if address in self.previous else ""
        name = address.split("@")[0]
        value = self.hashes.setdefault(password, hashed(password))
        return (f"dn: uid={name},dc=example,dc=org\nobjectClass: inetOrgPerson\nentryUUID: {uuid.uuid5(uuid.NAMESPACE_DNS, address)}\n"
                f"uid: {name}\ncn: {name}\nsn: {name}\nmail: {address}\nmailHost: {node}\nuserPassword: {value}\n{more}")

    def write(self):
        """The tree as it is now, taken over whole by every node that runs."""
        domain = (f"dn: associatedDomain={DOMAIN},dc=example,dc=org\nobjectClass: domainRelatedObject\n"
                  f"objectClass: pigeonDomain\nassociatedDomain: {DOMAIN}\n")
        entries = [domain, *self.server_map.values(), *map(self.entry, [*self.accounts, *self.new])]
        new = self.ldif.with_suffix(".new")
        new.write_text("\n".join(entries))
        os.replace(new, self.ldif)

    def change(self):
        """Writes the tree and waits until it is in force on every node that runs; a node's own limit is a second."""
        running = [node for node in self.nodes.values() if node.process]
        before = {node.name: node.metric("pigeon_control_data_generation") for node in running}
        self.write()
        for node in running:
            wait_until(lambda node=node: node.metric("pigeon_control_data_generation") > before[node.name], 60,
                       f"the tree is in force on {node.name}")

    def owned(self, name):
        return [address for address, (_, node) in self.accounts.items() if node == name]

    def __getitem__(self, name):
        return self.nodes[name]

    def __iter__(self):
        return iter(self.nodes.values())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        leftovers.forget(self)
        for node in self.nodes.values():
            node.remove()
        if self.network:
            self.network.remove()
        shutil.rmtree(self.directory, ignore_errors=True)
