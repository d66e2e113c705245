"""The tables: what was measured, what of it was aimed at, and how far the machine itself would go."""

import statistics

from measure import ROWS

OURS = "PigeonAir"
# By row: the columns, each with its title.
COLUMNS = {
    "smtp": {"per_second": "a second", "cpu_ms": "CPU ms each"},
    "lmtp": {"per_second": "a second", "cpu_ms": "CPU ms each"},
    "imap": {"per_second": "a second", "cpu_ms": "CPU ms each"},
    "pop3": {"per_second": "a second", "cpu_ms": "CPU ms each"},
    "idle": {"kib_a_session": "KiB of memory a session", "sessions": "sessions"},
}
BULK_COLUMNS = {"cpu_s_per_gib": "CPU s a GiB", "mib_per_second": "MiB/s"}
# By row and column: what ours is to be of the best peer's. What is more the better is at least so much, else at most.
TARGETS = {
    ("smtp", "per_second"): ("durable deliveries a second by SMTP", 20),
    ("lmtp", "per_second"): ("durable deliveries a second by LMTP", 20),
    ("smtp", "cpu_ms"): ("CPU ms for a delivered 4-KiB message by SMTP", 1 / 20),
    ("lmtp", "cpu_ms"): ("CPU ms for a delivered 4-KiB message by LMTP", 1 / 20),
    ("imap", "per_second"): ("IMAP login, SELECT, FETCH, LOGOUT a second", 10),
    ("imap", "cpu_ms"): ("CPU ms for one", 1 / 10),
    ("pop3", "per_second"): ("POP3 login, LIST, RETR, QUIT a second", 10),
    ("pop3", "cpu_ms"): ("CPU ms for one", 1 / 10),
    ("bulk-16", "cpu_s_per_gib"): ("CPU s for a GiB of 16-KiB messages by IMAP", 1 / 2),
    ("bulk-16-tls", "cpu_s_per_gib"): ("the same over TLS", 1 / 2),
    ("bulk-1024", "cpu_s_per_gib"): ("CPU s for a GiB of 1-MiB messages by IMAP", 1 / 2),
    ("bulk-1024-tls", "cpu_s_per_gib"): ("the same over TLS", 1 / 2),
    ("bulk-large-16", "cpu_s_per_gib"): ("CPU s for a GiB of 16-KiB messages that the node reads from the disk", 1 / 2),
}
# Where the generator uses more of the CPU time, it is what limits the rate.
GENERATOR_PART_MAX = 0.45
# Of ours alone.
IDLE_KIB_MAX = 8


def more_is_better(column):
    return column.endswith("per_second")


def columns(row):
    return COLUMNS.get(row, BULK_COLUMNS)


def medians(results, row):
    """By server, of each column and of who else used the CPUs."""
    keys = [*columns(row), "server_cpu_s", "generator_cpu_s", "others"]
    return {name: {key: statistics.median(run[key] for run in runs) for key in keys} for name, runs in results.get(row, {}).items()}


def best(found, column, no_peers):
    """Of the peers: whose, and how much."""
    peers = {name: values[column] for name, values in found.items() if name != OURS and name not in no_peers}
    if not peers:
        return None, None
    name = (max if more_is_better(column) else min)(peers, key=peers.get)
    return name, peers[name]


def by_round(servers, column, no_peers):
    """Ours to the best peer's of the same round."""
    choose = max if more_is_better(column) else min
    peers = [runs for name, runs in servers.items() if name != OURS and name not in no_peers]
    rounds = min(len(runs) for runs in [servers[OURS], *peers])
    # Less than a tick of the clock is none.
    return [max(servers[OURS][index][column], 1e-9) / choose(runs[index][column] for runs in peers) for index in range(rounds)]


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def fraction(value):
    return f"{number(value)}x" if value >= 1 else f"1/{number(1 / value)}"


def verdicts(results, no_peers):
    """A line of each target: its name, ours, whose is the best, that, ratio, target, whether it is met."""
    lines = []
    for (row, column), (title, target) in TARGETS.items():
        found = medians(results, row)
        name, value = best(found, column, no_peers)
        if OURS not in found or not value:
            continue
        # Side by side: of each round by itself. What the machine does beside it, both feel.
        ratios = by_round(results[row], column, no_peers)
        worst = min(ratios) if more_is_better(column) else max(ratios)
        met = worst >= target if more_is_better(column) else worst <= target
        lines.append({"what": title, "ours": found[OURS][column], "best": value, "peer": name, "ratios": ratios, "met": met,
                      "generator": generator_part(found[OURS]) if more_is_better(column) else None,
                      "target": f"{'at least' if more_is_better(column) else 'at most'} {fraction(target)}"})
    idle = medians(results, "idle")
    if OURS in idle:
        ours = idle[OURS]["kib_a_session"]
        name, value = best(idle, "kib_a_session", no_peers)
        lines.append({"what": "KiB of memory for an IMAP session in IDLE", "ours": ours, "best": value, "peer": name,
                      "ratios": [ours / value] if value else [], "met": ours <= IDLE_KIB_MAX,
                      "target": f"at most {IDLE_KIB_MAX} KiB"})
    return lines


def generator_part(values):
    """Of the CPU time that the generator and the server used."""
    return values["generator_cpu_s"] / max(1e-9, values["server_cpu_s"] + values["generator_cpu_s"])


def verdict(line):
    if line["met"]:
        return "met"
    limited = (line.get("generator") or 0) > GENERATOR_PART_MAX
    return "**MISSED**" + (f", the generator took {line['generator']:.0%} of the CPU" if limited else "")


def target_table(lines):
    out = ["| | PigeonAir | best peer | | ratio | target | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for line in lines:
        out.append("| {} | {} | {} | {} | {} | {} | {} |".format(
            line["what"], number(line["ours"]), number(line["best"]) if line["best"] else "", line["peer"] or "",
            "-".join(dict.fromkeys(map(fraction, (min(line["ratios"]), max(line["ratios"]))))) if line["ratios"] else "",
            line["target"], verdict(line)))
    return "\n".join(out)


def spread(values):
    ends = [number(min(values)), number(max(values))]
    return "-".join(dict.fromkeys(ends))


def row_table(results, row, limits, failed):
    """All servers of a row; lowest to highest of the rounds."""
    shown = columns(row)
    out = [f"### {ROWS[row][0]}\n", f"| | {' | '.join(shown.values())} | generator's part | others' CPUs |",
           f"| --- |{' --- |' * (len(shown) + 2)}"]
    found, marked = medians(results, row), False
    for name, runs in results[row].items():
        cells = [spread([run[key] for run in runs]) for key in shown]
        generator = generator_part(found[name])
        if generator > GENERATOR_PART_MAX and row != "idle":
            cells[0 if row in ("smtp", "lmtp", "imap", "pop3") else 1] += " *"
            marked = True
        out.append(f"| {name} | {' | '.join(cells)} | {generator:.0%} | {found[name]['others']:.2f} |")
    for name in failed:
        out.append(f"| {name} | failed |{' |' * (len(shown) + 1)}")
    ours = found.get(OURS)
    lines = []
    if marked:
        lines.append("\\* the generator used about as much of the CPUs as the server: alone on the machine, this would do more.")
    for name in limits:
        if ours and name in found:
            parts = []
            for key, title in shown.items():
                share = ours[key] / found[name][key] if more_is_better(key) else found[name][key] / max(1e-9, ours[key])
                parts.append(f"{title}: {share:.0%}")
            lines.append(f"Our share of {name.removeprefix('limit: ')}: {'; '.join(parts)}.")
    return "\n".join(out) + ("\n\n" + "\n".join(lines) if lines else "")


def limit_table(machine_limits, results):
    """What the disk and the loopback give without a mail server, and what ours reaches of it."""
    limit = {key: statistics.median(run[key] for run in machine_limits) for key in machine_limits[0]}
    rows = [("durable writes of 4 KiB a second, one after the other (io_uring)", number(limit["writes_4k"]), ""),
            ("messages a second in durable writes of 50 at once", number(limit["writes_50"] * 50), "")]
    for row in ("smtp", "lmtp"):
        found = medians(results, row).get(OURS)
        if found:
            share = found["per_second"] / (limit["writes_50"] * 50)
            rows[1] = (*rows[1][:2], rows[1][2] + f"{'; ' if rows[1][2] else ''}{row.upper()}: {share:.0%}")
    # What the node sends of messages is copied; what a proxy passes on need not be.
    for kind, title, bulk in [("copy", "CPU s to send a GiB over loopback, copied from memory", ("bulk-16", "bulk-1024")),
                              ("splice", "CPU s to pass a GiB on over loopback, spliced", ())]:
        shares = []
        least = min(run[f"{kind}_cpu_s_per_gib"] for run in machine_limits)
        for row in bulk:
            found = medians(results, row).get(OURS)
            if found:
                share = least / max(1e-9, found["cpu_s_per_gib"])
                # Then something was beside it that was not beside the servers.
                shares.append(f"{row.split('-')[1]}-KiB messages: {share:.0%}" + (", no limit then" if share > 1 else ""))
        rows.append((title + f" ({number(limit[f'{kind}_mib_per_second'])} MiB/s)", number(least), "; ".join(shares)))
    out = ["| limit of this machine | | our share of it |", "| --- | --- | --- |"]
    return "\n".join(out + [f"| {name} | {value} | {share} |" for name, value, share in rows])


def durability_table(servers, syncs):
    out = ["| | an answer means | syncs a message, one after the other |", "| --- | --- | --- |"]
    for server in servers:
        count = syncs.get(server.name)
        out.append(f"| {server.name} | {server.durability} | {'' if count is None else f'{count:.1f}'} |")
    return "\n".join(out)
