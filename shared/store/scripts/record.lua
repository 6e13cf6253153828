-- The end of a call at a provider: the day's figures, and the circuits of the model and of the provider. A circuit that opens
-- lets nobody through, then one call at a time, until one of these succeeds; each that fails doubles the pause.
-- KEYS: circuits   ARGV: model_circuit provider_circuit figure(model|operation|) outcome(good|bad|unusable|neutral) bucket micro_usd
--                   model said(succeeded, or an error code) ms
redis.call('DEL', 'none')
local outcome, t = ARGV[4], now()

local function open(name, first_ms, longest_ms)
  local since, retry_at, pause = string.match(redis.call('HGET', KEYS[1], name) or '', '(%d+) (%d+) (%d+)')
  -- A call that began before it opened says nothing new.
  if since and t < tonumber(retry_at) then return end
  local wait = since and math.min(longest_ms, pause * 2) or first_ms
  redis.call('HSET', KEYS[1], name, (since or int(t)) .. ' ' .. int(t + wait) .. ' ' .. int(wait))
  redis.call('DEL', 'circuit:' .. name, 'probe:' .. name)
end

local function close(name)
  local retry_at = string.match(redis.call('HGET', KEYS[1], name) or '', '%d+ (%d+)')
  if not retry_at or t < tonumber(retry_at) then return end
  redis.call('HDEL', KEYS[1], name)
  redis.call('DEL', 'probe:' .. name)
end

-- Whether a circuit that is closed has to open: 5 failures in a row, or within 30 s half of at least 10 calls.
local function tripped(name, good)
  local key = 'circuit:' .. name
  local v = redis.call('HMGET', key, 'window', 'good', 'bad', 'row')
  local window, goods, bads, row = tonumber(v[1] or '0'), tonumber(v[2] or '0'), tonumber(v[3] or '0'), tonumber(v[4] or '0')
  if t - window > 30000 then window, goods, bads = t, 0, 0 end
  if good then goods, row = goods + 1, 0 else bads, row = bads + 1, row + 1 end
  redis.call('HSET', key, 'window', int(window), 'good', goods, 'bad', bads, 'row', row)
  redis.call('PEXPIRE', key, 300000)
  return row >= 5 or not good and goods + bads >= 10 and bads >= goods
end

if outcome == 'good' or outcome == 'bad' then
  local is_open = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1
  if is_open and outcome == 'good' then close(ARGV[1])
  elseif is_open or tripped(ARGV[1], outcome == 'good') then open(ARGV[1], 15000, 300000) end
end
if outcome == 'unusable' then open(ARGV[2], 60000, 600000) elseif outcome ~= 'bad' then close(ARGV[2]) end

local day = 'learned:' .. int(math.floor(t / DAY_MS))
if outcome == 'good' or outcome == 'bad' then redis.call('HINCRBY', day, ARGV[3] .. outcome, 1) end
if ARGV[5] ~= '' then redis.call('HINCRBY', day, ARGV[3] .. ARGV[5], 1) end
if ARGV[6] ~= '0' then redis.call('HINCRBY', day, ARGV[3] .. 'micro_usd', ARGV[6]) end
redis.call('PEXPIRE', day, 8 * DAY_MS)
count('calls|' .. ARGV[3] .. ARGV[8])
if ARGV[9] ~= '' then observe('call|' .. ARGV[7], tonumber(ARGV[9])) end
if ARGV[6] ~= '0' then count('spend|' .. ARGV[7], tonumber(ARGV[6])) end
return 1
