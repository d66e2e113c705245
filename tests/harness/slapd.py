"""A real slapd in a temporary directory, reached over its socket."""

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
from .node import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUFFIX, SECRET = "dc=test", "secret"
ADMIN, ENGINE = f"cn=admin,{SUFFIX}", f"cn=engine,{SUFFIX}"


class Slapd:
    """Starts at once, with the suffix, the engine's entry and one domain. Call `remove` at the end.

    `more` are further lines of the database's configuration.
    """

    def __init__(self, more=""):
        self.program, _, _ = needs("slapd", "ldapmodify", "ldapsearch")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pigeonair-slapd-"))
        (self.directory / "db").mkdir()
        schemas = [f"/etc/ldap/schema/{name}.schema" for name in ["core", "cosine", "nis", "inetorgperson", "misc"]]
        schemas.append(ROOT / "datatree-cache/schema/pigeon.schema")
        includes = "".join(f"include {path}\n" for path in schemas)
        (self.directory / "slapd.conf").write_text(f"""{includes}
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_monitor
moduleload syncprov
moduleload unique
database monitor
access to * by * read
database mdb
suffix "{SUFFIX}"
rootdn "{ADMIN}"
rootpw {SECRET}
directory {self.directory}/db
maxsize 1073741824
dbnosync
index objectClass,entryCSN,entryUUID eq
limits dn.exact="{ENGINE}" size=unlimited time=unlimited
access to attrs=userPassword,authPassword by dn.exact="{ENGINE}" read by self =wx by anonymous auth by * none
access to * by dn.exact="{ENGINE}" read by * none
overlay syncprov
syncprov-checkpoint 100 10
syncprov-sessionlog 1000
syncprov-reloadhint TRUE
{more}
""")
        self.uri = "ldapi://" + urllib.parse.quote(str(self.directory / "ldapi"), safe="")
        self.process = None
        leftovers.remember(self)
        self.start()
        self.change(f"""dn: {SUFFIX}
changetype: add
objectClass: domain
dc: test

dn: {ENGINE}
changetype: add
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: engine
userPassword: {SECRET}

dn: dc=mail,{SUFFIX}
changetype: add
objectClass: domain
objectClass: pigeonDomain
dc: mail
associatedDomain: example.org
""")

    def start(self):
        log = open(self.directory / "slapd.log", "ab")
        command = [self.program, "-f", str(self.directory / "slapd.conf"), "-h", self.uri, "-d", "0"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
        log.close()
        wait_until(lambda: self.run("ldapwhoami").returncode == 0, 60, "slapd answers")

    def signal(self, number):
        self.process.send_signal(number)

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
        self.change(f"""dn: uid={name},{SUFFIX}
changetype: add
objectClass: inetOrgPerson
objectClass: pigeonAccount
cn: {name}
sn: {name}
uid: {name}
mail: {name}@example.org
userPassword: {{CLEARTEXT}}pigeon
{more}
""")

    def set(self, name, attribute, value):
        self.change(f"dn: uid={name},{SUFFIX}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n")

    def operations(self):
        """Operations that the server has completed, but for the search that asks."""
        done = self.run("ldapsearch", "-LLL", "-b", "cn=Operations,cn=Monitor", "-s", "base", "monitorOpCompleted")
        return int(re.search(rb"monitorOpCompleted: (\d+)", done.stdout)[1])

    def configure(self, node):
        """Has a node of quickstart take its control data from here."""
        config = node.directory / "pigeon.toml"
        text = config.read_text()
        secret = node.directory / "ldap-password"
        secret.write_text(SECRET + "\n")
        os.chmod(secret, 0o600)
        section = f"""[control_data.ldap]
servers = ["{self.uri}"]
base = "{SUFFIX}"
bind_dn = "{ENGINE}"
bind_password_file = "ldap-password"
copy = "control-data"
answer_timeout = "1s"
probe_after = "1s"
"""
        changed = re.sub(r"\[control_data\]\nldif = .*\n", lambda _: section, text)
        assert changed != text, text
        config.write_text(changed)
