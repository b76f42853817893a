"""A meter whose every message is written and read by the PyPI package iec62056-21 (BSD-3-Clause), in a process of its own.

The package has no meter; who says what when is of this file. It says its port and values, and ends with its standard input.
"""

import json
import socket
import sys
import threading

from iec62056_21.messages import (
    AckOptionSelectMessage,
    AnswerDataMessage,
    CommandMessage,
    DataBlock,
    DataLine,
    DataSet,
    IdentificationMessage,
    ReadoutDataMessage,
    RequestMessage,
)

PASSWORD = "12345678"
VALUES = {
    "0.0.0": ("00471108", None), "0.9.1": ("101500", None), "0.9.2": ("270115", None), "1.8.0": ("00123.456", "kWh"),
    "2.8.0": ("00000.001", "kWh"), "32.7.0": ("230.1", "V"),
}  # fmt: skip


def lines(names: list[str]) -> DataBlock:
    return DataBlock([DataLine([DataSet(name, *VALUES[name])]) for name in names])


def serve(link: socket.socket) -> None:
    while True:
        heard = link.recv(4096)
        if not heard:
            return
        if heard.startswith(b"/?"):
            if RequestMessage.from_bytes(heard).device_address in {"", "471108"}:
                link.sendall(IdentificationMessage("PEER", "TST", "5").to_bytes())
        elif heard.startswith(b"\x06"):
            if AckOptionSelectMessage.from_bytes(heard).mode_char == "1":
                link.sendall(CommandMessage("P", 0, DataSet("", "4711")).to_bytes())
            else:
                link.sendall(ReadoutDataMessage(lines(list(VALUES))).to_bytes())
        elif heard.startswith(b"\x01B0"):
            continue
        else:
            command = CommandMessage.from_bytes(heard)
            if command.command == "P":
                link.sendall(b"\x06" if command.data_set.value == PASSWORD else b"\x15")
            elif command.data_set.address in VALUES:
                link.sendall(AnswerDataMessage(lines([command.data_set.address])).to_bytes())
            else:
                link.sendall(AnswerDataMessage(DataBlock([DataLine([DataSet("", "ER01")])])).to_bytes())


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                link, _ = server.accept()
                with link:
                    serve(link)

        threading.Thread(target=accept, daemon=True).start()
        said = {"port": server.getsockname()[1], "password": PASSWORD, "values": VALUES}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
