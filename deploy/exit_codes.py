"""How `edit-studio` ends: one number for each kind of end, so that scripts can tell them apart."""

from enum import IntEnum
from http import HTTPStatus
from typing import Self

from deploy.service_access import NoAccess
from gateway.client.api_error import AccessUnusable, ApiError, PictureUnusable
from gateway.client.batch_journal import JournalUnusable
from gateway.client.batch_source import SourceUnusable


class Exit(IntEnum):
    """`meaning`: for people."""

    meaning: str

    def __new__(cls, number: int, meaning: str) -> Self:
        made = int.__new__(cls, number)
        made._value_ = number
        made.meaning = meaning
        return made

    DONE = 0, "all that was asked for is done"
    FAILED = 1, "an edit, or one of several, did not succeed; or this machine could not do its part"
    WRONG_USAGE = 2, "an option, a file or a folder cannot be used; nothing was sent"
    HELD = 3, "the batch is held; `--release` lets it go on, `--cancel` stops it"
    UNREACHABLE = 4, "the service does not answer, or is too busy; the same command may succeed later"
    NO_ACCESS = 5, "there is no API key, or the service refuses it"
    REFUSED = 6, "the service refuses the request as it is; the message says what to change"
    NOT_FOUND = 7, "nothing goes by this id, or no longer"
    NO_MONEY = 8, "a spending limit does not allow it"
    UNFINISHED = 9, "the time of `--timeout` is over; the edit goes on"
    FAULT = 70, "a fault of edit-studio itself; `--debug` shows where"
    INTERRUPTED = 130, "Ctrl-C; what was submitted goes on"


_BY_STATUS = {
    HTTPStatus.UNAUTHORIZED: Exit.NO_ACCESS,
    HTTPStatus.FORBIDDEN: Exit.NO_ACCESS,
    HTTPStatus.PAYMENT_REQUIRED: Exit.NO_MONEY,
    HTTPStatus.NOT_FOUND: Exit.NOT_FOUND,
    HTTPStatus.GONE: Exit.NOT_FOUND,
}


def exit_of(error: BaseException) -> Exit:
    """How a command ends that this error ended."""
    match error:
        case ApiError():
            return _exit_of_refusal(error)
        case NoAccess():
            return Exit.NO_ACCESS
        case TimeoutError():
            return Exit.UNFINISHED
        case AccessUnusable() | PictureUnusable() | SourceUnusable() | JournalUnusable():
            return Exit.WRONG_USAGE
        case KeyboardInterrupt():
            return Exit.INTERRUPTED
        case OSError():
            return Exit.FAILED
    return Exit.FAULT


def _exit_of_refusal(error: ApiError) -> Exit:
    if error.job is not None:
        return Exit.FAILED
    if error.status == 0 or error.is_busy or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Exit.UNREACHABLE
    return _BY_STATUS.get(HTTPStatus(error.status), Exit.REFUSED)
