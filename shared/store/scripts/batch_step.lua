-- Some of what is left to do for batches: drop abandoned ones, end the items of canceled ones, give twins the result of their like.
-- Answers how many items were dealt with; call again until it is 0.
-- KEYS: batches   ARGV: retention_ms limit
local t, retention, room, done = now(), tonumber(ARGV[1]), tonumber(ARGV[2]), 0

local function drop(batch, b)
  local ids = redis.call('ZRANGE', b .. ':items', 0, room - done - 1)
  local tenant = redis.call('HGET', b, 'tenant')
  for _, id in ipairs(ids) do
    local j = load(id)
    if j then
      if not TERMINAL[j.state] then
        redis.call('HINCRBY', 'open:batches', tenant, -1)
        count_money(tenant, j.created, '', 'reserved', -j.reserved)
      end
      redis.call('DEL', 'job:' .. id, 'twins:' .. id)
    end
    redis.call('ZREM', 'timers', id)
    redis.call('ZREM', 'tjobs:' .. tenant, id)
    redis.call('ZREM', b .. ':items', id)
    done = done + 1
  end
  if redis.call('ZCARD', b .. ':items') > 0 then return end
  redis.call('DEL', b, b .. ':staged', b .. ':window')
  redis.call('ZREM', 'batches', batch)
end

local function cancel_items(batch, b)
  local from = tonumber(redis.call('HGET', b, 'swept') or '0')
  local ids = redis.call('ZRANGE', b .. ':items', from, from + room - done - 1)
  for _, id in ipairs(ids) do
    local j = load(id)
    if j and j.state == 'running' then
      redis.call('HSET', 'job:' .. id, 'cancel', '1')
      changed(id)
      redis.call('PUBLISH', 'wake', 'cancel')
    elseif j and j.state == 'queued' then finish(id, j, 'canceled', retention, {'cost_micro_usd', 0}) end
    done = done + 1
  end
  redis.call('HSET', b, 'swept', int(from + #ids))
  if #ids == 0 then redis.call('ZREM', 'batches', batch) end
end

for _, batch in ipairs(redis.call('ZRANGEBYSCORE', 'batches', '-inf', int(t), 'LIMIT', 0, 10)) do
  if done < room then
    redis.call('DEL', 'none')
    local b = 'batch:' .. batch
    local state = redis.call('HGET', b, 'state')
    -- Its gateway died. Nothing is added to it any more while it is dropped step by step, nor can it be promised.
    if state == 'expanding' then abandon(batch, t) end
    if state == 'expanding' or state == 'abandoned' then drop(batch, b)
    elseif state == 'canceled' then cancel_items(batch, b)
    else redis.call('ZREM', 'batches', batch) end
  end
end

-- The first of a canceled edit's twins is done in its stead.
local function succeed(primary, heir, j)
  redis.call('HDEL', 'job:' .. heir, 'twin_of')
  if redis.call('EXISTS', 'twins:' .. primary) == 1 then redis.call('RENAME', 'twins:' .. primary, 'twins:' .. heir) end
  redis.call('SADD', 'batch:' .. j.batch .. ':window', heir)
  to_ready(heir, j)
end

for _, primary in ipairs(redis.call('ZRANGE', 'following', 0, 9)) do
  local v = redis.call('HMGET', 'job:' .. primary, 'state', 'course', 'error_code', 'call_model')
  while done < room do
    local twin = redis.call('LPOP', 'twins:' .. primary)
    if not twin then break end
    local j = load(twin)
    done = done + 1
    if j and j.state == 'queued' then
      if v[1] == 'succeeded' or v[1] == 'failed' then
        finish(twin, j, v[1], retention, {'course', v[2] or '', 'error_code', v[3] or '', 'call_model', v[4] or '', 'cost_micro_usd', 0})
      elseif redis.call('HGET', 'batch:' .. j.batch, 'state') == 'canceled' then finish(twin, j, 'canceled', retention, {'cost_micro_usd', 0})
      else
        succeed(primary, twin, j)
        break
      end
    end
  end
  if redis.call('EXISTS', 'twins:' .. primary) == 0 then redis.call('ZREM', 'following', primary) end
end
return done
