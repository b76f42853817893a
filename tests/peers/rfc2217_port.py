"""pyserial's RFC 2217 server class over a device, one client at a time: ``python rfc2217_port.py DEVICE``. Prints its TCP port."""

import socket
import sys
import threading

import serial
import serial.rfc2217


class Port(serial.Serial):
    """A pty has no modem lines to ask for."""

    cts = dsr = ri = cd = property(lambda _: True)


class Redirector:
    """Bytes between a connection and a port, the option spoken by pyserial's `PortManager`."""

    def __init__(self, port: serial.Serial, connection: socket.socket) -> None:
        self._port = port
        self._connection = connection
        self._lock = threading.Lock()
        self._manager = serial.rfc2217.PortManager(port, self)  # type: ignore[arg-type]  # any port will do

    def write(self, data: bytes) -> None:
        with self._lock:
            self._connection.sendall(data)

    def serve(self) -> None:
        threading.Thread(target=self._up, daemon=True).start()
        while data := self._connection.recv(1024):
            self._port.write(b"".join(self._manager.filter(data)))

    def _up(self) -> None:
        while True:
            data = self._port.read(self._port.in_waiting or 1)
            if data:
                self.write(b"".join(self._manager.escape(data)))


def main() -> None:
    port = Port(sys.argv[1], timeout=0.05)
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        connection, _ = listener.accept()
        try:
            Redirector(port, connection).serve()
        except OSError:
            continue


if __name__ == "__main__":
    main()
