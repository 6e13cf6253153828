-- The owner's word on a batch: `cancel`, `abandon` (it could not be expanded) or `release`. Answers the state, `absent`, or the 1e-6 USD
-- that are spent or reserved already and that its new limit would not cover.
-- What has to be done to its items is done in steps: `batch_step`.
-- KEYS: batch:{id}   ARGV: batch tenant action max_micro_usd('' keeps it)
local b, t = KEYS[1], now()
local v = load_batch(ARGV[1])
if not v or v.tenant ~= ARGV[2] then return 'absent' end
redis.call('DEL', 'none')
if ARGV[3] == 'abandon' then
  if v.state ~= 'expanding' then return v.state end
  abandon(ARGV[1], t)
  return 'abandoned'
end
if v.state ~= 'running' and v.state ~= 'held' then return v.state end
if ARGV[3] == 'cancel' then
  redis.call('HSET', b, 'state', 'canceled')
  redis.call('ZADD', 'batches', int(t), ARGV[1])
  redis.call('PUBLISH', 'wake', 'batches')
  tell(v.tenant, 'batch.canceled', ARGV[1])
  v.state = 'canceled'
else
  if ARGV[4] ~= '' then
    local m = redis.call('HMGET', b, 'reserved', 'spent')
    local bound = tonumber(m[1] or '0') + tonumber(m[2] or '0')
    if tonumber(ARGV[4]) < bound then return int(bound) end
    redis.call('HSET', b, 'max_micro_usd', ARGV[4])
  end
  if v.state == 'held' then
    -- Held for another reason before its canary had ended, it is held again when that has.
    if v.total - v.left >= v.gate then
      redis.call('HDEL', b, 'gate')
      v.gate = 0
    end
    redis.call('HDEL', b, 'held_reason')
    redis.call('HSET', b, 'state', 'running', 'failed_before', v.failed, 'ended_before', v.total - v.left)
    tell(v.tenant, 'batch.running', ARGV[1])
    v.state = 'running'
    promote(ARGV[1], v, 500)
  end
end
redis.call('HINCRBY', b, 'version', 1)
redis.call('PUBLISH', 'changed', ARGV[1])
return v.state
