"""How many wrong values a noisy line gets past us: answers of Modbus RTU with flipped bits, in memory.

Bits flip independently at 10^-3, start, parity and stop bits among them. With parity, a character whose parity or stop bit is
wrong is marked as the kernel marks it (PARMRK), goes through the serial port's own reader of marks, and spoils what came before
it; this is not proved on hardware. Without parity only a missing stop bit is marked. A wrong start bit loses the character; that
it may also shift the next ones is not modeled.

Each answer goes through the reader and the checks of a session. ``wrong`` counts answers that were accepted on a line with
parity and hold another value than was sent; ``wrong_flagged`` the same without parity, where a session marks every value.

    python benchmarks/noise.py [--answers 1000000] [--registers 2] [--rate 0.001]
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from drivers.errors import RemoteProtocolError
from drivers.modbus.pdu import NEED_DATA, Function, ReadRequest, ReadResponse, decode_response
from drivers.modbus.rtu import ResponseReader, RtuFrame
from drivers.transports.marks import MarkReader

UNIT = 17
BATCH = 20_000
SEED = 20_261_120


def flips(generator: np.random.Generator, count: int, bits: int, rate: float) -> dict[int, list[int]]:
    """Give the bits that flip in each of ``count`` frames, by frame; frames that stay whole are left out."""
    total = count * bits
    number = int(generator.binomial(total, rate))
    places = np.unique(generator.integers(0, total, number))  # a bit that is drawn twice flips once: 10^-3 of 10^-3
    found: dict[int, list[int]] = {}
    for place in places.tolist():
        found.setdefault(place // bits, []).append(place % bits)
    return found


def received(frame: bytes, flipped: list[int], *, has_parity: bool) -> bytes:
    """Give what the kernel delivers of a frame, with its marks. A character is start, eight data bits, parity, stop."""
    width = 11 if has_parity else 10
    damage: dict[int, set[int]] = {}
    for bit in flipped:
        damage.setdefault(bit // width, set()).add(bit % width)
    out = bytearray()
    for at, octet in enumerate(frame):
        bits = damage.get(at, set())
        if 0 in bits:
            continue  # no start bit, no character
        value = octet ^ sum(1 << (bit - 1) for bit in bits if 1 <= bit <= 8)
        is_odd = sum(1 for bit in bits if 1 <= bit <= (9 if has_parity else 0)) % 2
        if is_odd or width - 1 in bits:
            out += bytes((0xFF, 0, value))
        elif value == 0xFF:
            out += b"\xff\xff"
        else:
            out.append(value)
    return bytes(out)


def accepted(delivered: bytes, request: ReadRequest) -> Any:
    """Give what a session makes of it: what the answer holds, None for nothing."""
    reader = ResponseReader(UNIT, request)
    try:
        for piece in MarkReader().receive_data(delivered):
            if piece is None:
                reader.receive_damage()
                continue
            reader.receive_data(piece)
            if (frame := reader.next_event()) is not NEED_DATA:
                return decode_response(frame.pdu, request)
    except RemoteProtocolError:
        return None
    return None


def run(answers: int, registers: int, rate: float, *, has_parity: bool) -> tuple[int, int, int]:
    """Send answers; give how many were damaged, how many of all were accepted, and how many of these are wrong."""
    generator, values = np.random.default_rng(SEED), random.Random(SEED)
    request = ReadRequest(Function.READ_HOLDING_REGISTERS, 10, registers)
    bits = (5 + 2 * registers) * (11 if has_parity else 10)
    damaged = right = wrong = 0
    for start in range(0, answers, BATCH):
        count = min(BATCH, answers - start)
        hit = flips(generator, count, bits, rate)
        damaged += len(hit)
        for index in range(count):
            held = tuple(values.randrange(0x10000) for _ in range(registers))
            sent = ReadResponse(Function.READ_HOLDING_REGISTERS, held)
            frame = RtuFrame(UNIT, sent.encode()).encode()
            found = accepted(received(frame, hit.get(index, []), has_parity=has_parity), request)
            if found == sent:
                right += 1
            elif found is not None:
                wrong += 1
    return damaged, right, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="Count wrong values that get through noise.")
    parser.add_argument("--answers", type=int, default=1_000_000, help="of Modbus RTU, each with and without parity")
    parser.add_argument("--registers", type=int, default=2, help="in each answer")
    parser.add_argument("--rate", type=float, default=1e-3, help="bit error rate")
    chosen = parser.parse_args()
    wrong = {}
    for has_parity in (True, False):
        begun = time.monotonic()
        damaged, right, wrong[has_parity] = run(chosen.answers, chosen.registers, chosen.rate, has_parity=has_parity)
        print(
            f"Modbus RTU {'8E1' if has_parity else '8N1'}: {chosen.answers} answers of {chosen.registers} registers, {damaged} "
            f"damaged, {right} right, {wrong[has_parity]} wrong accepted, {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    print("parity marks are injected as the kernel gives them; not proved on hardware")
    print(json.dumps({"frames": 2 * chosen.answers, "wrong": wrong[True], "wrong_flagged": wrong[False]}))


if __name__ == "__main__":
    main()
