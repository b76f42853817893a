"""A meter of the PyPI package dlt645 (Apache-2.0), in a process of its own: says its port and values, ends with its standard input."""

import json
import socket
import sys

from dlt645 import MeterServerService

ADDRESS = "123456789012"
ENERGY = {0x00010000: 1234.56, 0x00010100: 1000.06, 0x00010200: 234.5, 0x00020000: 7.89}
VARIABLES = {
    0x02010100: 230.1,
    0x02010200: 229.9,
    0x02010300: 231.0,
    0x02020100: 5.123,
    0x02030000: 1.1786,
    0x02800002: 50.02,
}


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meter = MeterServerService.new_tcp_server("127.0.0.1", port, 30)
    meter.set_address(bytearray.fromhex(ADDRESS)[::-1])  # octets as on the wire; text would go high byte first
    for di, value in ENERGY.items():
        meter.set_00(di, value)
    for di, value in VARIABLES.items():
        meter.set_02(di, value)
    meter.set_04(0x04000401, ADDRESS)
    meter.start()
    values = {f"{di:08X}": str(value) for di, value in (ENERGY | VARIABLES).items()}
    sys.stdout.write(json.dumps({"port": port, "address": ADDRESS, "values": values}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    meter.stop()


if __name__ == "__main__":
    main()
