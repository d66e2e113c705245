"""A node whose control data is a real directory: changes act, and a directory that is gone loses nobody's mail."""

import imaplib
import signal
import subprocess
import time
import unittest

from harness import Node
from harness.mail import Refused, Smtp, digest, make, recipient_answer
from harness.node import pigeond, wait_until
from harness.reading import imap, stored
from harness.slapd import SUFFIX, Slapd

PATIENCE = 30


class Directory(unittest.TestCase):
    def setUp(self):
        self.slapd = Slapd()
        self.addCleanup(self.slapd.remove)
        for name in ["alice", "bob"]:
            self.slapd.person(name)
        self.node = Node(configure=self.slapd.configure)
        self.addCleanup(self.node.remove)

    def answer(self, name):
        """What RCPT answers for a name."""
        return recipient_answer(self.node, f"{name}@example.org")

    def deliver(self, identity, name):
        message = make(identity)
        session = Smtp(self.node)
        session.deliver(message, [f"{name}@example.org"], "")
        session.close()
        return digest(message)

    def until_answer(self, name, code):
        wait_until(lambda: self.answer(name) == code, PATIENCE, f"RCPT of {name} answers {code}")

    def test_changes_act_with_nothing_else_done(self):
        self.assertEqual(self.answer("carol"), 550)
        before = time.monotonic()
        self.slapd.person("carol")
        self.until_answer("carol", 250)
        print(f"    a new account receives mail {time.monotonic() - before:.3f} s after ldapadd began", flush=True)
        first = self.deliver("directory.first", "carol")
        # Renamed, with a new address: the mail stays.
        self.slapd.change(f"dn: uid=carol,{SUFFIX}\nchangetype: modrdn\nnewrdn: uid=caroline\ndeleteoldrdn: 1\n")
        self.slapd.set("caroline", "mail", "caroline@example.org")
        self.until_answer("caroline", 250)
        self.until_answer("carol", 550)
        second = self.deliver("directory.second", "caroline")
        there, twice = stored(self.node, "caroline@example.org")
        self.assertEqual((there, twice), ({"directory.first": first, "directory.second": second}, []))
        # Disabled: sessions end, mail is refused, and it is all there again afterwards.
        client = imap(self.node, "caroline@example.org")
        self.addCleanup(client.shutdown)
        client.select("INBOX")
        client.send(b"x IDLE\r\n")
        self.assertTrue(client.readline().startswith(b"+ "))
        client.sock.settimeout(PATIENCE)
        self.slapd.set("caroline", "accountStatus", "disabled")
        self.assertIn(b"BYE", client.readline())
        self.until_answer("caroline", 550)
        self.slapd.set("caroline", "accountStatus", "active")
        self.until_answer("caroline", 250)
        self.assertEqual(len(stored(self.node, "caroline@example.org")[0]), 2)
        self.slapd.change(f"dn: uid=caroline,{SUFFIX}\nchangetype: delete\n")
        self.until_answer("caroline", 550)

    def test_a_domain_acts_likewise(self):
        def answer():
            session = Smtp(self.node)
            session.command("MAIL FROM:<>", 250)
            session.send("RCPT TO:<carol@new.example>")
            code = session.reply()[0]
            session.close()
            return code

        def until(code):
            wait_until(lambda: answer() == code, PATIENCE, f"RCPT answers {code}")

        self.slapd.person("carol", "mailAlternateAddress: carol@new.example")
        self.until_answer("carol", 250)
        self.assertEqual(answer(), 550)
        before = time.monotonic()
        self.slapd.change(f"""dn: dc=new,{SUFFIX}
changetype: add
objectClass: domain
objectClass: pigeonDomain
dc: new
associatedDomain: new.example
""")
        until(250)
        print(f"    a new domain receives mail {time.monotonic() - before:.3f} s after ldapadd began", flush=True)
        # The sessions of everybody whose domain may not go on end, whatever way it may not.
        for status in ["disabled", "deleted", "noaccess"]:
            client = imap(self.node, "alice@example.org")
            self.addCleanup(client.shutdown)
            client.select("INBOX")
            client.send(b"x IDLE\r\n")
            self.assertTrue(client.readline().startswith(b"+ "))
            client.sock.settimeout(PATIENCE)
            before = time.monotonic()
            self.change_domain(f"replace: pigeonDomainStatus\npigeonDomainStatus: {status}")
            self.assertIn(b"BYE", client.readline())
            print(f"    {status}: sessions ended after {time.monotonic() - before:.3f} s", flush=True)
            self.until_answer("alice", 250 if status == "noaccess" else 550)
            self.change_domain("delete: pigeonDomainStatus")
            self.until_answer("alice", 250)
        self.slapd.change(f"dn: dc=new,{SUFFIX}\nchangetype: delete\n")
        until(550)

    def change_domain(self, lines):
        self.slapd.change(f"dn: dc=mail,{SUFFIX}\nchangetype: modify\n{lines}\n")

    def test_a_directory_that_is_gone_loses_nobodys_mail(self):
        sent = {}
        for round, (away, back) in enumerate([
            (lambda: self.slapd.signal(signal.SIGSTOP), lambda: self.slapd.signal(signal.SIGCONT)),
            (self.slapd.kill, self.slapd.start),
        ]):
            away()
            # Until the node has noticed, who is unknown is unknown; afterwards nobody is, for good.
            self.until_answer("nobody", 451)
            self.assertEqual(self.answer("alice"), 250)
            sent[f"directory.away.{round}"] = self.deliver(f"directory.away.{round}", "alice")
            # A restart changes nothing: the copy is on disk.
            self.node.stop()
            self.node.start()
            self.assertEqual((self.answer("alice"), self.answer("nobody")), (250, 451))
            imap(self.node, "alice@example.org").logout()
            back()
            before = time.monotonic()
            self.until_answer("nobody", 550)
            print(f"    current {time.monotonic() - before:.1f} s after the directory was back", flush=True)
        self.slapd.person("dave")
        self.until_answer("dave", 250)
        self.assertEqual(stored(self.node, "alice@example.org"), (sent, []))

    def test_deliveries_and_logins_ask_the_directory_nothing(self):
        imap(self.node, "alice@example.org").logout()
        before = self.slapd.operations()
        for number in range(500):
            if number % 50 == 0:
                session = Smtp(self.node)
                self.addCleanup(session.close)
                session.command("MAIL FROM:<>", 250)
            session.command(f"RCPT TO:<{['alice', 'bob'][number % 2]}@example.org>", 250)
            if number % 10 == 0:
                with self.assertRaises(Refused):
                    session.command(f"RCPT TO:<nobody{number}@example.org>", 250)
        for _ in range(20):
            imap(self.node, "alice@example.org").logout()
        done = self.slapd.operations() - before
        # The question before itself (a bind, a search, and its end), and the node's probes of a silent server.
        self.assertLess(done, 20, "operations of the directory for 550 recipients and 20 logins")
        print(f"    {done} operations of the directory for 550 recipients and 20 logins", flush=True)

    def test_a_wrong_record_is_refused_alone(self):
        self.slapd.set("bob", "mailQuotaSize", "-1")
        self.slapd.person("erin")
        self.until_answer("erin", 250)
        self.node.wait_log(r"uid=bob,dc=test: mailQuotaSize", PATIENCE)
        self.assertEqual(self.answer("bob"), 250)

    def test_a_refused_record_is_unknown_to_nobody_and_is_named(self):
        self.slapd.person("erin", "mailQuotaSize: -1\n")
        self.until_answer("erin", 451)
        self.assertEqual((self.answer("erin+news"), self.answer("nobody"), self.answer("bob")), (451, 550, 250))
        # Neither right nor wrong.
        with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
            imap(self.node, "erin")
        with self.assertRaisesRegex(imaplib.IMAP4.error, "AUTHENTICATIONFAILED"):
            imap(self.node, "nobody")
        page = self.node.status("/")[1]
        self.assertRegex(page, "The directory: live for .*, server ldap://127.0.0.1:[0-9]+, current 0 min [0-9]+ s ago.")
        self.assertIn("<li>uid=erin,dc=test: mailQuotaSize: ", page)
        self.assertEqual(self.node.metric("pigeon_control_data_refused"), 1)
        self.slapd.set("erin", "mailQuotaSize", "7")
        self.until_answer("erin", 250)
        self.assertEqual(self.node.metric("pigeon_control_data_refused"), 0)

    def test_a_directory_that_is_gone_for_long_raises_an_alarm(self):
        config = self.node.directory / "pigeon.toml"
        self.node.stop()
        config.write_text(config.read_text().replace("[control_data.ldap]\n", "[control_data.ldap]\nalarm_after = \"2s\"\n"))
        self.node.start()
        self.until_answer("nobody", 550)
        self.assertEqual(self.node.metric("pigeon_control_data_alarm"), 0)
        self.slapd.kill()
        self.node.wait_log("ERROR.*alarm: the directory has been out of reach for 2 s", PATIENCE)
        self.assertEqual(self.node.metric("pigeon_control_data_alarm"), 1)
        self.assertIn("(alarm)", self.node.status("/")[1])
        self.assertEqual(self.answer("alice"), 250)
        self.slapd.start()
        wait_until(lambda: self.node.metric("pigeon_control_data_alarm") == 0, PATIENCE, "the alarm ends")

    def test_check_says_what_is_wrong_with_a_directory(self):
        config = self.node.directory / "pigeon.toml"
        good = config.read_text()
        self.slapd.set("bob", "mailMessageStore", "elsewhere")

        def check(*changes):
            text = good
            for old, new in changes:
                self.assertIn(old, text)
                text = text.replace(old, new)
            other = self.node.directory / "other.toml"
            other.write_text(text)
            done = subprocess.run([pigeond(), "check", "--config", other], capture_output=True, timeout=60)
            # The people of this test have passwords in clear text, which is worth a warning.
            lines = [line for line in done.stderr.decode().splitlines() if "userPassword" not in line]
            return done.returncode, lines

        uri = f"ldap://{self.slapd.host}"
        section = "[control_data.ldap]\n"
        code, lines = check()
        self.assertEqual((code, len(lines)), (0, 1), lines)
        self.assertRegex(lines[0], "1 accounts are on the volume .elsewhere.*uid=bob,dc=test")
        (self.node.directory / "wrong").write_text("wrong\n")
        for changes, expected in [
            ([('"ldap-password"', '"wrong"')], f"{uri}: bind as cn=engine,dc=test: wrong DN or password \\(49\\)"),
            ([(f'base = "{SUFFIX}"', 'base = "dc=nowhere"')], f"{uri}: expected an entry dc=nowhere, found none \\(32\\)"),
            ([(section, section + 'filter = "(mail=*"\n')], "filter"),
            ([("start_tls = false", "start_tls = true")], f"{uri}: .*certificate"),
            ([(uri, "ldap://127.0.0.1:1")], "ldap://127.0.0.1:1: connecting: Connection refused"),
        ]:
            code, lines = check(*changes)
            self.assertEqual((code, len(lines)), (1, 1), lines)
            self.assertRegex(lines[0], expected)
        # Of several servers one is enough.
        code, lines = check((f'"{uri}"', f'"ldap://127.0.0.1:1", "{uri}"'))
        self.assertEqual((code, len(lines)), (0, 2), lines)
        self.assertRegex(lines[0], "^warning: .*ldap://127.0.0.1:1: connecting: Connection refused")
        # A filter that nothing fits.
        code, lines = check((section, section + 'filter = "(mail=nobody)"\n'))
        self.assertEqual(code, 0, lines)
        self.assertRegex(lines[0], "no account below dc=test fits")
