"""The error tree of the drivers. The class says whether to retry.

::

    DriverError            .retryable  .cause
      TransportError        yes        no route          could not connect, or the port is missing
        TransportTimeout    yes        no answer         connected, but nothing (or too little) came back in time
        ConnectionLost      yes        no route          the other side hung up
        PortUnavailable     no         no route          port missing, busy or not permitted: a person must act
      RemoteProtocolError   yes        line noise        what came back breaks the protocol; close, then retry
        LineNoise           yes        line noise        the line itself says that a byte arrived damaged
      LocalProtocolError    no         (our bug)         we asked for something the protocol forbids
      MeterRefused          no         refused           the meter said no, with its code
        WrongMeter          no         wrong meter       another meter answers at this address
      SecurityError         no         security          wrong key, bad tag, replay, downgrade: never retried
        CounterError        no         counter           invocation counter out of step or used up
          CounterRefused    no         counter           the meter refuses ours: it has seen a higher one
      CommandError          no         refused           a command to the meter came to nothing, or nobody knows to what
        CommandDeclined     no         refused           not sent: it is beyond a bound of ours or of the meter's state
        CommandUnverified   no         refused           sent and answered, but what was read back is something else
        OutcomeUnknown      no         no answer         sent, and no answer came: read back, never send again
      ProfileError          no         (configuration)   lists every fault of a meter profile at once

``cause`` is the permanent reason code (``kernels.quality.Reason``) stored in each slot the failed read leaves missing.
"""

from collections.abc import Sequence
from typing import ClassVar

from kernels.quality import Reason


class DriverError(Exception):
    """Base of everything a driver raises on purpose."""

    retryable: ClassVar[bool] = False
    cause: ClassVar[Reason] = Reason.NO_ANSWER


class TransportError(DriverError):
    """The bytes could not be carried."""

    retryable = True
    cause = Reason.NO_ROUTE


class TransportTimeout(TransportError):
    """Nothing, or too little, came back in time."""

    cause = Reason.NO_ANSWER


class ConnectionLost(TransportError):
    """The other side closed the connection, or the port vanished."""


class PortUnavailable(TransportError):
    """The port is missing, busy or not permitted; a person has to act."""

    retryable = False


class RemoteProtocolError(DriverError):
    """The other side broke the protocol. Close the connection before retrying."""

    retryable = True
    cause = Reason.LINE_NOISE


class LineNoise(RemoteProtocolError):
    """The line says that a byte came damaged (parity, framing, break, or our own bytes came back changed).

    What was received before it and makes no whole frame is of no use; what comes after it may be a frame.
    """


class LocalProtocolError(DriverError):
    """We tried to break the protocol: a bug of ours."""


class MeterRefused(DriverError):
    """The meter answered with a refusal.

    ``code`` is the COSEM data-access-result, action-result or association diagnostic, or the Modbus exception code.
    """

    cause = Reason.REFUSED

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class WrongMeter(MeterRefused):
    """A meter answers at this address, but not the one the registry names. Nothing of it is stored."""

    cause = Reason.WRONG_METER

    def __init__(self, message: str) -> None:
        super().__init__(message, 0)


class SecurityError(DriverError):
    """Wrong key, bad tag, replayed counter or a weaker answer than agreed. Alert; never retry."""

    cause = Reason.SECURITY


class CounterError(SecurityError):
    """The invocation counter is out of step, or used up and the key must be changed."""

    cause = Reason.COUNTER


class CounterRefused(CounterError):
    """The meter refuses our invocation counter: it has seen a higher one under this key."""


class CommandError(DriverError):
    """A command to the meter came to nothing, or nobody knows to what."""

    cause = Reason.REFUSED


class CommandDeclined(CommandError):
    """The command was not sent: beyond a bound of ours, or nothing the meter could do in its state."""


class CommandUnverified(CommandError):
    """The command was sent and answered, but what was read back is not what it was to bring about."""


class OutcomeUnknown(CommandError):
    """The command was sent and its answer did not come. Read back what became of it; never send it again."""

    cause = Reason.NO_ANSWER


class ProfileError(DriverError):
    """A meter profile is faulty. ``faults`` lists every fault as ``where: what``."""

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        self.name = name
        self.faults = tuple(faults)
        super().__init__(f"profile {name}: " + "; ".join(self.faults))
