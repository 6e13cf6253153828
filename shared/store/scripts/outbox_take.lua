-- Due deliveries, at most 4 of a line at once; each is invisible for ARGV[2] ms, so that one whose sender dies is due again.
-- Those to an endpoint go where it is now; one that was disabled or deleted meanwhile gets nothing.
-- KEYS: outbox   ARGV: limit visibility_ms keep_ms
local t, out, limit, looks = now(), {}, tonumber(ARGV[1]), 500
local lines = redis.call('ZRANGEBYSCORE', 'outbox', '-inf', int(t), 'LIMIT', 0, limit)
if #lines == 0 then return out end
redis.call('DEL', 'none')
local hidden_until = int(t + tonumber(ARGV[2]))

local function dealt_with(id, line)
  local key = 'whd:' .. id
  local v = redis.call('HMGET', key, 'tenant', 'url', 'endpoint')
  local endpoint = v[3] and redis.call('HMGET', 'endpoint:' .. v[3], 'state', 'url')
  if v[1] and (not endpoint or endpoint[1] == 'enabled' and endpoint[2] == v[2]) then return false end
  redis.call('ZREM', 'outbox:' .. line, id)
  if v[1] and endpoint[1] == 'enabled' then
    redis.call('HSET', key, 'url', endpoint[2])
    queue_delivery(id, endpoint[2], t)
  elseif v[1] then
    redis.call('HSET', key, 'state', 'stopped', 'next', '', 'error', 'the endpoint is disabled or deleted')
    redis.call('PEXPIRE', key, ARGV[3])
  end
  return true
end

local function take_from(line)
  local queue, sends = 'outbox:' .. line, 'sends:' .. line
  redis.call('ZREMRANGEBYSCORE', sends, '-inf', int(t))
  local room = math.min(4 - redis.call('ZCARD', sends), limit - #out)
  while room > 0 and looks > 0 do
    local due = redis.call('ZRANGEBYSCORE', queue, '-inf', int(t), 'LIMIT', 0, room)
    if #due == 0 then return end
    looks = looks - #due
    for _, id in ipairs(due) do
      if not dealt_with(id, line) then
        local key = 'whd:' .. id
        redis.call('ZADD', queue, hidden_until, id)
        redis.call('ZADD', sends, hidden_until, id)
        redis.call('PEXPIRE', sends, ARGV[2])
        redis.call('HINCRBY', key, 'tries', 1)
        redis.call('HSET', key, 'next', hidden_until)
        out[#out + 1] = {id, redis.call('HGETALL', key)}
        room = room - 1
      end
    end
  end
end

for _, line in ipairs(lines) do
  if #out >= limit or looks <= 0 then break end
  take_from(line)
  plan_line(line, t)
end
return out
