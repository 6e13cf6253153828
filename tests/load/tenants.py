"""More tenants beside the one that a stack begins with."""

from tests.end_to_end.caller import Caller


async def tenant(operator: Caller, name: str, **limits: float) -> Caller:
    """A caller of another tenant at the same gateway, with the operator's receiver. `limits`: as the admin's route has them."""
    set_up = await operator.call("PUT", f"/admin/tenants/{name}", json=limits)
    assert set_up.status == 200, set_up
    made = await operator.call("POST", "/admin/keys", json={"tenant": name})
    assert made.status == 201, made
    return Caller(operator.stack, operator.http, operator.store, operator.receiver, url=operator.url, api_key=made.json["key"])
