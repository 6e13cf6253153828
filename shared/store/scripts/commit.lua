-- One step makes a whole staged batch visible. Items keep `at=staged` in their hash: `take` reads the queue, not the field.
-- KEYS: batch:{id}   ARGV: batch tenant lane deadline_ms
local staged = 'batch:' .. ARGV[1] .. ':staged'
if redis.call('HGET', KEYS[1], 'state') ~= 'staging' then return tonumber(redis.call('HGET', KEYS[1], 'total') or '0') end
local total, t = redis.call('ZCARD', staged), now()
local queue = 'ready:' .. ARGV[3] .. ':' .. ARGV[2]
redis.call('ZUNIONSTORE', queue, 2, queue, staged)
local index = 'tjobs:' .. ARGV[2]
local ids = redis.call('ZRANGE', staged, 0, -1)
for from = 1, #ids, 500 do
  local due, listed = {}, {}
  for i = from, math.min(from + 499, #ids) do
    due[#due + 1] = int(t + tonumber(ARGV[4])); due[#due + 1] = ids[i]
    listed[#listed + 1] = int(t); listed[#listed + 1] = ids[i]
  end
  redis.call('ZADD', 'timers', unpack(due))
  redis.call('ZADD', index, unpack(listed))
end
redis.call('DEL', staged)
redis.call('HSET', KEYS[1], 'state', 'open', 'total', total, 'left', total, 'created', int(t))
redis.call('HINCRBY', 'open', ARGV[2], total)
redis.call('SADD', 'lanes', ARGV[3])
if total > 0 then join_turn(ARGV[3], ARGV[2]) end
redis.call('PUBLISH', 'wake', ARGV[3])
return total
