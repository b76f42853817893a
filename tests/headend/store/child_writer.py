"""Writes blocks until killed: ``python child_writer.py STORE FIRST``. Acknowledges each on stdout, once durable."""

import sys

from headend.store.store import Store
from tests.headend.store.builders import EXPORT, NOW, block


def main() -> None:
    """Record one slot after the other from FIRST on, two channels in one transaction."""
    slot = int(sys.argv[2])
    with Store.open(sys.argv[1], lambda: NOW) as store:
        print("ready", flush=True)  # noqa: T201  the parent reads it
        while True:
            with store.transaction():
                store.record(1, [block(slot, [slot]), block(slot, [slot + 1], EXPORT)], NOW)
            print(slot, flush=True)  # noqa: T201  the parent reads it
            slot += 1


if __name__ == "__main__":
    main()
