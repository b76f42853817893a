"""The way to PostgreSQL, which is an extra."""

from types import ModuleType

from headend.errors import StoreError


def server_connections() -> ModuleType:
    """Give `headend.store.postgresql.connect`. Raises `StoreError` where the extra is missing."""
    try:
        from headend.store.postgresql import connect  # noqa: PLC0415  only who has a server needs it
    except ImportError as error:
        raise StoreError(
            f"a store on PostgreSQL needs a client ({error.name}): pip install 'headend[postgresql]'"
        ) from error
    return connect
