/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of its own for a test, under $TMPDIR or /tmp. */
#ifndef WH_TESTS_TMPDIR_H
#define WH_TESTS_TMPDIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* To be given to tmpdir_remove; ends the test program when there is none to be had. */
__attribute__((unused)) static char *tmpdir_make(void)
{
    const char *base = getenv("TMPDIR");
    char *path = NULL;

    if (asprintf(&path, "%s/wh-test-XXXXXX", base != NULL ? base : "/tmp") < 0 ||
        mkdtemp(path) == NULL) {
        perror("tmpdir_make");
        exit(99);
    }
    return path;
}

static int tmpdir_unlink_(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

__attribute__((unused)) static void tmpdir_remove(char *path)
{
    (void)nftw(path, tmpdir_unlink_, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}

#endif
