"""Reads a meter with the client of the PyPI package iec62056-21 (BSD-3-Clause), in a process of its own: JSON of what it read."""

import json
import sys

from iec62056_21.client import Iec6205621Client
from iec62056_21.messages import CommandMessage, DataSet


def main() -> None:
    port, address, password, *wanted = sys.argv[1:]
    client = Iec6205621Client.with_tcp_transport(("127.0.0.1", int(port)), device_address=address, password=password)
    client.connect()
    readout = client.standard_readout()
    printed = {one.address: [one.value, one.unit] for one in readout.data if one.address}
    client.access_programming_mode()
    # Its own `send_password` leaves out an argument that its data set demands.
    client.transport.send(CommandMessage("P", 1, DataSet("", password)).to_bytes())
    is_taken = client._recv_ack() == "\x06"
    read = {}
    for name in wanted:
        one = client.read_single_value(name)
        read[name] = [one.value, one.unit]
    client.send_break()
    client.disconnect()
    said = {"maker": client.manufacturer_id, "printed": printed, "is_taken": is_taken, "read": read}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
