"""What a serial port delivers with PARMRK set: damaged bytes stand out. POSIX.1-2017, 11.2.2; Linux `n_tty`.

``FF 00 xx`` stands for a byte xx with wrong parity or without its stop bit, ``FF 00 00`` for a break, ``FF FF`` for a good FF.
"""

MARK = 0xFF


class MarkReader:
    """Takes what the kernel gives, in pieces of any size, and cuts it at the damaged bytes."""

    def __init__(self) -> None:
        self._held = b""  # a mark that is not all there yet

    def receive_data(self, data: bytes) -> list[bytes | None]:
        """Give good bytes, and None for one or more damaged ones in a row, in their order."""
        data = self._held + data
        self._held = b""
        pieces: list[bytes | None] = []
        good = bytearray()
        at = 0
        while (mark := data.find(MARK, at)) >= 0:
            good += data[at:mark]
            sequence = data[mark : mark + 3]
            if sequence[1:2] == b"\xff":
                good.append(MARK)
                at = mark + 2
                continue
            if sequence in {b"\xff", b"\xff\x00"}:
                self._held = sequence
                at = len(data)
                break
            if good:
                pieces.append(bytes(good))
                good.clear()
            if not pieces or pieces[-1] is not None:
                pieces.append(None)
            # A lone FF is not given with PARMRK set; what follows it is not eaten.
            at = mark + (3 if sequence[1] == 0 else 1)
        if good := good + data[at:]:
            pieces.append(bytes(good))
        return pieces
