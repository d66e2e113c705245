"""A real HAProxy in front of nodes, run from the example configuration that is published (docs/examples/haproxy.cfg)."""

import csv
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

from . import leftovers
from .needs import needs
from .node import ROOT, STATUS, free_port, wait_until

EXAMPLE = ROOT / "docs/examples/haproxy.cfg"
# By the port that the example binds.
BALANCED = {25: "smtp", 587: "submission", 465: "submissions", 143: "imap", 993: "imaps", 110: "pop3", 995: "pop3s"}
# In the nodes' configuration: the same services, for HAProxy alone.
LISTENER = """
[[listener]]
address = "127.0.0.1:{port}"
service = "{service}"
proxy_protocol_from = ["127.0.0.1"]
trusted_networks = ["127.0.0.0/8"]
"""


def listeners(node):
    """For a node's configuration."""
    return "".join(LISTENER.format(port=node.port(standard + 1), service=service) for standard, service in BALANCED.items())


class HaProxy:
    """In front of nodes with such listeners, which are n1, n2 and so on in the example. Starts at once."""

    def __init__(self, nodes):
        program = needs("haproxy")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-haproxy-"))
        self.process = None
        leftovers.remember(self)
        try:
            self.ports = {standard: free_port() for standard in BALANCED}
            (self.directory / "haproxy.cfg").write_text(self.configuration(nodes))
            with open(self.directory / "log", "ab") as log:
                self.process = subprocess.Popen([program, "-db", "-f", str(self.directory / "haproxy.cfg")],
                                                stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
            wait_until(lambda: self.states() == {name: "UP" for name in nodes}, 30, "HAProxy sees the nodes")
        except BaseException:
            self.remove()
            raise

    def configuration(self, nodes):
        """The example, with what is another one's here."""
        text = EXAMPLE.read_text()
        replaced = [("/run/haproxy/admin.sock", str(self.directory / "admin.sock")),
                    # As many files as anybody may have.
                    ("maxconn 100000", "maxconn 1000")]
        for standard, port in self.ports.items():
            replaced.append((f"    bind :{standard}\n", f"    bind 127.0.0.1:{port}\n"))
        for number, (name, node) in enumerate(nodes.items(), 1):
            for standard in BALANCED:
                replaced.append((f"{name} 10.0.0.{number}:{standard} ", f"{name} 127.0.0.1:{node.port(standard + 1)} "))
            replaced.append((f"{name} 10.0.0.{number}:8025\n", f"{name} 127.0.0.1:{node.port(STATUS)}\n"))
        for old, new in replaced:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        assert not re.search(r"10\.0\.0\.|bind :", text), text
        return text

    def ask(self, command):
        assert self.process.poll() is None, (self.directory / "log").read_text(errors="replace")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.directory / "admin.sock"))
            connection.sendall(command.encode() + b"\n")
            with connection.makefile() as file:
                return file.read()

    def servers(self, section):
        """Rows of the statistics, by the server's name."""
        try:
            rows = csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines())
        except OSError:
            return {}
        return {row["svname"]: row for row in rows
                if row["pxname"] == section and row["svname"] not in ("FRONTEND", "BACKEND")}

    def states(self):
        """Whether each node gets connections: UP or DOWN. Not yet checked: no check."""
        rows = self.servers("ready")
        return {name: row["status"].split(" ")[0] if row["check_status"] else "unknown" for name, row in rows.items()}

    def connections(self, name):
        """How many a node was given, of all services."""
        return sum(int(self.servers(service)[name]["stot"]) for service in BALANCED.values())

    def remove(self):
        leftovers.forget(self)
        if self.process:
            self.process.kill()
            self.process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)
