-- A picture that a model returned, beside those that it returned within the last hour. Answers 1 if one of them looks the same and was
-- returned for an input that does not, else 0. An edit does not meet itself. Hashes are hex digits; what counts is how many bits differ.
-- KEYS: seen:{model}   ARGV: id output input same_bits other_bits kept life_ms
local key, id, output, input = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local t, life, found = now(), tonumber(ARGV[7]), 0

-- How many bits differ in two hex digits, by their bytes. (There is a library for it, but not everywhere.)
local DIFFER, DIGITS = {}, '0123456789abcdef'
for a = 0, 15 do
  for b = 0, 15 do
    local bits, x, y = 0, a, b
    while x > 0 or y > 0 do
      if x % 2 ~= y % 2 then bits = bits + 1 end
      x, y = math.floor(x / 2), math.floor(y / 2)
    end
    DIFFER[DIGITS:byte(a + 1) * 256 + DIGITS:byte(b + 1)] = bits
  end
end

-- Counted no further than past `most`: pictures that have nothing to do with each other are told apart by the first few digits.
local function apart(one, other, most)
  local bits = 0
  for i = 1, #one do
    bits = bits + DIFFER[one:byte(i) * 256 + other:byte(i)]
    if bits > most then return true end
  end
  return false
end

for _, entry in ipairs(redis.call('LRANGE', key, 0, -1)) do
  local at, whose, its_output, its_input = string.match(entry, '(%d+) (%S+) (%x+) (%x+)')
  if t - tonumber(at) > life then break end
  if whose ~= id and not apart(output, its_output, tonumber(ARGV[4])) and apart(input, its_input, tonumber(ARGV[5])) then
    found = 1
    break
  end
end
redis.call('LPUSH', key, int(t) .. ' ' .. id .. ' ' .. output .. ' ' .. input)
redis.call('LTRIM', key, 0, tonumber(ARGV[6]) - 1)
redis.call('PEXPIRE', key, life)
return found
