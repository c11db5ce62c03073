/* SPDX-License-Identifier: Apache-2.0 */
/* Whole configurations: files, conf.d, environment, flags; findings; printing; reloading. */
#include "config/config.h"
#include "tests/lib/tap.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/config_load_test.XXXXXX";
static char file[64];

static void write_file(const char *name, const char *text, size_t len)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    FILE *f = fopen(path, "w");
    if (f == NULL || fwrite(text, 1, len, f) != len || fclose(f) != 0) {
        printf("Bail out! cannot write %s: %s\n", path, strerror(errno));
        exit(99);
    }
}

static void remove_file(const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    (void)unlink(path);
}

/* Load text as the file. findings is initialised here, the caller ends it. */
static const struct config *load_with(const char *text, struct buf *findings,
                                      const char *const *sets, uint32_t set_count)
{
    struct config_options o = {.file = file, .sets = sets, .set_count = set_count};
    write_file("wavehoused.yaml", text, strlen(text));
    buf_init(findings, SIZE_MAX);
    return config_load(&o, findings);
}

/* Drop every "<root>/" so that expected texts are constant. */
static void strip_root(struct buf *b)
{
    size_t n = strlen(root) + 1;
    buf_put_u8(b, '\0');
    for (char *p = b->ptr; (p = strstr(p, root)) != NULL;)
        memmove(p, p + n, strlen(p + n) + 1);
    b->len = strlen(b->ptr);
}

static void refuses(const char *name, const char *text, const char *want)
{
    struct buf findings;
    const struct config *c = load_with(text, &findings, NULL, 0);
    strip_root(&findings);
    bool pass = ok(c == NULL, "%s: refused", name);
    pass &= is_mem(findings.ptr, findings.len, want, strlen(want), name);
    (void)pass;
    buf_fini(&findings);
    config_unref(c);
}

static const struct config *loads(const char *name, const char *text)
{
    struct buf findings;
    const struct config *c = load_with(text, &findings, NULL, 0);
    if (!ok(c != NULL && findings.len == 0, "%s: loads", name))
        printf("# %.*s\n", SLICE_ARG(buf_slice(&findings)));
    buf_fini(&findings);
    return c;
}

static void test_defaults(void)
{
    struct config_options o = {.file = NULL};
    struct buf findings;
    buf_init(&findings, SIZE_MAX);
    const struct config *c = config_load(&o, &findings);
    if (!ok(c != NULL, "built-in defaults load"))
        return;
    is_str(c->data_dir, "/var/lib/wavehoused", "data_dir");
    is_u64(c->server.listen_count, 1, "one address");
    is_str(c->server.listen[0], "127.0.0.1", "on loopback");
    is_u64(c->server.port, 8080, "server.port");
    ok(c->server.threads >= 1, "server.threads is resolved");
    is_u64(c->server.max_body, 16 << 20, "server.max_body");
    is_u64(c->server.idle_timeout_ms, 75000, "server.idle_timeout");
    is_u64(c->server.shutdown_timeout_ms, 10000, "server.shutdown_timeout");
    is_str(c->cors.allowed_origins[0], "*", "cors.allowed_origins");
    is_u64(c->clickhouse.addr_count, 1, "one ClickHouse");
    is_str(c->clickhouse.addr[0].host, "127.0.0.1", "its host");
    is_u64(c->clickhouse.addr[0].port, 9000, "its port");
    is_str(c->clickhouse.http_scheme, "http", "clickhouse.http_scheme");
    is_str(c->clickhouse.password, "", "clickhouse.password");
    ok(c->clickhouse.compression_lz4, "clickhouse.compression");
    ok(!c->clickhouse.embedded, "clickhouse.embedded");
    is_u64(c->wal.segment_size, 64 << 20, "wal.segment_size");
    is_u64(c->wal.max_bytes, 0, "wal.max_bytes: the daemon's rule");
    is_u64(c->wal.min_free, 1 << 30, "wal.min_free");
    is_u64(c->wal.retain_ms, 900000, "wal.retain");
    is_u64(c->flush.interval_ms, 5000, "flush.interval");
    is_u64(c->flush.max_rows, 100000, "flush.max_rows");
    is_u64(c->schema_refresh_ms, 60000, "schema.refresh_interval");
    ok(c->ingest.stamp_received && c->ingest.unknown_columns == CONFIG_UNKNOWN_REJECT &&
           !c->ingest.content_type_strict && !c->ingest.reject_trailing_data,
       "ingest.*");
    ok(c->dlq.enabled && c->dlq.max_bytes == 0, "dlq.*");
    ok(c->prometheus.enabled && c->prometheus.port == 0, "prometheus.*");
    ok(c->log_level == LOG_LEVEL_INFO && c->log_format == LOG_FORMAT_AUTO, "log.*");
    ok(!c->insecure_open && config_listen_is_loopback(c), "closed to the outside");
    config_unref(c);
    buf_fini(&findings);
}

static void test_values(void)
{
    const struct config *c = loads("a full file", "server:\n"
                                                  "  listen: [ '::1', \"0.0.0.0\" ]\n"
                                                  "  max_body: 1MiB\n"
                                                  "  threads: 3\n"
                                                  "clickhouse:\n"
                                                  "  addr:\n"
                                                  "    - db1:9000\n"
                                                  "    - '[fe80::1]:9001'\n"
                                                  "  password: \"p # \\\"q\\\"\"\n"
                                                  "  username: 12345\n"
                                                  "  compression: none\n"
                                                  "wal: # nothing set\n"
                                                  "ingest: {unknown_columns: ignore}\n"
                                                  "log:\n"
                                                  "  level: debug\n"
                                                  "  format: json\n");
    if (c == NULL)
        return;
    is_u64(c->server.listen_count, 2, "two addresses");
    is_str(c->server.listen[0], "::1", "the first");
    ok(!config_listen_is_loopback(c), "not only loopback");
    is_u64(c->server.threads, 3, "threads");
    is_u64(c->clickhouse.addr_count, 2, "two ClickHouse");
    is_str(c->clickhouse.addr[1].host, "fe80::1", "brackets are gone");
    is_u64(c->clickhouse.addr[1].port, 9001, "the port of it");
    is_str(c->clickhouse.password, "p # \"q\"", "password");
    is_str(c->clickhouse.username, "12345", "a name may look like a number");
    ok(!c->clickhouse.compression_lz4 && c->ingest.unknown_columns == CONFIG_UNKNOWN_IGNORE,
       "choices");
    ok(c->log_level == LOG_LEVEL_DEBUG && c->log_format == LOG_FORMAT_JSON, "enums");
    config_unref(c);
    config_unref(loads("an empty file", ""));
    config_unref(loads("only comments", "# server:\n#   port: 1\n"));
    config_unref(loads("an empty document", "---\n"));
    config_unref(loads("a scalar for a list", "clickhouse:\n  addr: db:9000\n"));
}

static void test_refusals(void)
{
    refuses("unknown key", "server:\n  prot: 80\n",
            "wavehoused.yaml:2:3: unknown key \"server.prot\", did you mean \"server.port\"?\n");
    refuses("unknown section", "servre: {port: 1}\n",
            "wavehoused.yaml:1:1: unknown key \"servre\", did you mean \"server\"?\n");
    refuses("wrong place", "port: 1\n",
            "wavehoused.yaml:1:1: unknown key \"port\", did you mean \"server.port\"?\n");
    refuses("every finding at once",
            "server:\n  port: 0\n  max_body: 64mb\n  listen: []\nwal:\n  retain: yes\n",
            "wavehoused.yaml:2:9: server.port: \"0\" must be from 1 to 65535\n"
            "wavehoused.yaml:3:13: server.max_body: \"64mb\" must be a whole number and a unit of "
            "B KB MB GB TB KiB MiB GiB TiB, such as 64MiB\n"
            "wavehoused.yaml:4:3: server.listen: must have from 1 to 16 entries\n"
            "wavehoused.yaml:6:11: wal.retain: \"yes\" must be whole numbers with units of d h m s "
            "ms, the larger first, such as 1h30m\n");
    refuses("repeated key", "server:\n  port: 1\n  port: 2\n",
            "wavehoused.yaml:3:3: key \"server.port\": \"server.port\" is already in line 2\n");
    refuses("repeated section", "server:\n  port: 1\nserver:\n  threads: 2\n",
            "wavehoused.yaml:3:1: section \"server\" is already in line 1: put its keys "
            "together\n");
    refuses("secret and its file", "clickhouse:\n  password: a\n  password_file: /b\n",
            "wavehoused.yaml:3:3: key \"clickhouse.password_file\": \"clickhouse.password\" is "
            "already in line 2\n");
    refuses("later keys", "cluster:\n  node_id: x\n",
            "wavehoused.yaml:1:1: key \"cluster\" is not supported by this version yet\n");
    refuses("anchor and alias", "data_dir: &x /a\ncors:\n  allowed_origins: [*x]\n",
            "wavehoused.yaml:1:11: anchors (&name) are not supported: write the value itself\n"
            "wavehoused.yaml:3:21: aliases (*name) are not supported: write the value itself\n");
    refuses("merge key", "server:\n  <<: {port: 1}\n",
            "wavehoused.yaml:2:3: merge keys (<<) are not supported: write the values "
            "themselves\n");
    refuses("tag", "server:\n  port: !!int 80\n",
            "wavehoused.yaml:2:9: tags (!name) are not supported: write the value itself\n");
    refuses("two documents", "data_dir: /a\n---\ndata_dir: /b\n",
            "wavehoused.yaml:2:1: a second document begins here: one file holds one\n");
    refuses("mapping for a scalar", "server:\n  port: {a: 1}\n",
            "wavehoused.yaml:2:9: \"server.port\" is a single key, not a section\n");
    refuses("list for a scalar", "server:\n  port: [1]\n",
            "wavehoused.yaml:2:10: server.port: \"1\" must be a single value, not a list\n");
    refuses("scalar for a section", "server: 1\n",
            "wavehoused.yaml:1:9: \"server\" is a section: its keys stand indented below it\n");
    refuses("list of lists", "server:\n  listen: [[a]]\n",
            "wavehoused.yaml:2:12: \"server.listen\" is a list of plain values\n");
    refuses("null", "server:\n  port:\n",
            "wavehoused.yaml:2:8: \"server.port\" has no value: write one (\"\" for an empty text) "
            "or remove the key\n");
    refuses("quoted number", "server:\n  port: \"80\"\n",
            "wavehoused.yaml:2:9: server.port: \"80\" must be a number, not a quoted text\n");
    refuses("quoted flag", "dlq: {enabled: 'true'}\n",
            "wavehoused.yaml:1:16: dlq.enabled: \"true\" must be true or false, without quotes\n");
    refuses("dotted key", "server.port: 80\n",
            "wavehoused.yaml:1:1: a key has no dots here: write \"port\" indented below "
            "\"server:\"\n");
    refuses("complex key", "? [a]\n: b\n", "wavehoused.yaml:1:3: a key must be a plain word\n");
    refuses("not a mapping", "- a\n",
            "wavehoused.yaml:1:1: a configuration is made of \"key: value\" lines\n");
    refuses("syntax", "server:\n  port: [1\n",
            "wavehoused.yaml:3:1: not valid YAML: did not find expected ',' or ']' while parsing a "
            "flow sequence\n");
    refuses(
        "tab", "server:\n\tport: 1\n",
        "wavehoused.yaml:2:1: not valid YAML: a tab or one of % @ ` stands where a key or value "
        "begins; indent with spaces\n");
    refuses("not UTF-8", "data_dir: \xff\n",
            "wavehoused.yaml: not UTF-8 text at byte 11: invalid leading UTF-8 octet\n");
    refuses("nested too deep",
            "x: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
            "wavehoused.yaml:1:1: unknown key \"x\"\nwavehoused.yaml:1:20: nested too deep\n");
    refuses("listed twice", "clickhouse:\n  addr: [a:1, b:1, a:1]\n",
            "wavehoused.yaml:2:20: clickhouse.addr: \"a:1\" names the same address twice\n");
    refuses("one line each", "\"a\\nb\": 1\n", "wavehoused.yaml:1:1: unknown key \"a?b\"\n");
    refuses("rules", "flush: {retry_min: 1m, retry_max: 5s}\nwal: {max_bytes: 100MiB}\n",
            "wavehoused.yaml:1:24: flush.retry_max is below flush.retry_min\n"
            "wavehoused.yaml:2:7: wal.max_bytes must hold at least four times "
            "wal.segment_size\n");
    refuses("unaligned segment", "wal: {segment_size: 8388609B}\n",
            "wavehoused.yaml:1:7: wal.segment_size must be a multiple of 4KiB\n");
}

static void test_clickhouse_tls(void)
{
    const struct config *c = loads("TLS", "clickhouse: {tls: {enabled: true, ca: /x.pem}}\n");
    if (c != NULL) {
        struct buf out;
        buf_init(&out, SIZE_MAX);
        config_print(c, &out);
        strip_root(&out);
        ok(c->clickhouse.tls.enabled && !c->clickhouse.tls.insecure_skip_verify, "is on");
        is_str(c->clickhouse.tls.ca, "/x.pem", "with an authority");
        is_str(c->clickhouse.http_scheme, "https", "queries go by HTTPS then");
        ok(strstr(out.ptr, "\n  http_scheme: https  # built in\n") != NULL &&
               strstr(out.ptr, "\n  tls:\n    enabled: true  # ") != NULL,
           "and so it is printed");
        config_unref(loads("what is printed", out.ptr));
        buf_fini(&out);
        config_unref(c);
    }
    config_unref(loads("both said", "clickhouse: {http_scheme: https, tls: {enabled: true}}\n"));
    config_unref(loads("neither", "clickhouse: {http_scheme: http, tls: {enabled: false}}\n"));
    refuses(
        "HTTP beside TLS", "clickhouse: {tls: {enabled: true}, http_scheme: http}\n",
        "wavehoused.yaml:1:36: clickhouse.http_scheme: http contradicts clickhouse.tls.enabled, "
        "for queries would carry the password in the clear: leave it out\n");
    refuses("HTTPS without TLS", "clickhouse: {http_scheme: https}\n",
            "wavehoused.yaml:1:14: clickhouse.http_scheme: https needs clickhouse.tls.enabled: "
            "true, which is for the native port too\n");
    refuses("CA without TLS", "clickhouse: {tls: {ca: /x}}\n",
            "wavehoused.yaml:1:20: clickhouse.tls.ca has no meaning without "
            "clickhouse.tls.enabled: true\n");
    refuses("skip without TLS", "clickhouse: {tls: {insecure_skip_verify: true}}\n",
            "wavehoused.yaml:1:20: clickhouse.tls.insecure_skip_verify has no meaning without "
            "clickhouse.tls.enabled: true\n");
    refuses("embedded", "clickhouse: {embedded: true, tls: {enabled: true}}\n",
            "wavehoused.yaml:1:36: clickhouse.tls.enabled: the engine of clickhouse.embedded "
            "speaks no TLS; it is reached on this machine only\n");
}

static void test_limits(void)
{
    struct buf text, findings;
    buf_init(&text, SIZE_MAX);
    for (int i = 0; i < CONFIG_FINDINGS_MAX + 50; i++)
        buf_printf(&text, "unknown%d: 1\n", i);
    buf_put_u8(&text, '\0');
    const struct config *c = load_with(text.ptr, &findings, NULL, 0);
    size_t lines = 0;
    for (size_t i = 0; i < findings.len; i++)
        lines += findings.ptr[i] == '\n';
    ok(c == NULL && lines == CONFIG_FINDINGS_MAX + 1, "findings are cut, and it is said");
    buf_fini(&findings);
    buf_reset(&text);
    while (text.len <= 256 * 1024)
        buf_put_str(&text, "# a comment as long as it takes to fill the file\n");
    buf_put_u8(&text, '\0');
    refuses("too large", text.ptr, "wavehoused.yaml: is larger than 256 KiB\n");
    buf_reset(&text);
    buf_put_str(&text, "cors: {allowed_origins: [");
    for (int i = 0; i < 65; i++)
        buf_printf(&text, "'http://h%d',", i);
    buf_put_str(&text, "]}\n");
    buf_put_u8(&text, '\0');
    c = load_with(text.ptr, &findings, NULL, 0);
    buf_put_u8(&findings, '\0');
    ok(c == NULL && strstr(findings.ptr, "has more than 64 entries") != NULL, "list too long");
    buf_fini(&findings);
    buf_fini(&text);
}

static void test_layers(void)
{
    struct buf findings;
    char folder[128];
    (void)snprintf(folder, sizeof(folder), "%s/conf.d", root);
    (void)mkdir(folder, 0700);
    write_file("conf.d/20.yaml", "server: {port: 20, threads: 20}\n", 32);
    write_file("conf.d/10.yaml", "server: {port: 10, max_connections: 10}\n", 40);
    write_file("conf.d/30.yml", "nonsense\n", 9);
    write_file("conf.d/.40.yaml", "nonsense\n", 9);
    (void)setenv("WH_SERVER_THREADS", "30", 1);
    (void)setenv("WH_CLICKHOUSE_ADDR", "a:1, [::1]:2", 1);
    (void)setenv("WH_TEST_ANYTHING", "of a script", 1);
    static const char *const sets[] = {"flush.max_rows=7", "clickhouse.database=x=y",
                                       "flush.max_rows=8"};
    const struct config *c = load_with("server: {port: 1, idle_timeout: 1s}\n", &findings, sets, 3);
    if (ok(c != NULL, "all layers load")) {
        is_u64(c->server.idle_timeout_ms, 1000, "from the file");
        is_u64(c->server.port, 20, "conf.d in name order");
        is_u64(c->server.max_connections, 10, "an earlier file of conf.d stays");
        is_u64(c->server.threads, 30, "the environment overrides files");
        ok(c->clickhouse.addr_count == 2 && strcmp(c->clickhouse.addr[1].host, "::1") == 0,
           "lists in variables");
        is_u64(c->flush.max_rows, 8, "the last flag wins");
        is_str(c->clickhouse.database, "x=y", "a value may hold =");
    } else {
        printf("# %.*s\n", SLICE_ARG(buf_slice(&findings)));
    }
    buf_fini(&findings);

    struct buf out;
    buf_init(&out, SIZE_MAX);
    if (c != NULL)
        config_print(c, &out);
    strip_root(&out);
    ok(strstr(out.ptr, "\n  port: 20  # conf.d/20.yaml:1\n") != NULL, "origin: conf.d");
    ok(strstr(out.ptr, "\n  threads: 30  # WH_SERVER_THREADS\n") != NULL, "origin: variable");
    ok(strstr(out.ptr, "\n  max_rows: 8  # --set\n") != NULL, "origin: flag");
    ok(strstr(out.ptr, "\n  body_timeout: 30s  # built in\n") != NULL, "origin: default");
    ok(strstr(out.ptr, "\n  max_bytes: 0  # built in: 50GB, or 80 % of the file system if less\n"),
       "a rule for a default");
    ok(strncmp(out.ptr, "data_dir: \"/var/lib/wavehoused\"  # built in\nserver:\n", 50) == 0,
       "the first lines");
    buf_fini(&out);
    config_unref(c);

    (void)unsetenv("WH_SERVER_THREADS");
    (void)unsetenv("WH_CLICKHOUSE_ADDR");
    remove_file("conf.d/10.yaml");
    write_file("conf.d/20.yaml", "serverr: 1\n", 11);
    refuses("a finding in conf.d", "",
            "conf.d/20.yaml:1:1: unknown key \"serverr\", did you mean \"server\"?\n");
    remove_file("conf.d/20.yaml");
}

static void variable(const char *name, const char *value, const char *want)
{
    (void)setenv(name, value, 1);
    if (want[0] != '\0')
        refuses(name, "", want);
    else
        config_unref(loads(name, ""));
    (void)unsetenv(name);
}

static void test_environment(void)
{
    variable("WH_SERVER_PROT", "1",
             "WH_SERVER_PROT: unknown variable, did you mean WH_SERVER_PORT?\n");
    variable("WH_SERVR_PORT", "1",
             "WH_SERVR_PORT: unknown variable, did you mean WH_SERVER_PORT?\n");
    variable("WH_WAL_NONSENSE_INDEED", "1",
             "WH_WAL_NONSENSE_INDEED: unknown variable: no key of the configuration has this "
             "name\n");
    variable("WH_CLUSTER_NODE_ID", "very-secret",
             "WH_CLUSTER_NODE_ID: key \"cluster\" is not supported by this version yet\n");
    variable(
        "WH_CLICKHOUSE_TLS_CA", "x",
        "WH_CLICKHOUSE_TLS_CA: clickhouse.tls.ca: \"x\" must be an absolute path, or empty for "
        "none\n");
    variable("WH_CLICKHOUSE_TLS_ENABLED", "true", "");
    variable("WH_SERVER_PORT", "x",
             "WH_SERVER_PORT: server.port: \"x\" must be a whole number, digits only\n");
    variable("WH_SERVER_PORT", "",
             "WH_SERVER_PORT: server.port: \"\" must be a whole number, digits only\n");
    variable("WH_SERVER_LISTEN", "",
             "WH_SERVER_LISTEN: server.listen: must have from 1 to 16 entries\n");
    variable("WH_DATA_DIR", "/x", "");
    variable("WH_TEST_PORT", "1", "");
    variable("WH_PATH", "1", "");
    variable("WH_CACHE", "1", "");
    variable("WHATEVER", "1", "");
    (void)setenv("WH_CLICKHOUSE_PASSWORD", "a", 1);
    (void)setenv("WH_CLICKHOUSE_PASSWORD_FILE", "/b", 1);
    struct buf findings;
    const struct config *c = load_with("", &findings, NULL, 0);
    buf_put_u8(&findings, '\0');
    ok(c == NULL && strstr(findings.ptr, "is already given") != NULL, "secret and twin: %s",
       findings.ptr);
    buf_fini(&findings);
    (void)unsetenv("WH_CLICKHOUSE_PASSWORD");
    (void)unsetenv("WH_CLICKHOUSE_PASSWORD_FILE");
}

static void flag(const char *set, const char *want)
{
    struct buf findings;
    const struct config *c = load_with("", &findings, &set, 1);
    strip_root(&findings);
    ok(c == NULL, "--set %s is refused", set);
    is_mem(findings.ptr, findings.len, want, strlen(want), set);
    buf_fini(&findings);
    config_unref(c);
}

static void test_flags(void)
{
    flag("server.port", "--set: takes key=value, such as server.port=8080\n");
    flag("=1", "--set: takes key=value, such as server.port=8080\n");
    flag("server.prot=1", "--set: unknown key \"server.prot\", did you mean \"server.port\"?\n");
    flag("server=1", "--set: \"server\" is a section: name a key in it\n");
    flag("cluster.node_id=1", "--set: key \"cluster.node_id\" is not supported by this version "
                              "yet\n");
    flag("wal.retain=-1s", "--set: wal.retain: \"-1s\" must be whole numbers with units of d h m s "
                           "ms, the larger first, such as 1h30m\n");
}

static void test_files(void)
{
    struct config_options o = {.file = "/nonexistent/wavehoused.yaml"};
    struct buf findings;
    static const char want[] =
        "/nonexistent/wavehoused.yaml: cannot be opened: No such file or directory\n";
    buf_init(&findings, SIZE_MAX);
    ok(config_load(&o, &findings) == NULL, "a missing file is refused");
    is_mem(findings.ptr, findings.len, want, strlen(want), "and named");
    buf_reset(&findings);
    o.file = root;
    ok(config_load(&o, &findings) == NULL, "a folder is refused");
    buf_put_u8(&findings, '\0');
    ok(strstr(findings.ptr, "Is a directory") != NULL, "and named");
    buf_fini(&findings);
}

static void test_secrets(void)
{
    static const char secret[] = "hunter2-hunter2";
    char text[256];
    struct buf out;
    write_file("secret", "hunter2-hunter2\n", 16);
    (void)snprintf(text, sizeof(text), "clickhouse: {password_file: %s/secret}\n", root);
    const struct config *c = loads("secret from a file", text);
    buf_init(&out, SIZE_MAX);
    if (c != NULL) {
        is_str(c->clickhouse.password, secret, "without its newline");
        config_print(c, &out);
        strip_root(&out);
        ok(strstr(out.ptr, secret) == NULL, "never printed");
        ok(strstr(out.ptr, "\n  # password: (set)  # wavehoused.yaml:1, contents of secret\n"),
           "only that it is set");
    }
    buf_reset(&out);
    const struct config *d = loads("another", "clickhouse: {password: other-one}\n");
    if (c != NULL && d != NULL)
        config_compare(c, d, &out);
    is_mem(out.ptr, out.len, "clickhouse.password: changed\n", 29, "a change is only named");
    config_unref(c);
    config_unref(d);
    buf_fini(&out);
    write_file("secret", "two\nlines", 9);
    struct buf findings;
    c = load_with(text, &findings, NULL, 0);
    strip_root(&findings);
    static const char want[] = "wavehoused.yaml:1:29: clickhouse.password_file: contains a control "
                               "character (byte 4)\n";
    ok(c == NULL, "a secret of two lines is refused");
    is_mem(findings.ptr, findings.len, want, strlen(want), "without showing it");
    buf_fini(&findings);
    refuses(
        "missing secret file", "clickhouse: {password_file: /nonexistent/x}\n",
        "wavehoused.yaml:1:29: clickhouse.password_file: cannot be read: /nonexistent/x: No such "
        "file or directory\n");
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    refuses("relative secret file", "clickhouse: {password_file: secret}\n",
            "wavehoused.yaml:1:29: clickhouse.password_file: must be an absolute path (a relative "
            "one only where systemd sets CREDENTIALS_DIRECTORY)\n");
    (void)setenv("CREDENTIALS_DIRECTORY", root, 1);
    write_file("secret", "from-systemd", 12);
    c = loads("a credential", "clickhouse: {password_file: secret}\n");
    if (c != NULL)
        is_str(c->clickhouse.password, "from-systemd", "found");
    config_unref(c);
    (void)unsetenv("CREDENTIALS_DIRECTORY");
}

/* --print-config is itself a valid file with the same meaning. */
static void test_print_reads_back(void)
{
    const struct config *c = loads("a file", "server: {listen: ['::1'], threads: 2}\n"
                                             "limits: {tables: {'a \\b': {burst: 1s}}}\n"
                                             "clickhouse: {addr: ['[::1]:9000', 'b:1'],"
                                             " database: \"a \\\"b\\\" \xc3\xa4 #c\"}\n"
                                             "flush: {interval: 1m30s}\nlog: {level: warn}\n");
    struct buf out, notes;
    buf_init(&out, SIZE_MAX);
    buf_init(&notes, SIZE_MAX);
    if (c == NULL)
        return;
    config_print(c, &out);
    buf_put_u8(&out, '\0');
    const struct config *d = loads("its print", out.ptr);
    if (d != NULL)
        config_compare(c, d, &notes);
    ok(notes.len == 0, "nothing changed: %.*s", SLICE_ARG(buf_slice(&notes)));
    config_unref(c);
    config_unref(d);
    buf_fini(&out);
    buf_fini(&notes);
}

static void test_reload(void)
{
    const struct config *now = loads("running", "server: {port: 1000, threads: 2}\n");
    const struct config *next =
        loads("next", "server: {port: 2000, listen: ['::1'], threads: 2, max_connections: 5}\n"
                      "clickhouse: {addr: [a:1, b:2]}\nwal: {retain: 1h}\n");
    static const char want[] = "server.listen: [\"127.0.0.1\"] -> [\"::1\"] (restart needed)\n"
                               "server.port: 1000 -> 2000 (restart needed)\n"
                               "server.max_connections: 20000 -> 5\n"
                               "clickhouse.addr: [\"127.0.0.1:9000\"] -> [\"a:1\", \"b:2\"]\n"
                               "wal.retain: 15m -> 1h\n";
    struct buf notes;
    buf_init(&notes, SIZE_MAX);
    if (now == NULL || next == NULL)
        return;
    config_compare(now, next, &notes);
    is_mem(notes.ptr, notes.len, want, strlen(want), "what changed, and what waits for a restart");
    buf_reset(&notes);
    const struct config *mix = config_adopt(now, next, &notes);
    is_mem(notes.ptr, notes.len, want, strlen(want), "adopting says the same");
    config_unref(now);
    config_unref(next);
    if (ok(mix != NULL, "adopted")) {
        is_u64(mix->server.port, 1000, "a restart key stays");
        is_str(mix->server.listen[0], "127.0.0.1", "a restart list stays");
        is_u64(mix->server.max_connections, 5, "a reload key is taken");
        ok(mix->clickhouse.addr_count == 2 && strcmp(mix->clickhouse.addr[1].host, "b") == 0,
           "a reload list is taken");
        is_u64(mix->wal.retain_ms, 3600000, "a duration is taken");
        buf_reset(&notes);
        config_print(mix, &notes);
        ok(notes.len > 0, "and prints");
    }
    const struct config *small = loads("small segments", "wal: {segment_size: 8MiB,"
                                                         " max_bytes: 32MiB}\n");
    buf_reset(&notes);
    ok(mix == NULL || small == NULL || config_adopt(mix, small, &notes) == NULL,
       "values that need the new segment size are not adopted without it");
    ok(notes.len > 0, "and it is said why");
    config_unref(small);
    config_unref(mix);
    buf_fini(&notes);
}

static void test_loopback(void)
{
    static const struct {
        const char *text;
        bool is_loopback;
    } cases[] = {{"server: {listen: 127.9.9.9}\n", true},
                 {"server: {listen: '::1'}\n", true},
                 {"server: {listen: '::ffff:127.0.0.1'}\n", true},
                 {"server: {listen: ['127.0.0.1', '[::1]']}\n", true},
                 {"server: {listen: 0.0.0.0}\n", false},
                 {"server: {listen: '::'}\n", false},
                 {"server: {listen: 128.0.0.1}\n", false},
                 {"server: {listen: '::ffff:10.0.0.1'}\n", false},
                 {"server: {listen: ['127.0.0.1', '192.0.2.1']}\n", false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf findings;
        const struct config *c = load_with(cases[i].text, &findings, NULL, 0);
        ok(c != NULL && config_listen_is_loopback(c) == cases[i].is_loopback, "loopback: %.*s",
           (int)strcspn(cases[i].text, "\n"), cases[i].text);
        config_unref(c);
        buf_fini(&findings);
    }
}

static void *take_and_drop(void *arg)
{
    const struct config *c = arg;
    uint64_t sum = 0;
    for (int i = 0; i < 20000; i++) {
        const struct config *mine = config_ref(c);
        sum += mine->server.port;
        config_unref(mine);
    }
    config_unref(c);
    return sum == 20000ull * 8080 ? NULL : arg;
}

static void test_threads(void)
{
    pthread_t threads[4];
    bool good = true;
    const struct config *c = loads("shared", "");
    for (int i = 0; c != NULL && i < 4; i++)
        good &=
            pthread_create(&threads[i], NULL, take_and_drop, (void *)(uintptr_t)config_ref(c)) == 0;
    config_unref(c); /* the threads hold it up now */
    for (int i = 0; c != NULL && i < 4; i++) {
        void *result = NULL;
        good &= pthread_join(threads[i], &result) == 0 && result == NULL;
    }
    ok(good, "references from four threads");
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static uint64_t rows_of(const struct config *c, const char *table)
{
    return config_table_find(c, slice_str(table))->limits.rows_per_second;
}

static void test_maps(void)
{
    static const char *const sets[] = {"limits.tables.my.table.rows_per_second=7",
                                       "limits.tables.b.rows_per_second=6"};
    struct buf findings, print;
    const struct config *c = load_with("limits:\n"
                                       "  rows_per_second: 100\n"
                                       "  tables:\n"
                                       "    c: {burst: 9s}\n"
                                       "    a:\n"
                                       "      rows_per_second: 5\n"
                                       "    b: {rows_per_second: 4, bytes_per_second: 1MiB}\n"
                                       "  roles:\n"
                                       "    public: {rows_per_second: 3}\n"
                                       "ingest:\n"
                                       "  tables:\n"
                                       "    a: {unknown_columns: ignore}\n",
                                       &findings, sets, 2);
    if (!ok(c != NULL, "maps load"))
        printf("# %.*s\n", SLICE_ARG(buf_slice(&findings)));
    buf_fini(&findings);
    if (c == NULL)
        return;
    is_u64(c->table_count, 4, "one entry a table, whatever the section");
    is_u64(rows_of(c, "a"), 5, "own value");
    is_u64(rows_of(c, "b"), 6, "a flag overrides the file");
    is_u64(rows_of(c, "c"), 100, "inherited from the key");
    is_u64(rows_of(c, "my.table"), 7, "a name with a dot comes by flag");
    is_u64(rows_of(c, "z"), 100, "a table that is not listed inherits all");
    is_u64(rows_of(c, ""), 100, "so does an empty name");
    is_u64(config_table_find(c, SLICE_LIT("b"))->limits.bytes_per_second, 1 << 20,
           "another member");
    is_u64(config_table_find(c, SLICE_LIT("c"))->limits.burst_ms, 9000, "a duration");
    ok(config_table_find(c, SLICE_LIT("a"))->unknown_columns == CONFIG_UNKNOWN_IGNORE &&
           config_table_find(c, SLICE_LIT("b"))->unknown_columns == CONFIG_UNKNOWN_REJECT,
       "members of another section");
    is_u64(config_role_find(c, SLICE_LIT("public"))->limits.rows_per_second, 3, "a role");
    is_u64(config_role_find(c, SLICE_LIT("other"))->limits.rows_per_second, 0, "no limit of roles");
    is_u64(config_role_find(c, SLICE_LIT("other"))->limits.burst_ms, 2000, "but the burst");

    buf_init(&print, SIZE_MAX);
    config_print(c, &print);
    buf_put_u8(&print, '\0');
    ok(strstr(print.ptr, "  tables:\n    \"a\":\n      rows_per_second: 5  # ") != NULL,
       "printed below the section");
    ok(strstr(print.ptr, "\"c\":\n      burst: 9s") != NULL, "inherited members are not printed");
    buf_fini(&print);

    const struct config *next = loads("changed maps", "limits:\n"
                                                      "  rows_per_second: 50\n"
                                                      "  tables:\n"
                                                      "    a: {rows_per_second: 8}\n"
                                                      "    d: {burst: 1s}\n");
    struct buf notes;
    buf_init(&notes, SIZE_MAX);
    const struct config *adopted = next != NULL ? config_adopt(c, next, &notes) : NULL;
    ok(adopted != NULL && rows_of(adopted, "a") == 8 && rows_of(adopted, "d") == 50 &&
           rows_of(adopted, "b") == 50,
       "maps are taken over by a reload");
    buf_put_u8(&notes, '\0');
    ok(strstr(notes.ptr, "limits.tables.a.rows_per_second: 5 -> 8\n") != NULL, "a change");
    ok(strstr(notes.ptr, "limits.tables.c.burst: 9s -> not set\n") != NULL, "an end");
    ok(strstr(notes.ptr, "limits.tables.d.burst: not set -> 1s\n") != NULL, "a beginning");
    ok(strstr(notes.ptr, "ingest.tables.a.unknown_columns: ignore -> not set\n") != NULL,
       "of any section");
    buf_fini(&notes);
    config_unref(adopted);
    config_unref(next);
    config_unref(c);

    refuses("a member that is none", "limits:\n  tables:\n    web:\n      row_per_second: 5\n",
            "wavehoused.yaml:4:7: unknown key \"limits.tables.web.row_per_second\", did you mean "
            "\"limits.tables.web.rows_per_second\"?\n");
    refuses("a map that is none", "limits:\n  tabels:\n    web: {burst: 1s}\n",
            "wavehoused.yaml:2:3: unknown key \"limits.tabels\", did you mean "
            "\"limits.tables\"?\n");
    refuses("a bad member", "limits:\n  tables:\n    web: {burst: 1ms, rows_per_second: -1}\n",
            "wavehoused.yaml:3:18: limits.tables.web.burst: \"1ms\" must be from 10ms to 1h\n"
            "wavehoused.yaml:3:40: limits.tables.web.rows_per_second: \"-1\" must be a whole "
            "number, digits only\n");
    refuses("a repeated member", "limits:\n  tables:\n    web:\n      burst: 1s\n      burst: 2s\n",
            "wavehoused.yaml:5:7: key \"limits.tables.web.burst\": \"limits.tables.web.burst\" is "
            "already in line 4\n");
    refuses("a repeated entry", "limits:\n  tables:\n    web: {burst: 1s}\n    web: {burst: 2s}\n",
            "wavehoused.yaml:4:5: section \"limits.tables.web\" is already in line 3: put its keys "
            "together\n");
    refuses("an entry without members", "limits:\n  tables:\n    web: 5\n",
            "wavehoused.yaml:3:10: \"limits.tables.web\" is a section: its keys stand indented "
            "below it\n");
    variable("WH_LIMITS_TABLES_WEB_BURST", "1s",
             "WH_LIMITS_TABLES_WEB_BURST: unknown variable: no key of the configuration has this "
             "name\n");
    flag("limits.tables.web.bust=1s", "--set: unknown key \"limits.tables.web.bust\", did you mean "
                                      "\"limits.tables.web.burst\"?\n");
}

/* As many tables as there may be, and one more. */
static void test_map_limit(void)
{
    struct buf text, findings;
    char name[64];
    buf_init(&text, SIZE_MAX);
    buf_put_str(&text, "limits:\n  tables:\n");
    for (uint32_t i = 0; i < 4096; i++)
        buf_printf(&text, "    t%u: {burst: 1s}\n", i * 7919 % 4096);
    buf_put_u8(&text, '\0');
    const struct config *c = loads("4096 tables", text.ptr);
    ok(c != NULL && c->table_count == 4096, "all are there");
    bool found = c != NULL;
    for (uint32_t i = 0; found && i < 4096; i++) {
        (void)snprintf(name, sizeof(name), "t%u", i);
        found = config_table_find(c, slice_str(name))->limits.burst_ms == 1000;
    }
    ok(found && config_table_find(c, SLICE_LIT("t4096"))->limits.burst_ms == 2000,
       "and each is found by its name");
    config_unref(c);
    text.len--;
    buf_put_str(&text, "    more: {burst: 1s}\n");
    buf_put_u8(&text, '\0');
    c = load_with(text.ptr, &findings, NULL, 0);
    strip_root(&findings);
    static const char want[] = "wavehoused.yaml:4099:12: limits.tables.more.burst: more than 4096 "
                               "names have settings\n";
    ok(c == NULL, "one more is refused");
    is_mem(findings.ptr, findings.len, want, sizeof(want) - 1, "and says so");
    buf_fini(&findings);
    buf_fini(&text);
}

int main(void)
{
    if (mkdtemp(root) == NULL) {
        printf("Bail out! no temporary folder: %s\n", strerror(errno));
        return 99;
    }
    (void)snprintf(file, sizeof(file), "%s/wavehoused.yaml", root);
    test_defaults();
    test_values();
    test_refusals();
    test_clickhouse_tls();
    test_limits();
    test_layers();
    test_environment();
    test_flags();
    test_files();
    test_secrets();
    test_print_reads_back();
    test_reload();
    test_loopback();
    test_threads();
    test_maps();
    test_map_limit();
    (void)nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    return tap_done();
}
