# SPDX-License-Identifier: Apache-2.0
"""Queries to a real ClickHouse over its HTTP port, and the generations a test can run against."""
import json
import os
import urllib.parse

from . import env, net


class Failed(Exception):
    """ClickHouse answered with an error."""


class Server:
    """One ClickHouse. tcp and http are the ports the daemon gets; direct is where the test itself asks."""

    def __init__(self, name, tcp, http, direct, admin=0):
        self.name, self.tcp, self.http, self.direct, self.admin = name, tcp, http, direct, admin

    @property
    def modern(self):
        return self.name != "18.16"

    def query(self, sql, body=None, timeout=60, **settings):
        """Runs one statement; the answer's text."""
        params = dict(settings)
        if body is None:
            body, path = sql.encode(), "/"
        else:
            params["query"], path = sql, "/"
        if params:
            path += "?" + urllib.parse.urlencode(params)
        a = net.call(self.direct, "POST", path, body, timeout=timeout)
        if a.status != 200:
            text = a.body.decode("utf-8", "replace").strip()
            if not text:  # says nothing about the statement: the server was going away
                raise ConnectionError(f"ClickHouse answered {a.status} without a text")
            raise Failed(text)
        return a.body.decode("utf-8", "surrogateescape")

    def rows(self, sql, **settings):
        """All rows as lists; 64-bit integers as Python integers."""
        text = self.query(sql + " FORMAT JSONCompact", output_format_json_quote_64bit_integers=0, **settings)
        return json.loads(text)["data"]

    def one(self, sql):
        return self.rows(sql)[0][0]

    def database(self, name):
        """An empty database."""
        self.query(f"DROP DATABASE IF EXISTS {name}")
        self.query(f"CREATE DATABASE {name}")
        return name

    # The front's admin port: faults, and life and death of the engine behind it.
    def control(self, path, value=None):
        a = net.call(self.admin, "POST", path, json.dumps(value or {}), timeout=60)
        if a.status != 200:
            raise Failed(f"{path}: {a.body!r}")
        return a.json()

    def state(self):
        """Of the front: its ports, and how often each fault was injected."""
        return net.call(self.admin, "GET", "/state", timeout=60).json()

    def log(self):
        """Queries that the front has seen, oldest first."""
        return net.call(self.admin, "GET", "/log", timeout=60).json()

    def up(self):
        try:
            return net.call(self.direct, "GET", "/ping", timeout=1).status == 200
        except OSError:
            return False


def modern():
    """26.7 behind the fault-injecting front, or None."""
    tcp, http = env.port("WH_CH26_TCP"), env.port("WH_CH26_HTTP")
    direct = env.port("WH_CH26_DIRECT_HTTP")
    return Server("26.7", tcp, http, direct or http, env.port("WH_CH26_ADMIN")) if tcp else None


def modern_direct():
    """26.7 itself, no front in between (for speed), or None."""
    tcp, http = env.port("WH_CH26_DIRECT_TCP"), env.port("WH_CH26_DIRECT_HTTP")
    return Server("26.7", tcp, http, http, env.port("WH_CH26_ADMIN")) if tcp else None


def old():
    """Debian's 18.16, or None."""
    tcp, http = env.port("WH_CH18_TCP"), env.port("WH_CH18_HTTP")
    return Server("18.16", tcp, http, http) if tcp else None


def generations():
    """Every server that runs now; WH_ONLY=26.7 or 18.16 picks one."""
    only = os.environ.get("WH_ONLY")
    return [s for s in (modern_direct(), old()) if s and only in (None, "", s.name)]
