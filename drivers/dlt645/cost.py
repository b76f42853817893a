"""What a visit to a DL/T 645 meter costs its line: blocks first, as the driver asks, and the pause before each question.

Where a number is the meter's to choose the larger is taken: four FE in front of its answers (clause 5.3.1), and blocks with all
items that the profile knows of. Load records come as the standard lays them out, of one kind and with all separators.
"""

from typing import Final

from drivers.contract import Endpoint
from drivers.cost import Ask, Cost, Medium, NotComputed
from drivers.dlt645 import load, plan
from drivers.dlt645.control import Edition
from drivers.dlt645.frame import MAX_DATA, OVERHEAD
from drivers.errors import ProfileError
from drivers.profile import Dlt645Point, Dlt645Profile
from drivers.status import Meaning

ANSWER_WAKE_UP: Final = 4  # clause 5.3.1: one to four FE in front
ADDRESS, DATE, TIME = 6, 4, 3
"""Octets of a meter's own address, of YYMMDDWW and of hhmmss."""
INSTANTS: Final = 12
"""Octets of the two instants in an event's record."""
ANYTHING: Final = 8
"""Octets that are reckoned with where any data item is asked for to see who answers."""


def visit_cost(endpoint: Endpoint, ask: Ask, medium: Medium, latency: float) -> Cost:  # noqa: ARG001  the same for all meters
    """Count one visit; see `drivers.cost.VisitCost`."""
    profile = endpoint.profile
    dlt645 = profile.dlt645
    if dlt645 is None:
        raise ProfileError(profile.name, ["dlt645: the table is missing"])
    turnaround = profile.timing.turnaround
    looks = {"line": medium.has_parity, "gateway": True, "hidden": False}
    # Nobody checks parity: what bills are made of is read until two readings are the same, which two mostly are.
    readings = 1 if looks[dlt645.parity] else 2
    width = Edition(dlt645.edition).identifier_octets

    def exchange(answer: int, parameters: int = 0) -> Cost:
        sent = min(dlt645.wake_up, 16) + OVERHEAD + width + parameters
        parts = max(1, -(-answer // (MAX_DATA - width)))
        first = Cost(sent, ANSWER_WAKE_UP + OVERHEAD + width + answer, 1, turnaround)
        # A follow-up frame repeats identifier and frame, and has a number both ways (2007).
        number = int(dlt645.edition == "2007")
        following = Cost(sent + number, ANSWER_WAKE_UP + OVERHEAD + width + number, 1, turnaround)
        return first + following.times(parts - 1)

    total = Cost(silence=turnaround)  # behind the visit
    total += exchange(ADDRESS if dlt645.identity else DATE if dlt645.date else ANYTHING)
    if ask.clock and dlt645.date:
        total += exchange(DATE) + exchange(TIME) + exchange(DATE)
    for octets, is_billed in _items(profile.name, dlt645, ask):
        total += exchange(octets).times(readings if is_billed else 1)
    if ask.window is not None:
        if dlt645.load_record is None:
            raise NotComputed(f"profile {profile.name} declares no load records")
        period = next((one.period for one in profile.channels if one.origin == "load_profile"), 0)
        if not period:
            raise NotComputed(f"profile {profile.name} declares no channel of a load profile")
        for log in dlt645.events:
            if log.means is not Meaning.NOTHING:
                total += exchange(log.offset + INSTANTS)  # the last one: mostly older than the window
        reading = load.Reading(dlt645.load_record, period, *ask.window, profile.clock.zone)
        while (question := reading.next_question()) is not None:
            _, parameters, expected = question
            total += exchange(expected, len(parameters)).times(readings)
            reading.pass_over()
    return total


def _items(name: str, dlt645: Dlt645Profile, ask: Ask) -> list[tuple[int, bool]]:
    """Give the octets of each data item that is asked for, and whether bills are made of any in it."""
    by_obis = {point.obis: point for point in dlt645.points}
    if unknown := [str(code) for code in ask.registers if code not in by_obis]:
        raise NotComputed(f"profile {name} has no data item for {', '.join(unknown)}")
    wanted = [by_obis[code] for code in dict.fromkeys(ask.registers)]
    found: list[tuple[int, bool]] = []
    given: set[Dlt645Point] = set()
    for block, members in plan.blocks(wanted, ()):
        places = 1 + max(point.place for point in dlt645.points if point.block == block)
        end = int(dlt645.edition == "1997")  # AA behind a block
        found.append((places * members[0].octets + end, any(point.obis.d in plan.BILLING for point in members)))
        given.update(members)
    found += [(point.octets, point.obis.d in plan.BILLING) for point in wanted if point not in given]
    return found
