-- What became of one attempt: `delivered`, `failed`, `stopped`; or `pending`: again after ARGV[3] ms. Fenced by the number of tries.
-- KEYS: whd:{id}   ARGV: id state delay_ms tries give_back(0|1) status error keep_ms
local v = redis.call('HMGET', KEYS[1], 'tries', 'state')
if v[1] ~= ARGV[4] or v[2] ~= 'pending' then return 0 end
redis.call('ZREM', 'outbox', ARGV[1])
local t = now()
if ARGV[5] == '1' then redis.call('HINCRBY', KEYS[1], 'tries', -1) else redis.call('HSET', KEYS[1], 'status', ARGV[6], 'error', ARGV[7]) end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'next', ARGV[2] == 'pending' and int(t + tonumber(ARGV[3])) or '')
if ARGV[2] == 'pending' then redis.call('ZADD', 'outbox', int(t + tonumber(ARGV[3])), ARGV[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[8]) end
return 1
