# SPDX-License-Identifier: Apache-2.0
"""What became of each INSERT, as the front between daemon and ClickHouse saw it (`/inserts`), and what that explains.

A row that is there twice, or not at all, has a plan; the plan has a token; and the front knows when each token went to
ClickHouse, what ClickHouse said, what was done to the answer and what the daemon was told.
"""
import re

from . import audit


def seen(server, clear=False):
    return server.control("/inserts" + ("?clear=1" if clear else ""))


def said(n):
    """One line about one INSERT."""
    took = f"{n['ended'] - n['began']} ms" if n["ended"] else "no end"
    return (f"{n['began'] / 1000:.3f} {n['proto']} {n['token']} {took}: ClickHouse said {n['server']},"
            f" fault {n['fault']}, the daemon was told {n['told']}")


class Plans:
    """Every plan of the log with its rows, and the INSERTs that were its own."""

    def __init__(self, entries, notes):
        self.plans, self.notes, self.place = audit.plans(entries), notes, {}
        events = [(e["index"], e["table"], [r["record"].get("id") for r in e["records"]]) for e in entries if e.get("records")]
        for table, first, last in self.plans:
            row = 0
            for index, of, ids in sorted(events):
                if of == table and first <= index <= last:
                    for n, ident in enumerate(ids):
                        self.place.setdefault(ident, []).append((table, first, last, row + n))
                    row += len(ids)

    def of_row(self, ident):
        """The INSERTs under a token that names this row, in the order in which they came."""
        out = []
        for table, first, last, row in self.place.get(ident, ()):
            whole = f"/{table}/{first}-{last}"
            for n in self.notes:
                m = re.fullmatch(r"[^/]+" + re.escape(whole) + r"(?:/(\d+)-(\d+)\.[0-9a-f]+)?", n["token"])
                if m and (m[1] is None or int(m[1]) <= row <= int(m[2])):
                    out.append(n)
        return out

    def explain(self, ident):
        places = [f"plan {t} {a}-{b} row {r}" for t, a, b, r in self.place.get(ident, ())]
        return "\n".join([f"  {ident}: {', '.join(places) or 'in no plan'}"] + ["    " + said(n) for n in self.of_row(ident)])

    def forgotten(self, ident, kills):
        """The token under which ClickHouse has forgotten this row, or None.

        ClickHouse writes a token down before it makes the part visible (doc/flush.md), and drops the repetition although the part
        is not there when it was killed in between. Proved by the log of tokens, and only then: the token never had
        an answer before, ClickHouse was killed while it was on its way, and the same token was answered as stored after that.
        kills: (began, ended) of each kill -9 of ClickHouse, seconds."""
        by_token = {}
        for n in self.of_row(ident):
            by_token.setdefault(n["token"], []).append(n)
        for token, notes in by_token.items():
            stored = [n for n in notes if n["server"] == "stored"]
            before = [n for n in notes if not stored or n["began"] < stored[0]["began"]]
            killed = [n for n in before if n["server"] is None and any(
                n["began"] / 1000 <= ended and began <= (n["ended"] or stored[0]["began"]) / 1000 for began, ended in kills)]
            if stored and killed:
                return token
        return None
