#!/usr/bin/python3
"""An application of one's own: it gives somebody a mailbox, and takes it back, with nothing but the directory.

    sign_up.py add ADDRESS NAME      the password is the first line of stdin
    sign_up.py remove ADDRESS

It talks to the directory alone, through ldapmodify, and knows no node: those follow the directory. The environment says where:
LDAPURI, LDAP_BASE (below it, ou=people), LDAP_BIND_DN, LDAP_PASSWORD_FILE (the password without a line end).
"""

import base64
import hashlib
import os
import subprocess
import sys


def ldif(attribute, value):
    """In base64, whatever is in it: nobody's name becomes a line of its own."""
    return f"{attribute}:: {base64.b64encode(value.encode()).decode()}\n"


def escaped(value):
    """In a DN (RFC 4514): every octet that is not a letter or a digit in hex."""
    return "".join(chr(octet) if chr(octet).isalnum() and octet < 128 else f"\\{octet:02x}" for octet in value.encode())


def hashed(password):
    salt = os.urandom(16)
    return "{SSHA512}" + base64.b64encode(hashlib.sha512(password.encode() + salt).digest() + salt).decode()


def change(record):
    where = os.environ
    command = ["ldapmodify", "-x", "-H", where["LDAPURI"], "-D", where["LDAP_BIND_DN"], "-y", where["LDAP_PASSWORD_FILE"]]
    done = subprocess.run(command, input=record.encode(), capture_output=True)
    if done.returncode:
        sys.exit(f"not done: {done.stderr.decode(errors='replace').strip()}")


def main(what, address, name=""):
    dn = ldif("dn", f"uid={escaped(address)},ou=people,{os.environ['LDAP_BASE']}")
    if what == "remove":
        return change(dn + "changetype: delete\n")
    password = sys.stdin.readline().rstrip("\n")
    if not password:
        sys.exit("expected a password on stdin")
    return change(
        dn + "changetype: add\nobjectClass: inetOrgPerson\nobjectClass: pigeonAccount\n"
        + ldif("uid", address) + ldif("cn", name or address) + ldif("sn", name or address)
        + ldif("mail", address) + ldif("userPassword", hashed(password)))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in ("add", "remove"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
