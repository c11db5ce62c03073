#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
'use strict';
// Starts the real ClickHouse engine (wavehoused-engine with libchdb.so) on two private loopback ports
// and puts a fault-injecting front before it. Node 18 or later, no packages. See README.md.
//   native TCP  CHS_TCP (19000)    HTTP  CHS_HTTP (18123)    admin  CHS_ADMIN (18999)
// Port 0 takes a free one; the ready line on standard output has it.
// CHS_BACKEND=tcpPort,httpPort puts the front before a server that already runs instead.
const net = require('net'), http = require('http'), tls = require('tls'), fs = require('fs');
const path = require('path'), os = require('os'), { spawn } = require('child_process');

const E = process.env, HOST = '127.0.0.1';
const cfg = {
  lib: E.CHS_LIB || '',
  bin: E.CHS_BIN || 'wavehoused-engine',
  dir: E.CHS_DIR || '',
  tcp: +(E.CHS_TCP || 19000), http: +(E.CHS_HTTP || 18123), admin: +(E.CHS_ADMIN || 18999),
  tcps: +(E.CHS_TCPS || 0), https: +(E.CHS_HTTPS || 0),
  args: E.CHS_ARGS ? E.CHS_ARGS.split(' ') : [],
};
let backend = { tcp: 0, http: 0 };
const say = (...a) => console.error('[front]', ...a);

// ---------------------------------------------------------------- faults
// A fault is {id, proto, at, kind, ...}; `times` counts down (default: for ever), `skip`
// lets that many matches pass first, `match` is a regular expression on the query text.
let faults = [], nextId = 1;
const stats = { native_conns: 0, http_reqs: 0, injected: {} };
const log = [];                        // queries seen, newest last
const MAXLOG = 5000;
// What became of each INSERT with a token: who can explain a row that is there twice, or not at all. `server`: what
// ClickHouse said of it (null: nothing came); `fault`: what we did to it; `told`: what the client got.
const inserts = [], MAXINSERTS = 20000;
function noteInsert(proto, query, settings) {
  const n = { began: Date.now(), ended: null, proto, table: (/insert\s+into\s+(?:table\s+)?([^\s(]+)/i.exec(query) || [])[1] || '',
    token: settings.insert_deduplication_token || '', server: null, fault: null, told: null };
  inserts.push(n);
  if (inserts.length > MAXINSERTS) inserts.splice(0, 1000);
  return n;
}
function endInsert(n, part) { if (n) { Object.assign(n, part); n.ended = Date.now(); } }
const NAMES = { 27: 'CANNOT_PARSE_INPUT_ASSERTION_FAILED', 33: 'CANNOT_READ_ALL_DATA', 53: 'TYPE_MISMATCH',
  60: 'UNKNOWN_TABLE', 62: 'SYNTAX_ERROR', 159: 'TIMEOUT_EXCEEDED', 160: 'TOO_SLOW', 164: 'READONLY',
  202: 'TOO_MANY_SIMULTANEOUS_QUERIES', 203: 'NO_FREE_CONNECTION', 209: 'SOCKET_TIMEOUT', 210: 'NETWORK_ERROR',
  236: 'ABORTED', 241: 'MEMORY_LIMIT_EXCEEDED', 242: 'TABLE_IS_READ_ONLY', 252: 'TOO_MANY_PARTS',
  285: 'TOO_FEW_LIVE_REPLICAS', 286: 'UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE', 319: 'UNKNOWN_STATUS_OF_INSERT',
  394: 'QUERY_WAS_CANCELLED', 425: 'SYSTEM_ERROR', 439: 'CANNOT_SCHEDULE_TASK', 516: 'AUTHENTICATION_FAILED',
  999: 'KEEPER_EXCEPTION' };

function pick(proto, at, query) {
  for (const f of faults) {
    if ((f.proto || 'native') !== proto && f.proto !== 'both') continue;
    if (f.at !== at) continue;
    if (f.times === 0) continue;
    if (f.match && !new RegExp(f.match, 'is').test(query || '')) continue;
    if (f.skip > 0) { f.skip--; continue; }
    if (f.times > 0) f.times--;
    const k = `${proto}.${f.at}.${f.kind}`;
    stats.injected[k] = (stats.injected[k] || 0) + 1;
    return f;
  }
  return null;
}
// Faults that look at a byte count are only looked up when that count is reached.
function peek(proto, at, query) {
  return faults.find(f => ((f.proto || 'native') === proto || f.proto === 'both') && f.at === at &&
    f.times !== 0 && (!f.match || new RegExp(f.match, 'is').test(query || '')));
}

// Cuts at any byte, whatever it belongs to: `after` counts what all native connections have passed on in that
// direction since the fault was set. Returns how many of n more bytes may pass; less than n: here is the cut.
function cutAfter(at, n, query) {
  const f = peek('native', at, query);
  if (!f) return { keep: n };
  if (f.left === undefined) f.left = f.after || 0;
  if (f.left >= n) { f.left -= n; return { keep: n }; }
  const keep = f.left, hit = pick('native', at, query);
  f.left = undefined;
  return hit ? { keep, hit } : { keep: n };
}

// ---------------------------------------------------------------- wire reading
class Short extends Error {}
class Reader {
  constructor(b) { this.b = b; this.p = 0; }
  u8() { if (this.p >= this.b.length) throw new Short(); return this.b[this.p++]; }
  skip(n) { if (this.p + n > this.b.length) throw new Short(); this.p += n; }
  var() { let v = 0, m = 1; for (let i = 0; i < 10; i++) { const c = this.u8(); v += (c & 127) * m; if (c < 128) return v; m *= 128; } throw new Error('varint'); }
  str() { const n = this.var(); if (n > 1 << 28) throw new Error('string too long'); if (this.p + n > this.b.length) throw new Short(); const s = this.b.toString('utf8', this.p, this.p + n); this.p += n; return s; }
}
const wvar = v => { const o = []; while (v > 127) { o.push((v % 128) | 128); v = Math.floor(v / 128); } o.push(v); return Buffer.from(o); };
const wstr = s => { const b = Buffer.from(s); return Buffer.concat([wvar(b.length), b]); };
function exceptionPacket(f) {
  const n = NAMES[f.code] || 'INJECTED', msg = `DB::Exception: ${f.message || 'injected fault'}. (${n})`;
  const code = Buffer.alloc(4); code.writeInt32LE(f.code);
  return Buffer.concat([Buffer.from([2]), code, wstr('DB::Exception'), wstr(msg), wstr(''), Buffer.from([0])]);
}
function readClientInfo(r, rev) {
  const kind = r.u8(); if (!kind) return { kind };
  if (kind > 2) throw new Error('query kind');
  const o = { kind, user: r.str(), id: r.str(), addr: r.str() };
  if (rev >= 54449) r.skip(8);
  o.iface = r.u8();
  if (o.iface === 1) { r.str(); r.str(); o.client = r.str(); r.var(); r.var(); o.rev = r.var(); }
  else if (o.iface === 2) { r.u8(); r.str(); if (rev >= 54443) r.str(); if (rev >= 54447) r.str(); }
  if (rev >= 54060) r.str();
  if (rev >= 54448) r.var();
  if (o.iface === 1 && rev >= 54401) r.var();
  if (rev >= 54442 && r.u8()) { r.skip(24); r.str(); r.u8(); }
  if (rev >= 54453) { r.var(); r.var(); r.var(); }
  if (rev >= 54475) { r.var(); r.var(); }
  if (rev >= 54476 && r.u8()) r.str();
  if (rev >= 54485) r.str();
  if (rev >= 54486) r.u8();
  if (rev >= 54488 && r.u8()) { const n = r.var(); for (let i = 0; i < n; i++) r.str(); }
  return o;
}
function readQuery(r, rev) {
  if (r.var() !== 1) throw new Error('not a query');
  const q = { query_id: r.str(), settings: {}, params: {} };
  q.info = readClientInfo(r, rev);
  if (rev < 54429) { if (r.str() !== '') throw new Error('binary settings'); }
  else for (let k; (k = r.str()) !== '';) { r.var(); q.settings[k] = r.str(); }
  if (rev >= 54472) r.str();
  if (rev >= 54441) r.str();
  q.stage = r.var(); q.compression = r.var();
  if (q.stage > 8 || q.compression > 1) throw new Error('stage');
  q.query = r.str();
  if (rev >= 54459) for (let k; (k = r.str()) !== '';) { r.var(); q.params[k] = r.str(); }
  return q;
}

// ---------------------------------------------------------------- native front
let conns = new Set();
function kill(s, rst) { if (s.destroyed) return; if (rst && s.resetAndDestroy && !s.encrypted) s.resetAndDestroy(); else s.destroy(); }
const sleep = ms => new Promise(r => setTimeout(r, ms));

function onNative(c) {
  stats.native_conns++;
  c.on('error', () => {});
  const f = pick('native', 'connect');
  if (f && f.kind === 'drop') return kill(c, f.rst !== false);
  if (f && f.kind === 'hang') { c.resume(); conns.add(c); c.on('close', () => conns.delete(c)); return; }
  (async () => { if (f && f.kind === 'delay') await sleep(f.ms); nativeSession(c); })();
}

function nativeSession(c) {
  const s = net.connect(backend.tcp, HOST);
  const st = { phase: 'hello', buf: Buffer.alloc(0), rev: 0, srev: 0, q: null, data: 0, heard: false, dead: false, sbuf: Buffer.alloc(0), hold: null, discard: false };
  conns.add(c);
  const end = rst => { if (st.dead) return; st.dead = true; conns.delete(c); kill(c, rst); kill(s, rst); };
  s.on('error', () => end(true)); c.on('error', () => end(true));
  s.on('close', () => end(false)); c.on('close', () => end(false));
  c.setNoDelay(true); s.setNoDelay(true);
  // One chunk on its way to `to`; a cut lets its first bytes arrive before the connection ends.
  const pass = (at, to, b) => {
    if (!b.length || to.destroyed || st.discard) return true;
    const { keep, hit } = cutAfter(at, b.length, st.q && st.q.query);
    const more = to.write(b.subarray(0, keep));
    if (!hit) return more;
    st.discard = true;
    endInsert(st.note, { fault: `${at}.${hit.kind}` });
    if (hit.kind !== 'hang') setTimeout(() => end(hit.rst !== false), hit.ms || 20);
    return true;
  };
  const fwd = b => pass('up', s, b);

  let chain = Promise.resolve();
  c.on('data', b => { c.pause(); chain = chain.then(() => client(b)).catch(e => { say('front:', e.message); end(true); }).finally(() => { if (!c.destroyed) c.resume(); }); });
  s.on('data', b => server(b));

  async function client(b) {
    if (st.dead || st.discard) return;
    if (st.phase === 'opaque') {                   // in a request: look for the next one
      // Rows may look like a request: not before the server has ended an INSERT.
      if (st.heard && (!st.insert || st.ended) && (b[0] === 1 || b[0] === 4)) {
        try { if (b[0] === 1) readQuery(new Reader(b), st.rev); else if (b.length > 1) throw 0; st.phase = 'idle'; st.buf = Buffer.alloc(0); } catch (e) { if (e instanceof Short && b[0] === 1 && b.length > 60) { st.phase = 'idle'; st.buf = Buffer.alloc(0); } }
      }
      if (st.phase === 'opaque') return opaque(b);
    }
    st.buf = st.buf.length ? Buffer.concat([st.buf, b]) : b;
    for (;;) {
      if (!st.buf.length || st.dead) return;
      const r = new Reader(st.buf);
      try {
        if (st.phase === 'hello') {
          if (r.var() !== 0) throw new Error('no hello');
          st.name = r.str(); r.var(); r.var(); st.crev = r.var(); r.str(); st.user = r.str(); r.str();
          const f = pick('native', 'hello');
          if (f) {
            if (f.kind === 'exception') { c.end(exceptionPacket(f)); st.discard = true; return; }
            if (f.kind === 'drop') return end(f.rst !== false);
            if (f.kind === 'hang') { st.discard = true; return; }
            if (f.kind === 'delay') await sleep(f.ms);
          }
          fwd(st.buf.subarray(0, r.p)); st.buf = st.buf.subarray(r.p); st.phase = 'addendum';
        } else if (st.phase === 'addendum') {
          if (!st.srev) { await new Promise(res => { st.onhello = res; }); if (st.dead) return; }
          st.rev = Math.min(st.crev, st.srev);
          let chunked = false;
          if (st.rev >= 54458) r.str();
          if (st.rev >= 54470) { chunked = r.str() !== 'notchunked'; chunked = r.str() !== 'notchunked' || chunked; }
          if (st.rev >= 54471) r.var();
          fwd(st.buf.subarray(0, r.p)); st.buf = st.buf.subarray(r.p);
          st.phase = chunked ? 'blind' : 'idle';
        } else if (st.phase === 'blind') { fwd(st.buf); st.buf = Buffer.alloc(0); return; }
        else {                                      // idle
          const t = st.buf[0];
          if (t === 1) {
            const q = readQuery(r, st.rev); const raw = st.buf.subarray(0, r.p);
            st.buf = st.buf.subarray(r.p);
            st.q = q; st.data = 0; st.heard = false; st.ended = false; st.hold = null;
            const insert = /^\s*(--[^\n]*\n\s*|\/\*.*?\*\/\s*)*insert\b/is.test(q.query);
            st.insert = insert;
            st.note = insert ? noteInsert('native', q.query, q.settings) : null;
            log.push({ t: Date.now(), proto: 'native', rev: st.rev, client: st.name, user: st.user, query_id: q.query_id, query: q.query.slice(0, 4000), settings: q.settings, compression: q.compression });
            if (log.length > MAXLOG) log.splice(0, 1000);
            const f = pick('native', 'query', q.query);
            if (f) {
              if (st.note) st.note.fault = `query.${f.kind}${f.code ? ' ' + f.code : ''}`;
              if (f.kind === 'delay') await sleep(f.ms);
              if (f.kind === 'drop') return end(f.rst !== false);
              if (f.kind === 'hang') { st.discard = true; return; }
              if (f.kind === 'exception') { c.write(exceptionPacket(f)); st.phase = 'skipempty'; continue; }
            }
            fwd(raw); st.phase = 'opaque';
            const rest = st.buf; st.buf = Buffer.alloc(0);
            if (rest.length) await opaque(rest);
            return;
          }
          if (st.phase === 'skipempty') {           // the empty block that follows a refused query
            if (t === 4) { st.phase = 'idle'; continue; }
            if (r.var() !== 2) throw new Error('expected data after a refused query');
            r.str();
            if (st.q.compression) { r.skip(16); const n = (r.u8(), st.buf.readUInt32LE(r.p)); if (st.buf.length < r.p + n - 1) throw new Short(); r.skip(n - 1); }
            else { for (let k; (k = r.var()) !== 0;) r.skip(k === 1 ? 1 : 4); if (r.var() || r.var()) throw new Error('expected the empty block'); }
            st.buf = st.buf.subarray(r.p); st.phase = 'idle'; continue;
          }
          fwd(st.buf); st.buf = Buffer.alloc(0); if (t !== 4) st.phase = 'opaque'; st.heard = t === 4; return;
        }
      } catch (e) {
        if (e instanceof Short || e instanceof RangeError) return;
        if (st.phase === 'idle') { stats.blind = (stats.blind || 0) + 1; st.phase = 'blind'; continue; }   // not understood: pass on as it is
        throw e;
      }
    }
  }
  async function opaque(b) {
    // External-table terminator: 2,0 + 10 bytes, or one small compressed frame; do not count it as data.
    const before = st.data; st.data += b.length;
    if (st.insert) {
      const pk = peek('native', 'data', st.q.query);
      if (pk && before <= (pk.after || 64) && st.data > (pk.after || 64)) {
        const f = pick('native', 'data', st.q.query);
        if (f) {
          if (st.note) st.note.fault = `data.${f.kind}${f.code ? ' ' + f.code : ''}`;
          const keep = Math.max(0, (f.after || 64) - before);
          fwd(b.subarray(0, keep));
          if (f.kind === 'drop') { await sleep(f.ms || 20); return end(f.rst !== false); }
          if (f.kind === 'hang') { st.discard = true; return; }
          if (f.kind === 'exception') { st.discard = true; c.write(exceptionPacket(f)); setTimeout(() => end(false), f.ms || 200); return; }
          if (f.kind === 'delay') { await sleep(f.ms); return fwd(b.subarray(keep)); }
        }
      }
    }
    fwd(b);
  }
  function server(b) {
    if (st.dead) return;
    if (!st.srev) {
      st.sbuf = Buffer.concat([st.sbuf, b]);
      try { const r = new Reader(st.sbuf); if (r.var() === 0) { r.str(); r.var(); r.var(); st.srev = r.var(); } else st.srev = 1; } catch (e) { if (!(e instanceof Short)) return end(true); }
      if (st.srev && st.onhello) st.onhello();
      return void pass('down', c, b);
    }
    st.heard = true;
    const small = st.q && st.q.compression ? 60 : 30; // more than this was data, not only the end of external tables
    if (st.phase === 'opaque' && (b[0] === 2 || (st.data > small && b[b.length - 1] === 5))) st.ended = true;
    if (st.phase === 'opaque' && st.insert && b[0] !== 11 && b[0] !== 1 && st.data > (st.q.compression ? 60 : 30) && !st.hold) {
      if (peek('native', 'ack', st.q.query)) st.hold = pick('native', 'ack', st.q.query);
    }
    if (st.note && !st.note.server && st.ended)
      endInsert(st.note, { server: b[b.length - 1] === 5 ? 'stored' : `exception ${b.length > 4 ? b.readInt32LE(1) : ''}`, told: st.hold ? null : 'the same' });
    if (st.hold && st.note) st.note.fault = `ack.${st.hold.kind}${st.hold.code ? ' ' + st.hold.code : ''}`;
    if (st.hold) {                                  // the insert is done; its answer is not passed on
      if (b[b.length - 1] === 5 || b[0] === 2) {
        const f = st.hold; st.hold = null;
        if (f.kind === 'drop') return end(f.rst !== false);
        if (f.kind === 'hang') { st.discard = true; return; }
        if (f.kind === 'exception') { c.write(exceptionPacket(f)); return; }
        if (f.kind === 'delay') return void setTimeout(() => { if (!c.destroyed) c.write(b); }, f.ms);
      }
      return;
    }
    if (!pass('down', c, b)) { s.pause(); c.once('drain', () => s.resume()); }
  }
}

// ---------------------------------------------------------------- HTTP front
function onHttp(req, res) {
  stats.http_reqs++;
  const u = new URL(req.url, 'http://x'); const chunks = []; let size = 0, passed = false;
  const qp = u.searchParams.get('query') || '';
  req.on('data', b => { if (!passed) { chunks.push(b); size += b.length; } });
  req.on('end', async () => {
    const body = Buffer.concat(chunks); const query = qp || body.toString('utf8', 0, 4000);
    const settings = Object.fromEntries([...u.searchParams].filter(([k]) => k !== 'query' && k !== 'password'));
    if (u.pathname !== '/ping') log.push({ t: Date.now(), proto: 'http', method: req.method, query: query.slice(0, 4000), settings, bytes: size, user: req.headers['x-clickhouse-user'] || settings.user });
    const note = /^\s*insert\b/i.test(query) ? noteInsert('http', query, settings) : null;
    const f = pick('http', 'connect', query) || pick('http', 'query', query);
    if (f) {
      endInsert(note, { fault: `query.${f.kind}${f.code ? ' ' + f.code : ''}` });
      if (f.kind === 'delay') await sleep(f.ms);
      if (f.kind === 'hang') return;
      if (f.kind === 'drop') return kill(req.socket, f.rst !== false);
      if (f.kind === 'exception') {
        const t = `Code: ${f.code}. DB::Exception: ${f.message || 'injected fault'}. (${NAMES[f.code] || 'INJECTED'}) (version 26.7.2.1)\n`;
        res.writeHead(f.status || ({ 60: 404, 62: 400, 159: 408, 516: 403, 202: 503 }[f.code] || 500), { 'Content-Type': 'text/plain; charset=UTF-8', 'X-ClickHouse-Exception-Code': String(f.code), 'X-ClickHouse-Query-Id': settings.query_id || '' });
        return res.end(t);
      }
      if (f.kind === 'status') { res.writeHead(f.status || 503, f.headers || {}); return res.end(f.message || ''); }
    }
    const h = Object.assign({}, req.headers); delete h['transfer-encoding']; h['content-length'] = size; h.host = `${HOST}:${backend.http}`;
    const up = http.request({ host: HOST, port: backend.http, method: req.method, path: req.url, headers: h }, ur => {
      const g = peek('http', 'response', query) && pick('http', 'response', query);
      const code = ur.headers['x-clickhouse-exception-code'];
      endInsert(note, { server: ur.statusCode === 200 ? 'stored' : `exception ${code || ur.statusCode}`, ...(g ? { fault: `response.${g.kind}` } : { told: 'the same' }) });
      if (g && g.kind === 'delay') return void setTimeout(() => { res.writeHead(ur.statusCode, ur.headers); ur.pipe(res); }, g.ms);
      if (g && g.kind === 'drop' && !g.after) { ur.resume(); return void ur.on('end', () => kill(req.socket, g.rst !== false)); }
      res.writeHead(ur.statusCode, ur.headers);
      if (g && g.kind === 'drop') { let n = 0; ur.on('data', b => { n += b.length; if (n >= g.after) { ur.destroy(); kill(req.socket, g.rst !== false); } else res.write(b); }); return; }
      ur.pipe(res);
    });
    up.on('error', () => kill(req.socket, true)); res.on('close', () => up.destroy());
    up.end(body);
  });
}

// ---------------------------------------------------------------- engine
let child = null, external = false;
const freePort = () => new Promise((ok, no) => { const s = net.createServer().listen(0, HOST, () => { const p = s.address().port; s.close(() => ok(p)); }); s.on('error', no); });
const alive = () => new Promise(ok => { const r = http.get({ host: HOST, port: backend.http, path: '/ping', timeout: 500 }, x => { x.resume(); ok(x.statusCode === 200); }); r.on('error', () => ok(false)); r.on('timeout', () => { r.destroy(); ok(false); }); });
async function engineStart() {
  if (external || child) return;
  cfg.dir ||= fs.mkdtempSync(path.join(os.tmpdir(), 'wavehoused-front-'));
  backend.tcp ||= await freePort(); backend.http ||= await freePort();
  for (const [sub, text] of [['config.d', CONFIG], ['users.d', USERS]]) {
    const d = path.join(cfg.dir, sub), f = path.join(d, 'front.xml');
    fs.mkdirSync(d, { recursive: true });
    if (!fs.existsSync(f)) fs.writeFileSync(f, text);
  }
  const out = fs.openSync(path.join(cfg.dir, 'front-engine.log'), 'a');
  const me = spawn(cfg.bin, [cfg.lib, cfg.dir, String(backend.tcp), String(backend.http), ...cfg.args],
    { stdio: ['pipe', out, out], cwd: cfg.dir });
  fs.closeSync(out); child = me;
  me.on('exit', (c, sig) => { say('engine ended', c, sig); if (child === me) child = null; });
  for (let i = 0; i < 600 && child === me; i++) { if (await alive()) return; await sleep(25); }
  throw new Error('the engine did not start; see ' + path.join(cfg.dir, 'front-engine.log'));
}
async function engineStop(sig) { const me = child; if (!me) return; const gone = new Promise(r => me.once('exit', r)); me.kill(sig || 'SIGTERM'); await gone; }
// Merged into what wavehoused-engine writes: a query log to look into, dropped tables that can be counted
// after UNDROP, and users to be refused as.
const CONFIG = `<clickhouse>
  <database_atomic_delay_before_drop_table_sec>3600</database_atomic_delay_before_drop_table_sec>
  <query_log><database>system</database><table>query_log</table><flush_interval_milliseconds>500</flush_interval_milliseconds></query_log>
</clickhouse>
`;
const USERS = `<clickhouse>
  <profiles><default><log_queries>${E.CHS_QUERY_LOG === '1' ? 1 : 0}</log_queries></default></profiles>
  <users>
    <default><access_management>1</access_management></default>
    <writer><password>secret</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></writer>
    <ro><password>ro</password><networks><ip>127.0.0.1</ip></networks><profile>readonly</profile><quota>default</quota></ro>
  </users>
</clickhouse>
`;

// ---------------------------------------------------------------- fronts and admin
const fronts = {};
function front(name, port, make) {
  fronts[name] = { port, server: null, make };
  return frontUp(name);
}
function frontUp(name) {
  const f = fronts[name]; if (!f || f.server) return Promise.resolve();
  return new Promise((ok, no) => { const s = f.make(); s.on('error', no); s.listen(f.port, HOST, () => { f.server = s; f.port = s.address().port; ok(); }); });
}
function frontDown(name) {
  const f = fronts[name]; if (!f || !f.server) return Promise.resolve();
  const s = f.server; f.server = null; if (s.closeAllConnections) s.closeAllConnections();
  if (name.startsWith('tcp')) for (const c of conns) kill(c, true);
  return new Promise(ok => s.close(() => ok()));
}
async function admin(req, res) {
  const chunks = []; for await (const b of req) chunks.push(b);
  const body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString() || '{}') : {};
  const u = new URL(req.url, 'http://x'), p = u.pathname; let out = { ok: true };
  try {
    if (p === '/state') out = { ready: await alive(), engine_pid: child && child.pid, backend, fronts: Object.fromEntries(Object.entries(fronts).map(([k, v]) => [k, { port: v.port, up: !!v.server }])), faults, stats, open: conns.size };
    else if (p === '/fault') { const list = Array.isArray(body) ? body : [body]; out.ids = list.map(f => { f.id = nextId++; if (f.times === undefined) f.times = -1; faults.push(f); return f.id; }); }
    else if (p === '/clear') { faults = []; for (const n in fronts) await frontUp(n); }
    else if (p === '/log') { out = log.slice(-(+u.searchParams.get('n') || MAXLOG)); if (u.searchParams.get('clear')) log.length = 0; }
    else if (p === '/refuse') { for (const n of (body.fronts || ['tcp'])) await frontDown(n); }
    else if (p === '/accept') { for (const n of (body.fronts || Object.keys(fronts))) await frontUp(n); }
    else if (p === '/cut') { for (const c of conns) kill(c, body.rst !== false); }
    else if (p === '/inserts') { out = inserts.slice(); if (u.searchParams.get('clear')) inserts.length = 0; }
    else if (p === '/engine/kill') await engineStop('SIGKILL');
    else if (p === '/engine/stop') await engineStop('SIGTERM');
    else if (p === '/engine/start') await engineStart();
    else if (p === '/engine/pause') child.kill('SIGSTOP');
    else if (p === '/engine/resume') child.kill('SIGCONT');
    else if (p === '/quit') { res.end('{"ok":true}\n'); return quit(); }
    else { res.statusCode = 404; out = { error: 'unknown: ' + p }; }
  } catch (e) { res.statusCode = 500; out = { error: e.message }; }
  res.setHeader('Content-Type', 'application/json'); res.end(JSON.stringify(out) + '\n');
}
async function quit() { await engineStop('SIGTERM').catch(() => {}); process.exit(0); }

(async () => {
  const t0 = Date.now();
  if (E.CHS_BACKEND) { external = true; const [a, b] = E.CHS_BACKEND.split(',').map(Number); backend = { tcp: a, http: b }; }
  else await engineStart();
  if (E.CHS_FAULTS) for (const f of JSON.parse(E.CHS_FAULTS)) { f.id = nextId++; if (f.times === undefined) f.times = -1; faults.push(f); }
  await front('tcp', cfg.tcp, () => net.createServer(onNative));
  await front('http', cfg.http, () => http.createServer(onHttp));
  if (E.CHS_TLS_KEY) {
    const o = { key: fs.readFileSync(E.CHS_TLS_KEY), cert: fs.readFileSync(E.CHS_TLS_CERT) };
    if (cfg.tcps) await front('tcps', cfg.tcps, () => tls.createServer(o, onNative));
    if (cfg.https) await front('https', cfg.https, () => require('https').createServer(o, onHttp));
  }
  const adm = http.createServer(admin); await new Promise((ok, no) => { adm.on('error', no); adm.listen(cfg.admin, HOST, ok); });
  if (E.CHS_WATCH_STDIN === '1') process.stdin.resume().on('end', quit);
  process.on('SIGTERM', quit); process.on('SIGINT', quit);
  console.log(JSON.stringify({ ready: true, ms: Date.now() - t0, tcp: fronts.tcp.port, http: fronts.http.port, admin: adm.address().port, backend, dir: cfg.dir, engine_pid: child && child.pid }));
})().catch(e => { say(e.stack); process.exit(1); });
