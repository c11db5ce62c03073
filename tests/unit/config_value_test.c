/* SPDX-License-Identifier: Apache-2.0 */
/* The table of keys, units, names: config_units.c, config_keys.c, config_value.c. */
#include "config/config_priv.h"
#include "tests/lib/tap.h"

#include <stdlib.h>

static void size_is(const char *text, int want_rc, uint64_t want)
{
    uint64_t got = 0;
    const char *why = NULL;
    int rc = config_parse_size(slice_str(text), &got, &why);
    ok(rc == want_rc && (rc != 0 || got == want), "size \"%s\"", text);
}

static void duration_is(const char *text, int want_rc, uint64_t want)
{
    uint64_t got = 0;
    const char *why = NULL;
    int rc = config_parse_duration(slice_str(text), &got, &why);
    ok(rc == want_rc && (rc != 0 || got == want), "duration \"%s\"", text);
}

static void test_units(void)
{
    size_is("0", 0, 0);
    size_is("1B", 0, 1);
    size_is("64MiB", 0, 67108864);
    size_is("50GB", 0, 50000000000);
    size_is("16777215TiB", 0, 16777215ull << 40);
    size_is("18446744073709551615B", 0, UINT64_MAX);
    size_is("18446744073709551616B", WH_ELIMIT, 0);
    size_is("16777216TiB", WH_ELIMIT, 0);
    static const char *const bad_sizes[] = {"",       "64",     "MiB",    "64mb",
                                            "64 MiB", "-1MiB",  "1.5GB",  "0x10MB",
                                            "064MiB", "64MiBs", "1GB5MB", "+1B"};
    for (size_t i = 0; i < sizeof(bad_sizes) / sizeof(bad_sizes[0]); i++)
        size_is(bad_sizes[i], WH_ESYNTAX, 0);

    duration_is("0", 0, 0);
    duration_is("0s", 0, 0);
    duration_is("500ms", 0, 500);
    duration_is("5s", 0, 5000);
    duration_is("1h30m", 0, 5400000);
    duration_is("7d", 0, 604800000);
    duration_is("1d2h3m4s5ms", 0, 93784005);
    duration_is("213503982334d", 0, 213503982334ull * 86400000);
    duration_is("213503982335d", WH_ELIMIT, 0);
    duration_is("18446744073709551615ms", 0, UINT64_MAX);
    duration_is("213503982334d99999999999s", WH_ELIMIT, 0);
    static const char *const bad_times[] = {"",      "5",   "s",    "5S",  "30m1h", "1h1h",
                                            "5 sec", "-1s", "1.5s", "05s", "1us",   "1h30"};
    for (size_t i = 0; i < sizeof(bad_times) / sizeof(bad_times[0]); i++)
        duration_is(bad_times[i], WH_ESYNTAX, 0);
}

/* What is printed reads back as the same number. */
static void test_format(void)
{
    static const uint64_t values[] = {0,        1,        999,      1000,        1024,
                                      65536,    67108864, 50000000, 50000000000, 1ull << 50,
                                      86399999, 90061001, 1500,     12345,       UINT64_MAX};
    struct buf b;
    const char *why;
    uint64_t back;
    bool good = true;
    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        buf_reset(&b);
        config_format_size(values[i], &b);
        good &= config_parse_size(buf_slice(&b), &back, &why) == 0 && back == values[i];
        buf_reset(&b);
        config_format_duration(values[i], &b);
        good &= config_parse_duration(buf_slice(&b), &back, &why) == 0 && back == values[i];
    }
    ok(good, "sizes and durations read back as printed");
    buf_reset(&b);
    config_format_size(67108864, &b);
    config_format_size(50000000000, &b);
    config_format_duration(5400000, &b);
    is_mem(b.ptr, b.len, "64MiB50GB1h30m", 14, "the shortest exact form");
    buf_fini(&b);
}

static void lookup_is(const char *name, enum config_lookup want)
{
    uint32_t index;
    bool twin;
    ok(config_key_find(slice_str(name), &index, &twin) == want, "lookup %s", name);
}

static void nearest_is(const char *name, const char *want)
{
    char out[CONFIG_NAME_BYTES_MAX];
    config_key_nearest(slice_str(name), out);
    ok(strcmp(out, want) == 0, "nearest to %s: %s", name, out);
}

static void test_names(void)
{
    lookup_is("server.port", CONFIG_KEY);
    lookup_is("data_dir", CONFIG_KEY);
    lookup_is("clickhouse.password_file", CONFIG_KEY);
    lookup_is("clickhouse.username_file", CONFIG_UNKNOWN);
    lookup_is("server", CONFIG_SECTION);
    lookup_is("cluster", CONFIG_LATER);
    lookup_is("cluster.node_id", CONFIG_LATER);
    lookup_is("auth", CONFIG_SECTION);
    lookup_is("auth.jwt_secret_file", CONFIG_KEY);
    lookup_is("auth.issuer_file", CONFIG_UNKNOWN);
    lookup_is("server.tls.cert", CONFIG_KEY);
    lookup_is("server.tls", CONFIG_SECTION);
    lookup_is("clickhouse.tls.enabled", CONFIG_KEY);
    lookup_is("authority", CONFIG_UNKNOWN);
    lookup_is("serv", CONFIG_UNKNOWN);
    lookup_is("", CONFIG_UNKNOWN);
    lookup_is("limits", CONFIG_SECTION);
    lookup_is("limits.tables", CONFIG_SECTION);
    lookup_is("limits.tables.web", CONFIG_SECTION);
    lookup_is("limits.tables.web.burst", CONFIG_MEMBER);
    lookup_is("limits.tables.a.b.burst", CONFIG_MEMBER); /* from --set: a name with a dot */
    lookup_is("limits.tables.burst", CONFIG_SECTION);    /* a table of that name */
    lookup_is("limits.tables..burst", CONFIG_UNKNOWN);
    lookup_is("limits.tables.web.", CONFIG_UNKNOWN);
    lookup_is("limits.tables.web.unknown_columns", CONFIG_UNKNOWN);
    lookup_is("ingest.tables.web.unknown_columns", CONFIG_MEMBER);
    lookup_is("limits.roles.public.rows_per_second", CONFIG_MEMBER);
    nearest_is("limits.tables.web.bursts", "limits.tables.web.burst");
    nearest_is("limits.tables.web.rows", "limits.tables.web.burst");
    nearest_is("limits.tables.web.row_per_second", "limits.tables.web.rows_per_second");
    nearest_is("limits.tabels", "limits.tables");
    nearest_is("ingest.table", "ingest.tables");
    nearest_is("server.prot", "server.port");
    nearest_is("sever.port", "server.port");
    nearest_is("port", "server.port");
    nearest_is("clickhouse.pasword_file", "clickhouse.password_file");
    nearest_is("wal.max_size", "wal.max_bytes");
    nearest_is("servre", "server");
    nearest_is("ath", "auth");
    nearest_is("zzzzzzzzzzzzzzzz", "");
    is_u64(config_distance(slice_str("kitten"), slice_str("sitting")), 3, "distance");
    is_u64(config_distance(slice_str("prot"), slice_str("port")), 1, "a swap is one step");
    is_u64(config_distance(slice_str(""), slice_str("abc")), 3, "distance from nothing");
}

static const char *bad_value(const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_TEXT: /* a control character is wrong in every text */
        return "a\nb";
    case CONFIG_CHOICE:
    case CONFIG_CHOICE_FLAG:
    case CONFIG_CHOICE_ENUM:
        return "sometimes";
    case CONFIG_FLAG:
        return "yes";
    case CONFIG_NUMBER:
        return "12x";
    case CONFIG_SIZE:
        return "12 megabytes";
    case CONFIG_DURATION:
        return "1 hour";
    default:
        return "not/an address";
    }
}

static int set(struct config_snapshot *s, const struct config_key *key, const char *text,
               bool is_list, char *why)
{
    struct config_item item = {.text = slice_str(text)};
    uint32_t bad;
    uint32_t count = is_list && text[0] == '\0' ? 0 : 1;
    return config_value_set(&s->arena, &s->pub, key, &item, count, is_list, why, &bad);
}

/* Numbers beyond both ends of the range; ends themselves are fine. */
static void check_range(struct config_snapshot *s, const struct config_key *key, char *why)
{
    static const char *const units[] = {"", "B", "ms"};
    const char *unit = units[key->type == CONFIG_SIZE ? 1 : key->type == CONFIG_DURATION ? 2 : 0];
    char text[64];
    const char *name = key->info.name;
    (void)snprintf(text, sizeof(text), "%" PRIu64 "%s", key->max + 1, unit);
    ok(set(s, key, text, false, why) == WH_ELIMIT, "%s: %s is too much: %s", name, text, why);
    (void)snprintf(text, sizeof(text), "%" PRIu64 "%s", key->max, unit);
    ok(set(s, key, text, false, why) == 0, "%s: %s is the most", name, text);
    (void)snprintf(text, sizeof(text), "%" PRIu64 "%s", key->min, unit);
    ok(set(s, key, text, false, why) == 0, "%s: %s is the least", name, text);
    if (key->min > 1 || (key->min == 1 && !key->zero_ok)) {
        (void)snprintf(text, sizeof(text), "%" PRIu64 "%s", key->min - 1, unit);
        ok(set(s, key, text, false, why) == WH_ELIMIT, "%s: %s is too little", name, text);
    }
    ok(set(s, key, "0", false, why) == (key->min > 0 && !key->zero_ok ? WH_ELIMIT : 0), "%s: zero",
       name);
    (void)snprintf(text, sizeof(text), "99999999999999999999999%s", unit);
    ok(set(s, key, text, false, why) == WH_ELIMIT, "%s: over 64 bits", name);
}

static void test_every_key(void)
{
    struct config_snapshot s = {.magic = CONFIG_MAGIC};
    char why[WH_ERR_TEXT_CAP];
    arena_init(&s.arena, 4096, CONFIG_ARENA_BYTES_MAX);
    for (uint32_t i = 0; i < config_key_count(); i++) {
        const struct config_key *key = &config_key_table[i];
        const char *name = key->info.name;
        bool is_list = key->type == CONFIG_TEXTS || key->type == CONFIG_ENDPOINTS;
        const char *initial = key->initial != NULL ? key->initial : key->info.default_text;
        ok(set(&s, key, initial, is_list, why) == 0, "%s: default %s", name, initial);
        why[0] = '\0';
        int rc = set(&s, key, bad_value(key), is_list, why);
        ok(rc == WH_ESYNTAX && why[0] != '\0', "%s: bad value: %s", name, why);
        if (!is_list)
            ok(set(&s, key, initial, true, why) == WH_ESYNTAX, "%s: a list", name);
        if (key->type == CONFIG_NUMBER || key->type == CONFIG_SIZE || key->type == CONFIG_DURATION)
            check_range(&s, key, why);
        const char *dot = strchr(name, '.');
        bool shape =
            (dot == NULL || strchr(dot + 1, '.') == strrchr(name, '.') ||
             strchr(dot + 1, '.') == NULL) && /* three parts at most */
            strlen(name) + strlen("_file") < CONFIG_NAME_BYTES_MAX / 2 &&
            (strcmp(key->info.apply, "reload") == 0 || strcmp(key->info.apply, "restart") == 0) &&
            key->info.meaning[strlen(key->info.meaning) - 1] == '.';
        ok(shape, "%s: row is well formed", name);
    }
    arena_fini(&s.arena);
}

static void address(const char *key_name, const char *text, bool good)
{
    struct config_snapshot s = {.magic = CONFIG_MAGIC};
    char why[WH_ERR_TEXT_CAP] = "";
    uint32_t index = 0;
    bool twin;
    arena_init(&s.arena, 4096, CONFIG_ARENA_BYTES_MAX);
    (void)config_key_find(slice_str(key_name), &index, &twin);
    int rc = set(&s, &config_key_table[index], text, true, why);
    ok((rc == 0) == good, "%s: %s%s%s", key_name, text, good ? "" : ": ", why);
    arena_fini(&s.arena);
}

static void test_addresses(void)
{
    address("clickhouse.addr", "db-1.example.com:9000", true);
    address("clickhouse.addr", "[2001:db8::1]:9000", true);
    address("clickhouse.addr", "10.0.0.1:65535", true);
    address("clickhouse.addr", "db", false);
    address("clickhouse.addr", "db:", false);
    address("clickhouse.addr", ":9000", false);
    address("clickhouse.addr", "db:0", false);
    address("clickhouse.addr", "db:65536", false);
    address("clickhouse.addr", "2001:db8::1:9000", false);
    address("clickhouse.addr", "[::1]", false);
    address("clickhouse.addr", "[]:9000", false);
    address("clickhouse.addr", "http://db:9000", false);
    address("clickhouse.addr", "d b:9000", false);
    address("server.listen", "0.0.0.0", true);
    address("server.listen", "::", true);
    address("server.listen", "[::1]", true);
    address("server.listen", "localhost", false);
    address("server.listen", "127.0.0.1:8080", false);
    address("server.listen", "1.2.3", false);
    address("cors.allowed_origins", "*", true);
    address("cors.allowed_origins", "https://app.example.com:8443", true);
    address("cors.allowed_origins", "https://app.example.com/", false);
    address("cors.allowed_origins", "HTTPS://app.example.com", false);
    address("cors.allowed_origins", "app.example.com", false);
    address("cors.allowed_origins", "https://", false);
}

static void text_is(const char *name, const char *text, bool good)
{
    struct config_snapshot s = {.magic = CONFIG_MAGIC};
    char why[WH_ERR_TEXT_CAP] = "";
    uint32_t index = 0;
    bool twin;
    arena_init(&s.arena, 4096, CONFIG_ARENA_BYTES_MAX);
    (void)config_key_find(SLICE_LIT("clickhouse.username"), &index, &twin);
    int rc = set(&s, &config_key_table[index], text, false, why);
    ok((rc == 0) == good, "text: %s %s", name, why);
    arena_fini(&s.arena);
}

static void test_texts(void)
{
    char longest[CONFIG_VALUE_BYTES_MAX + 2];
    memset(longest, 'a', sizeof(longest));
    longest[CONFIG_VALUE_BYTES_MAX] = '\0';
    text_is("empty", "", true);
    text_is("letters of all sizes", "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", true);
    text_is("longest", longest, true);
    longest[CONFIG_VALUE_BYTES_MAX] = 'a';
    longest[CONFIG_VALUE_BYTES_MAX + 1] = '\0';
    text_is("too long", longest, false);
    text_is("escape", "a\x1b[31m", false);
    text_is("delete", "\x7f", false);
    text_is("next line", "\xc2\x85", false);
    text_is("line separator", "\xe2\x80\xa8", false);
    text_is("byte order mark", "\xef\xbb\xbf", false);
    text_is("no character", "\xef\xbf\xbf", false);
    text_is("lone continuation", "\x80", false);
    text_is("cut short", "\xe2\x82", false);
    text_is("overlong", "\xc0\xaf", false);
    text_is("surrogate", "\xed\xa0\x80", false);
    text_is("beyond Unicode", "\xf4\x90\x80\x80", false);
}

int main(void)
{
    test_texts();
    test_units();
    test_format();
    test_names();
    test_every_key();
    test_addresses();
    return tap_done();
}
