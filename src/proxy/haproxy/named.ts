/** Removes the headers that a Connection header names: they are meant for the next server only. */
export const NAMED_SCRIPT = `
local kept = { ['keep-alive'] = true, close = true, [''] = true }
local needed = { ['content-length'] = true, ['transfer-encoding'] = true, host = true }

local function named(headers)
  local names, upgrade = {}, false
  for _, value in pairs(headers['connection'] or {}) do
    for part in string.gmatch(value, '[^,]+') do
      local name = string.lower(string.match(part, '^%s*(.-)%s*$'))
      if name == 'upgrade' then upgrade = true
      elseif not kept[name] then names[#names + 1] = name end
    end
  end
  return names, upgrade
end

core.register_action('named_request', { 'http-req' }, function(txn)
  local names, upgrade = named(txn.http:req_get_headers())
  for _, name in ipairs(names) do
    if needed[name] then
      local reply = txn:reply({ status = 400 })
      reply:add_header('content-type', 'text/plain; charset=utf-8')
      reply:add_header('x-unideploy-proxy', 'bad-request')
      reply:set_body('request refused: the Connection header names a header that the message needs\\n')
      txn:done(reply)
    end
    txn.http:req_del_header(name)
  end
  if upgrade then txn.http:req_set_header('connection', 'Upgrade')
  else txn.http:req_del_header('connection') end
end)

core.register_action('named_response', { 'http-res' }, function(txn)
  local names, upgrade = named(txn.http:res_get_headers())
  for _, name in ipairs(names) do
    if not needed[name] then txn.http:res_del_header(name) end
  end
  if upgrade then txn.http:res_set_header('connection', 'Upgrade')
  else txn.http:res_del_header('connection') end
end)
`;
