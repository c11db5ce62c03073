// SPDX-License-Identifier: Apache-2.0
// The SDK reaches the daemon, and inserts: one row, several, one that is refused, a table that is not there.
import { client, ok, same } from "./scenario.mjs";

const health = await client.sys.health();
same(health.error, null, "sys.health() has no error");

const one = await client.from("smoke").insert({ id: 1, name: "one" });
same([one.error, one.data?.ok], [null, true], "insert() of one row");

const many = await client.from("smoke").insert([{ id: 2, name: "two" }, { id: 3 }, "no record"]);
same(many.error, null, "insert() of several has no error, though one is refused");
same([many.data?.ok, many.data?.total, many.data?.succeeded, many.data?.failed], [false, 3, 2, 1], "and its counts");
same(many.data?.results?.find(r => r.error)?.index, 3, "and says which");

const lines = await client.from("smoke").insertNDJSON('{"id":4,"name":"four"}\n{"id":5}\n');
same([lines.error, lines.data?.succeeded], [null, 2], "insertNDJSON()");

const lost = await client.from("no_such_table").insert({ id: 1 });
ok(lost.data === null && lost.error?.code && lost.error?.message, "a table that is not there: an error with code and message", lost);
