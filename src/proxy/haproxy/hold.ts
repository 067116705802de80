/**
 * HAProxy queues requests only for servers that are up and full, and answers 503 at once where none is usable. So held
 * requests wait in a Lua action until the pool has a server of some weight: their number, bytes (of their heads) and time
 * are bounded, their bodies stay unread. One that waits looks every few milliseconds, less often the more there are: the
 * order in which they go on is not exactly the one in which they came. They go on some milliseconds apart: HAProxy makes
 * a connection for each that finds none idle, and of a burst QEMU's user network, with its backlog of 1, loses most.
 * HAProxy ends the action of a client that goes away without a word, so one that has not looked for a second counts no
 * more.
 */
export const HOLD_SCRIPT = `
local holds = {}

local function now()
  local t = core.now()
  return t.sec * 1000 + t.usec // 1000
end

local function hold_of(service)
  holds[service] = holds[service] or { waiting = {}, number = 0, turn = 0, bytes = 0, holds = 0, refused = {} }
  return holds[service]
end

local function leave(hold, ticket)
  if not hold.waiting[ticket] then return end
  hold.waiting[ticket] = nil
  hold.number = hold.number - 1
  hold.bytes = hold.bytes - ticket.bytes
end

local function look(hold, ticket)
  if not hold.waiting[ticket] then
    hold.waiting[ticket] = true
    hold.number = hold.number + 1
    hold.bytes = hold.bytes + ticket.bytes
  end
  ticket.seen = now()
end

local function sweep(hold)
  local since = now() - 1000
  for ticket in pairs(hold.waiting) do
    if ticket.seen < since then leave(hold, ticket) end
  end
end

-- milliseconds until one that has waited may go on
local function turn(hold)
  local at = now()
  local mine = math.max(hold.turn, at)
  hold.turn = mine + math.min(4, 100 / hold.number)
  return math.floor(mine - at)
end

local function answer(txn, status, reason, message)
  local reply = txn:reply({ status = status })
  reply:add_header('content-type', 'text/plain; charset=utf-8')
  if status == 503 then reply:add_header('retry-after', '1') end
  reply:add_header('x-unideploy-proxy', reason)
  reply:set_body(message .. '\\n')
  txn:done(reply)
end

core.register_action('hold', { 'tcp-req', 'http-req' }, function(txn, mode, service, requests, bytes, time, health)
  local hold = hold_of(service)
  local http = mode == 'http'
  local function refuse(reason, message)
    hold.refused[reason] = (hold.refused[reason] or 0) + 1
    if http then answer(txn, 503, reason, message) else txn:done() end
  end
  if closed[service] then return refuse('no-instance', 'the service has no instance') end
  if http and txn.f:path() == health then return answer(txn, 200, 'held', 'held') end
  local ticket = { bytes = http and #txn.f:req_hdrs() or 0 }
  local function full()
    return hold.number >= tonumber(requests) or hold.bytes + ticket.bytes > tonumber(bytes)
  end
  if full() then sweep(hold) end
  if full() then return refuse('hold-full', hold.number .. ' requests are waiting already') end
  hold.holds = hold.holds + 1
  local ends = now() + tonumber(time)
  while txn.f:nbsrv() == 0 do
    look(hold, ticket)
    if closed[service] then
      leave(hold, ticket)
      return refuse('no-instance', 'the service has no instance')
    end
    if ticket.seen >= ends then
      leave(hold, ticket)
      return refuse('hold-timeout', 'no instance took the request within ' .. tonumber(time) / 1000 .. ' s')
    end
    core.msleep(5 + hold.number // 20)
    local wait = txn.f:nbsrv() > 0 and turn(hold) or 0
    -- it would sleep for ever
    if wait > 0 then core.msleep(wait) end
  end
  leave(hold, ticket)
end, 6)

local function command(word, help, act)
  core.register_cli({ 'unideploy', word }, 'unideploy ' .. word .. ' : ' .. help, function(applet, _, _, service)
    applet:send((act(service) or 'done') .. '\\n')
  end)
end
command('held', 'by service, requests that wait, that have waited, and those that were refused', function()
  local lines = {}
  for service, hold in pairs(holds) do
    sweep(hold)
    local line = service .. ' ' .. hold.number .. ' ' .. hold.holds
    for reason, number in pairs(hold.refused) do line = line .. ' ' .. reason .. '=' .. number end
    lines[#lines + 1] = line
  end
  return table.concat(lines, '\\n')
end)
command('close', 'refuse instead of waiting', function(service) closed[service] = true end)
command('open', 'wait instead of refusing', function(service) closed[service] = nil end)
`;
