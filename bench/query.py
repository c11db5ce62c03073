# SPDX-License-Identifier: Apache-2.0
"""The query cache against nginx's bare `return 200`, and how many queries of many askers reach ClickHouse.

  a   the same structured query over 64 connections (wrk), answered from the cache: answers/s beside nginx's
  b   one client that asks --events times a second at even intervals: how long it waits for an answer (bench/paced.c), nginx and we in
      turn, --rounds times, the median p99 counts; and one that asks again as soon as it is answered (wrk, one connection)
  c   64 connections that each ask a hundred times a second (wrk). Its threads wake for all of them at once, so questions come in
      bursts of 32 and each waits for those before it: what is seen is how long a burst takes, server and wrk together
  d   fifty clients ask the same new query at once, --rounds times; queries as ClickHouse counts them
"""
import json
import os
import threading
from statistics import median_high

TARGET_RATIO, TARGET_P99_MS = 0.5, 0.5
BODY = {"columns": ["status"], "aggregations": [{"fn": "count", "column": "*", "alias": "n"}], "group_by": ["status"],
        "order_by": [{"column": "n", "dir": "desc"}], "limit": 10}


def options(p):
    p.add_argument("--seconds", type=int, default=6, help="of each wrk run; an answer is kept for ten")
    p.add_argument("--events", type=int, default=1000, help="a second over the one connection")
    p.add_argument("--rounds", type=int, default=5, help="of b, and of fifty clients")


def measure(b, work, started):
    engine = b.Engine(work)
    started.append(engine)
    s = engine.server
    s.query("CREATE DATABASE bench")
    s.query("CREATE TABLE bench.hits (id UInt64, status UInt16) ENGINE = MergeTree ORDER BY id")
    s.query("INSERT INTO bench.hits SELECT number, 200 + number % 5 FROM numbers(1000000)")
    nginx = b.Nginx(work)
    started.append(nginx.child)
    d = b.Daemon(s, "bench", name="query", settings={"wal.segment_size": "8MiB", "schema.refresh_interval": "1h"})
    started.append(d)
    d.start("/readyz")
    d.know("hits")
    path = "/v1/query?table=hits"
    body_file, request_file = os.path.join(work, "body"), os.path.join(work, "request")
    with open(body_file, "w", encoding="utf-8") as f:
        json.dump(BODY, f)
    with open(request_file, "wb") as f:
        f.write(b.request(d.port, path, json.dumps(BODY).encode(), b"application/json"))
    out = {}
    for name, port, where in (("nginx", nginx.port, "/"), ("hit", d.port, path)):
        b.say(f"{name}, saturated")
        d.call("POST", path, json.dumps(BODY))
        before = d.metrics()
        out[name] = b.wrk(port, where, body_file)
        b.say(f"{name}, paced")
        d.call("POST", path, json.dumps(BODY))
        out[name + "_paced"] = b.wrk(port, where, body_file, b.THINK_MS)
        b.say(f"{name}, one connection")
        d.call("POST", path, json.dumps(BODY))
        out[name + "_closed"] = b.wrk(port, where, body_file, connections=1)
        after = d.metrics()
        for r, plural in (("hit", "hits"), ("miss", "misses")):
            key = f'wavehouse_cache_lookups_total{{result="{r}"}}'
            out[f"{name}_{plural}"] = after.get(key, 0) - before.get(key, 0)
    out["nginx_one"], out["hit_one"] = [], []
    for n in range(b.O.rounds):
        b.say(f"one client at even intervals, round {n + 1}")
        for name, port in (("nginx", nginx.port), ("hit", d.port)):
            d.call("POST", path, json.dumps(BODY))
            waited = b.probe(port, request_file, b.O.events, b.O.seconds // 2)["waited_us"]
            out[name + "_one"].append({"p50_ms": b.quantile_ms(waited, 0.5), "p99_ms": b.quantile_ms(waited, 0.99)})
    b.say("fifty at once")
    reached, counter = [], "SELECT value FROM system.events WHERE event = 'SelectQuery'"
    for n in range(b.O.rounds):
        ask, codes = json.dumps({**BODY, "limit": 100 + n}), []
        before = s.one(counter)
        threads = [threading.Thread(target=lambda: codes.append(d.call("POST", path, ask).status)) for _ in range(50)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        reached.append({"answers": codes.count(200), "queries": int(s.one(counter)) - int(before) - 1})
    out["fifty"] = reached
    out["metrics"] = {k: v for k, v in d.metrics().items() if "cache" in k or "coalesced" in k}
    out["cores"] = os.cpu_count()
    return out


def checks(r):
    hit, nginx = r["hit"], r["nginx"]
    ratio = hit["per_second"] / nginx["per_second"]
    paced = r["hit_paced"]

    def one(name, key):
        return median_high(x[key] for x in r[name + "_one"])
    queries = [x["queries"] for x in r["fifty"]]
    return [
        ("cache hits/s, 64 connections", f"{hit['per_second']:.0f}", f"nginx: {nginx['per_second']:.0f}", f"{ratio:.2f}",
         f">= {TARGET_RATIO}", ratio >= TARGET_RATIO and hit["not_2xx"] == 0),
        ("   p50, p99 ms at saturation", f"{hit['p50_ms']:.2f} {hit['p99_ms']:.2f}", f"{nginx['p50_ms']:.2f} {nginx['p99_ms']:.2f}", "", "", None),
        ("cache hit, p99 ms, one client", f"{one('hit', 'p99_ms'):.3f}", f"nginx: {one('nginx', 'p99_ms'):.3f}", "", f"< {TARGET_P99_MS}",
         one("hit", "p99_ms") < TARGET_P99_MS),
        ("   each round", " ".join(f"{x['p99_ms']:.2f}" for x in r["hit_one"]), " ".join(f"{x['p99_ms']:.2f}" for x in r["nginx_one"]), "", "", None),
        ("   p50 ms", f"{one('hit', 'p50_ms'):.3f}", f"{one('nginx', 'p50_ms'):.3f}", "", "", None),
        ("   one after the other, p50, p99 ms", f"{r['hit_closed']['p50_ms']:.3f} {r['hit_closed']['p99_ms']:.3f}",
         f"{r['nginx_closed']['p50_ms']:.3f} {r['nginx_closed']['p99_ms']:.3f}", "", "", None),
        ("bursts of 32, p50, p99 ms", f"{paced['p50_ms']:.2f} {paced['p99_ms']:.2f}",
         f"{r['nginx_paced']['p50_ms']:.2f} {r['nginx_paced']['p99_ms']:.2f}", "", "", None),
        ("   lookups that missed", f"{r['hit_misses']:.0f}", f"of {r['hit_hits'] + r['hit_misses']:.0f}", "", "", None),
        ("ClickHouse queries for fifty of the same", " ".join(str(q) for q in queries), "", "", "1",
         all(q == 1 for q in queries) and all(x["answers"] == 50 for x in r["fifty"])),
    ]
