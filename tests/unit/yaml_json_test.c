/* SPDX-License-Identifier: Apache-2.0 */
/* YAML documents as JSON: scalars of YAML 1.2, what is refused and where, bounds. */
#include "config/yaml_json.h"
#include "tests/lib/tap.h"

#include <stdlib.h>

#define MAX 65536

static void gives(const char *yaml, const char *json)
{
    struct buf out;
    struct err e = {0};
    buf_init(&out, SIZE_MAX);
    int rc = config_yaml_to_json(slice_str(yaml), MAX, &out, &e);
    bool good = rc == 0 && slice_eq_str(buf_slice(&out), json);
    ok(good, "%s", json);
    if (!good)
        printf("# got %d %.*s %s\n", rc, (int)out.len, out.ptr, rc != 0 ? e.text : "");
    buf_fini(&out);
}

static void refuses(const char *yaml, int code, const char *text)
{
    struct buf out;
    struct err e = {0};
    buf_init(&out, SIZE_MAX);
    int rc = config_yaml_to_json(slice_str(yaml), MAX, &out, &e);
    bool good = rc == code && strncmp(e.text, text, strlen(text)) == 0;
    ok(good, "refused: %s", text);
    if (!good)
        printf("# got %d %s\n", rc, e.text);
    buf_fini(&out);
}

static void test_scalars(void)
{
    gives("a: true\nb: False\nc: TRUE\n", "{\"a\":true,\"b\":false,\"c\":true}");
    gives("[yes, no, on, off, y, N, NO]", "[\"yes\",\"no\",\"on\",\"off\",\"y\",\"N\",\"NO\"]");
    gives("['true', \"1\", 'null', \"0x1f\"]", "[\"true\",\"1\",\"null\",\"0x1f\"]");
    gives("[null, ~, Null, NULL, nULL]", "[null,null,null,null,\"nULL\"]");
    gives("a:\nb: |\n  two\n  lines\nc: >\n  12\n",
          "{\"a\":null,\"b\":\"two\\nlines\\n\",\"c\":\"12\\n\"}");
    gives("[0, -0, 12, +7, -3, 9007199254740993]", "[0,-0,12,7,-3,9007199254740993]");
    gives("[1.50, .5, 5., -1.e3, 1E+9, 2e-7]", "[1.50,0.5,5,-1e3,1e+9,2e-7]");
    gives("[0o17, 0x1F, 0xffffffffffffffff]", "[15,31,18446744073709551615]");
    gives("[0o18, 0xg, 0o, 0x, 1_000, 1:30, 2026-11-28, e5, ., +, -]",
          "[\"0o18\",\"0xg\",\"0o\",\"0x\",\"1_000\",\"1:30\",\"2026-11-28\",\"e5\",\".\",\"+\",\"-"
          "\"]");
    gives("\"tab\\t quote\\\" \\u00e9 \\0\"", "\"tab\\t quote\\\" \xc3\xa9 \\u0000\"");
    gives("2024: a\ntrue: b\n\"null\": c\n", "{\"2024\":\"a\",\"true\":\"b\",\"null\":\"c\"}");
    gives("plain text with: no colon", "{\"plain text with\":\"no colon\"}");
    gives("{\"a\": [1, {\"b\": null}], \"c\": \"d\"}", "{\"a\":[1,{\"b\":null}],\"c\":\"d\"}");
}

static void test_anchors(void)
{
    gives("a: &x {k: [1]}\nb: *x\nc: *x\n",
          "{\"a\":{\"k\":[1]},\"b\":{\"k\":[1]},\"c\":{\"k\":[1]}}");
    gives("[&x 1, *x, &x 2, *x]", "[1,1,2,2]");
    refuses("a: *nowhere\n", WH_ESYNTAX, "1:4: no anchor &nowhere ends before this alias");
    refuses("&a [*a]", WH_ESYNTAX, "1:5: no anchor &a ends before");
    refuses("<<: {a: 1}\n", WH_ESYNTAX, "1:1: merge keys");
    refuses("? &k a\n: 1\n", WH_ESYNTAX, "1:3: a key cannot have an anchor");
    struct buf bomb;
    buf_init(&bomb, SIZE_MAX);
    buf_put_str(&bomb, "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for (int i = 1; i < 30; i++)
        buf_printf(&bomb, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    buf_put_u8(&bomb, '\0');
    refuses(bomb.ptr, WH_ELIMIT, "5:");
    buf_reset(&bomb);
    for (int i = 0; i < 65; i++)
        buf_printf(&bomb, "k%d: &k%d 1\n", i, i);
    buf_put_u8(&bomb, '\0');
    refuses(bomb.ptr, WH_ELIMIT, "65:");
    buf_fini(&bomb);
}

static void test_refused(void)
{
    refuses("a: 1\nb:\n  c: 1\n  d: 2\n  \"c\": 3\n", WH_ESYNTAX,
            "5:1: the key \"c\" is already in line 3");
    refuses("{a: {x: 1}, b: {x: 1}, a: 2}", WH_ESYNTAX, "1:1: the key \"a\" is already in line 1");
    refuses("a: 012\n", WH_ESYNTAX, "1:4: 012 has leading zeros");
    refuses("a: -01.5\n", WH_ESYNTAX, "1:4: -01.5 has leading zeros");
    refuses("a: .inf\n", WH_ESYNTAX, "1:4: .inf is no number here");
    refuses("a: -.Inf\n", WH_ESYNTAX, "1:4: -.Inf is no number here");
    refuses("a: .nan\n", WH_ESYNTAX, "1:4: .nan is no number here");
    refuses("a: 0x10000000000000000\n", WH_ESYNTAX, "1:4: 0x10000000000000000 is too large");
    refuses("a: !!str 1\n", WH_ESYNTAX, "1:4: tags (!name) are not supported");
    refuses("!x {a: 1}\n", WH_ESYNTAX, "1:1: tags");
    refuses("[1, 2]: x\n", WH_ESYNTAX, "1:1: a key must be");
    refuses("a: 1\n---\nb: 2\n", WH_ESYNTAX, "2:1: a second document");
    refuses("", WH_ESYNTAX, "1:1: the document is empty");
    refuses("# nothing\n", WH_ESYNTAX, "1:1: the document is empty");
    refuses("a: [1\n", WH_ESYNTAX, "2:1: not valid YAML");
    refuses("\ta: 1\n", WH_ESYNTAX, "1:1: not valid YAML");
    refuses("a: \x01\n", WH_ESYNTAX, "1:1: not valid YAML");
    char deep[512];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    deep[400] = '\0';
    refuses(deep, WH_ELIMIT, "1:66: nested deeper than 64");
    char *large = malloc(MAX + 100);
    if (large == NULL)
        abort();
    memset(large, 'x', MAX + 50);
    large[MAX + 50] = '\0';
    refuses(large, WH_ELIMIT, "1:");
    free(large);
}

static void test_kind(void)
{
    ok(config_is_yaml("p.yaml", SLICE_LIT("{}")) && config_is_yaml("p.yml", SLICE_LIT("{}")) &&
           !config_is_yaml("p.json", SLICE_LIT("a: 1")),
       "the name says it");
    ok(!config_is_yaml("-", SLICE_LIT(" \n{\"a\":1}")) &&
           !config_is_yaml("policy", SLICE_LIT("[1]")) &&
           config_is_yaml("a.b/policy", SLICE_LIT("a: 1")) &&
           config_is_yaml("-", SLICE_LIT("# x\n{}")),
       "or the first character");
    ok(!config_is_yaml("-", SLICE_LIT("")), "nothing is not valid either way");
}

int main(void)
{
    test_scalars();
    test_anchors();
    test_refused();
    test_kind();
    return tap_done();
}
