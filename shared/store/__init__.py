"""Job, batch, tenant and webhook records in Redis; every state change is one Lua script."""
