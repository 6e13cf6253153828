-- Shared by every script, after `prelude`: batches, and the end of an edit, which may be an item of one.

-- Whether anybody was told of it: not of an item as long as its batch is being expanded.
local function is_promised(j)
  local state = j.batch ~= '' and redis.call('HGET', 'batch:' .. j.batch, 'state')
  return state ~= 'expanding' and state ~= 'abandoned'
end

local function batch_event(batch, v, kind, nth)
  announce(batch, v.tenant, kind, nth)
  if v.url ~= '' and string.find(v.events, string.gsub(kind, '^.*%.', ''), 1, true) then deliver(batch, v.tenant, kind, v.url, '', nth) end
end

local function load_batch(batch)
  local v = redis.call('HMGET', 'batch:' .. batch, 'state', 'tenant', 'total', 'left', 'failed', 'gate', 'stop_rate', 'failed_before', 'ended_before',
    'window', 'url', 'events', 'retention_ms')
  if not v[1] then return nil end
  return {state = v[1], tenant = v[2], total = tonumber(v[3] or '0'), left = tonumber(v[4] or '0'), failed = tonumber(v[5] or '0'), gate = tonumber(v[6] or '0'),
          stop_rate = tonumber(v[7] or '0'), failed_before = tonumber(v[8] or '0'), ended_before = tonumber(v[9] or '0'), window = tonumber(v[10] or '0'),
          url = v[11] or '', events = v[12] or '', retention_ms = tonumber(v[13] or '0')}
end

-- The next items of a running batch into their queues, no more at once than its window: queues stay short, and a hold or a cancel is quick.
local function promote(batch, v, most)
  local b = 'batch:' .. batch
  local inside = redis.call('SCARD', b .. ':window')
  local room = math.min(most, v.window - inside)
  if v.gate > 0 then room = math.min(room, v.gate - inside - (v.total - v.left)) end
  if room < 1 then return 0 end
  local popped, moved = redis.call('ZPOPMIN', b .. ':staged', room), 0
  for i = 1, #popped, 2 do
    local j = load(popped[i])
    if j and j.state == 'queued' then
      redis.call('SADD', b .. ':window', popped[i])
      to_ready(popped[i], j)
      moved = moved + 1
    end
  end
  return moved
end

-- One that will not be promised: its items are dropped by `batch_step`, its Idempotency-Key is free unless another batch has it by now.
local function abandon(batch, t)
  local idem = redis.call('HGET', 'batch:' .. batch, 'idem')
  if not idem then return end
  if idem ~= '' and redis.call('HGET', idem, 'id') == batch then redis.call('DEL', idem) end
  redis.call('HSET', 'batch:' .. batch, 'state', 'abandoned')
  redis.call('ZADD', 'batches', int(t), batch)
  redis.call('PUBLISH', 'wake', 'batches')
end

-- Nothing more of it starts until it is released; what runs, ends.
local function hold(batch, v, reason)
  local b = 'batch:' .. batch
  for _, id in ipairs(redis.call('SMEMBERS', b .. ':window')) do
    local j = load(id)
    if j and j.state == 'queued' and j.at == 'ready' then
      redis.call('ZREM', 'ready:' .. j.lane .. ':' .. j.tenant, id)
      redis.call('SREM', b .. ':window', id)
      redis.call('HSET', 'job:' .. id, 'at', 'staged')
      redis.call('ZADD', b .. ':staged', j.rank, id)
    end
  end
  redis.call('HSET', b, 'state', 'held', 'held_reason', reason)
  redis.call('HINCRBY', b, 'version', 1)
  redis.call('PUBLISH', 'changed', batch)
  local holds = redis.call('HINCRBY', b, 'holds', 1)
  batch_event(batch, v, 'batch.held', holds > 1 and int(holds) or '')
end

local function complete_batch(batch, v, t)
  local b = 'batch:' .. batch
  local state = v.state
  if state ~= 'canceled' then state = (v.failed > 0 or tonumber(redis.call('HGET', b, 'canceled') or '0') > 0) and 'completed_with_errors' or 'completed' end
  redis.call('HSET', b, 'state', state, 'finished', int(t), 'expires', int(t + v.retention_ms))
  redis.call('PEXPIRE', b, int(v.retention_ms))
  redis.call('PEXPIRE', b .. ':items', int(v.retention_ms))
  redis.call('ZREM', 'batches', batch)
  batch_event(batch, v, 'batch.completed')
end

local function batch_item_ended(id, j, state, t)
  local b = 'batch:' .. j.batch
  redis.call('ZREM', b .. ':staged', id)
  redis.call('SREM', b .. ':window', id)
  redis.call('HINCRBY', b, state, 1)
  redis.call('HINCRBY', b, 'left', -1)
  redis.call('HINCRBY', b, 'version', 1)
  redis.call('PUBLISH', 'changed', j.batch)
  if redis.call('EXISTS', 'twins:' .. id) == 1 then
    redis.call('ZADD', 'following', int(t), id)
    redis.call('PUBLISH', 'wake', 'batches')
  end
  local v = load_batch(j.batch)
  local ended = v.total - v.left
  if v.left == 0 then complete_batch(j.batch, v, t)
  elseif v.state == 'running' then
    local counted = ended - v.ended_before
    if v.gate > 0 and ended >= v.gate then hold(j.batch, v, 'canary')
    elseif v.stop_rate > 0 and counted >= math.min(20, v.total - v.ended_before) and (v.failed - v.failed_before) / counted > v.stop_rate then
      hold(j.batch, v, 'failure_rate')
    elseif redis.call('SCARD', b .. ':window') <= v.window / 2 then promote(j.batch, v, 250) end
  end
end

-- The only way into a terminal state. `fields` are written beside it (course, cost, error).
local function finish(id, j, state, retention_ms, fields)
  leave(id, j)
  local t, key = now(), 'job:' .. id
  local from = j.state
  redis.call('HSET', key, 'state', state, 'at', '', 'waiting_on', '', 'finished', int(t), 'expires', int(t + retention_ms), unpack(fields))
  redis.call('PEXPIRE', key, int(retention_ms))
  redis.call('HINCRBY', j.batch == '' and 'open' or 'open:batches', j.tenant, -1)
  changed(id)
  announce(id, j.tenant, 'edit.' .. state)
  local v = redis.call('HMGET', key, 'cost_micro_usd', 'call_model', 'spec', 'error_code')
  -- Whatever a record holds, it comes to its end.
  local is_read, spec = pcall(cjson.decode, v[3] or '')
  if not is_read then spec = {} end
  if spec.webhook_url and string.find(j.hook, state, 1, true) then
    deliver(id, j.tenant, 'edit.' .. state, spec.webhook_url, '')
  end
  local outcome, model = state, v[2] and v[2] ~= '' and v[2] or 'none'
  if state == 'failed' and v[4] and v[4] ~= '' then outcome = v[4] end
  count('edits|' .. state .. '|' .. (spec.operation or 'general_edit') .. '|' .. model .. '|' .. outcome)
  if state ~= 'canceled' then observe('edit|' .. kind_of(j), t - j.created) end
  local cost = tonumber(v[1] or '0')
  count_money(j.tenant, j.created, j.batch, 'reserved', -j.reserved)
  count_money(j.tenant, j.created, j.batch, 'spent', cost)
  local usage, what = 'usage:' .. j.tenant .. ':' .. int(math.floor(j.created / DAY_MS)), '|' .. (v[2] or '') .. '|' .. j.key
  redis.call('HINCRBY', usage, state .. what, 1)
  if cost > 0 then redis.call('HINCRBY', usage, 'micro_usd' .. what, int(cost)) end
  redis.call('PEXPIRE', usage, 400 * DAY_MS)
  if j.batch ~= '' then batch_item_ended(id, j, state, t) end
  return from
end
