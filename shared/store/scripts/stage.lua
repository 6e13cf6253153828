-- A chunk of at most 500 items of a batch, not yet visible to workers. Sent twice, it changes nothing the second time.
-- KEYS: batch:{id}   ARGV: batch tenant lane priority deadline_ms hook request_id first_index  then (id, spec)*
local batch, tenant, lane, t = ARGV[1], ARGV[2], ARGV[3], now()
local rank = tonumber(ARGV[4]) * 1e13
local deadline = int(t + tonumber(ARGV[5]))
redis.call('HSETNX', KEYS[1], 'state', 'staging')
redis.call('HSETNX', KEYS[1], 'tenant', tenant)
local index = tonumber(ARGV[8])
for i = 9, #ARGV, 2 do
  local id, key = ARGV[i], 'job:' .. ARGV[i]
  if redis.call('EXISTS', key) == 0 then
    local r = int(rank + redis.call('INCR', 'sequence'))
    redis.call('HSET', key, 'state', 'queued', 'at', 'staged', 'gen', 0, 'version', 0, 'tenant', tenant, 'lane', lane, 'rank', r, 'deadline', deadline,
      'spec', ARGV[i + 1], 'created', int(t), 'request_id', ARGV[7], 'batch', batch)
    if ARGV[6] ~= '' then redis.call('HSET', key, 'hook', ARGV[6]) end
    redis.call('ZADD', 'batch:' .. batch .. ':items', index, id)
    redis.call('ZADD', 'batch:' .. batch .. ':staged', r, id)
    redis.call('ZADD', 'timers', int(t + 600000), id)
  end
  index = index + 1
end
return redis.call('ZCARD', 'batch:' .. batch .. ':items')
