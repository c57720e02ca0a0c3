-- Requests of wrk, and what came of them as one line that bench/gateway.py reads. Arguments: method, path in which %d is a number, the first number
-- and how many there are.
local method, path, first, many
local turn = -1

function init(args)
    method, path, first, many = args[1], args[2], tonumber(args[3]), tonumber(args[4])
end

function request()
    turn = turn + 1
    return wrk.format(method, string.format(path, first + turn % many), nil, method == "POST" and "{}" or nil)
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format('RESULT {"requests": %d, "seconds": %f, "refused": %d, "broken": %d, "p50_ms": %f, "p99_ms": %f}\n', summary.requests,
        summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
