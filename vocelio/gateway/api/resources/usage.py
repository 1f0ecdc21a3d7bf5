"""/v1/usage."""

from vocelio.gateway.api.framework.operation import Answer, Context
from vocelio.gateway.store.calls.usage import Asked, Usage, to_csv, used

CSV = "text/csv"


async def usage(context: Context, *, query: Asked) -> Answer[Usage | bytes]:
    """What was used and what it costs, by tenant, flow, number, tier and day.

    A key of a tenant sees its own; a platform key sees the tenant that it names, or all when it names none.
    """
    told = await used(context.database, context.actor, query)
    if query.format == "csv" or (query.format is None and CSV in context.accept):
        return Answer(to_csv(told), media=CSV)
    return Answer(told)
