// SPDX-License-Identifier: Apache-2.0
// wavehouse-codegen makes types of the tables, and they compile.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { about, admin, baseURL, modern, ok, policy, same, skip, table, token } from "./scenario.mjs";

const folder = mkdtempSync(join(about.folder, "codegen-"));
const run = (program, ...args) => {
    const p = spawnSync(process.execPath, [join(about.modules, program), ...args], { cwd: folder, encoding: "utf8" });
    return { status: p.status, said: p.stdout + p.stderr };
};
const codegen = (out, auth) => run("@wavehouse/sdk/dist/cli/codegen.js", "--url", baseURL, "--out", join(folder, out), ...(auth ? ["--auth", auth] : []));
const tsc = (...files) => run("typescript/bin/tsc", "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", ...files);

await policy({ tables: {} });
const none = codegen("none.d.ts", token({ role: "admin" }));
ok(none.status === 1 && none.said.includes("No tables found"), "no tables: it says so", none);

await table("clicks", `id UInt32, page String DEFAULT '/', score Nullable(Float64), at DateTime, day Date, price Decimal(10, 2), uid UUID,
    kind Enum8('a' = 1, 'b' = 2), fixed FixedString(4), list Array(String), pair Tuple(UInt8, String), low LowCardinality(String),
    nested Array(Array(Int64))`);
await table("user_events", "user_id UInt64, received_timestamp DateTime DEFAULT now()");
if (modern)
    await table("newer", `ts DateTime64(3, 'Asia/Kathmandu'), flag Bool, labels Map(String, Array(UInt8)), address IPv6, big Int256,
        low LowCardinality(Nullable(String))`);
else
    skip("types of newer columns", "ClickHouse 18.16 has no DateTime64, Bool, Map, IPv6, Int256 columns");

const refused = codegen("refused.d.ts");
ok(refused.status === 1 && refused.said.includes("403"), "without a token: it says 403", refused);
const made = codegen("wavehouse.d.ts", token({ role: "admin" }));
ok(made.status === 0, "with an admin's it makes the types", made);
const text = readFileSync(join(folder, "wavehouse.d.ts"), "utf8");
for (const line of ["clicks: ClicksRow;", "user_events: UserEventsRow;", "page?: string;", "score: number | null;", "list: string[];",
    "received_timestamp?: string;", ...(modern ? ["ts: string;", "flag: boolean;", "labels: Record<string, number[]>;", "low: string | null;"] : [])])
    ok(text.includes(`  ${line}\n`), `it has: ${line}`, text);

const program = `
import { createClient } from "@wavehouse/sdk";
import type { ClicksRow, Database, UserEventsRow } from "./wavehouse.js";
const wh = createClient({ baseURL: "http://127.0.0.1:1", auth: () => "x" });
const row: ClicksRow = { id: 1, score: null, at: "", day: "", price: 1.5, uid: "", kind: "a", fixed: "", list: ["x"], pair: [1, "x"],
    low: "", nested: [[1]] };
export const table: keyof Database = "user_events";
export const user = (e: UserEventsRow): number => e.user_id;
export async function use(): Promise<string | undefined> {
    await wh.from("clicks").insert({ ...row });
    return (await wh.from("clicks").fetch()).error?.message;
}
`;
writeFileSync(join(folder, "package.json"), '{"type":"module"}');
writeFileSync(join(folder, "use.ts"), program);
writeFileSync(join(folder, "misuse.ts"), program.replace("price: 1.5", 'price: "1.5"'));
const compiled = tsc("use.ts", "misuse.ts");
ok(/^misuse\.ts\(\d+,\d+\): error TS2322: Type 'string' is not assignable to type 'number'\.\n$/.test(compiled.said),
    "a program that uses them compiles; one that uses one of them wrongly does not", compiled);
same((await admin.schema.list()).ok, true, "the daemon is well");
