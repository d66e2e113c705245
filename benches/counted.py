"""What the benches of this project's own programs share: a node with many accounts, the load generator with what it used
itself, and what a server's threads have used, from outside."""

import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from harness.load import pigeon_load
from harness.node import ROOT

DOMAIN, PASSWORD = "example.org", "secret"


def say(*words):
    """What is going on; the tables alone go to standard output."""
    print(*words, file=sys.stderr, flush=True)


def build():
    """The release programs, where the harness looks for them."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "pigeond", "--bin", "pigeonctl", "--bin", "pigeon-load"],
                   cwd=ROOT, check=True)


def pattern(count, first=1):
    """Accounts, as pigeon-load names them."""
    return f"user{{{first}..{first + count - 1}}}@{DOMAIN}"


def entries(numbers, more=lambda number: ""):
    """Their LDIF, piece by piece; `more`: further lines of each. One hash of a password for all, a cheap one."""
    salt = b"saltsalt"
    hashed = base64.b64encode(hashlib.sha512(PASSWORD.encode() + salt).digest() + salt).decode()
    for number in numbers:
        yield (f"dn: uid=user{number},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\n"
               f"entryUUID: {number:08x}-0000-4000-8000-000000000000\nuid: user{number}\ncn: user{number}\nsn: user{number}\n"
               f"mail: user{number}@{DOMAIN}\nuserPassword: {{SSHA512}}{hashed}\n{more(number)}\n")


def with_accounts(count):
    """For Node(configure=...): beside those of quickstart, so many."""

    def configure(node):
        with open(node.directory / "users.ldif", "a") as file:
            file.write("\n")
            file.writelines(entries(range(1, count + 1)))

    return configure


@dataclass
class Used:
    """By all threads of some processes."""

    cpu: float = 0.0
    switches: int = 0
    written: int = 0

    def __sub__(self, before):
        return Used(self.cpu - before.cpu, self.switches - before.switches, self.written - before.written)


def used(*pids):
    """So far: seconds on a CPU, as the scheduler counts them; changes of context; bytes written to disks."""
    all = Used()
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            try:
                all.cpu += int((task / "schedstat").read_text().split()[0]) / 1e9
                all.switches += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text())))
            except FileNotFoundError:
                # It has ended meanwhile; those that work do not.
                continue
        all.written += int(re.search(r"^write_bytes: (\d+)", pathlib.Path(f"/proc/{pid}/io").read_text(), re.M)[1])
    return all


@dataclass
class Run:
    """What a run of the generator came to."""

    # As --json has it.
    summary: dict
    # Seconds of CPU that the generator took itself, its start included.
    generator: float
    # What the servers used meanwhile.
    server: Used

    def __getitem__(self, name):
        return self.summary[name]


def measure(pids, *words, command=lambda *words: list(words)):
    """A run of pigeon-load against servers of these processes. A unit that failed is an error. `command`: around the program."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        before = used(*pids)
        process = subprocess.Popen(command(pigeon_load(), "--quiet", "--json", file.name, *map(str, words)),
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output = process.stdout.read()
        _, status, resources = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        server = used(*pids) - before
        if process.returncode == 2:
            sys.exit(f"pigeon-load {' '.join(map(str, words))}:\n{output}")
        summary = json.loads(file.read())
    assert summary["failed"] == 0 and summary["done"] > 0, (words, output)
    return Run(summary, resources.ru_utime + resources.ru_stime, server)


def median(numbers):
    """Of an even count the lower one of two: what others do on the machine only adds."""
    return sorted(numbers)[(len(numbers) - 1) // 2]
