/* SPDX-License-Identifier: Apache-2.0 */
/* The two files of wavehousectl policy. */
#ifndef WH_CTL_POLICY_H
#define WH_CTL_POLICY_H

#include "access/policy.h"
#include "ctl/ctl.h"

/* Read and parse one file; findings are printed. NULL: *status says why. */
struct access_policy *ctl_policy_load(const char *file, bool strict, int *status);

/* argv[0] is "explain" */
int ctl_policy_explain(int argc, char **argv);

#endif
