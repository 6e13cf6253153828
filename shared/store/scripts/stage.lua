-- A chunk of at most 500 items of a batch, not yet visible to workers. Sent twice, it changes nothing the second time.
-- Answers {ok, items so far}, {absent}, {full} or {budget, daily|monthly|batch, limit, left}; but for `ok` nothing of the chunk is kept.
-- An item with an `error_code` has failed before it began. A twin waits for the result of its like.
-- KEYS: batch:{id}   ARGV: batch priority request_id key_id quota retention_ms listed_ms lease_ms first_index
--                          then (id lane reserved_micro_usd hook spec twin_of error_code course deadline_ms)*
local batch, t, b = ARGV[1], now(), KEYS[1]
local v = redis.call('HMGET', b, 'state', 'tenant', 'max_micro_usd', 'reserved')
if v[1] ~= 'expanding' then return {'absent'} end
local tenant, fresh, micro = v[2], {}, 0
for i = 10, #ARGV, 9 do
  if redis.call('EXISTS', 'job:' .. ARGV[i]) == 0 then
    fresh[#fresh + 1] = i
    micro = micro + tonumber(ARGV[i + 2])
  end
end
if tonumber(redis.call('HGET', 'open:batches', tenant) or '0') + #fresh > tonumber(redis.call('HGET', 'tenant:' .. tenant, 'batch_quota') or ARGV[5]) then
  return {'full'}
end
local left = tonumber(v[3] or '9e15') - tonumber(v[4] or '0')
if micro > left then return {'budget', 'batch', v[3], int(math.max(0, left))} end
local limits = limits_of(tenant, t)
local broken = broken_limit(limits, micro)
if broken then return {'budget', unpack(broken)} end
local rank, waiting = tonumber(ARGV[2]) * 1e13, 0
for _, i in ipairs(fresh) do
  local id, key, deadline = ARGV[i], 'job:' .. ARGV[i], int(t + tonumber(ARGV[i + 8]))
  local r, index = int(rank + redis.call('INCR', 'sequence')), tonumber(ARGV[9]) + (i - 10) / 9
  redis.call('HSET', key, 'gen', 0, 'version', 0, 'tenant', tenant, 'lane', ARGV[i + 1], 'rank', r, 'deadline', deadline, 'spec', ARGV[i + 4],
    'created', int(t), 'request_id', ARGV[3], 'key', ARGV[4], 'batch', batch)
  if ARGV[i + 2] ~= '0' then redis.call('HSET', key, 'reserved', ARGV[i + 2]) end
  keep_limits(id, limits)
  if ARGV[i + 3] ~= '' then redis.call('HSET', key, 'hook', ARGV[i + 3]) end
  redis.call('ZADD', b .. ':items', int(index), id)
  redis.call('ZADD', 'tjobs:' .. tenant, int(t), id)
  if ARGV[i + 6] ~= '' then
    redis.call('HSET', key, 'state', 'failed', 'at', '', 'error_code', ARGV[i + 6], 'course', ARGV[i + 7], 'cost_micro_usd', 0, 'finished', int(t),
      'expires', int(t + tonumber(ARGV[6])))
    redis.call('PEXPIRE', key, ARGV[6])
    redis.call('HINCRBY', b, 'failed', 1)
  else
    redis.call('HSET', key, 'state', 'queued')
    redis.call('ZADD', 'timers', deadline, id)
    waiting = waiting + 1
    if ARGV[i + 5] ~= '' then
      redis.call('HSET', key, 'at', 'twin', 'twin_of', ARGV[i + 5])
      redis.call('RPUSH', 'twins:' .. ARGV[i + 5], id)
    else
      redis.call('HSET', key, 'at', 'staged')
      redis.call('ZADD', b .. ':staged', r, id)
    end
  end
end
redis.call('HINCRBY', 'open:batches', tenant, waiting)
redis.call('ZREMRANGEBYSCORE', 'tjobs:' .. tenant, '-inf', int(t - tonumber(ARGV[7])))
redis.call('PEXPIRE', 'tjobs:' .. tenant, ARGV[7])
count_money(tenant, t, batch, 'reserved', micro)
redis.call('HINCRBY', b, 'estimated', int(micro))
redis.call('ZADD', 'batches', int(t + tonumber(ARGV[8])), batch)
return {'ok', redis.call('ZCARD', b .. ':items')}
