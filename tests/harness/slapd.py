"""Real slapds in temporary directories, a provider and a replica, run from the example configurations that are published."""

import collections
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.parse

from . import leftovers
from .needs import needs
from .node import free_port, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "datatree-cache/schema"
SUFFIX, SECRET = "dc=test", "secret"
ADMIN, ENGINE, REPLICA = (f"cn={name},{SUFFIX}" for name in ["admin", "engine", "replica"])
DOMAIN = "example.org"

TREE = f"""dn: {SUFFIX}
objectClass: domain
dc: test

dn: {ENGINE}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: engine
userPassword: {SECRET}

dn: {REPLICA}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: replica
userPassword: {SECRET}

dn: dc=mail,{SUFFIX}
objectClass: domain
objectClass: pigeonDomain
dc: mail
associatedDomain: {DOMAIN}
"""


def entry(name, more=""):
    """An account as LDIF."""
    return f"""dn: uid={name},{SUFFIX}
objectClass: inetOrgPerson
objectClass: pigeonAccount
cn: {name}
sn: {name}
uid: {name}
mail: {name}@{DOMAIN}
userPassword: {{CLEARTEXT}}pigeon
{more}
"""


class Slapd:
    """A provider. Starts at once, with the suffix, the entries of the node and of a replica, and one domain. Call `remove` at
    the end."""

    example, number = "slapd.conf.example", 1

    def __init__(self, more="", namespace=None, address="127.0.0.1", ldif="", hidden_passwords=False):
        """`more`: further lines of configuration. In a network namespace, if one is named, where it has that address. `ldif`: further
        entries. With `hidden_passwords` the node may bind, and reads no passwords."""
        self.hidden_passwords, self.asked = hidden_passwords, 0
        self.program, self.openssl, *_ = needs("slapd", "openssl", "ldapmodify", "ldapsearch")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-slapd-"))
        leftovers.remember(self)
        (self.directory / "db").mkdir()
        self.more, self.namespace, self.address = more, namespace, address
        self.port = free_port()
        self.host = f"{address}:{self.port}"
        self.uri = "ldapi://" + urllib.parse.quote(str(self.directory / "ldapi"), safe="")
        self.process = None
        self.make_certificate()
        self.write_configuration()
        self.seed(TREE + "\n" + ldif)
        self.start()

    def make_certificate(self):
        done = subprocess.run(
            [self.openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7",
             "-subj", "/CN=slapd", "-addext", f"subjectAltName=IP:{self.address}",
             "-keyout", self.directory / "key.pem", "-out", self.directory / "certificate.pem"], capture_output=True)
        assert done.returncode == 0, done.stderr

    def write_configuration(self, replaced=()):
        """The example, with what is another one's here."""
        text = (SCHEMA / self.example).read_text()
        for old, new in [
            ("dc=example,dc=org", SUFFIX),
            ("{SSHA}replace-me", SECRET),
            ("/etc/ldap/schema/pigeon.schema", SCHEMA / "pigeon.schema"),
            ("/etc/ldap/certificate.pem", self.directory / "certificate.pem"),
            ("/etc/ldap/key.pem", self.directory / "key.pem"),
            ("/var/lib/ldap\n", f"{self.directory}/db\n"),
            *([(f'userPassword,authPassword\n    by dn.exact="{ENGINE}" read\n', "userPassword,authPassword\n")]
              if self.hidden_passwords else []),
            *replaced,
        ]:
            assert old in text, f"no {old} in {self.example}"
            text = text.replace(old, str(new))
        # The last section is that of the overlay. What is tested is no power cut.
        text = text.replace("maxsize ", "dbnosync\nmaxsize ", 1)
        (self.directory / "slapd.conf").write_text(text + self.more)

    def seed(self, ldif):
        """Loads entries into the database while nobody serves it."""
        done = subprocess.run(
            [needs("slapadd"), "-q", "-w", "-S", str(self.number), "-f", self.directory / "slapd.conf"],
            input=ldif.encode(), capture_output=True, timeout=600)
        assert done.returncode == 0, done.stderr.decode()

    def start(self, reachable=True):
        """Not `reachable`: over its socket alone, which the tests use."""
        log = open(self.directory / "slapd.log", "ab")
        addresses = f"{self.uri} ldap://{self.host}" if reachable else self.uri
        command = [self.program, "-f", str(self.directory / "slapd.conf"), "-h", addresses, "-d", "0"]
        if self.namespace:
            command = [needs("ip"), "netns", "exec", self.namespace, *command]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
        log.close()

        def answers():
            assert self.process.poll() is None, (self.directory / "slapd.log").read_text()
            return self.run("ldapwhoami").returncode == 0

        wait_until(answers, 60, "slapd answers")

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """Orderly."""
        self.signal(signal.SIGTERM)
        self.process.wait(60)
        self.process = None

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self):
        if self.process:
            # One that was stopped does not die of anything less.
            self.signal(signal.SIGCONT)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        leftovers.forget(self)

    def run(self, program, *arguments, text=""):
        command = [needs(program), "-x", "-H", self.uri, "-D", ADMIN, "-w", SECRET, *arguments]
        return subprocess.run(command, input=text.encode(), capture_output=True, timeout=120)

    def change(self, records):
        done = self.run("ldapmodify", text=records)
        assert done.returncode == 0, done.stderr.decode() + records

    def person(self, name, more=""):
        self.change(entry(name, more).replace("\n", "\nchangetype: add\n", 1))

    def set(self, name, attribute, value):
        self.change(f"dn: uid={name},{SUFFIX}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n")

    def slapcat(self):
        """All of its database as LDIF."""
        done = subprocess.run([needs("slapcat"), "-f", self.directory / "slapd.conf", "-o", "ldif-wrap=no", "-b", SUFFIX],
                              capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def operations(self):
        """Operations that the server has completed, but for the search that asks."""
        return sum(self.operations_by_kind().values())

    def operations_by_kind(self):
        """Completed operations by their kind: Bind, Search, Extended and so on."""
        done = self.run("ldapsearch", "-LLL", "-b", "cn=Operations,cn=Monitor", "-s", "one", "monitorOpCompleted")
        found = re.findall(rb"^dn: cn=(\w+),cn=Operations.*\nmonitorOpCompleted: (\d+)", done.stdout, re.M)
        assert found, done
        return collections.Counter({kind.decode(): int(count) for kind, count in found})

    def begun(self):
        """Binds and searches that the server has begun, but for those of this question."""
        done = self.run("ldapsearch", "-LLL", "-b", "cn=Operations,cn=Monitor", "-s", "one", "monitorOpInitiated")
        begun = [int(re.search(rb"dn: cn=%s,.*\nmonitorOpInitiated: (\d+)" % kind, done.stdout)[1])
                 for kind in [b"Bind", b"Search"]]
        self.asked += 1
        return [count - self.asked for count in begun]

    def configure(self, node, *others, quick=True, over_socket=False, more="", control_data=""):
        """Has a node of quickstart take its control data from here, and from the others when this is gone. `quick`: it notices
        sooner than by default that a server is silent. Further lines for [control_data.ldap] and [control_data]."""
        config = node.directory / "pigeon.toml"
        text = config.read_text()
        secret = node.directory / "ldap-password"
        secret.write_text(SECRET + "\n")
        os.chmod(secret, 0o600)
        uris = [server.uri if over_socket else f"ldap://{server.host}" for server in [self, *others]]
        servers = ", ".join(f'"{uri}"' for uri in uris)
        section = f"""[control_data]
{control_data}
[control_data.ldap]
{more}
servers = [{servers}]
base = "{SUFFIX}"
bind_dn = "{ENGINE}"
bind_password_file = "ldap-password"
copy = "control-data"
start_tls = false
"""
        if quick:
            section += 'answer_timeout = "1s"\nprobe_after = "1s"\n'
        changed = re.sub(r"\[control_data\]\nldif = .*\n", lambda _: section, text)
        assert changed != text, text
        config.write_text(changed)


class Replica(Slapd):
    """Follows a provider, and can take its place."""

    example, number = "slapd-replica.conf.example", 2

    def __init__(self, provider):
        self.provider = provider
        super().__init__()

    def write_configuration(self, replaced=()):
        super().write_configuration([
            ("ldap://provider.example.org", f"ldap://{self.provider.host}"),
            ("credentials=replace-me", f"credentials={SECRET}"),
            ("/etc/ldap/authorities.pem", self.provider.directory / "certificate.pem"),
            *replaced,
        ])

    def seed(self, ldif):
        super().seed(self.provider.slapcat())

    def has_all(self):
        """Whether it is where the provider is."""
        def state(server):
            done = server.run("ldapsearch", "-LLL", "-b", SUFFIX, "-s", "base", "contextCSN")
            return sorted(re.findall(rb"contextCSN: (.*)", done.stdout))

        return state(self) == state(self.provider) != []

    def promote(self):
        """Becomes the provider, as the example says."""
        self.stop()
        path = self.directory / "slapd.conf"
        text = path.read_text()
        changed = re.sub(r"# From here:.*?# To here\.\n", "", text, flags=re.S)
        assert changed != text and "\nsyncrepl " not in changed
        path.write_text(changed)
        self.start()
