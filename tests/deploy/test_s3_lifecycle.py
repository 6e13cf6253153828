"""The lifecycle rules that we ship: S3 takes them, they cover every area, and they leave what records may still show."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.stub import Stubber

from shared.edit import EditOptions
from shared.settings import Settings
from shared.storage import Storage
from tests.servers import S3Server

_RULES = json.loads((Path(__file__).parents[2] / "deploy" / "s3-lifecycle.json").read_text())
_DAY_S = 86_400


@pytest.fixture
def storage(s3_server: S3Server, make_settings: Callable[..., Settings]) -> Storage:
    return Storage(make_settings(**s3_server.settings))


async def test_they_are_what_s3_takes_and_are_read_back(storage: Storage) -> None:
    with Stubber(storage._client) as stub:
        # Parameters and answers are checked against Amazon's own description of the service.
        stub.add_response("put_bucket_lifecycle_configuration", {}, {"Bucket": "b", "LifecycleConfiguration": _RULES})
        storage._client.put_bucket_lifecycle_configuration(Bucket="b", LifecycleConfiguration=_RULES)
        stub.add_response("get_bucket_lifecycle_configuration", _RULES)
        assert await storage.lifecycle_days() == {"in/": 17, "sent/": 3, "rejected/": 7, "out/": 30}


async def test_rules_that_are_off_narrowed_or_absent_remove_nothing(storage: Storage) -> None:
    rules = [
        {"Status": "Disabled", "Filter": {"Prefix": "in/"}, "Expiration": {"Days": 1}},
        {"Status": "Enabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}},
        {"Status": "Enabled", "Filter": {"And": {"Prefix": "in/", "ObjectSizeGreaterThan": 1}}, "Expiration": {"Days": 1}},
        {"Status": "Enabled", "Prefix": "out/", "Expiration": {"Days": 9}},
        {"Status": "Enabled", "Filter": {}, "Expiration": {"Days": 40}},
        {"Status": "Enabled", "Filter": {"Prefix": "out/"}, "Expiration": {"Days": 8}},
    ]
    with Stubber(storage._client) as stub:
        stub.add_response("get_bucket_lifecycle_configuration", {"Rules": rules})
        assert await storage.lifecycle_days() == {"out/": 8, "": 40}
        stub.add_client_error("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration", http_status_code=404)
        assert await storage.lifecycle_days() == {}


def test_pictures_stay_as_long_as_an_edit_and_its_retry_can_show_them() -> None:
    deadline_s = EditOptions.model_json_schema()["properties"]["deadline_s"]["anyOf"][0]["maximum"]
    life_days = (Settings.model_fields["retention_s"].default + deadline_s) / _DAY_S
    days = {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in _RULES["Rules"] if "Expiration" in rule}
    assert days["in/"] >= 2 * life_days + 1
    assert days["out/"] >= 2 * life_days + 1
    # What was sent is read by the provider, until the deadline at the latest.
    assert days["sent/"] >= deadline_s / _DAY_S + 1
