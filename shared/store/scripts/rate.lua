-- What a tenant says of a result, kept with the edit; what it said before is taken back first, so that sent twice it counts once.
-- KEYS: job:{id}   ARGV: tenant figure(model|operation|) rating accepted(yes|no|) comment keep_ms -> 1, or 0 the edit is not there
local v = redis.call('HMGET', KEYS[1], 'tenant', 'rating', 'accepted', 'rated_as', 'rated_week')
if v[1] ~= ARGV[1] then return 0 end
local t = now()
local week = int(math.floor(t / (7 * DAY_MS)))

local function count(by, rating, accepted, figure, in_week)
  redis.call('HINCRBY', 'ratings', figure .. 'ratings', by)
  redis.call('HINCRBY', 'ratings', figure .. 'rating_sum', by * rating)
  local key = 'accepted:' .. ARGV[1] .. ':' .. in_week
  -- From a week that is forgotten nothing can be taken back.
  if accepted == '' or by < 0 and redis.call('EXISTS', key) == 0 then return end
  redis.call('HINCRBY', key, figure .. accepted, by)
  redis.call('PEXPIRE', key, ARGV[6])
end

if v[2] then count(-1, tonumber(v[2]), v[3], v[4], v[5]) end
count(1, tonumber(ARGV[3]), ARGV[4], ARGV[2], week)
redis.call('HSET', KEYS[1], 'rating', ARGV[3], 'accepted', ARGV[4], 'comment', ARGV[5], 'rated_as', ARGV[2], 'rated_week', week, 'rated', int(t))
return 1
