-- SPDX-License-Identifier: Apache-2.0
-- wrk: the same POST over and over. BENCH_BODY names a file with the body. wrk itself counts answers that are not 2xx.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
file:close()
