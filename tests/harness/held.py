"""What a node holds of a directory beside what the directory holds, entry by entry."""

import base64
import re
import subprocess

from .node import pigeonctl

# What servers add to an entry, but for the key of the record.
OPERATIONAL = {"structuralobjectclass", "creatorsname", "createtimestamp", "entrycsn", "modifiersname", "modifytimestamp",
               "contextcsn"}


def entries(ldif):
    """Entries by their entryUUID: the DN, and the sorted values of the attributes that people write."""
    found = {}
    for record in re.split(r"\n\n+", ldif.replace("\n ", "").replace("version: 1\n", "").strip()):
        dn, uuid, values = None, None, []
        for line in record.splitlines():
            name, _, value = line.partition(":")
            value = base64.b64decode(value[1:].strip()) if value.startswith(":") else value.strip().encode()
            name = name.lower()
            if name == "dn":
                dn = value.decode()
            elif name == "entryuuid":
                uuid = value.decode().lower()
            elif name not in OPERATIONAL:
                values.append((name, value))
        if dn:
            assert uuid and uuid not in found, record
            found[uuid] = (dn, sorted(values))
    return found


def held(node):
    """The entries of the node's copy on disk, which is written with each change before it is in force."""
    command = [pigeonctl(), "--config", node.directory / "pigeon.toml", "export"]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return entries(done.stdout.decode())


def difference(node, server):
    """What is different between a node's copy and a server's database: sentences, none when they are equal."""
    copy, directory = held(node), entries(server.slapcat())
    words = [f"missing: {directory[uuid]}" for uuid in directory.keys() - copy.keys()]
    words += [f"too much: {copy[uuid]}" for uuid in copy.keys() - directory.keys()]
    return words + [f"different: {copy[uuid]} from {directory[uuid]}"
                    for uuid in copy.keys() & directory.keys() if copy[uuid] != directory[uuid]]
