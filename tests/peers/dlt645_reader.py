"""Reads a meter with the client of the PyPI package dlt645 (Apache-2.0), in a process of its own: JSON lines of what it read."""

import json
import sys

from dlt645 import MeterClientService


def main() -> None:
    port, address, *identifiers = sys.argv[1:]
    client = MeterClientService.new_tcp_client("127.0.0.1", int(port), 5)
    client.set_address(bytes.fromhex(address)[::-1].hex())  # it sends text as it stands, high byte first
    said = {}
    for text in identifiers:
        di = int(text, 16)
        item = client.read_00(di) if text.startswith("00") else client.read_02(di)
        said[text] = None if item is None else str(item.value)
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    client.disconnect()


if __name__ == "__main__":
    main()
