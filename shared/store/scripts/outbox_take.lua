-- Due deliveries; each is invisible for ARGV[2] ms, so that one whose sender dies is due again.
-- KEYS: outbox   ARGV: limit visibility_ms
redis.call('DEL', 'none')
local t, out = now(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'outbox', '-inf', int(t), 'LIMIT', 0, tonumber(ARGV[1]))) do
  local key = 'whd:' .. id
  if redis.call('EXISTS', key) == 0 then redis.call('ZREM', 'outbox', id)
  else
    redis.call('ZADD', 'outbox', int(t + tonumber(ARGV[2])), id)
    redis.call('HINCRBY', key, 'tries', 1)
    redis.call('HSET', key, 'next', int(t + tonumber(ARGV[2])))
    out[#out + 1] = {id, redis.call('HGETALL', key)}
  end
end
return out
