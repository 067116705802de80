import { LIMITS } from './limits.ts';

/**
 * HAProxy queues requests only for servers that are up and full, and answers 503 at once where none is usable. So held
 * requests wait in a Lua action until the pool has a server of some weight: their number and time are bounded, their
 * bodies stay unread. One that waits looks every few milliseconds, less often the more there are: the order in
 * which they go on is not exactly the one in which they came.
 */
export const HOLD_SCRIPT = `
local waiting, refused = 0, 0
local closed = (...) == 'closed'

local function refuse(txn, reason, message)
  refused = refused + 1
  local reply = txn:reply({ status = 503 })
  reply:add_header('content-type', 'text/plain; charset=utf-8')
  reply:add_header('retry-after', '1')
  reply:add_header('x-unideploy-proxy', reason)
  reply:set_body(message .. '\\n')
  txn:done(reply)
end

local function unserved(txn, ends)
  if closed then return 'no-instance', 'the service has no instance' end
  if core.now().sec >= ends then
    return 'hold-timeout', 'no instance took the request within ${LIMITS.hold / 1000} s'
  end
end

core.register_action('hold', { 'http-req' }, function(txn, pool)
  if waiting >= ${LIMITS.held} and not closed then
    return refuse(txn, 'hold-full', '${LIMITS.held} requests are waiting already')
  end
  local ends = core.now().sec + ${LIMITS.hold / 1000}
  waiting = waiting + 1
  local reason, message
  while reason == nil and txn.f:nbsrv(pool) == 0 do
    reason, message = unserved(txn, ends)
    if reason == nil then core.msleep(5 + waiting // 20) end
  end
  waiting = waiting - 1
  if reason then refuse(txn, reason, message) end
end, 1)

local function command(word, help, act)
  core.register_cli({ 'unideploy', word }, 'unideploy ' .. word .. ' : ' .. help, function(applet)
    applet:send((act() or 'done') .. '\\n')
  end)
end
command('held', 'requests that wait, and those that were refused', function() return waiting .. ' ' .. refused end)
command('close', 'refuse instead of waiting', function() closed = true end)
command('open', 'wait instead of refusing', function() closed = false end)
`;
