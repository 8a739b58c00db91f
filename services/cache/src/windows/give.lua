-- KEYS: one window, as in take.lua.
-- ARGV: the part that was counted in, how much.
-- Takes that out again, if it is still there.
local part, cost = string.format('%.0f', tonumber(ARGV[1])), tonumber(ARGV[2])
local counted = tonumber(redis.call('HGET', KEYS[1], part) or 0)
if counted > 0 then
    redis.call('HINCRBY', KEYS[1], part, -math.min(cost, counted))
end
return 1
