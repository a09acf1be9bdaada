-- Takes one call off a budget. KEYS[1] holds when the budget is full again, in microseconds of this server's clock.
-- ARGV: the time one call takes to be made good, in microseconds; calls at once.
-- Answers: whether the call is allowed, calls left, microseconds until one more is allowed, and until all are.
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = tonumber(redis.call('GET', KEYS[1]) or 0)
-- Not before now, nor later than an empty budget needs: settings may have changed, or a clock gone back.
full = math.min(math.max(full, now), now + interval * burst)
local room = now + interval * burst - full
if room < interval then
  return {0, 0, interval - room, full - now}
end
full = full + interval
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
return {1, math.floor(room / interval) - 1, 0, full - now}
