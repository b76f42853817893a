"""What a scan finds: meters, and addresses at which more than one answers."""

from dataclasses import dataclass, replace

from drivers.transports.url import Form
from headend.scan.ground import Kind, short


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """A meter that answered. ``name``: its global name, empty where it did not say one.

    ``model``: what it says it is.  ``profile``: the one known model that fits, empty where none or several do.
    ``options``: of the meter table.  ``also``: where else it answers.  ``note``: what a person should know.
    """

    kind: Kind
    form: Form
    address: str
    name: str = ""
    model: str = ""
    profile: str = ""
    options: str = ""
    also: tuple[str, ...] = ()
    note: str = ""

    @property
    def place(self) -> str:
        """Where it answers: ``modbus 17 at 9600 8E1``."""
        return place(self.kind, self.form, self.address)

    def is_same(self, other: "FoundMeter") -> bool:
        """Say whether both are one meter, as far as what they say of themselves tells."""
        if self.kind.protocol != other.kind.protocol:
            return False
        here = (self.form, self.address) == (other.form, other.address)
        match self.kind.protocol:
            case "dlt645":
                return self.address == other.address
            case "modbus":  # a serial number of 0 is common; a meter that does not look at parity is, too
                one, two = (self.form.baud, self.address), (other.form.baud, other.address)
                return here or (self.name != "" and self.name == other.name and one == two)
            case _:
                return here or (self.name != "" and self.name == other.name)

    def may_be(self, other: "FoundMeter") -> bool:
        """Say whether a unit without a name, at another parity of the same speed, may be the same meter."""
        here, there = (self.kind, self.form.baud, self.address), (other.kind, other.form.baud, other.address)
        return self.kind is Kind.MODBUS and here == there and not (self.name and other.name)

    def joined(self, other: "FoundMeter") -> "FoundMeter":
        """Note where else the same meter answered."""
        where = f"{other.address} at {short(other.form)}"
        is_known = other.place == self.place or where in self.also
        return self if is_known else replace(self, also=(*self.also, where))


@dataclass(frozen=True, slots=True)
class Crowd:
    """An address at which more than one meter answers, or something that speaks another language. ``why``: what was heard."""

    kind: Kind
    form: Form
    address: str
    why: str

    @property
    def place(self) -> str:
        """Where: ``modbus 17 at 9600 8E1``."""
        return place(self.kind, self.form, self.address)


def place(kind: Kind, form: Form, address: str) -> str:
    """Name an address on a line."""
    return f"{kind} {address or 'any'} at {short(form)}"
