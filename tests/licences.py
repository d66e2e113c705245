#!/usr/bin/python3
"""Checks the licence and the source of every dependency against deny.toml.

Needs nothing but cargo and Python: cargo-deny does more, but would have to be built first. Exits 1 and names each crate
that does not fit. Usage: tests/licences.py [--deny FILE]
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Expression:
    """An SPDX licence expression, with `/` for OR as old crates write it."""

    def __init__(self, text):
        self.words = re.findall(r"\(|\)|[^\s()]+", text.replace("/", " OR "))
        self.at = 0

    def satisfied_by(self, allowed):
        """The licences of `allowed` that together satisfy the expression, or None."""
        self.at = 0
        result = self._any(allowed)
        if self.at != len(self.words):
            raise ValueError(f"unexpected {self.words[self.at]!r}")
        return result

    def _next(self):
        return self.words[self.at] if self.at < len(self.words) else None

    def _any(self, allowed):
        results = [self._all(allowed)]
        while self._next() == "OR":
            self.at += 1
            results.append(self._all(allowed))
        return next((result for result in results if result is not None), None)

    def _all(self, allowed):
        results = [self._one(allowed)]
        while self._next() == "AND":
            self.at += 1
            results.append(self._one(allowed))
        return None if None in results else set().union(*results)

    def _one(self, allowed):
        word = self._next()
        if word is None or word in ("OR", "AND", "WITH", ")"):
            raise ValueError(f"a licence was expected, not {word!r}")
        self.at += 1
        if word == "(":
            result = self._any(allowed)
            if self._next() != ")":
                raise ValueError("a ) is missing")
            self.at += 1
            return result
        if self._next() == "WITH":
            word = f"{word} WITH {self.words[self.at + 1]}"
            self.at += 2
        # "or later" includes the version itself.
        word = word.removesuffix("+").removesuffix("-or-later")
        return {word} if word in allowed else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deny", type=pathlib.Path, default=ROOT / "deny.toml")
    arguments = parser.parse_args()
    rules = tomllib.loads(arguments.deny.read_text())
    allowed = set(rules["licenses"]["allow"])
    exceptions = {entry["crate"]: set(entry["allow"]) for entry in rules["licenses"].get("exceptions", [])}
    banned = {entry["crate"] for entry in rules["bans"].get("deny", [])}
    registries = {f"registry+{registry}" for registry in rules["sources"]["allow-registry"]}

    output = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE,
    ).stdout
    metadata = json.loads(output)
    members = set(metadata["workspace_members"])
    mistakes, used, count = [], set(), 0
    for package in metadata["packages"]:
        if package["id"] in members:
            continue
        count += 1
        name = f"{package['name']} {package['version']}"
        if package["name"] in banned:
            mistakes.append(f"{name}: not allowed by [bans]")
        if package["source"] not in registries:
            mistakes.append(f"{name}: comes from {package['source']}, which is no allowed registry")
        if not package["license"]:
            mistakes.append(f"{name}: names no licence")
            continue
        try:
            licences = Expression(package["license"]).satisfied_by(allowed | exceptions.get(package["name"], set()))
        except ValueError as error:
            mistakes.append(f"{name}: licence {package['license']!r} cannot be read: {error}")
            continue
        if licences is None:
            mistakes.append(f"{name}: licence {package['license']!r} is not allowed")
        else:
            used |= licences
    mistakes += [f"exception for {crate}: no such dependency" for crate in
                 exceptions.keys() - {package["name"] for package in metadata["packages"]}]
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    print(f"{count} dependencies, {len(mistakes)} mistakes; licences used: {', '.join(sorted(used))}")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
