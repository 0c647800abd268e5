-- Leases of calls: every decision about a slot is one run of this script, so that no two nodes decide at once.
--
-- KEYS[1] is the prefix of all keys; its hash tag keeps them in one slot of a cluster. ARGV[1] names the operation.
-- A level is a sorted set of call ids, scored by the end of the lease in microseconds of Redis's own time; no other
-- clock counts. The hash `leases` beside them says of each call whose it is: the ticket of the attempt that took it,
-- node, epoch, phase and levels. Epochs are text in JSON, since cjson keeps 14 digits and they have 16.

local BASE = KEYS[1]
local GLOBAL, LEASES, NODES = BASE .. ':level:global:', BASE .. ':leases', BASE .. ':nodes'
local BOOT, LAST, GUARANTEED = BASE .. ':boot', BASE .. ':last', BASE .. ':guaranteed'

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function int(number) return string.format('%.0f', number) end
local function key(scope, id) return BASE .. ':level:' .. scope .. ':' .. (scope == 'global' and '' or id) end
local function index(scope) return BASE .. ':index:' .. scope end

local function journal() end

local function run_id() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') end

-- When admission opens: a time that may be past, or nothing where this Redis knows nothing of us.
local function opens()
  local boot = redis.call('HMGET', BOOT, 'run', 'opens')
  if boot[1] and boot[1] == run_id() then return tonumber(boot[2]) end
end

local function record(call)
  local text = redis.call('HGET', LEASES, call)
  return text and cjson.decode(text)
end

-- The record of a lease that has not run out.
local function lease(call)
  local ends = redis.call('ZSCORE', GLOBAL, call)
  if ends and tonumber(ends) > now then return record(call) end
end

local function count(scope, id) return redis.call('ZCOUNT', key(scope, id), '(' .. int(now), '+inf') end

local function keep(call, held, ends)
  for _, level in ipairs(held.levels) do
    redis.call('ZADD', key(level[1], level[2]), int(ends), call)
    if level[1] ~= 'global' then redis.call('SADD', index(level[1]), level[2]) end
  end
  redis.call('HSET', LEASES, call, cjson.encode(held))
end

local function drop(call, held)
  for _, level in ipairs(held and held.levels or {}) do
    redis.call('ZREM', key(level[1], level[2]), call)
    if level[1] ~= 'global' and redis.call('EXISTS', key(level[1], level[2])) == 0 then
      redis.call('SREM', index(level[1]), level[2])
    end
  end
  redis.call('ZREM', GLOBAL, call)
  redis.call('HDEL', LEASES, call)
end

-- Forget what ran out; a thousand at a time, so that a burst of dead nodes stops nobody. Counts leave out the rest.
local function sweep()
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', GLOBAL, '-inf', int(now), 'LIMIT', 0, 1000)) do
    drop(call, record(call))
  end
end

-- Global slots that other tenants have been promised and do not use.
local function promised(tenant)
  local free, all = 0, redis.call('HGETALL', GUARANTEED)
  for place = 1, #all, 2 do
    if all[place] ~= tenant then free = free + math.max(0, tonumber(all[place + 1]) - count('tenant', all[place])) end
  end
  return free
end

-- The first level without room: its scope, limit, and what is held.
local function full(levels, tenant, spare)
  for _, level in ipairs(levels) do
    local scope, id, limit = level[1], level[2], tonumber(level[3])
    if limit > 0 then
      local held = count(scope, id)
      local kept = scope == 'global' and promised(tenant) + spare or 0
      if held + kept >= limit then return { scope, limit, held } end
    end
  end
end

local function tenant_of(levels)
  for _, level in ipairs(levels) do
    if level[1] == 'tenant' then return level[2] end
  end
  return ''
end

local function next_epoch(floor)
  local last = tonumber(redis.call('GET', LAST) or 0)
  local epoch = math.max(now, last + 1, tonumber(floor) + 1)
  redis.call('SET', LAST, int(epoch))
  return int(epoch)
end

local operations = {}

-- take call ticket node phase ttl floor spare levels
function operations.take(call, ticket, node, phase, ttl, floor, spare, levels)
  local from = opens()
  if not from then return { 'empty' } end
  if from > now then return { 'closed', int(from - now) } end
  sweep()
  levels = cjson.decode(levels)
  local held, ends, before = lease(call), now + ttl, nil
  if held and held.ticket == ticket then  -- asked again: the first answer was lost, or the reserved call is live now
    held.phase = phase
    keep(call, held, ends)
    journal('renew', call, ends, held)
    return { 'granted', held.epoch, '', cjson.encode(held.levels) }
  end
  if held then
    if held.node ~= node and held.phase ~= 'reserved' then return { 'elsewhere', held.node } end
    before, levels = held.node, held.levels
  else
    local refusal = full(levels, tenant_of(levels), tonumber(spare))
    if refusal then
      journal('refuse', call, now, { levels = levels, scope = refusal[1] })
      return { 'full', refusal[1], refusal[2], refusal[3] }
    end
  end
  if held then floor = math.max(tonumber(floor), tonumber(held.epoch)) end
  local taken = { ticket = ticket, node = node, phase = phase, epoch = next_epoch(floor), levels = levels, since = int(now) }
  keep(call, taken, ends)
  journal(held and 'adopt' or 'grant', call, ends, taken)
  return { 'granted', taken.epoch, before ~= node and before or '', cjson.encode(levels) }
end

-- release (call ticket)*
function operations.release(...)
  local pairs_, released = { ... }, 0
  for place = 1, #pairs_, 2 do
    local call, held = pairs_[place], record(pairs_[place])
    if held and held.ticket == pairs_[place + 1] then
      drop(call, held)
      journal('release', call, now, held)
      released = released + 1
    end
  end
  return released
end

local function remember(epoch)
  redis.call('SET', LAST, int(math.max(tonumber(redis.call('GET', LAST) or 0), tonumber(epoch))))
end

local function renew(hold, node, ttl, closed)
  local held, ends = lease(hold.call), now + ttl
  local mine = { ticket = hold.ticket, node = node, phase = hold.phase, epoch = hold.epoch, levels = hold.levels }
  mine.since = held and held.since or int(now)
  if held then mine.levels = held.levels end  -- those that it was taken at, whatever an adopter thinks
  if held and held.ticket ~= hold.ticket and tonumber(held.epoch) >= tonumber(hold.epoch) then return 'taken' end
  if held then
    if held.ticket == hold.ticket then mine.epoch = held.epoch else remember(hold.epoch) end
    keep(hold.call, mine, ends)
    journal('renew', hold.call, ends, mine)
    return 'renewed'
  end
  local forced = closed or hold.unleased
  if not forced and full(hold.levels, tenant_of(hold.levels), 0) then return 'lost' end
  remember(hold.epoch)
  keep(hold.call, mine, ends)
  journal(forced and 'register' or 'grant', hold.call, ends, mine)
  return forced and 'registered' or 'retaken'
end

-- beat node ttl holds
function operations.beat(node, ttl, holds)
  local from, fresh = opens(), 0
  if not from then
    from, fresh = now + ttl, 1
    redis.call('HSET', BOOT, 'run', run_id(), 'opens', int(from))
  end
  sweep()
  redis.call('ZREMRANGEBYSCORE', NODES, '-inf', int(now))
  redis.call('ZADD', NODES, int(now + ttl), node)
  local told = {}
  for place, hold in ipairs(cjson.decode(holds)) do told[place] = renew(hold, node, ttl, from > now) end
  return { int(math.max(0, from - now)), fresh, redis.call('ZCARD', NODES), told }
end

-- open: admission need not wait, as far as leases tell; whoever asks has looked at PostgreSQL
function operations.open()
  if not opens() or redis.call('ZCARD', GLOBAL) > 0 then return 0 end
  redis.call('HSET', BOOT, 'opens', int(now))
  return 1
end

-- leave node: it goes away in order and holds nothing any more
function operations.leave(node) return redis.call('ZREM', NODES, node) end

-- promise (tenant slots)*: what tenants are guaranteed, all of it
function operations.promise(...)
  redis.call('DEL', GUARANTEED)
  if select('#', ...) > 0 then redis.call('HSET', GUARANTEED, ...) end
  return 0
end

-- owners call*: JSON of the record, and the end of the lease, or nothing
function operations.owners(...)
  local found = {}
  for place, call in ipairs({ ... }) do
    local ends = redis.call('ZSCORE', GLOBAL, call)
    found[place] = ends and { redis.call('HGET', LEASES, call) or '', int(tonumber(ends) - now) } or {}
  end
  return found
end

-- page scope id after count: calls of a level with their records, those first whose lease ends first
function operations.page(scope, id, skip, most)
  local found = {}
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', key(scope, id), '(' .. int(now), '+inf', 'LIMIT', skip, most)) do
    found[#found + 1] = call
    found[#found + 1] = redis.call('HGET', LEASES, call) or ''
    found[#found + 1] = int(tonumber(redis.call('ZSCORE', key(scope, id), call)) - now)
  end
  return found
end

-- counts: how many slots are held at each level that anybody holds one of
function operations.counts()
  sweep()
  local found = { int(math.max(0, (opens() or now) - now)), count('global', '') }
  for _, scope in ipairs({ 'tenant', 'campaign', 'number' }) do
    local held = {}
    for _, id in ipairs(redis.call('SMEMBERS', index(scope))) do
      held[#held + 1] = id
      held[#held + 1] = count(scope, id)
    end
    found[#found + 1] = held
  end
  found[#found + 1] = redis.call('ZRANGEBYSCORE', NODES, '(' .. int(now), '+inf')
  return found
end

return operations[ARGV[1]](unpack(ARGV, 2))
