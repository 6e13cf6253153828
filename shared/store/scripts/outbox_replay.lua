-- A delivery again from its first attempt, with the same webhook-id. 1 queued, 0 unknown to this tenant.
-- KEYS: whd:{id}   ARGV: id tenant
if redis.call('HGET', KEYS[1], 'tenant') ~= ARGV[2] then return 0 end
local t = int(now())
redis.call('PERSIST', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'pending', 'tries', 0, 'next', t, 'error', '')
redis.call('ZADD', 'outbox', t, ARGV[1])
redis.call('PUBLISH', 'wake', 'outbox')
return 1
