"""What a recorded meter said of its attributes, one by one, so that who asks in another way is answered too.

A client that knows the scalers already asks for values alone; another takes no lists. Only GETs without a selection are
answered so, and only where the trace holds each attribute asked for.
"""

from drivers.dlms import getlist, xdlms
from drivers.errors import DriverError

MAX_ATTRIBUTES = 100_000


class Attributes:
    """Attributes and what was answered to a GET of each, the last answer counting."""

    def __init__(self) -> None:
        self._known: dict[xdlms.Attribute, getlist.GetResult] = {}

    def learn(self, question: bytes, answer: bytes) -> None:
        """Take a recorded question and what came back, both as APDUs; what is no GET, or damaged, teaches nothing."""
        try:
            asked, said = _items(question), xdlms.decode(answer)
        except DriverError:
            return
        results: tuple[getlist.GetResult, ...] = ()
        if isinstance(said, getlist.GetResponseList):
            results = said.results
        elif isinstance(said, xdlms.GetResponse):
            results = (getlist.GetResult(said.data, said.result),)
        if len(results) == len(asked) and len(self._known) < MAX_ATTRIBUTES:
            self._known |= zip(asked, results, strict=True)

    def answer(self, question: bytes) -> bytes:
        """Give the APDU that answers a GET, empty where something asked for was never recorded."""
        try:
            asked = _items(question)
        except DriverError:
            return b""
        if not asked or not all(attribute in self._known for attribute in asked):
            return b""
        results = tuple(self._known[attribute] for attribute in asked)
        if question[1] == getlist.WITH_LIST:
            return getlist.GetResponseList(question[2], results).encode()
        return xdlms.GetResponse(question[2], results[0].data, results[0].result).encode()


def _items(question: bytes) -> tuple[xdlms.Attribute, ...]:
    """Give what a GET asks for, nothing where it is another service or selects. Raises `DriverError` for a damaged one."""
    if question[:1] != bytes([getlist.GET_REQUEST]):
        return ()
    asked = xdlms.decode(question)
    if isinstance(asked, xdlms.GetRequest) and asked.selection is None:
        return (asked.attribute,)
    if isinstance(asked, getlist.GetRequestList) and all(selection is None for _, selection in asked.items):
        return tuple(attribute for attribute, _ in asked.items)
    return ()
