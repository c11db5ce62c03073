-- SPDX-License-Identifier: Apache-2.0
-- wrk: the same POST over and over. BENCH_BODY names a file with the body. wrk itself counts answers that are not 2xx.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
file:close()

-- BENCH_THINK_MS: each connection rests so long between two requests, so that the machine is not saturated by wrk itself.
local think = tonumber(os.getenv("BENCH_THINK_MS") or "0")
if think > 0 then
   function delay() return think end
end

-- BENCH_MARK: "@ID@" in the body becomes an id that no other request has.
local mark = os.getenv("BENCH_MARK")
if mark then
   local before, after = wrk.body:match("^(.-)@ID@(.*)$")
   local threads, me, n = 0, 0, 0
   function setup(thread) thread:set("number", threads); threads = threads + 1 end
   function init() me = number end
   function request()
      n = n + 1
      return wrk.format(nil, nil, nil, before .. mark .. "-" .. me .. "-" .. n .. after)
   end
end
