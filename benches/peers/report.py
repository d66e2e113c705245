"""The tables of a run, from its figures alone: what was aimed at, every row, the proxies, and how far the machine itself would go.
Each is Markdown, and stands between a pair of marks in docs/benchmarks.md, where a run is written; what explains them stands
around them, by hand."""

import re
import statistics

from limits import least, limits_of, most, proxy_limit
from measure import ROWS
from proxy.bench import attempted

OURS = "PigeonAir"
# By row: the columns, each with its title.
SESSION_COLUMNS = {"per_second": "a second", "cpu_ms": "CPU ms each"}
COLUMNS = {**dict.fromkeys(["smtp", "lmtp", "imap", "pop3"], SESSION_COLUMNS),
           "idle": {"kib_a_session": "KiB of memory a session", "sessions": "sessions"}}
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
# Of the proxies' measures, by how each begins: what ours is to be at most, the first backend's; a name is that proxy's.
PROXY_TARGETS = {"login": "HAProxy", "FETCH": "HAProxy", "idle by TLS": 6, "idle": 1.5}


def more_is_better(column):
    return column.endswith("per_second")


def columns(row):
    return COLUMNS.get(row, BULK_COLUMNS)


def medians(results, row):
    """By server, of each column and of who else used the CPUs."""
    keys = [*columns(row), "server_cpu_s", "generator_cpu_s", "others", "kernel_each"]
    return {name: {key: statistics.median(run[key] for run in runs) for key in keys if key in runs[0]}
            for name, runs in results.get(row, {}).items()}


def best(found, column, no_peers):
    """Of the peers: whose, and how much."""
    peers = {name: values[column] for name, values in found.items() if name not in no_peers}
    if not peers:
        return None, None
    name = (max if more_is_better(column) else min)(peers, key=peers.get)
    return name, peers[name]


def by_round(servers, column, no_peers):
    """Ours to the best peer's of the same round, of those in which both were measured."""
    choose, ratios = max if more_is_better(column) else min, []
    for ours in servers[OURS]:
        peers = [run[column] for name, runs in servers.items() if name not in no_peers
                 for run in runs if run["round"] == ours["round"]]
        if peers:
            # Less than a tick of the clock is none.
            ratios.append(max(ours[column], 1e-9) / max(choose(peers), 1e-9))
    return ratios


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def fraction(value):
    return f"{number(value)}x" if value >= 1 else f"1/{number(1 / value)}"


def spread(values):
    return "-".join(dict.fromkeys([number(min(values)), number(max(values))]))


def verdicts(results, no_peers, wanted):
    """A line of each target of the wanted rows: its name, ours, whose is the best, that, ratios, target, whether it is met; that is
    nothing where one of both is missing."""
    lines = []
    for (row, column), (title, target) in TARGETS.items():
        if row not in wanted:
            continue
        found = medians(results, row)
        name, value = best(found, column, no_peers)
        ratios = by_round(results[row], column, no_peers) if OURS in found else []
        goal = f"{'at least' if more_is_better(column) else 'at most'} {fraction(target)}"
        if not ratios:
            ours = found[OURS][column] if OURS in found else None
            lines.append({"what": title, "ours": ours, "best": value, "peer": name, "ratios": [], "met": None, "target": goal})
            continue
        # Side by side: of each round by itself. What the machine does beside it, both feel.
        worst = min(ratios) if more_is_better(column) else max(ratios)
        met = worst >= target if more_is_better(column) else worst <= target
        lines.append({"what": title, "ours": found[OURS][column], "best": value, "peer": name, "ratios": ratios, "met": met,
                      "generator": generator_part(found[OURS]) if more_is_better(column) else None,
                      "target": goal})
    if "idle" in wanted:
        idle = medians(results, "idle")
        ours = idle[OURS]["kib_a_session"] if OURS in idle else None
        name, value = best(idle, "kib_a_session", no_peers)
        lines.append({"what": "KiB of memory for an IMAP session in IDLE", "ours": ours, "best": value, "peer": name,
                      "ratios": [max(ours, 1e-9) / value] if value and ours is not None else [],
                      # By itself, whoever else was measured.
                      "met": None if ours is None else ours <= IDLE_KIB_MAX,
                      "target": f"at most {IDLE_KIB_MAX} KiB"})
    return lines


def generator_part(values):
    """Of the CPU time that the generator and the server used."""
    return values["generator_cpu_s"] / max(1e-9, values["server_cpu_s"] + values["generator_cpu_s"])


def verdict(line):
    if line["met"] is None:
        return "**not measured**"
    if line["met"]:
        return "met"
    limited = (line.get("generator") or 0) > GENERATOR_PART_MAX
    return "**MISSED**" + (f", the generator took {line['generator']:.0%} of the CPU" if limited else "")


def target_table(lines):
    out = ["| | PigeonAir | best peer | | ratio | target | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for line in lines:
        out.append("| {} | {} | {} | {} | {} | {} | {} |".format(
            line["what"], "" if line["ours"] is None else number(line["ours"]), number(line["best"]) if line["best"] else "", line["peer"] or "",
            "-".join(dict.fromkeys(map(fraction, (min(line["ratios"]), max(line["ratios"]))))) if line["ratios"] else "",
            line["target"], verdict(line)))
    return "\n".join(out)


def share(ours, limit, column):
    """Ours of a limit."""
    part = ours / max(1e-9, limit) if more_is_better(column) else limit / max(1e-9, ours)
    # Then something was beside it that was not beside the servers.
    return f"{part:.0%}" + (" (beaten: no limit then)" if part > 1 else "")


def some_of(count, rounds):
    """What is said of one that failed in some of the rounds."""
    return f" ({count} of {rounds} rounds)" if count < rounds else ""


def row_table(found, row, failed):
    """All servers of a row, lowest to highest of the rounds; the limits of the machine, and our share of them."""
    results, shown = found["rows"].get(row, {}), columns(row)
    kernel = row != "idle"
    unit = "CPU s a GiB" if shown is BULK_COLUMNS else "CPU ms each"
    titles = [*shown.values(), *([f"kernel threads, {unit}"] if kernel else []), "generator's part", "others' CPUs"]
    out = [f"### {ROWS[row][0]}\n", f"| | {' | '.join(titles)} |", f"| --- |{' --- |' * len(titles)}"]
    middle, marked = medians(found["rows"], row), False
    # Figures of before did not say how many there were.
    rounds = found.get("rounds", 0) if row != "idle" else 1
    # As they are listed, whoever was the first to be measured.
    for name in [server["name"] for server in found["servers"] if server["name"] in results]:
        runs = results[name]
        cells = [spread([run[key] for run in runs]) for key in shown]
        generator = generator_part(middle[name])
        if generator > GENERATOR_PART_MAX and row != "idle":
            cells[list(shown).index(next(key for key in shown if more_is_better(key)))] += " *"
            marked = True
        if kernel:
            cells.append(number(middle[name]["kernel_each"]))
        out.append(f"| {name}{some_of(len(runs), rounds)} | {' | '.join(cells)} | {generator:.0%} | {middle[name]['others']:.2f} |")
    for name in failed:
        out.append(f"| {name} | failed |{' |' * (len(titles) - 1)}")
    limits = limits_of(row, found["limits"])
    for name, values in limits.items():
        cells = [number(values[key]) if key in values else "" for key in shown]
        out.append(f"| {name} | {' | '.join(cells)} |{' |' * (len(titles) - len(shown))}")
    # A server that does nothing else is a limit as well.
    for server in found["servers"]:
        if server["is_limit"] and server["name"] in middle:
            limits[server["name"]] = {key: middle[server["name"]][key] for key in shown if key != "sessions"}
    lines = []
    if marked:
        lines.append("\\* the generator used about as much of the CPUs as the server: alone on the machine, this would do more.")
    for name, values in limits.items() if OURS in middle else []:
        parts = [f"{shown[key]}: {share(middle[OURS][key], value, key)}" for key, value in values.items()]
        lines.append(f"Our share of {name.removeprefix('limit: ')}: {'; '.join(parts)}.")
    return "\n".join(out) + ("\n\n" + "\n".join(lines) if lines else "")


def limit_table(found):
    """What the disk and the loopback give without a mail server."""
    machine = found["limits"]
    if not machine:
        return "Not measured."
    rows = [("durable writes of 4 KiB a second, one after the other (io_uring)", most(machine, "writes_4k")),
            ("messages of 4 KiB a second in durable writes of 50 at once, with 1, 2 or 4 of these under way", most(machine, "writes_50") * 50),
            (f"CPU s to send a GiB over loopback, copied from memory (at most {number(most(machine, 'copy_mib_per_second'))} MiB/s)",
             least(machine, "copy_cpu_s_per_gib")),
            ("CPU s to receive it", least(machine, "receive_cpu_s_per_gib")),
            (f"CPU s to pass it on, spliced (at most {number(most(machine, 'splice_mib_per_second'))} MiB/s)",
             least(machine, "splice_cpu_s_per_gib")),
            ("CPU s to seal it (AES-256-GCM in records of TLS 1.3)", least(machine, "seal_cpu_s_per_gib")),
            ("CPU ms to accept a connection, open another, pass the five pieces of a login on, and close both",
             least(machine, "relay_cpu_ms")),
            ("KiB that the kernel keeps for one end of a connection, in nobody's user memory",
             least(machine, "kernel_kib_a_connection"))]
    return "\n".join(["| limit of this machine, the best of all turns | |", "| --- | --- |",
                      *(f"| {name} | {number(value)} |" for name, value in rows)])


def durability_table(found):
    out = ["| | an answer means | syncs a message, one after the other |", "| --- | --- | --- |"]
    for server in found["servers"]:
        if server["durability"] and {"smtp", "lmtp"} & set(server["rows"]):
            count = found["syncs"].get(server["name"])
            out.append(f"| {server['name']} | {server['durability']} | {'' if count is None else f'{count:.1f}'} |")
    return "\n".join(out)


def proxy_target(name, values):
    """How ours is to the target, and which that is."""
    target = next((target for start, target in PROXY_TARGETS.items() if name.startswith(start)), None)
    ours, other = (values.get(who, {}).get(name) for who in (OURS, target))
    if target is None or not ours:
        return ""
    value = statistics.median(ours)
    if isinstance(target, str):
        if not other:
            return ""
        allowed = statistics.median(other)
        return f"{target}'s: {'met' if value <= allowed else '**missed**'} ({fraction(value / allowed)})"
    return f"{target}: {'met' if value <= target else '**missed**'}"


def proxy_cell(values, rounds, has_failed):
    """Lowest to highest, of those rounds in which it did not fail."""
    if not values:
        return "failed" if has_failed else ""
    return spread(values) + (some_of(len(values), rounds) if has_failed else "")


def proxy_tables(results, machine, failures=(), rounds=1):
    """A table for each backend; lowest to highest of the rounds, and who failed in which."""
    tables, failed = [], {(failure["server"], failure["what"]) for failure in failures}

    def has_failed(backend, who, name):
        # What is idle has a name for each count of connections, and one attempt.
        words = {"start", name, name.partition(",")[0] if name.startswith("idle") else name}
        return any((who, attempted(backend, word)) in failed for word in words)

    for backend, found in results.items():
        first, lines = not tables, []
        heads = [*found, "limit", "our share", *(["target"] if first else [])]
        lines.append(f"Backend: {backend}\n\n| | {' | '.join(heads)} |\n| --- |{' --- |' * len(heads)}")
        for name in dict.fromkeys(name for values in found.values() for name in values):
            cells = [proxy_cell(values.get(name), rounds, has_failed(backend, who, name)) for who, values in found.items()]
            limit, ours = proxy_limit(name, machine), found.get(OURS, {}).get(name)
            cells += [number(limit) if limit else "", share(statistics.median(ours), limit, name) if limit and ours else ""]
            cells += [proxy_target(name, found)] if first else []
            lines.append(f"| {name} | {' | '.join(cells)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def header(found):
    """The machine, the versions and the command."""
    machine = found["machine"]
    return (f"{machine['cpus']} CPUs ({machine['model']}), {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
            f"{machine['file_system']}, TCP with {machine['congestion_control']}; load before: {machine['load_average']:.2f}; "
            f"`{found['command']}` on {found['date']}, {found['minutes']:.0f} minutes. " +
            ", ".join(f"{name} {version}" for name, version in sorted(found["versions"].items())) + ".")


def failures(found):
    """By row, the servers that gave nothing for it."""
    failed = {}
    for row in found["wanted"]:
        for server in found["servers"]:
            if row in server["rows"] and server["name"] not in found["rows"].get(row, {}):
                failed.setdefault(row, []).append(server["name"])
    return failed


def sections(found):
    """By the name of its marks in docs/benchmarks.md, the Markdown of each part that was measured."""
    parts = {}
    if found.get("wanted"):
        no_peers = [server["name"] for server in found["servers"] if not server["is_peer"]]
        failed = failures(found)
        parts["targets"] = f"{header(found)}\n\n{target_table(verdicts(found['rows'], no_peers, found['wanted']))}"
        parts["rows"] = "\n\n".join([
            *(row_table(found, row, failed.get(row, [])) for row in found["wanted"]),
            f"### Limits of the machine, in the same run\n\n{limit_table(found)}",
            f"### What an answer to a message means\n\n{durability_table(found)}"])
    if found.get("proxies"):
        same = "In the same run as [the mail servers](#beside-what-people-use-today)."
        shown = proxy_tables(found["proxies"], found["limits"], found["failures"], found.get("rounds", 1))
        parts["proxies"] = f"{same if found.get('wanted') else header(found)}\n\n{shown}"
    return parts


def write(found, path):
    """Puts the tables of a run into the documentation; the names of those parts. Of rows that were measured in part only nothing is
    written: they are of one run. Nor of a run in which something failed: without its best peer a target is met that is not."""
    if found["part"] or found["failures"]:
        return []
    text = path.read_text()
    parts = sections(found)
    if not set(ROWS) <= set(found.get("wanted", [])):
        parts = {name: part for name, part in parts.items() if name == "proxies"}
    for name, part in parts.items():
        marks = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end of what was measured -->)", re.DOTALL)
        assert marks.search(text), f"{path} has no marks of {name}"
        text = marks.sub(lambda match, part=part: f"{match[1]}\n{part}\n\n{match[2]}", text)
    path.write_text(text)
    return list(parts)
