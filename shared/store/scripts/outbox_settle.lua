-- What became of one attempt: `delivered`, `failed`, `stopped`; or `pending`: again after ARGV[3] ms. Fenced by the number of tries.
-- `by`: whose doing it is: `receiver`, told to its endpoint; `us`; or `nobody`: no attempt was made, and it does not count.
-- 1: its line has something to send now.
-- KEYS: whd:{id}   ARGV: id state delay_ms tries by status error keep_ms failing_ms
local v = redis.call('HMGET', KEYS[1], 'tries', 'state', 'url', 'endpoint')
if v[1] ~= ARGV[4] or v[2] ~= 'pending' then return 0 end
local t, line = now(), line_of(v[3])
redis.call('ZREM', 'outbox:' .. line, ARGV[1])
redis.call('ZREM', 'sends:' .. line, ARGV[1])
local due = t + tonumber(ARGV[3])
if ARGV[5] == 'nobody' then redis.call('HINCRBY', KEYS[1], 'tries', -1)
else
  redis.call('HSET', KEYS[1], 'status', ARGV[6], 'error', ARGV[7])
  count('webhooks|' .. (ARGV[2] == 'pending' and 'retried' or ARGV[2]))
end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'next', ARGV[2] == 'pending' and int(due) or '')
if ARGV[2] == 'pending' then redis.call('ZADD', 'outbox:' .. line, int(due), ARGV[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[8]) end

local key = 'endpoint:' .. (v[4] or '')
local e = redis.call('HMGET', key, 'tenant', 'state', 'failing_since')
if ARGV[5] == 'receiver' and e[1] then
  if ARGV[2] == 'delivered' then
    redis.call('HDEL', key, 'failing_since')
    redis.call('HSET', key, 'last_success', int(t), 'last_status', ARGV[6])
  else
    local since = tonumber(e[3] or t)
    redis.call('HSET', key, 'last_failure', int(t), 'last_status', ARGV[6], 'last_error', ARGV[7], 'failing_since', int(since))
    local reason = ARGV[2] == 'stopped' and 'gone' or t - since >= tonumber(ARGV[9]) and 'failing'
    if reason and e[2] == 'enabled' then
      redis.call('HSET', key, 'state', 'disabled', 'disabled_reason', reason)
      publish_endpoints(e[1])
    end
  end
end
return plan_line(line, t) and 1 or 0
