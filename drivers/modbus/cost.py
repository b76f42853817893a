"""What a visit to a Modbus meter costs its line: the reads that the driver will choose, and the silence before each."""

from dataclasses import replace
from typing import Final

from drivers.contract import Endpoint
from drivers.cost import Ask, Cost, Medium, NotComputed
from drivers.errors import ProfileError
from drivers.facts import UtcSeconds
from drivers.modbus import records
from drivers.modbus.ascii import encode_frame
from drivers.modbus.coalesce import Bounds, coalesce, pace_of
from drivers.modbus.identity import FUNCTIONS, identity_request
from drivers.modbus.learned import decode_learned
from drivers.modbus.pdu import MAX_PDU, ReadRequest, Request
from drivers.modbus.rtu import RtuFrame, silence_of
from drivers.modbus.values import BILLED, REGISTERS
from drivers.profile import MeterProfile, ModbusPoint, ModbusProfile

MBAP_HEADER: Final = 7  # MODBUS Messaging on TCP/IP V1.0b, clause 3.1.3 [octet]
UNIT: Final = 1  # its value does not change a length


def visit_cost(endpoint: Endpoint, ask: Ask, medium: Medium, latency: float) -> Cost:
    """Count one visit; see `drivers.cost.VisitCost`. Modbus has no clock to compare, and nothing to open or close.

    Requests in flight together over Modbus TCP are counted one after the other, as behind a gateway.
    """
    modbus = endpoint.profile.modbus
    if modbus is None or modbus.identity is None:
        raise ProfileError(endpoint.profile.name, ["modbus and modbus.identity: are needed to read a meter"])
    requests: list[Request] = [identity_request(modbus.identity)]
    if ask.window is not None:
        if modbus.load_profile is None:
            raise NotComputed(f"profile {endpoint.profile.name} declares no load profile in file records")
        requests += records.requests(modbus.load_profile)
    by_obis = {point.obis: point for point in modbus.points}
    if unknown := [str(code) for code in ask.registers if code not in by_obis]:
        raise NotComputed(f"profile {endpoint.profile.name} has no register for {', '.join(unknown)}")
    wanted = [by_obis[code] for code in dict.fromkeys(ask.registers)]
    requests += _reads(endpoint, modbus, wanted, medium, latency)
    if modbus.status is not None and any(point.scaler_unit.unit in BILLED for point in wanted):
        requests.append(
            ReadRequest(FUNCTIONS[modbus.status.table], modbus.status.address, 1 + (modbus.status.type == "uint32"))
        )
    looks = {"line": medium.has_parity, "gateway": True, "hidden": False}
    if modbus.framing != "tcp" and not looks[endpoint.options.get("parity", modbus.parity)]:
        # Nobody checks parity: what bills are made of is read until two readings agree, which two mostly do.
        again = [point for point in wanted if point.scaler_unit.unit in BILLED]
        requests += _reads(endpoint, modbus, again, medium, latency)
    turnaround = endpoint.profile.timing.turnaround
    if modbus.framing in {"rtu", "rtu-over-tcp"}:
        silence = silence_of(medium.bits_per_second, medium.bits_per_character, turnaround)
    else:
        silence = turnaround
    # The silence behind a visit is part of the one before the next question: on these lines it is kept once.
    behind = turnaround if modbus.framing == "tcp" else 0.0
    return sum((_exchange(modbus, request, silence) for request in requests), Cost(silence=behind))


def _reads(
    endpoint: Endpoint, modbus: ModbusProfile, points: list[ModbusPoint], medium: Medium, latency: float
) -> list[Request]:
    gap = endpoint.options.get("max_gap")
    bounds = Bounds(
        max([modbus.max_registers, *(REGISTERS[point.type] for point in points)]),
        None if gap is None else int(gap),
        modbus.holes,
    )
    pace = pace_of(medium.bits_per_second, medium.bits_per_character, latency)
    return [ReadRequest(FUNCTIONS[read.table], read.address, read.count) for read in coalesce(points, pace, bounds)]


def _exchange(modbus: ModbusProfile, request: Request, silence: float) -> Cost:
    pdu = request.encode()
    answer = request.answer_length(pdu[:1]) or MAX_PDU
    match modbus.framing:
        case "tcp":
            return Cost(MBAP_HEADER + len(pdu), MBAP_HEADER + answer, 1, silence)
        case "ascii":
            sizes = [len(encode_frame(RtuFrame(UNIT, bytes(size)))) for size in (len(pdu), answer)]
        case _:
            sizes = [len(RtuFrame(UNIT, bytes(size)).encode()) for size in (len(pdu), answer)]
    return Cost(sizes[0], sizes[1], 1, silence)


def with_learned(profile: MeterProfile, entry: bytes | None, now: UtcSeconds) -> tuple[MeterProfile, float | None]:
    """Give a profile with what its meters taught us (`kind_of` names the entry), and their latency where it is known. [s]"""
    learned = decode_learned(entry, now) if entry else None
    if learned is None or profile.modbus is None:
        return profile, None
    modbus = profile.modbus
    known = replace(
        modbus,
        holes=(*modbus.holes, *sorted(learned.holes, key=lambda hole: (hole.table, hole.address, hole.count))),
        max_registers=min(modbus.max_registers, learned.limit or modbus.max_registers),
    )
    return replace(profile, modbus=known), None if learned.latency is None else learned.latency / 1000
