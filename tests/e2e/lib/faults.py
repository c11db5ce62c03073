# SPDX-License-Identifier: Apache-2.0
"""What chaos.py can do to a daemon and its ClickHouse. Every parameter is drawn from the Random that is given, so a
round replays from its seed; what the front really injected is counted by the front itself."""

# Exceptions that an INSERT meets, by when. After the rows are stored ClickHouse can still fail for want of
# memory, time or a connection, but not for the data: that would be a lie nobody has to cope with.
AT_QUERY = (252, 252, 241, 159, 425, 60, 16, 44, 81, 202, 242, 236, 394, 999, 53, 27, 1001)
AT_DATA = (252, 241, 159, 425, 210, 53, 117)
AT_ACK = (159, 241, 425, 319, 210, 394, 999)
AT_HELLO = (202, 241, 516)
BY_HTTP = (252, 241, 159, 60, 27, 202, 81)


def spread(r, low, high):
    """Small numbers as likely as large ones: a byte position anywhere in an exchange."""
    return int(low * (high / low) ** r.random())


def timing(r):
    return {"hang": {}, "delay": {"ms": spread(r, 30, 3000)}, "drop": {"rst": r.random() < 0.5}}


def native(at, kind, codes=(), after=0):
    def make(r):
        f = {"at": at, "kind": kind, **timing(r).get(kind, {})}
        if codes:
            f["code"] = r.choice(codes)
        if after:
            f["after"] = spread(r, 1, after)
        if at in ("query", "data", "ack"):
            f["match"] = "^insert"
        return f
    return make


def http(at, kind, **more):
    def make(r):
        f = {"proto": "http", "at": at, "kind": kind, **timing(r).get(kind, {}), **more}
        if kind == "exception":
            f["code"] = r.choice(BY_HTTP)
        if kind == "status":
            f["status"] = r.choice((429, 500, 502, 503))
        if at == "query":
            f["match"] = r.choice(("^insert", "^insert", "."))
        return f
    return make


# As the front counts them: PROTOCOL.AT.KIND → makes one fault.
FRONT = {
    "native.connect.drop": native("connect", "drop"),
    "native.connect.hang": native("connect", "hang"),
    "native.connect.delay": native("connect", "delay"),
    "native.hello.drop": native("hello", "drop"),
    "native.hello.hang": native("hello", "hang"),
    "native.hello.delay": native("hello", "delay"),
    "native.hello.exception": native("hello", "exception", AT_HELLO),
    "native.query.drop": native("query", "drop"),
    "native.query.hang": native("query", "hang"),
    "native.query.delay": native("query", "delay"),
    "native.query.exception": native("query", "exception", AT_QUERY),
    "native.data.drop": native("data", "drop", after=20000),
    "native.data.hang": native("data", "hang", after=20000),
    "native.data.delay": native("data", "delay", after=20000),
    "native.data.exception": native("data", "exception", AT_DATA, after=20000),
    "native.ack.drop": native("ack", "drop"),
    "native.ack.hang": native("ack", "hang"),
    "native.ack.delay": native("ack", "delay"),
    "native.ack.exception": native("ack", "exception", AT_ACK),
    "native.up.drop": native("up", "drop", after=60000),
    "native.up.hang": native("up", "hang", after=60000),
    "native.down.drop": native("down", "drop", after=4000),
    "native.down.hang": native("down", "hang", after=4000),
    "http.query.drop": http("query", "drop"),
    "http.query.hang": http("query", "hang"),
    "http.query.delay": http("query", "delay"),
    "http.query.exception": http("query", "exception"),
    "http.query.status": http("query", "status"),
    "http.response.drop": http("response", "drop"),
    "http.response.delay": http("response", "delay"),
}
# A fresh connection, or one that was alive a moment ago, meets these.
NEEDS_CONNECT = ("native.connect", "native.hello")
# After these the daemon cannot know whether ClickHouse has the rows.
UNKNOWN_FATE = ("native.ack", "native.data", "native.up", "native.down", "http.query", "http.response")


def front(r):
    """One fault of the front, each kind as likely: (kind, fault)."""
    kind = r.choice(sorted(FRONT))
    f = FRONT[kind](r)
    f["times"] = r.choice((1, 1, 1, 2, 4))
    if kind.endswith(("hang", "delay")):
        f["times"] = 1
    return kind, f
