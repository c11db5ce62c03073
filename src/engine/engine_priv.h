/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of wavehoused-engine share: the folder it runs in. */
#ifndef WH_ENGINE_ENGINE_PRIV_H
#define WH_ENGINE_ENGINE_PRIV_H

#include "base/err.h"

/* Make dir (0700, parents must exist) and write dir/config.xml and dir/users.xml, each atomically.
 * A file whose first line is not ours is the operator's and is left alone; so are config.d/ and
 * users.d/, which the engine merges in. 0 or an error with text. Blocks: file
 * system. */
int engine_write_config(const char *dir, struct err *e) WH_MUST_CHECK;

#endif
