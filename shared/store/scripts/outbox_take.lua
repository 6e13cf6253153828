-- Due deliveries; each is invisible for ARGV[2] ms, so that one whose sender dies is due again.
-- KEYS: outbox   ARGV: limit visibility_ms
local t, out = now(), {}
local due = redis.call('ZRANGEBYSCORE', 'outbox', '-inf', int(t), 'LIMIT', 0, tonumber(ARGV[1]))
if #due == 0 then return out end
redis.call('DEL', 'none')
for _, id in ipairs(due) do
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
