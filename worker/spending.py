"""Money before a paid call: what an edit will cost is reserved first, or there is no call."""

from collections.abc import Awaitable, Callable, Collection

from shared.errors import BudgetExceeded, NoCapableModel
from shared.estimate import micro_usd
from shared.recommend import Recommendation
from shared.store.leases import BatchHeld, Leases, Release
from worker.call import LostEdit
from worker.hands import PATIENCE_S, Held


async def afford(
    leases: Leases, held: Held, chosen: Recommendation, choose_without: Callable[[Collection[str]], Awaitable[Recommendation]]
) -> Recommendation:
    """The chosen model, reserved for; or, where a limit does not allow it, the next best one that it does allow.

    `choose_without` chooses again without some models, by their ids. A call that is under way is not judged again: it is paid.

    Raises:
        BudgetExceeded: no model that could do the edit is cheap enough for what is left.
        LostEdit: as `allow`; and what `choose_without` raises besides NoCapableModel.
    """
    if held.record.call:
        return chosen
    try:
        await allow(leases, held, micro_usd(chosen.usd))
    except BudgetExceeded as error:
        most = held.record.reserved_micro_usd + error.left_micro_usd
        dear = [other.model.id for other in chosen.others if micro_usd(other.usd) > most]
        try:
            cheaper = await choose_without([chosen.model.id, *dear])
        except NoCapableModel:
            raise error from None
        await allow(leases, held, micro_usd(cheaper.usd))
        return cheaper
    return chosen


async def allow(leases: Leases, held: Held, micro_usd: int) -> None:
    """Reserve so much (1e-6 USD) for the edit's next call, where it has reserved less.

    Raises:
        BudgetExceeded: a limit of the tenant does not allow it.
        LostEdit: the edit is no longer this worker's. If its batch's own limit does not allow it, the batch is held now, and the
            edit was given back, at no cost, to wait with it.
    """
    try:
        is_ours = await leases.reserve(held.record, micro_usd, patience_s=PATIENCE_S)
    except BatchHeld:
        await leases.release(held.record, Release(), held.course, patience_s=PATIENCE_S)
        raise LostEdit from None
    if not is_ours:
        raise LostEdit
