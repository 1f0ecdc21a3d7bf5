"""Who was let in to watch: by a ticket that is good once, whichever process it is brought to.

A ticket names the row of the trail that its use will add. Rows of the trail have one key each, and are never changed:
of two who bring the same ticket, one adds the row and the other cannot.
"""

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from vocelio.gateway.store.actor import Actor, to_json
from vocelio.gateway.store.database import Database
from vocelio.gateway.store.schema import audit


async def use(database: Database, ticket: str, actor: Actor) -> bool:
    """Use up the ticket; False when it was used before. Raises StoreUnavailable."""
    row = {
        "id": ticket,
        "tenant_id": actor.tenant or None,
        "at": actor.at,
        "key_id": actor.key,
        "role": actor.role,
        "request": actor.request,
        "action": "monitor.admitted",
        "target": actor.key,
        "before": None,
        "after": to_json({"by": "ticket"}),
    }
    try:
        async with database.writing() as connection:
            await connection.execute(insert(audit), row)
    except IntegrityError:
        return False
    return True
