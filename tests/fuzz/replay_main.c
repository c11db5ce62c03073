/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over its corpus without a fuzzer, so that plain `make check` replays every
 * input that was ever interesting. Linked instead of libFuzzer unless configured with
 * --enable-fuzzing. In a room's Makefile.inc:
 *
 *   check_PROGRAMS += tests/fuzz/thing_fuzz
 *   EXTRA_DIST += tests/fuzz/corpus/thing
 *   tests_fuzz_thing_fuzz_SOURCES = tests/fuzz/thing_fuzz.c
 *   if FUZZING
 *   tests_fuzz_thing_fuzz_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
 *   else
 *   tests_fuzz_thing_fuzz_SOURCES += tests/fuzz/replay_main.c
 *   endif
 *
 * usage: thing_fuzz            replays $srcdir/tests/fuzz/corpus/thing/, each file a TAP test
 *        thing_fuzz FILE…      replays these files instead */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count;

/* The copy has exactly the file's size, so that AddressSanitizer sees a read past its end. */
static void replay(const char *path, const char *name)
{
    FILE *f = fopen(path, "rb");
    long size = -1;
    if (f != NULL && fseek(f, 0, SEEK_END) == 0)
        size = ftell(f);
    uint8_t *data = size < 0 ? NULL : malloc(size == 0 ? 1 : (size_t)size);
    if (data == NULL || fseek(f, 0, SEEK_SET) != 0 ||
        fread(data, 1, (size_t)size, f) != (size_t)size) {
        printf("Bail out! cannot read %s: %s\n", path, strerror(errno));
        exit(99);
    }
    (void)fclose(f);
    (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    printf("ok %d - %s\n", ++count, name);
    (void)fflush(stdout);
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

/* "…/http_head_fuzz" → "http_head" */
static void thing_of(const char *argv0, char *out, size_t cap)
{
    const char *slash = strrchr(argv0, '/');
    (void)snprintf(out, cap, "%s", slash != NULL ? slash + 1 : argv0);
    size_t len = strlen(out);
    if (len > 5 && strcmp(out + len - 5, "_fuzz") == 0)
        out[len - 5] = '\0';
}

static void replay_corpus(const char *argv0)
{
    char thing[256], dir[4096], path[4096 + 300];
    struct dirent **list;
    const char *srcdir = getenv("srcdir");
    thing_of(argv0, thing, sizeof(thing));
    (void)snprintf(dir, sizeof(dir), "%s/tests/fuzz/corpus/%s", srcdir != NULL ? srcdir : ".",
                   thing);
    int n = scandir(dir, &list, visible, alphasort);
    if (n < 0) {
        printf("Bail out! cannot list %s: %s\n", dir, strerror(errno));
        exit(99);
    }
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
        replay(path, list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

int main(int argc, char **argv)
{
    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    printf("ok %d - empty input\n", ++count);
    if (argc > 1)
        for (int i = 1; i < argc; i++)
            replay(argv[i], argv[i]);
    else
        replay_corpus(argv[0]);
    printf("1..%d\n", count);
    return 0;
}
