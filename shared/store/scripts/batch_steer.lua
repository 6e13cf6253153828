-- The owner's word on a batch: `cancel`, `abandon` (it could not be expanded) or `release`. Answers the state, or `absent`.
-- What has to be done to its items is done in steps: `batch_step`.
-- KEYS: batch:{id}   ARGV: batch tenant action max_micro_usd('' keeps it)
local b, t = KEYS[1], now()
local v = load_batch(ARGV[1])
if not v or v.tenant ~= ARGV[2] then return 'absent' end
if ARGV[3] == 'abandon' then
  if v.state ~= 'expanding' then return v.state end
  local idem = redis.call('HGET', b, 'idem')
  if idem ~= '' then redis.call('DEL', idem) end
  redis.call('HSET', b, 'state', 'abandoned')
  redis.call('ZADD', 'batches', int(t), ARGV[1])
  redis.call('PUBLISH', 'wake', 'batches')
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
  if ARGV[4] ~= '' then redis.call('HSET', b, 'max_micro_usd', ARGV[4]) end
  if v.state == 'held' then
    redis.call('HDEL', b, 'gate', 'held_reason')
    redis.call('HSET', b, 'state', 'running', 'failed_before', v.failed, 'ended_before', v.total - v.left)
    tell(v.tenant, 'batch.running', ARGV[1])
    v.state, v.gate = 'running', 0
    promote(ARGV[1], v, 500)
  end
end
redis.call('HINCRBY', b, 'version', 1)
redis.call('PUBLISH', 'changed', ARGV[1])
return v.state
