-- The gateway that expands a batch lives. 1; 0: the batch was abandoned, or is promised.
-- KEYS: batch:{id}   ARGV: batch lease_ms
redis.call('DEL', 'none')
if redis.call('HGET', KEYS[1], 'state') ~= 'expanding' then return 0 end
redis.call('ZADD', 'batches', int(now() + tonumber(ARGV[2])), ARGV[1])
return 1
