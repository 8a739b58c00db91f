-- KEYS: windows, each a hash of parts (which part since 1970, calls in it).
-- ARGV: the cost, parts of a window, whether to count (1) or only to look (0); then for each window its limit and its
-- length in ms.
-- Answers for each window: whether the cost fits, calls that are left, ms until there is (more) room, the current part.
local cost, parts = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fits, windows = ARGV[3] == '1', {}

for index, key in ipairs(KEYS) do
    local limit, length = tonumber(ARGV[2 + 2 * index]), tonumber(ARGV[3 + 2 * index])
    local part = math.max(1, math.floor(length / parts))
    local current = math.floor(now / part)
    local total, kept, old = 0, {}, {}
    local flat = redis.call('HGETALL', key)
    for place = 1, #flat, 2 do
        local at, calls = tonumber(flat[place]), tonumber(flat[place + 1])
        if at + parts < current then
            old[#old + 1] = flat[place]
        else
            total = total + calls
            kept[#kept + 1] = { at, calls }
        end
    end
    if #old > 0 then
        redis.call('HDEL', key, unpack(old))
    end

    local over = math.max(0, total + cost - limit)
    local reset, freed = length, 0
    table.sort(kept, function(one, other) return one[1] < other[1] end)
    for _, counted in ipairs(kept) do
        freed = freed + counted[2]
        if freed >= math.max(over, 1) then
            reset = (counted[1] + parts + 1) * part - now
            break
        end
    end
    fits = fits and over == 0
    windows[index] = { key = key, over = over, total = total, limit = limit, reset = reset,
                       current = current, lasts = length + 2 * part }
end

local answer = {}
for index, window in ipairs(windows) do
    local counted = window.total
    if fits then
        redis.call('HINCRBY', window.key, string.format('%.0f', window.current), cost)
        redis.call('PEXPIRE', window.key, window.lasts)
        counted = counted + cost
    end
    answer[index] = { window.over == 0 and 1 or 0, math.max(0, window.limit - counted), math.max(0, window.reset),
                      window.current }
end
return answer
