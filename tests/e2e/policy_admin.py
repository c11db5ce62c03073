#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The policy and the pipes by curl and by wavehousectl: every answer of http-api §14 and §15, restarts, kill -9 right after the
answer, files that seed the control store, reload."""
import json
import os
import signal
import subprocess
import threading
import urllib.parse

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

POLICY = {"default_role": "public", "admin_role": "admin", "tables": {
    "ev": {"select": {"viewer": {"allow_columns": ["id"], "max_execution_time": "5s", "max_memory_usage": "1GiB"}},
           "insert": {"writer": {"check": {"name": {"_eq": "{{ jwt.name }}"}}}}}}}
# What GET answers for it.
SHOWN = json.loads(json.dumps(POLICY).replace('"5s"', "5000").replace('"1GiB"', str(1 << 30)))
server = database = None


def curl(d, method, path, body=None, *more):
    """(status, body) by the real thing."""
    command = ["curl", "-sS", "-X", method, "--max-time", "30", "-w", "\n%{http_code}", *more]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
    text = body if isinstance(body, (bytes, type(None))) else (body if isinstance(body, str) else json.dumps(body)).encode()
    p = subprocess.run(command + [f"http://127.0.0.1:{d.port}{path}"], input=text, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False)
    if p.returncode != 0:
        raise RuntimeError(f"curl {method} {path}: {p.returncode} {p.stderr.decode()}")
    answer, _, status = p.stdout.decode().rpartition("\n")
    return int(status), json.loads(answer) if answer else None


def ctl(d, *args, stdin=None, **more):
    p = subprocess.run([env.program("wavehousectl"), *args, "--server", f"http://127.0.0.1:{d.port}"], input=stdin,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, text=True, env=dict(os.environ, **more))
    return p.returncode, p.stdout, p.stderr


def daemon(name="policy_admin", **settings):
    return Daemon(server, database, settings={k.replace("__", "."): v for k, v in settings.items()}, name=name)


def error(text):
    return {"error": text}


def policies():
    with daemon() as d:
        d.start("/readyz")
        d.know("ev")
        same(curl(d, "GET", "/v1/ops/policy"), (200, {"tables": {}}), "no policy")
        same(curl(d, "PUT", "/v1/ops/policy", POLICY), (200, {"ok": True, "warnings": ['default_role "public" has no grant']}),
             "a policy is put, with what is doubtful about it")
        same(curl(d, "GET", "/v1/ops/policy"), (200, SHOWN), "and answered, operation-first, units as numbers")
        status, shown = curl(d, "GET", "/v1/ops/policy")
        same(curl(d, "PUT", "/v1/ops/policy", shown)[0], 200, "what GET gave can be put")
        same(curl(d, "GET", "/v1/ops/policy"), (200, shown), "and is the same then")
        ok("policy.changed action=put" in d.log() and "by=127.0.0.1:" in d.log(), "an audit line says who", d.log_tail())
        status, _ = curl(d, "PUT", "/v1/ops/policy", POLICY, "-H", "X-Request-ID: audit-me")
        ok(status == 200 and " audit-me" in d.log(), "by which request", d.log_tail())
        role_first = {"tables": {"ev": {"viewer": {"select": {}}, "writer": {"insert": {}}}}}
        same(curl(d, "PUT", "/v1/ops/policy", role_first), (200, {"ok": True}), "role-first")
        same(curl(d, "GET", "/v1/ops/policy")[1]["tables"], {"ev": {"select": {"viewer": {}}, "insert": {"writer": {}}}},
             "is answered operation-first")
        kept = curl(d, "GET", "/v1/ops/policy")
        wrong = [
            ("", "invalid json"), ("{", "invalid json"), ("[]", "invalid json"), ('{"tables":{}} x', "invalid json"),
            ('{"tables":{"t":{"select":{"":{}}}}}', 'table "t", op "select": empty role name'),
            ('{"tables":{"t":{"select":{"r":{"max_rows":-1}}}}}',
             'table "t", op "select", role "r": "max_rows" must not be negative'),
            ('{"tables":{"t":{"insert":{"r":{"filter":{"a":{"_eq":"1"}}}}}}}',
             'table "t", op "insert", role "r": a filter has no effect on insert: use "check"'),
            ('{"tables":{"t":{"select":{"r":{"filter":{"a":{"_eq":"{{ jwt.x"}}}}}}}', None),
        ]
        for body, text in wrong:
            for method, path in (("PUT", "/v1/ops/policy"), ("POST", "/v1/ops/policy/validate")):
                status, answer = curl(d, method, path, body)
                ok(status == 400 and (answer == error(text) if text else list(answer) == ["error"]),
                   f"{method} {path} refuses {body[:60]!r}", f"{status} {answer}")
        large = '{"tables":{}' + " " * (1 << 20) + "}"
        same(curl(d, "PUT", "/v1/ops/policy", large), (413, error("request body exceeded 1048576 bytes")), "over 1 MiB")
        same(curl(d, "GET", "/v1/ops/policy"), kept, "nothing of these was taken")
        same(curl(d, "POST", "/v1/ops/policy/validate", role_first), (200, {"valid": True}), "a valid one is valid")
        status, answer = curl(d, "POST", "/v1/ops/policy/validate",
                              {"tables": {"ev": {"select": {"r": {"deny_columns": ["nowhere"]}}}, "gone": {"select": {"r": {}}}},
                               "fliter": 1})
        ok(status == 200 and answer["valid"] is True and len(answer["warnings"]) == 3 and
           'table "gone" is not known' in answer["warnings"], "warnings come from the schema", answer)
        same(curl(d, "GET", "/v1/ops/policy"), kept, "validating saves nothing")
        for method in ("POST", "DELETE"):
            same(curl(d, method, "/v1/ops/policy"), (405, error("method not allowed")), f"{method} /v1/ops/policy")
        same(curl(d, "GET", "/v1/ops/policy/validate"), (405, error("method not allowed")), "GET validate")
        same(curl(d, "GET", "/v1/ops/policies"), (404, error("not found")), "an unknown path")
        same(curl(d, "PUT", "/v1/ops/policy", {"default_role": "admin", "tables": {}})[0], 200, "anonymous is admin")
        ok("everybody without a token may do everything" in d.log(), "is told aloud", d.log_tail())
        curl(d, "PUT", "/v1/ops/policy", POLICY)
        same(d.stop(), 0, "stopped")
        d.start("/readyz")
        same(curl(d, "GET", "/v1/ops/policy"), (200, SHOWN), "still there after a restart")


def gates():
    """With access control on: who may change the policy, also by the policy that is being replaced."""
    key = "x" * 40
    secret = "s" * 64
    settings = {"auth.operator_key": key, "auth.jwt_secret": secret, "server.threads": 4}
    with Daemon(server, database, settings=settings, name="policy_gates", access=True) as d:
        d.start("/readyz")
        operator, wrong = ("-H", f"X-Operator-Key: {key}"), ("-H", "X-Operator-Key: wrong")

        def bearer(role):
            path = os.path.join(d.dir, "secret")
            with open(path, "w", encoding="utf-8") as f:
                f.write(secret)
            p = subprocess.run([env.program("wavehousectl"), "token", "new", "--secret-file", path, "--role", role],
                               stdout=subprocess.PIPE, check=True, text=True)
            return ("-H", "Authorization: Bearer " + p.stdout.strip())

        closed = "forbidden: request has no role and no public default_role is configured"
        same(curl(d, "PUT", "/v1/ops/policy", POLICY), (403, error(closed)), "without a policy nobody may")
        same(curl(d, "PUT", "/v1/ops/policy", POLICY, *wrong), (403, error(closed)), "nor with a wrong key")
        same(curl(d, "PUT", "/v1/ops/policy", POLICY, *bearer("admin"))[0], 403, "nor an admin")
        same(curl(d, "GET", "/v1/ops/policy", None, *operator), (200, {"tables": {}}), "nothing was stored")
        same(curl(d, "PUT", "/v1/ops/policy", POLICY, *operator)[0], 200, "the operator may")
        ok(" operator" in d.log().split("policy.changed")[-1].splitlines()[0], "audited as such", d.log_tail())
        for method, path in (("GET", "/v1/ops/policy"), ("POST", "/v1/ops/policy/validate"), ("GET", "/v1/ops/pipes"),
                             ("GET", "/v1/ops/pipes/x"), ("PUT", "/v1/ops/pipes/x"), ("DELETE", "/v1/ops/pipes/x"),
                             ("POST", "/v1/ops/settings/reload")):
            same(curl(d, method, path, "{}", *bearer("viewer")), (403, error("forbidden")), f"a viewer: {method} {path}")
        other = dict(POLICY, admin_role="root")
        same(curl(d, "PUT", "/v1/ops/policy", other, *bearer("admin"))[0], 200, "an admin may, and gives the right away")
        ok(" role=admin" in d.log().split("policy.changed")[-1].splitlines()[0], "audited with the role", d.log_tail())
        same(curl(d, "PUT", "/v1/ops/policy", POLICY, *bearer("admin")), (403, error("forbidden")), "it is gone at once")
        same(curl(d, "PUT", "/v1/ops/policy", POLICY, *bearer("root"))[0], 200, "who has it now may")
        same(ctl(d, "policy", "get")[0], 1, "wavehousectl without a key is refused")
        status, out, _ = ctl(d, "policy", "get", WAVEHOUSE_OPERATOR_KEY=key)
        same((status, json.loads(out)), (0, SHOWN), "with WAVEHOUSE_OPERATOR_KEY it is not")
        same(ctl(d, "policy", "get", WAVEHOUSE_OPERATOR_KEY=key + "\r\nX: y")[0], 3, "which cannot hold a line break")
        p = subprocess.run([env.program("wavehousectl"), "policy", "set", "-", "--server",
                            "unix:" + d.config["server"]["control_socket"]], input=json.dumps(POLICY), text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        ok(p.returncode == 0, "nor through the control socket", p.stdout)
        ok(" control socket" in d.log().split("policy.changed")[-1].splitlines()[0], "audited as such", d.log_tail())
        # In force on every loop when the answer is there: new connections, so any loop.
        stale = 0
        for n in range(60):
            body = {"admin_role": f"a{n}", "tables": {"ev": {"select": {"r": {"max_rows": n + 1}}}}}
            if d.call("PUT", "/v1/ops/policy", json.dumps(body).encode(),
                      {"X-Operator-Key": key, "Content-Type": "application/json"}).status != 200:
                stale += 1
            for _ in range(3):
                seen = d.call("GET", "/v1/ops/policy", None, {"X-Operator-Key": key}).json()
                stale += seen["admin_role"] != f"a{n}"
        same(stale, 0, "each request after the answer sees the new policy")


def strict():
    with daemon(policy__strict=True, pipes__strict=True) as d:
        d.start("/readyz")
        body = {"tables": {"ev": {"select": {"r": {"fliter": {"id": {"_eq": "1"}}}}}}}
        status, answer = curl(d, "PUT", "/v1/ops/policy", body)
        ok(status == 400 and "fliter" in answer["error"], "policy.strict refuses a misspelt filter", answer)
        same(curl(d, "PUT", "/v1/ops/pipes/p", {"sql": "SELECT 1", "role": ["x"]}),
             (400, error('unknown member "role"')), "pipes.strict refuses a misspelt member")
        status, answer = curl(d, "PUT", "/v1/ops/pipes/p", {"sql": "SELECT '{{a}}'"})
        ok(status == 400 and "a" in answer["error"], "and a placeholder in quotes", answer)


def pipes():
    with daemon() as d:
        d.start("/readyz")
        same(curl(d, "GET", "/v1/ops/pipes"), (200, []), "no pipes")
        same(curl(d, "GET", "/v1/ops/pipes/top"), (404, error("pipe not found")), "none of that name")
        full = {"name": "other", "sql": "SELECT {{n:10}}, {{m}}", "parameters": [
            {"name": "n", "type": "number", "required": False, "default": 9007199254740993}, {"name": "m", "required": True}],
            "description": "what it does", "allowed_roles": ["viewer", ""], "cache_ttl": 60, "later": 1}
        shown = {"name": "top", "sql": "SELECT {{n:10}}, {{m}}", "parameters": [
            {"name": "n", "type": "number", "default": 9007199254740993}, {"name": "m", "type": "", "required": True}],
            "description": "what it does", "allowed_roles": ["viewer"], "cache_ttl": 60}
        taken = (200, {"ok": True})
        same(curl(d, "PUT", "/v1/ops/pipes/top", full), taken, "put; the name is the URL's")
        same(curl(d, "GET", "/v1/ops/pipes/top"), (200, shown), "without empty optionals and unknown members")
        same(curl(d, "PUT", "/v1/ops/pipes/top", shown), taken, "what GET gave can be put")
        same(curl(d, "GET", "/v1/ops/pipes/top"), (200, shown), "and is the same")
        same(curl(d, "PUT", "/v1/ops/pipes/top", dict(full, sql="SELECT {{n}}")),
             (200, {"ok": True, "warnings": ['parameter "m" is not named in the SQL']}), "with what is doubtful about it")
        names = ["a/b", "a-b.c d", "ünï;code", "Z", "quote\"'`\\"]
        for name in names:
            path = "/v1/ops/pipes/" + urllib.parse.quote(name, safe="")
            same(curl(d, "PUT", path, {"sql": "SELECT 1", "parameters": [], "allowed_roles": None, "description": ""}),
                 (200, {"ok": True}), f"a pipe named {name}")
            same(curl(d, "GET", path), (200, {"name": name, "sql": "SELECT 1"}), f"{name} is found")
        status, listed = curl(d, "GET", "/v1/ops/pipes")
        same([p["name"] for p in listed], sorted(names + ["top"], key=str.encode), "listed by name")
        two = [{"name": "x"}, {"name": "\\u0078"}]
        wrong = [
            ({}, "pipe SQL is required"), ({"sql": " \n"}, "pipe SQL is required"), ({"sql": None}, "pipe SQL is required"),
            ({"sql": 1}, "invalid json"),
            ({"sql": "1", "parameters": [{}]}, "parameter name is required"),
            ({"sql": "1", "parameters": [{"name": ""}]}, "parameter name is required"),
            ({"sql": "1", "parameters": [1]}, "invalid json"),
            ({"sql": "1", "parameters": {}}, "invalid json"),
            (json.dumps({"sql": "1", "parameters": two}).replace("\\\\", "\\"), 'duplicate parameter name "x"'),
            ({"sql": "1", "allowed_roles": "viewer"}, "invalid json"), ({"sql": "1", "description": 5}, "invalid json"),
            ({"sql": "1", "cache_ttl": -1}, "cache_ttl must be a whole number of seconds, at most 31622400"),
            ({"sql": "SELECT {% if defined(x) %} 1"}, None),
            ("nothing", "invalid json"), ("", "invalid json"), ("[]", "invalid json"),
        ]
        for body, text in wrong:
            status, answer = curl(d, "PUT", "/v1/ops/pipes/wrong", body)
            ok(status == 400 and (answer == error(text) if text else list(answer) == ["error"]), f"refused: {body}",
               f"{status} {answer}")
        same(curl(d, "PUT", "/v1/ops/pipes/", {"sql": "1"}), (400, error("pipe name is required")), "no name")
        same(curl(d, "PUT", "/v1/ops/pipes/" + "x" * 257, {"sql": "1"}), (400, error("pipe name is over 256 bytes")), "a long name")
        same(curl(d, "PUT", "/v1/ops/pipes/%ff", {"sql": "1"}), (400, error("pipe name is not UTF-8")), "no UTF-8")
        same(curl(d, "PUT", "/v1/ops/pipes/%zz", {"sql": "1"}), (400, error("invalid percent-encoding in the path")), "no escape")
        same(curl(d, "GET", "/v1/ops/pipes/wrong"), (404, error("pipe not found")), "none of these was stored")
        for name in ("top", "a%2Fb", "never-there", "x" * 300):
            same(curl(d, "DELETE", "/v1/ops/pipes/" + name), (200, {"ok": True}), f"delete {name[:20]}")
        same(curl(d, "GET", "/v1/ops/pipes/top"), (404, error("pipe not found")), "gone")
        ok('pipe.changed name="top" action=removed' in d.log(), "an audit line", d.log_tail())
        same(curl(d, "POST", "/v1/ops/pipes/top", {"sql": "1"}), (405, error("method not allowed")), "POST is none of its methods")
        left = curl(d, "GET", "/v1/ops/pipes")
        same(d.stop(), 0, "stopped")
        d.start("/readyz")
        same(curl(d, "GET", "/v1/ops/pipes"), left, "the others are there after a restart")


def killed():
    """kill -9 right behind the answer: what was answered is in force at the next start."""
    with daemon() as d:
        d.start("/readyz")
        for i in range(8):
            body = {"tables": {f"t{i}": {"select": {"r": {}}}}}
            status, answer = curl(d, "PUT", "/v1/ops/policy", body)
            pipe = curl(d, "PUT", f"/v1/ops/pipes/p{i}", {"sql": f"SELECT {i}", "allowed_roles": ["r"]})
            d.kill()
            same((status, answer.get("ok"), pipe), (200, True, (200, {"ok": True})), f"round {i}: answered")
            d.start("/livez")
            same(list(curl(d, "GET", "/v1/ops/policy")[1]["tables"]), [f"t{i}"], "the policy is there")
            same(len(curl(d, "GET", "/v1/ops/pipes")[1]), i + 1, "the pipes are there")
        # In the middle of many: no answer without its effect, and never half a document.
        answered = []

        def put_many():
            for n in range(100000):
                try:
                    if d.call("PUT", "/v1/ops/pipes/many", json.dumps({"sql": f"SELECT {n}"}).encode(),
                              {"Content-Type": "application/json"}, timeout=5).status != 200:
                        return
                except (OSError, ValueError):
                    return
                answered.append(n)
        for _ in range(3):
            answered.clear()
            writer = threading.Thread(target=put_many)
            writer.start()
            net.wait_for(lambda: len(answered) > 20, 20, 0.001)
            d.kill()
            writer.join()
            d.start("/livez")
            sql = curl(d, "GET", "/v1/ops/pipes/many")[1]["sql"]
            last = int(sql.split()[1])
            ok(answered[-1] <= last <= answered[-1] + 1, "killed under way: the last answer, or the one behind it",
               f"{answered[-1]} {last}")


def seeds():
    with daemon() as d:
        folder = os.path.join(d.dir, "pipes")
        file = os.path.join(d.dir, "policy.yaml")
        os.mkdir(folder)

        def write(path, text):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)

        def refused(*words):
            status, _, err = d.run()
            ok(status == 1 and all(w in err for w in words), f"the start is refused: {words}", f"{status} {err}")
            status, _, err = d.run("--check")
            ok(status == 1 and all(w in err for w in words), "and --check says so too", f"{status} {err}")

        d.config["policy"] = {"file_path": file}
        refused("No such file", file, "policy.file_path")
        write(file, "tables:\n  ev:\n    select: {viewer: {max_rows: -1}}\n")
        refused(file, '"max_rows" must not be negative')
        write(file, "tables:\n  ev: {}\n  ev: {}\n")
        refused(f'{file}:3:1: the key "ev" is already in line 2')
        write(file, "default_role: no\ntables:\n  ev:\n    select: &s\n      viewer: {max_rows: 0o17}\n  other: {select: *s}\n")
        d.config["pipes"] = {"dir": os.path.join(d.dir, "nowhere")}
        refused("nowhere", "pipes.dir")
        d.config["pipes"] = {"dir": folder}
        write(os.path.join(folder, "daily.sql"), "SELECT 1 -- it's\n")
        write(os.path.join(folder, "empty.sql"), "\n")
        write(os.path.join(folder, "broken.sql"), "SELECT {% if defined(x) %} 1\n")
        write(os.path.join(folder, "readme.txt"), "no pipe")
        refused("empty.sql: pipe SQL is required", "broken.sql: ")
        os.remove(os.path.join(folder, "empty.sql"))
        os.remove(os.path.join(folder, "broken.sql"))
        d.start("/readyz")
        seeded = curl(d, "GET", "/v1/ops/policy")
        same(seeded, (200, {"default_role": "no", "admin_role": "admin", "tables": {
            "ev": {"select": {"viewer": {"max_rows": 15}}}, "other": {"select": {"viewer": {"max_rows": 15}}}}}),
            "the file seeds the policy: YAML 1.2, with an alias")
        same(curl(d, "GET", "/v1/ops/pipes"), (200, [{"name": "daily", "sql": "SELECT 1 -- it's"}]), "and a pipe")
        ok(f"policy.changed action=seeded" in d.log() and f"by={file}" in d.log(), "told by file", d.log_tail())
        curl(d, "PUT", "/v1/ops/policy", POLICY)
        curl(d, "PUT", "/v1/ops/pipes/daily", {"sql": "SELECT 2"})
        d.stop()
        d.start("/readyz")
        same(curl(d, "GET", "/v1/ops/policy"), (200, SHOWN), "what is stored is not seeded again")
        same(curl(d, "GET", "/v1/ops/pipes/daily")[1]["sql"], "SELECT 2", "so with pipes")
        # Reload looks again.
        write(os.path.join(folder, "weekly.sql"), "SELECT 7")
        same(curl(d, "POST", "/v1/ops/settings/reload"), (200, {"adopted": True, "findings": []}), "reload")
        same([p["name"] for p in curl(d, "GET", "/v1/ops/pipes")[1]], ["daily", "weekly"], "a new file is a new pipe")
        write(file, "tables: [\n")
        status, answer = curl(d, "POST", "/v1/ops/settings/reload")
        ok(status == 422 and answer["adopted"] is False and answer["findings"][0]["severity"] == "error" and
           answer["findings"][0]["file"].startswith(file), "a bad policy file refuses the reload", answer)


def command_line():
    with daemon() as d:
        d.start("/readyz")
        d.know("ev")

        def write(name, text):
            with open(os.path.join(d.dir, name), "w", encoding="utf-8") as f:
                f.write(text)
            return f.name

        same(ctl(d, "policy", "get"), (0, '{"tables":{}}\n', ""), "policy get: none")
        good = write("good.yaml", "tables:\n  ev:\n    select: {viewer: {deny_columns: [nowhere], max_execution_time: 5s}}\n")
        warning = 'warning: table "ev", op "select", role "viewer": deny_columns names column "nowhere", which the table does not have\n'
        same(ctl(d, "policy", "validate", good), (0, warning + "valid\n", ""), "policy validate, in YAML")
        same(ctl(d, "policy", "get")[1], '{"tables":{}}\n', "stores nothing")
        same(ctl(d, "policy", "set", good), (0, warning + "stored, and in force\n", ""), "policy set")
        status, out, _ = ctl(d, "policy", "get")
        same((status, json.loads(out)["tables"]["ev"]), (0, {"select": {"viewer": {"deny_columns": ["nowhere"],
                                                                                   "max_execution_time": 5000}}}), "policy get")
        same(ctl(d, "policy", "set", "-", stdin=out)[0], 0, "what it gave can be set")
        bad = write("bad.yaml", "tables:\n  ev: {}\n  ev: {}\n")
        same(ctl(d, "policy", "set", bad), (1, f'{bad}: error: 3:1: the key "ev" is already in line 2\n', ""), "a bad file")
        wrong = write("wrong.json", '{"tables":{"t":{"select":{"":{}}}}}')
        same(ctl(d, "policy", "set", wrong), (1, "", 'wavehousectl: table "t", op "select": empty role name (HTTP 400)\n'),
             "a wrong policy")
        same(ctl(d, "policy", "get")[1], out, "what is in force stays")
        ok("by=127.0.0.1:" in d.log(), "audited", d.log_tail())
        same(ctl(d, "pipe", "list"), (0, "", "none\n"), "no pipes")
        pipe = write("top.json", '{"sql":"SELECT 1","allowed_roles":["viewer","b"],"description":"one"}')
        same(ctl(d, "pipe", "set", "a/b c", pipe), (0, "stored, and in force\n", ""), "pipe set")
        sql = write("top.sql", "SELECT 2 -- it's\n")
        same(ctl(d, "pipe", "set", "a/b c", sql), (0, "stored, and in force\n", ""), "pipe set with SQL only")
        status, out, _ = ctl(d, "pipe", "show", "a/b c")
        same((status, json.loads(out)), (0, {"name": "a/b c", "sql": "SELECT 2 -- it's", "description": "one",
                                             "allowed_roles": ["viewer", "b"]}), "the rest stays")
        same(ctl(d, "pipe", "set", "new", sql), (0, "stored, and in force\n", ""),
             "a new one of SQL only")
        same(ctl(d, "pipe", "list")[1].split("\n"), [f"{'a/b c':30} viewer,b", f"{'new':30} (admin)", ""], "pipe list")
        same(ctl(d, "pipe", "rm", "a/b c", "not-there", "--yes"), (0, "removed\n", ""), "pipe rm")
        same(ctl(d, "pipe", "show", "a/b c"), (1, "", "wavehousectl: pipe not found (HTTP 404)\n"), "gone")


def reload():
    with daemon() as d:
        d.start("/readyz")
        same(curl(d, "POST", "/v1/ops/settings/reload"), (200, {"adopted": True, "findings": []}), "nothing has changed")
        d.config["server"]["max_body"] = "1MiB"
        d.config["wal"]["segment_size"] = "16MiB"
        d.write_config()
        status, answer = curl(d, "POST", "/v1/ops/settings/reload")
        ok(status == 200 and answer["adopted"] is True and len(answer["findings"]) == 1 and
           answer["findings"][0]["severity"] == "warning" and "wal.segment_size" in answer["findings"][0]["message"],
           "adopted; what needs a restart is a warning", answer)
        same(d.ingest("ev", b" " * (1 << 21)).status, 413, "the new limit is in force when the answer is there")
        d.config["server"]["max_body"] = "much"
        d.write_config()
        status, answer = curl(d, "POST", "/v1/ops/settings/reload")
        ok(status == 422 and answer["adopted"] is False and len(answer["findings"]) == 1, "refused", answer)
        f = answer["findings"][0]
        ok(f["severity"] == "error" and f["file"].startswith(d.config_path + ":") and "max_body" in f["message"],
           "with file, line and message", f)
        same(d.ingest("ev", b" " * (1 << 21)).status, 413, "the settings before stay")
        same(curl(d, "GET", "/v1/ops/settings/reload"), (405, error("method not allowed")), "GET")
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(curl(d, "POST", "/v1/ops/settings/reload")[0]))
                   for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        same(answers, [422] * 8, "several at once are all answered")
        d.process.send_signal(signal.SIGHUP)
        ok(net.wait_for(lambda: d.log().count("the settings in force stay") >= 10, 5), "and a signal beside them", d.log_tail())
        same(d.stop(), 0, "stops")


def prepare():
    global server, database
    server = clickhouse.generations()[0]
    database = server.database("e2e_policy_admin")
    server.query(f"CREATE TABLE {database}.ev (id UInt32, name String) ENGINE = MergeTree ORDER BY id")


if __name__ == "__main__":
    if not clickhouse.generations():
        tap.skip_all("no ClickHouse is running")
    prepare()
    tap.run(policies, gates, strict, pipes, killed, seeds, command_line, reload)
