/* SPDX-License-Identifier: Apache-2.0 */
/* The files of wavehousectl policy. */
#ifndef WH_CTL_POLICY_H
#define WH_CTL_POLICY_H

#include "access/policy.h"
#include "ctl/ctl.h"

/* Read and parse one file; findings are printed. NULL: *status says why. */
struct access_policy *ctl_policy_load(const char *file, bool strict, int *status);

/* Append a document from a file ("-": standard input) as JSON; YAML is turned into it
 * (config/yaml_json.h). Findings are printed; CTL_OK, CTL_DAMAGE, CTL_SYSTEM. */
int ctl_policy_read(const char *file, struct buf *out);

/* documents.c: get, set, validate ask a running daemon. */
bool ctl_policy_is_remote(const char *name);
int ctl_policy_remote(int argc, char **argv);
void ctl_policy_remote_usage(FILE *to);

/* argv[0] is "explain" */
int ctl_policy_explain(int argc, char **argv);

#endif
