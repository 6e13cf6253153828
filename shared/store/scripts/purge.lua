-- Deletes a finished edit's record; a tombstone answers 410 for ARGV[3] ms. Answers the state, or `absent`.
-- KEYS: job:{id}   ARGV: id tenant tombstone_ms
local j = load(ARGV[1])
if not j or j.tenant ~= ARGV[2] then return 'absent' end
if not TERMINAL[j.state] then return j.state end
redis.call('DEL', KEYS[1])
redis.call('ZREM', 'tjobs:' .. j.tenant, ARGV[1])
redis.call('SET', 'gone:' .. ARGV[1], ARGV[2], 'PX', ARGV[3])
return j.state
