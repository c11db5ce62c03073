// SPDX-License-Identifier: Apache-2.0
// What a program with ClickHouse's official client does, against any URL. Prints one JSON line per step: what the program saw.
//   node client_clickhouse.js URL DATABASE       (NODE_PATH has @clickhouse/client)
'use strict'
const { Readable } = require('stream')
const { createClient, ClickHouseError } = require('@clickhouse/client')

const [, , url, database] = process.argv
const plain = { url, database, request_timeout: 20000 }

function seen(step, what) {
  process.stdout.write(JSON.stringify({ step, ...what }) + '\n')
}

async function step(name, run) {
  try {
    seen(name, { ok: await run() })
  } catch (e) {
    if (e instanceof ClickHouseError) seen(name, { code: e.code, type: e.type })
    else seen(name, { error: String(e) })
  }
}

// Of an insert's result, what does not differ from run to run.
function result(r) {
  const s = r.summary || {}
  return {
    executed: r.executed,
    query_id: typeof r.query_id === 'string' && r.query_id.length > 0,
    rows: [s.read_rows, s.written_rows, s.result_rows],
    names: Object.keys(s).sort(),
  }
}

async function main() {
  const client = createClient(plain)
  const zipped = createClient({ ...plain, compression: { request: true, response: true } })
  const insert = async (c, o) => result(await c.insert(o))

  await step('ping', async () => (await client.ping()).success)
  await step('JSONEachRow array', () => insert(client, {
    table: 'c', format: 'JSONEachRow',
    values: [{ id: 1, name: 'one', tags: ['a', "b'c"], at: '2026-06-21 04:00:00' }, { id: 2, name: 'zwei \u00fc \u{1F600}', m: { k: 1 } }],
  }))
  await step('JSONEachRow stream', () => insert(client, {
    table: 'c', format: 'JSONEachRow',
    values: Readable.from((function* () { for (let id = 100; id < 600; id++) yield { id, name: 'n' + id, n: null } })(), { objectMode: true }),
  }))
  await step('JSONCompactEachRow', () => insert(client, {
    table: 'c', format: 'JSONCompactEachRow', columns: ['id', 'name', 'tags'], values: [[3, 'three', ['x']], [4, 'four', []]],
  }))
  await step('JSONCompactEachRowWithNames', () => insert(client, {
    table: 'c', format: 'JSONCompactEachRowWithNames', values: [['name', 'id'], ['five', 5]],
  }))
  await step('CSV stream', () => insert(client, {
    table: 'c', format: 'CSV', columns: ['id', 'name', 'n'],
    values: Readable.from(['6,"six ""q""",1.5\n', '7,', 'seven,\\N\n8,,2\n'], { objectMode: false }),
  }))
  await step('CSVWithNames', () => insert(client, { table: 'c', format: 'CSVWithNames', values: Readable.from(['name,id\nnine,9\n'], { objectMode: false }) }))
  await step('TabSeparated', () => insert(client, { table: 'c', format: 'TabSeparated', columns: ['id', 'name'], values: Readable.from(['10\tt\\tb\n'], { objectMode: false }) }))
  await step('gzip request', () => insert(zipped, { table: 'c', format: 'JSONEachRow', values: Array.from({ length: 300 }, (_, i) => ({ id: 1000 + i, name: 'z'.repeat(50) })) }))
  await step('columns subset', () => insert(client, { table: 'c', format: 'JSONEachRow', columns: ['id'], values: [{ id: 11, name: 'not taken' }] }))
  await step('columns except', () => insert(client, { table: 'c', format: 'JSONEachRow', columns: { except: ['name'] }, values: [{ id: 12, name: 'not taken', n: 3 }] }))
  await step('no values', () => insert(client, { table: 'c', format: 'JSONEachRow', values: [] }))
  await step('insert by command', async () => { await client.command({ query: "INSERT INTO c (id, name) VALUES (13, 'by command'), (14, DEFAULT)" }); return true })
  await step('insert by exec', async () => {
    const r = await client.exec({ query: 'INSERT INTO c (id, name) FORMAT CSV', values: Readable.from(['15,by exec\n'], { objectMode: false }) })
    r.stream.resume()
    return true
  })
  await step('settings', () => insert(client, {
    table: 'c', format: 'JSONEachRow', values: [{ id: 16, name: 'settings', extra: 1 }],
    clickhouse_settings: { async_insert: 1, wait_for_async_insert: 1, date_time_input_format: 'best_effort', input_format_skip_unknown_fields: 1, wait_end_of_query: 1 },
  }))
  await step('own query_id', async () => (await client.insert({ table: 'c', format: 'JSONEachRow', values: [{ id: 17 }], query_id: 'my-own-id' })).query_id)

  await step('unknown table', () => insert(client, { table: 'nosuch', format: 'JSONEachRow', values: [{ id: 1 }] }))
  await step('unknown column', () => insert(client, { table: 'c', format: 'JSONEachRow', columns: ['nosuch'], values: [{ nosuch: 1 }] }))
  await step('materialized column', () => insert(client, { table: 'c', format: 'JSONEachRow', columns: ['mat'], values: [{ mat: 1 }] }))
  await step('bad value', () => insert(client, { table: 'c', format: 'JSONEachRow', values: [{ id: 900 }, { id: 'x' }] }))
  await step('unknown field', () => insert(client, {
    table: 'c', format: 'JSONEachRow', values: [{ id: 901, zz: 1 }], clickhouse_settings: { input_format_skip_unknown_fields: 0 },
  }))
  await step('unknown setting', () => insert(client, { table: 'c', format: 'JSONEachRow', values: [{ id: 902 }], clickhouse_settings: { nosuch_setting: 1 } }))
  await step('bad CSV', () => insert(client, { table: 'c', format: 'CSV', columns: ['id', 'name'], values: Readable.from(['903,a\n904\n'], { objectMode: false }) }))
  await step('syntax error', async () => { await client.command({ query: 'INSERT INTOO c VALUES (1)' }); return true })
  await step('unknown database', async () => insert(createClient({ ...plain, database: 'nosuch_db' }), { table: 'c', format: 'JSONEachRow', values: [{ id: 1 }] }))
  await client.close()
  await zipped.close()
}

main().catch((e) => { process.stderr.write(String(e.stack || e) + '\n'); process.exit(1) })
