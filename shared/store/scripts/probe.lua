-- Claims the one call that may try what is half-open. 1 it is yours, also where no circuit is open; 0 too early, or another's.
-- KEYS: circuits   ARGV: nonce claim_ms  then circuit*
redis.call('DEL', 'none')
local t, claims = now(), {}
for i = 3, #ARGV do
  local retry_at = string.match(redis.call('HGET', KEYS[1], ARGV[i]) or '', '%d+ (%d+)')
  if retry_at then
    if t < tonumber(retry_at) then return 0 end
    local claim = 'probe:' .. ARGV[i]
    local holder = redis.call('GET', claim)
    if holder and holder ~= ARGV[1] then return 0 end
    claims[#claims + 1] = claim
  end
end
for _, claim in ipairs(claims) do redis.call('SET', claim, ARGV[1], 'PX', ARGV[2]) end
return 1
