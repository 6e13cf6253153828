-- A key's record and some of its tokens: `want` of them at once, so that a busy key costs a write a second, not one a request.
-- `unused`: tokens of an earlier grant that come back.
-- KEYS: key:{sha256} rate:{sha256}:{kind}   ARGV: kind default_per_minute want unused -> {} or {record, granted, left, limit}
redis.call('DEL', 'none')
local record = redis.call('HGETALL', KEYS[1])
if #record == 0 then return {} end
local limit = tonumber(redis.call('HGET', KEYS[1], ARGV[1] .. '_per_minute') or ARGV[2])
local t = now()
local v = redis.call('HMGET', KEYS[2], 'tokens', 'ts')
local tokens = math.min(limit, tonumber(v[1] or limit) + tonumber(ARGV[4]) + (t - tonumber(v[2] or t)) * limit / 60000)
local granted = math.min(math.floor(tokens), math.max(1, math.min(tonumber(ARGV[3]), math.floor(limit / 60))))
tokens = tokens - granted
redis.call('HSET', KEYS[2], 'tokens', tostring(tokens), 'ts', int(t))
redis.call('PEXPIRE', KEYS[2], 120000)
return {record, granted, int(math.floor(tokens)), int(limit)}
