#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does ClickHouse keep its promise about tokens when it is killed? No daemon of ours takes part.

  tests/lib/servers/forgets.py [--rounds N] [--ddl] [--seed N] [--build DIR]

Four clients insert 50 rows at a time over HTTP, each insert under a token of its own and repeated under it until it is answered;
the engine is killed with SIGKILL four times a round and started again. With --ddl a column is added and dropped meanwhile. In the end
each row must be there once. Prints what is missing or twice; doc/flush.md says what it found. Not part of any run of tests.
"""
import argparse
import http.client
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
CUT = (OSError, http.client.HTTPException)
ROWS = 50


class Round:
    def __init__(self, server, failed, table, ddl, r):
        self.s, self.failed, self.table, self.ddl, self.r = server, failed, table, ddl, r
        self.stop, self.sent = threading.Event(), {}

    def again(self, sql):
        while True:
            try:
                return self.s.query(sql)
            except CUT:
                time.sleep(0.1)
            except self.failed as e:
                if re.search("already exists|Wrong column|not finished yet", str(e)):
                    return None
                time.sleep(0.1)

    def client(self, who):
        n = 0
        while not self.stop.is_set():
            n += 1
            body = "".join(json.dumps({"id": f"{who}-{n}-{k}", "text": "x" * k}) + "\n" for k in range(ROWS)).encode()
            while True:
                self.sent[who, n] = self.sent.get((who, n), 0) + 1
                try:
                    self.s.query(f"INSERT INTO {self.table} (id, text) FORMAT JSONEachRow", body, timeout=3, async_insert=0,
                                 insert_deduplicate=1, insert_deduplication_token=f"{self.table}/{who}/{n}")
                    break
                except (*CUT, self.failed):
                    time.sleep(0.05)

    def alter(self):
        while not self.stop.is_set():
            for what in ("ADD COLUMN c UInt32 DEFAULT 0", "DROP COLUMN c"):
                time.sleep(self.r.uniform(0, 0.15))
                self.again(f"ALTER TABLE {self.table} {what}")

    def run(self, partitions):
        self.again(f"CREATE TABLE {self.table} (id String, text String) ENGINE = MergeTree"
                   f"{' PARTITION BY cityHash64(id) % 3' if partitions else ''} ORDER BY id"
                   " SETTINGS non_replicated_deduplication_window = 100000")
        threads = [threading.Thread(target=self.client, args=(w,)) for w in range(4)]
        threads += [threading.Thread(target=self.alter)] if self.ddl else []
        for t in threads:
            t.start()
        for _ in range(4):
            time.sleep(self.r.uniform(0.1, 0.6))
            self.s.control("/engine/kill")
            self.s.control("/engine/start")
        self.stop.set()
        for t in threads:
            t.join()
        rows, there = int(self.again(f"SELECT count() FROM {self.table}")), int(self.again(f"SELECT uniqExact(id) FROM {self.table}"))
        return len(self.sent), sum(n > 1 for n in self.sent.values()), ROWS * len(self.sent) - there, rows - there


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--ddl", action="store_true")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--build", default=os.path.join(TOP, "build"))
    o = p.parse_args()
    os.environ["WH_BUILD"] = os.path.abspath(o.build)
    from lib import clickhouse, servers
    folder, r = tempfile.mkdtemp(prefix="forgets-"), random.Random(o.seed)
    engine = servers.Modern(folder)
    try:
        engine.server.query("CREATE DATABASE forgets")
        all_rounds = [Round(engine.server, clickhouse.Failed, f"forgets.t{n}", o.ddl, r).run(n % 2) for n in range(o.rounds)]
    finally:
        engine.stop()
        shutil.rmtree(folder, ignore_errors=True)
    tokens, repeated, missing, twice = map(sum, zip(*all_rounds))
    print(f"{tokens} tokens, {repeated} of them repeated; {missing} rows missing, {twice} twice")


if __name__ == "__main__":
    main()
