/* SPDX-License-Identifier: Apache-2.0 */
/* Route patterns against paths, still percent-encoded. */
#include "api/route.h"
#include "tests/lib/tap.h"

static void matches(const char *pattern, const char *path, const char *want)
{
    struct slice param = SLICE_LIT("(none)");
    bool hit = route_match(pattern, slice_str(path), &param);
    bool right =
        want == NULL ? !hit && slice_eq_str(param, "(none)") : hit && slice_eq_str(param, want);
    ok(right, "%s %s %s", pattern, want == NULL ? "is not" : "is", path);
}

int main(void)
{
    matches("/a/b", "/a/b", "(none)");
    matches("/a/b", "/a/b/", NULL);
    matches("/a/b", "/a", NULL);
    matches("/a/b", "", NULL);
    matches("/a/{x}", "/a/1-2-3", "1-2-3");
    matches("/a/{x}", "/a/%2Fb%20c", "%2Fb%20c");
    matches("/a/{x}", "/a/a%2fb", "a%2fb");
    matches("/a/{x}", "/a/", NULL);
    matches("/a/{x}", "/a", NULL);
    matches("/a/{x}", "/a/b/c", NULL);
    matches("/a/{x}", "/a/b/", NULL);
    matches("/a/{x}", "/b/c", NULL);
    matches("/a/{x}/run", "/a/b/run", "b");
    matches("/a/{x}/run", "/a/b/ru", NULL);
    matches("/a/{x}/run", "/a/b", NULL);
    matches("/a/{x}/{y}", "/a/b/c", "c");
    return tap_done();
}
