-- One step makes a whole expanded batch a promise. Answers how many items it has; -1: it is gone.
-- KEYS: batch:{id}   ARGV: batch fingerprint listed_ms
local b = KEYS[1]
local v = load_batch(ARGV[1])
if not v or v.state == 'abandoned' then return -1 end
if v.state ~= 'expanding' then return v.total end
local t, total = now(), redis.call('ZCARD', b .. ':items')
redis.call('ZREM', 'batches', ARGV[1])
local idem = redis.call('HGET', b, 'idem')
if idem ~= '' then redis.call('HSET', idem, 'fp', ARGV[2]) end
v.state, v.total, v.left = 'running', total, total - v.failed
redis.call('HSET', b, 'state', 'running', 'total', total, 'left', v.left, 'broken', v.failed, 'failed_before', v.failed, 'ended_before', v.failed)
redis.call('ZADD', 'tbatches:' .. v.tenant, int(t), ARGV[1])
redis.call('ZREMRANGEBYSCORE', 'tbatches:' .. v.tenant, '-inf', int(t - tonumber(ARGV[3])))
redis.call('PEXPIRE', 'tbatches:' .. v.tenant, ARGV[3])
tell(v.tenant, 'batch.running', ARGV[1])
redis.call('PEXPIRE', 'feed:' .. v.tenant, ARGV[3])
if v.left == 0 then complete_batch(ARGV[1], v, t) else
  if v.gate > 0 then
    -- Lines that failed before they began are no part of the canary.
    v.gate = v.gate + v.failed
    redis.call('HSET', b, 'gate', v.gate)
  end
  promote(ARGV[1], v, 500)
end
return total
