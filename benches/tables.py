"""Tables that docs/benchmarks.md has from a program: what a bench prints and what stands there is the same text."""

import pathlib
import re
import sys

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def line(cells):
    return "| " + " | ".join(map(str, cells)) + " |\n"


def head(columns):
    """Its first two lines, by which it is found in the docs."""
    return line(columns) + line(["---"] * len(columns))


def found(columns):
    """The rows that the docs have below this head."""
    return re.compile(rf"(?<={re.escape(head(columns))})(?:\|.*\n)*")


def stands(columns, rows):
    """Whether the docs have just these."""
    return found(columns).findall(DOCS.read_text()) == ["".join(map(line, rows))]


def write(columns, rows):
    """Puts them in place of those that the docs have."""
    text, count = found(columns).subn(lambda _: "".join(map(line, rows)), DOCS.read_text())
    if count != 1:
        sys.exit(f"{DOCS}: {count} tables with the columns {', '.join(columns)} instead of one")
    DOCS.write_text(text)


def said(name):
    """The line between its marks that says how its table was measured."""
    return re.compile(rf"(?<=<!-- run: {name} -->\n)[^\n]*\n(?=<!-- end of the run -->)")


def say(name, text):
    """Puts in its place by which command, and of how many rounds, the table beside it is."""
    text, count = said(name).subn(lambda _: text + "\n", DOCS.read_text())
    if count != 1:
        sys.exit(f"{DOCS}: {count} places for the run of {name} instead of one")
    DOCS.write_text(text)
