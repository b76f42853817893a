"""An independent Modbus server in a process of its own: pymodbus (BSD-3-Clause). Ends with its standard input.

python pymodbus_meter.py FRAMING, of socket, rtu and ascii, all over TCP; says its port in a line of JSON.
"""

import asyncio
import json
import socket
import sys
from typing import Any

from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

UNIT = 17


def device() -> Any:
    registers = [SimData(0, values=[1, 2, 3, 4, 0x1234, 0x5678, 7, 8, 9, 10], datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=[True, False, True, True, False, False, True, False] * 2, datatype=DataType.BITS)]
    return SimDevice(UNIT, simdata=(bits, bits, registers, registers))


async def main(framing: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    make: Any = ModbusDeviceIdentification  # has no types
    who = make(info_name={"VendorName": "Independent", "ProductCode": "PM", "MajorMinorRevision": "3"})
    server: Any = ModbusTcpServer(device(), framer=FramerType(framing), identity=who, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
