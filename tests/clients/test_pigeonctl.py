"""pigeonctl beside a running node: what each command writes is in force a moment later, over an LDIF file and a directory."""

import imaplib
import json
import os
import pty
import re
import subprocess
import time
import unittest

from harness import Node, scram
from harness.mail import Refused, Smtp, digest, make
from harness.node import IMAP, ROOT, pigeonctl, wait_until
from harness.reading import imap, stored
from harness.slapd import ADMIN, SECRET, SUFFIX, Slapd

# The limit is a second; a busy machine gets more, and the worst is printed.
PATIENCE = 20


class Commands:
    """The same for both sources."""

    def setUp(self):
        self.worst = (0.0, "nothing")
        self.arguments = []
        self.prepare()
        self.addCleanup(lambda: print(f"    in force after at most {self.worst[0]:.3f} s ({self.worst[1]})", flush=True))

    def start(self, *arguments, on=None):
        command = [pigeonctl(), "--config", str(self.node.directory / "pigeon.toml"), *self.arguments, *arguments]
        if on is not None:
            # In a session of its own, whose terminal this is.
            return subprocess.Popen(["/usr/bin/setsid", "--ctty", "--wait", *command], stdin=on, stdout=on, stderr=on)
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run_it(self, *arguments, text=""):
        process = self.start(*arguments)
        out, err = process.communicate(text, timeout=120)
        return process.returncode, out, err

    def ctl(self, *arguments, text=""):
        code, out, err = self.run_it(*arguments, text=text)
        self.assertEqual(code, 0, f"{arguments}: {out}{err}")
        return out

    def refused(self, words, *arguments, text="", code=1):
        """Not done, for a reason with these words in it, and nothing was written."""
        before = self.tree()
        got, out, err = self.run_it(*arguments, text=text)
        self.assertEqual((got, out), (code, ""), f"{arguments}: {out}{err}")
        self.assertRegex(err, words)
        self.assertEqual(self.tree(), before)

    def shown(self, *arguments):
        return json.loads(self.ctl("--json", *arguments))

    def answer(self, address, size=""):
        session = Smtp(self.node)
        try:
            session.send(f"MAIL FROM:<>{size}")
            session.reply()
            session.send(f"RCPT TO:<{address}>")
            return session.reply()[0]
        finally:
            session.close()

    def can_log_in(self, address, password):
        try:
            imap(self.node, address, password).logout()
            return True
        except Exception as refused:
            self.assertRegex(str(refused), "AUTHENTICATIONFAILED|CONTACTADMIN|may not use|UNAVAILABLE|BYE")
            return False

    def in_force(self, condition, what):
        began = time.monotonic()
        wait_until(condition, PATIENCE, what)
        self.worst = max(self.worst, (time.monotonic() - began, what))

    def until_answer(self, address, code):
        self.in_force(lambda: self.answer(address) == code, f"RCPT of {address} answers {code}")

    def test_a_domain_and_its_accounts(self):
        self.refused("no domain of this tree", "account", "add", "zoe@example.net", text="secret\n")
        self.assertEqual(self.answer("zoe@example.net"), 550)
        self.ctl("domain", "add", "example.net")
        self.ctl("account", "add", "zoe@example.net", "--name", "Zoe Zola", "--alias", "z@example.net", "--scram", text="secret\n")
        self.until_answer("zoe@example.net", 250)
        self.assertEqual(self.answer("z@example.net"), 250)
        self.assertTrue(self.can_log_in("zoe@example.net", "secret"))
        self.assertFalse(self.can_log_in("zoe@example.net", "other"))
        shown = self.shown("account", "show", "z@example.net")
        self.assertEqual((shown["kind"], shown["address"], shown["password"], shown["auth_password"]),
                         ("account", ["zoe@example.net", "z@example.net"], ["ARGON2ID"], ["SCRAM-SHA-256"]))
        # A catch-all, a limit, another name, and everything at once switched off.
        self.refused("expected the address of an account", "domain", "set", "example.net", "--catch-all", "nobody@example.net")
        self.ctl("domain", "set", "example.net", "--catch-all", "zoe@example.net", "--accounts-max", "1")
        self.until_answer("whoever@example.net", 250)
        self.refused("it may have 1 accounts", "account", "add", "yan@example.net", text="secret\n")
        self.ctl("domain", "add", "example.com", "--alias-of", "example.net")
        self.until_answer("zoe@example.com", 250)
        self.ctl("status", "set", "example.net", "disabled")
        self.until_answer("zoe@example.net", 550)
        self.ctl("status", "set", "example.net", "active")
        self.until_answer("zoe@example.net", 250)
        self.refused("1 accounts and groups", "domain", "remove", "example.net")
        self.ctl("domain", "set", "example.net", "--catch-all", "")
        self.ctl("account", "remove", "zoe@example.net")
        self.until_answer("zoe@example.net", 550)
        self.refused("expected a domain of this tree", "domain", "remove", "example.net")
        self.ctl("domain", "remove", "example.com")
        self.ctl("domain", "remove", "example.net")
        self.assertEqual([domain["domain_name"] for domain in self.shown("domain", "list")], [["example.org"]])

    def test_an_account_through_its_life(self):
        self.ctl("account", "add", "carol@example.org", text="first\n")
        self.until_answer("carol@example.org", 250)
        first = self.deliver("ctl.first", "carol@example.org")
        client = imap(self.node, "carol@example.org", "first")
        self.addCleanup(client.shutdown)
        client.select("INBOX")
        client.send(b"x IDLE\r\n")
        self.assertTrue(client.readline().startswith(b"+ "))
        client.sock.settimeout(PATIENCE)
        # What is no matter of access ends nothing; a new password does.
        self.ctl("alias", "add", "carol", "c@example.org")
        self.until_answer("c@example.org", 250)
        began = time.monotonic()
        self.ctl("password", "set", "carol@example.org", text="pigeon\n")
        self.assertIn(b"BYE", client.readline())
        print(f"    a session ended {time.monotonic() - began:.3f} s after password set began", flush=True)
        self.assertEqual((self.can_log_in("carol@example.org", "first"), self.can_log_in("carol@example.org", "pigeon")),
                         (False, True))
        self.ctl("status", "set", "c@example.org", "noaccess")
        self.in_force(lambda: not self.can_log_in("carol@example.org", "pigeon"), "noaccess")
        self.assertEqual(self.answer("carol@example.org"), 250)
        self.ctl("status", "set", "carol@example.org", "active")
        self.ctl("account", "set", "carol@example.org", "--message-size", "1MB", "--service", "smtp", "--service", "imap")
        self.in_force(lambda: self.answer("carol@example.org", " SIZE=2000000") == 552, "the largest message")
        self.ctl("account", "set", "carol@example.org", "--message-size", "", "--service", "")
        self.in_force(lambda: self.answer("carol@example.org", " SIZE=2000000") == 250, "no largest message")
        # Renamed: the mail stays.
        self.ctl("account", "rename", "carol@example.org", "caroline@example.org")
        self.until_answer("caroline@example.org", 250)
        self.until_answer("carol@example.org", 550)
        self.assertEqual(self.answer("c@example.org"), 250)
        self.assertTrue(self.shown("account", "show", "caroline")["dn"].startswith("uid=caroline,"))
        second = self.deliver("ctl.second", "c@example.org")
        self.assertEqual(stored(self.node, "caroline@example.org"), ({"ctl.first": first, "ctl.second": second}, []))
        self.ctl("account", "rename", "caroline@example.org", "carol@example.org", "--keep-address")
        self.until_answer("carol@example.org", 250)
        self.assertEqual(self.answer("caroline@example.org"), 250)
        self.ctl("alias", "remove", "caroline@example.org")
        self.until_answer("caroline@example.org", 550)
        self.ctl("status", "set", "carol@example.org", "deleted")
        self.until_answer("carol@example.org", 550)
        self.ctl("account", "remove", "carol@example.org")
        self.refused("nobody has this name", "account", "show", "carol@example.org")

    def deliver(self, identity, address):
        message = make(identity)
        session = Smtp(self.node)
        session.deliver(message, [address], "")
        session.close()
        return digest(message)

    def test_a_terminal_does_not_show_a_password(self):
        controller, terminal = pty.openpty()
        self.addCleanup(os.close, controller)
        # A session of its own, whose terminal this is.
        process = self.start("password", "set", "bob@example.org", on=terminal)
        os.close(terminal)
        seen = b""

        def until(words):
            nonlocal seen
            while words not in seen:
                seen += os.read(controller, 1000)

        until(b"New password of bob@example.org: ")
        os.write(controller, b"hiddex\x7fn\r")
        until(b"Once more: ")
        os.write(controller, b"hidden\r")
        try:
            while more := os.read(controller, 1000):
                seen += more
        except OSError:
            # The terminal's last user is gone.
            pass
        self.assertEqual(process.wait(60), 0, seen)
        self.assertNotIn(b"hid", seen)
        self.in_force(lambda: self.can_log_in("bob@example.org", "hidden"), "the new password")

    def test_quota_groups_and_the_cluster(self):
        self.ctl("quota", "set", "bob@example.org", "--size", "3000", "--count", "1000")
        self.assertEqual(self.shown("quota", "show", "bob"), {"quota_size": "3000", "quota_count": "1000", "quota": None})

        def quota_is(wanted):
            client = imap(self.node, "bob@example.org")
            try:
                return re.search(wanted, str(client.getquotaroot("INBOX")))
            finally:
                client.logout()

        self.in_force(lambda: quota_is(r"MESSAGE \d+ 1000\b"), "the quota")
        self.deliver("ctl.quota", "bob@example.org")
        with self.assertRaises(Refused):
            self.deliver("ctl.quota.over", "bob@example.org")
        self.ctl("quota", "set", "bob@example.org", "--size", "+1GB", "--count", "")
        self.assertEqual(self.shown("quota", "show", "bob"), {"quota_size": "1000003000", "quota_count": None, "quota": None})
        self.in_force(lambda: quota_is(r"STORAGE \d+ 97656[56]\b"), "more quota")
        self.deliver("ctl.quota.over", "bob@example.org")
        self.ctl("group", "add", "staff@example.org", "--member", "alice@example.org")
        self.until_answer("staff@example.org", 250)
        self.refused("nobody here has this address", "group", "set", "staff@example.org", "--add-member", "x@elsewhere.example")
        self.ctl("group", "set", "staff@example.org", "--add-member", "bob@example.org", "--remove-member", "alice@example.org")
        self.assertEqual(self.shown("group", "show", "staff@example.org")["member_address"], ["bob@example.org"])
        self.ctl("group", "remove", "staff@example.org")
        self.until_answer("staff@example.org", 550)
        self.ctl("node", "add", "node1", "--public", "mail.example.org", "--weight", "2", "--private", "10.0.0.1")
        self.ctl("volume", "add", "main", "--node", "node1", "--path", "/srv/mail")
        self.ctl("service", "add", "mailAntivirus", "--location", "here")
        self.assertEqual(self.shown("node", "list")[0]["public_address"], ["mail.example.org"])
        self.refused("expected the id of a node", "account", "set", "bob", "--node", "node2")
        self.refused("expected the id of a volume", "account", "set", "bob", "--volume", "fast")
        self.ctl("account", "set", "bob", "--volume", "main")
        self.refused("names it", "volume", "remove", "main")
        self.ctl("account", "set", "bob", "--volume", "")
        for what in [["volume", "remove", "main"], ["node", "set", "node1", "--weight", ""], ["node", "remove", "node1"],
                     ["service", "set", "mailAntivirus", "--location", "10.0.0.1:3310"], ["service", "remove", "mailAntivirus"]]:
            self.ctl(*what)

    def test_nodes_and_who_is_where(self):
        key = self.node.directory / "key-of-n1"
        key.write_text("0123456789abcdef\n")
        self.ctl("node", "add", "n1", "--private", "10.0.0.1", "--private", "status://10.0.0.1:2081", "--key-file", str(key),
                 "--role", "mx", "--role", "store")
        shown = self.shown("node", "show", "n1")
        self.assertEqual((shown["node_key"], sorted(shown["role"]), sorted(shown["private_address"])),
                         (["SCRAM-SHA-256"], ["mx", "store"], ["10.0.0.1", "status://10.0.0.1:2081"]))
        self.assertNotIn("0123456789abcdef", str(self.tree()))
        self.refused("mx, submission, proxy or store", "node", "set", "n1", "--role", "smtp")
        self.refused("up, draining or down", "node", "set", "n1", "--state", "off")
        key.write_text("guessed\n")
        self.refused("expected a key of 16", "node", "set", "n1", "--key-file", str(key))
        self.refused("nothing here has this id", "drain", "n2")
        self.ctl("account", "add", "zoe@example.org", "--no-password")
        self.assertNotIn("node", self.shown("account", "show", "zoe@example.org"))
        self.ctl("node", "add", "n2", "--private", "10.0.0.2")
        self.ctl("volume", "add", "fast", "--node", "n2")
        self.ctl("drain", "n1")
        self.assertEqual(self.shown("node", "show", "n1")["node_state"], ["draining"])
        self.assertIn(", on n2", self.ctl("account", "add", "yan@example.org", "--no-password"))
        self.refused("n1: it is draining", "account", "move", "yan@example.org", "--node", "n1")
        self.ctl("node", "set", "n2", "--role", "mx")
        self.refused("no node is up and keeps mail", "account", "add", "xu@example.org", "--no-password")
        self.ctl("node", "set", "n2", "--role", "")
        self.ctl("undrain", "n1")
        self.assertEqual(self.shown("node", "show", "n1")["node_state"], ["up"])
        # Moved: where it was goes along, in one change.
        self.refused("it names no node", "account", "move", "bob", "--node", "n2")
        self.ctl("account", "set", "bob", "--node", "n1")
        self.refused("belongs to n2", "account", "move", "bob", "--node", "n1", "--volume", "fast")
        self.assertIn("moves from n1 to n2/fast", self.ctl("account", "move", "bob", "--node", "n2", "--volume", "fast"))
        shown = self.shown("account", "show", "bob")
        self.assertEqual((shown["node"], shown["volume"], shown["previous_node"]), (["n2"], ["fast"], ["n1"]))
        self.ctl("account", "move", "bob", "--node", "n1")
        shown = self.shown("account", "show", "bob")
        self.assertEqual((shown["node"], shown.get("volume"), shown["previous_node"]), (["n1"], None, ["n2/fast"]))
        record = self.ctl("--dry-run", "account", "move", "bob", "--node", "n2")
        self.assertEqual(record.count("changetype"), 1)

    def test_sessions_are_kicked(self):
        def idle(user):
            client = imap(self.node, user)
            self.addCleanup(client.shutdown)
            client.select("INBOX")
            client.send(b"x IDLE\r\n")
            self.assertTrue(client.readline().startswith(b"+ "))
            client.sock.settimeout(PATIENCE)
            return client

        alice, bob = idle("alice@example.org"), idle("bob@example.org")
        began = time.monotonic()
        self.ctl("kick", "bob")
        self.assertIn(b"BYE", bob.readline())
        print(f"    a session ended {time.monotonic() - began:.3f} s after kick began", flush=True)
        again = idle("bob@example.org")
        alice.send(b"DONE\r\n")
        self.assertIn(b"OK", alice.readline())
        self.ctl("kick", "example.org")
        self.assertIn(b"BYE", alice.readline())
        self.assertIn(b"BYE", again.readline())
        self.refused("nobody has this name", "kick", "nobody@example.org")
        self.refused("no domain of this tree", "kick", "elsewhere.example")
        # Nobody is described, so nobody is asked.
        self.refused("no node is described", "cluster", "status")
        self.refused("no node is described", "who")

    def test_what_is_wrong_is_refused_before_anything_is_written(self):
        for words, *arguments in [
            ("expected a number of bytes", "quota", "set", "bob", "--size", "much"),
            ("would be no amount", "quota", "set", "bob", "--size", "-1"),
            ("has this address", "alias", "add", "bob", "alice@example.org"),
            ("has this address", "account", "add", "bob@example.org", "--no-password"),
            ("has this name", "account", "add", "new@example.org", "--uid", "bob", "--no-password"),
            ("has this address", "account", "rename", "bob", "alice@example.org"),
            ("only address", "alias", "remove", "bob@example.org"),
            ("expected .*active", "status", "set", "bob", "asleep"),
            ("nobody has this name", "account", "set", "*)(uid=*", "--status", "deleted"),
            ("nobody has this name", "account", "remove", "*"),
            ("nobody has this name", "account", "show", "bob,dc=test"),
            ("no domain of this tree", "domain", "show", "example.net"),
            ("expected a domain name", "domain", "add", "not a domain"),
        ]:
            with self.subTest(arguments=arguments):
                self.refused(words, *arguments)
        for password in ["", "\n", "a\tb\n", "x" * 2000 + "\n"]:
            self.refused("expected a password", "password", "set", "bob", text=password)
        self.refused("unrecognized|expected|[Uu]sage", "account", "explode", code=2)
        self.refused("--size or --count", "quota", "set", "bob", code=2)
        # Values are values: names that mean something in a DN, a filter or LDIF.
        for name in ["#first", "o'neil,dc", "a+b", "back\\slash", "quote\"d", " space", "(*)", "ümlaut"]:
            with self.subTest(name=name):
                self.ctl("account", "add", "odd@example.org", "--uid", name, "--name", f"<{name}", "--no-password")
                self.assertEqual(self.shown("account", "show", "odd@example.org")["login_name"], [name])
                self.assertEqual(self.shown("account", "show", name)["address"], ["odd@example.org"])
                self.ctl("account", "set", name, "--quota", "1GB")
                self.ctl("account", "rename", "odd@example.org", "even@example.org", "--keep-address")
                self.ctl("account", "remove", name)
        before = self.tree()
        record = self.ctl("--dry-run", "status", "set", "bob", "disabled")
        self.assertEqual(self.tree(), before)
        self.assertIn("changetype: modify\nreplace: accountStatus\naccountStatus: disabled\n-", record)
        self.assertIn("nothing wrong", self.ctl("check"))

    def test_nobody_undoes_what_another_did(self):
        processes, rounds = 4, 6
        self.ctl("quota", "set", "bob", "--size", "0")
        done = refused = 0
        for _ in range(rounds):
            started = [self.start("quota", "set", "bob", "--size", "+1") for _ in range(processes)]
            for process in started:
                _, err = process.communicate(timeout=120)
                self.assertIn(process.returncode, [0, 1], err)
                if process.returncode:
                    self.assertIn("changed meanwhile", err)
                    refused += 1
                done += process.returncode == 0
        self.assertEqual(self.shown("quota", "show", "bob")["quota_size"], str(done))
        self.assertEqual(done + refused, processes * rounds)
        self.assertGreaterEqual(done, rounds)
        print(f"    {done} changes made, {refused} told to try again", flush=True)


def with_scram(node):
    with open(node.directory / "pigeon.toml", "a") as config:
        config.write("\n[policy]\nscram_sha_256 = true\n")


class OverLdif(Commands, unittest.TestCase):
    def prepare(self):
        self.node = Node(configure=with_scram)
        self.addCleanup(self.node.remove)
        self.ldif = self.node.directory / "users.ldif"

    def tree(self):
        return self.ldif.read_bytes()

    def proves(self, password):
        """Whether bob's password does in SCRAM-SHA-256."""
        connection = imaplib.IMAP4("127.0.0.1", self.node.port(IMAP), timeout=60)
        client = scram.Client("bob@example.org", password)
        try:
            connection.authenticate("SCRAM-SHA-256", client.answer)
            return client.proven
        except imaplib.IMAP4.error:
            return False
        finally:
            connection.shutdown()

    def test_a_verifier_lets_in_and_goes_with_its_password(self):
        # SASLprep (RFC 4013): the soft hyphen vanishes, and the ligature is two letters.
        self.ctl("password", "set", "bob", "--scram", text="p\u00ad\ufb01sh w\u00f6rd\n")
        self.in_force(lambda: self.proves("pfish w\u00f6rd"), "the verifier")
        self.ctl("password", "set", "bob", text="another\n")
        self.in_force(lambda: self.can_log_in("bob@example.org", "another"), "the new password")
        self.assertFalse(self.proves("pfish w\u00f6rd"))
        self.assertNotIn("authPassword", self.ldif.read_text())

    def test_everything_else_in_the_file_stays(self):
        text = self.ldif.read_text().replace("\ndn: uid=bob", "\n# Bob builds.\ndn: uid=bob").replace("sn: Bob\n", "sn: B\n ob\n# folded\n")
        self.ldif.write_text(text + "\n# The end.\n")
        os.chmod(self.ldif, 0o640)
        self.ctl("quota", "set", "alice", "--size", "5")
        changed = self.ldif.read_text()
        self.assertEqual(changed.replace("mailQuotaSize: 5\n", "", 1), text + "\n# The end.\n")
        self.assertEqual(self.ldif.stat().st_mode & 0o7777, 0o640)
        self.ctl("quota", "set", "alice", "--size", "")
        self.assertEqual(self.ldif.read_text(), text + "\n# The end.\n")
        self.assertEqual(sorted(path.name for path in self.node.directory.glob("*ldif*")), ["users.ldif"])
        self.assertEqual(list(self.node.directory.glob(".*")), [])
        self.assertEqual(self.ctl("export"), self.ldif.read_text())
        # A mistake that is there already: where it is, and nothing is written.
        self.ldif.write_text(text.replace("cn: Bob", "cn Bob"))
        self.refused(r"users.ldif: \d+:1: ", "quota", "set", "alice", "--size", "5")
        self.refused("names an LDIF file", "--uri", "ldapi://%2Frun%2Fldapi", "domain", "list", code=2)


class OverLdap(Commands, unittest.TestCase):
    def prepare(self):
        # As the page says how two are kept from one address.
        page = (ROOT / "docs" / "operating.md").read_text()
        unique = re.search(r"^moduleload unique\n(overlay unique\n.*\n)", page, re.M)[1]
        self.assertIn(unique, (ROOT / "datatree-cache/schema/slapd.conf.example").read_text())
        # And whoever is on the socket is the administrator.
        self.slapd = Slapd(f'authz-regexp "gidNumber=.*,cn=peercred,cn=external,cn=auth" "{ADMIN}"\n')
        self.addCleanup(self.slapd.remove)
        for name in ["alice", "bob"]:
            self.slapd.person(name)
        self.node = Node(configure=lambda node: self.slapd.configure(node, over_socket=True))
        self.addCleanup(self.node.remove)
        self.secret = self.node.directory / "administrator"
        self.secret.write_text(SECRET + "\n")
        self.arguments = ["--bind-dn", ADMIN, "--password-file", str(self.secret)]

    def tree(self):
        done = self.slapd.run("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", SUFFIX, "*", "+")
        return sorted(re.split(r"\n\n", done.stdout.decode()))

    def test_whom_it_binds_as(self):
        self.secret.write_text("wrong\n")
        self.refused("wrong DN or password", "status", "set", "bob", "disabled")
        self.arguments = []
        self.refused("--bind-dn DN, or --external", "status", "set", "bob", "disabled", code=2)
        self.assertEqual(self.shown("account", "show", "bob")["address"], ["bob@example.org"])
        # The node's own entry may read, not write.
        self.refused("may not do this", "--bind-dn", f"cn=engine,{SUFFIX}", "--password-file",
                     str(self.node.directory / "ldap-password"), "status", "set", "bob", "disabled")
        self.ctl("--external", "status", "set", "bob", "disabled")
        self.until_answer("bob@example.org", 550)
        self.ctl("--external", "--uri", self.slapd.uri, "status", "set", "bob", "active")
        self.until_answer("bob@example.org", 250)
        exported = self.ctl("export")
        self.assertIn("mail: bob@example.org", exported)

    def test_a_dry_run_is_what_ldapmodify_takes(self):
        record = self.ctl("--dry-run", "account", "add", "dave@example.org", "--alias", "d@example.org", text="secret\n")
        self.slapd.change(record)
        self.until_answer("d@example.org", 250)
        self.slapd.change(self.ctl("--dry-run", "account", "rename", "dave", "david@example.org"))
        self.until_answer("david@example.org", 250)
        self.assertTrue(self.can_log_in("david@example.org", "secret"))
        self.slapd.change(self.ctl("--dry-run", "account", "remove", "david"))
        self.until_answer("david@example.org", 550)

    def test_a_wrong_record_of_somebody_else_stands_in_nobodys_way(self):
        self.slapd.set("alice", "mailQuotaSize", "-1")
        self.ctl("quota", "set", "bob", "--size", "1GB")
        code, _, err = self.run_it("check")
        self.assertEqual(code, 1)
        self.assertIn("uid=alice,dc=test: mailQuotaSize: expected a number of bytes", err)
        self.ctl("quota", "set", "alice", "--size", "1GB")
        self.ctl("check")

    def test_an_address_has_one_owner_whoever_is_first(self):
        for number in range(10):
            address = f"same{number}@example.org"
            started = [self.start("alias", "add", name, address) for name in ["alice", "bob"]]
            codes = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
            self.assertEqual(sorted(code for _, code in codes), [0, 1], codes)
            self.assertRegex("".join(err for err, _ in codes), "non-unique|has this address")
            self.until_answer(address, 250)

    def test_many_domains_hide_no_mistake(self):
        self.slapd.change("".join(f"""dn: dc=d{number},{SUFFIX}
changetype: add
objectClass: domain
objectClass: pigeonDomain
dc: d{number}
associatedDomain: d{number}.example
pigeonPostmaster: {name}@example.org

""" for number, name in enumerate(["alice"] * 150 + ["bob"])))
        self.refused("pigeonPostmaster: expected the address of an account", "account", "remove", "bob")
        self.refused("pigeonPostmaster: expected the address of an account", "account", "rename", "bob", "robert@example.org")
        self.ctl("account", "rename", "bob", "robert@example.org", "--keep-address")

    def test_a_replica_says_where_changes_go(self):
        self.slapd.kill()
        with open(self.slapd.directory / "slapd.conf", "a") as config:
            config.write(f"""syncrepl rid=1 provider=ldap://127.0.0.1:1 type=refreshAndPersist searchbase="{SUFFIX}" bindmethod=simple
  retry="60 +"
updateref ldap://provider.example
""")
        self.slapd.start()
        self.refused("refers to ldap://provider.example.*--uri", "status", "set", "bob", "disabled")
