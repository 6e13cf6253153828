"""Every kind of end has its number, and every number is told."""

from typing import Any

import pytest

from deploy.cli import _parser
from deploy.exit_codes import Exit, exit_of
from deploy.service_access import NoAccess
from gateway.client.api_error import AccessUnusable, Damaged, NotAProblem, PictureUnusable, Unreachable
from gateway.client.batch_journal import JournalUnusable
from gateway.client.batch_source import SourceUnusable
from gateway.client.refusal import failure_of, refusal_of
from shared.errors import JobError, error_classes

_OTHERS = {
    "unauthorized": Exit.NO_ACCESS,
    "forbidden": Exit.NO_ACCESS,
    "budget_exceeded": Exit.NO_MONEY,
    "not_found": Exit.NOT_FOUND,
    "gone": Exit.NOT_FOUND,
    "rate_limited": Exit.UNREACHABLE,
    "queue_full": Exit.UNREACHABLE,
    "idempotency_in_flight": Exit.UNREACHABLE,
}


@pytest.mark.parametrize(("code", "cls"), [(code, cls) for code, cls in error_classes().items() if not issubclass(cls, JobError)])
def test_every_refusal_has_its_exit_code(code: str, cls: Any) -> None:
    expected = _OTHERS.get(code, Exit.UNREACHABLE if cls.status >= 500 else Exit.REFUSED)
    assert exit_of(refusal_of(cls.status, {"code": code, "detail": "no"}, retry_after_s=None)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unreachable(0, "unreachable", "no"), Exit.UNREACHABLE),
        (Damaged(0, "damaged", "no"), Exit.UNREACHABLE),
        (NotAProblem(418, "not_a_problem", "no"), Exit.REFUSED),
        (NoAccess("no"), Exit.NO_ACCESS),
        (AccessUnusable("no"), Exit.WRONG_USAGE),
        (PictureUnusable("no"), Exit.WRONG_USAGE),
        (SourceUnusable("no"), Exit.WRONG_USAGE),
        (JournalUnusable("no"), Exit.WRONG_USAGE),
        (TimeoutError("no"), Exit.UNFINISHED),
        (PermissionError("no"), Exit.FAILED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (ValueError("no"), Exit.FAULT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.name,
)
def test_every_other_error_has_its_exit_code(error: BaseException, expected: Exit) -> None:
    assert exit_of(error) is expected


@pytest.mark.parametrize("error", [{"code": "unauthorized", "message": "no"}, None])
def test_an_edit_that_failed_is_no_refusal_whatever_its_code(error: Any) -> None:
    assert exit_of(failure_of({"id": "edit_1", "request_id": "req_1", "error": error})) is Exit.FAILED


def test_the_help_tells_all_of_them() -> None:
    told = _parser().format_help()
    for code in Exit:
        assert f"{code.value:>3}  {code.meaning}" in told
    assert len({code.value for code in Exit}) == len(Exit.__members__)
