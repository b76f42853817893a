"""How a meter is reached: optical port, HDLC, M-Bus slave port, TCP-UDP, IPv4, IPv6, GPRS, GSM. IEC 62056-6-2, clauses 5.5 to 5.9."""

from dataclasses import dataclass
from enum import IntEnum

from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    BOOLEAN,
    DOUBLE_LONG_UNSIGNED,
    LONG_UNSIGNED,
    NAME,
    OCTETS,
    SECRET,
    TAGGED_DATE_TIME,
    TEXT,
    UNSIGNED,
    Enumerated,
    Grouped,
    Octets,
    Repeated,
    Whole,
)


class BaudRate(IntEnum):
    """Speed of a line."""

    BAUD_300 = 0
    BAUD_600 = 1
    BAUD_1200 = 2
    BAUD_2400 = 3
    BAUD_4800 = 4
    BAUD_9600 = 5
    BAUD_19200 = 6
    BAUD_38400 = 7
    BAUD_57600 = 8
    BAUD_115200 = 9


class PortMode(IntEnum):
    """Protocol that the optical port begins with."""

    IEC_62056_21 = 0
    HDLC = 1
    NOT_SPECIFIED = 2


class ResponseTime(IntEnum):
    """Least time between request and response."""

    MILLISECONDS_20 = 0
    MILLISECONDS_200 = 1


class AddressState(IntEnum):
    """Whether the slave's address is assigned."""

    NOT_ASSIGNED = 0
    ASSIGNED = 1


class Ipv6List(IntEnum):
    """Which list an address is added to."""

    UNICAST = 0
    MULTICAST = 1
    GATEWAY = 2


class AddressConfiguration(IntEnum):
    """How an IPv6 address comes about."""

    AUTO = 0
    DHCPV6 = 1
    MANUAL = 2
    NEIGHBOR_DISCOVERY = 3


class GsmStatus(IntEnum):
    """Registration of the modem."""

    NOT_REGISTERED = 0
    HOME_NETWORK = 1
    SEARCHING = 2
    DENIED = 3
    UNKNOWN = 4
    ROAMING = 5


class CircuitStatus(IntEnum):
    """Circuit switched status of the modem."""

    INACTIVE = 0
    INCOMING_CALL = 1
    ACTIVE = 2


class PacketStatus(IntEnum):
    """Packet switched status of the modem; the last two from class version 1."""

    INACTIVE = 0
    GPRS = 1
    EDGE = 2
    UMTS = 3
    HSDPA = 4
    LTE = 5
    CDMA = 6


@dataclass(frozen=True, slots=True)
class IpOption:
    """An option of the IP header."""

    kind: int
    length: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class NeighborDiscovery:
    """Retries, wait between them, and sending period of router solicitations. [s]"""

    max_retry: int
    retry_wait: int
    send_period: int


@dataclass(frozen=True, slots=True)
class Ipv6Address:
    """An address and which of the lists it belongs to."""

    kind: Ipv6List
    address: bytes


@dataclass(frozen=True, slots=True)
class QualityOfService:
    """GPRS quality of service. 3GPP TS 24.008, clause 10.5.6.5."""

    precedence: int
    delay: int
    reliability: int
    peak_throughput: int
    mean_throughput: int


@dataclass(frozen=True, slots=True)
class QualitiesOfService:
    """What is there without asking, and what is asked for."""

    default: QualityOfService
    requested: QualityOfService


@dataclass(frozen=True, slots=True)
class Cell:
    """The cell the modem is in, class version 0. ``signal_quality``: 0 to 31, 99 where not known.  ``ber``: bit errors."""

    cell_id: int
    location_id: int
    signal_quality: int
    ber: int


@dataclass(frozen=True, slots=True)
class WideCell:
    """The cell the modem is in, class version 1, with the codes of country and network, and the channel."""

    cell_id: int
    location_id: int
    signal_quality: int
    ber: int
    country: int
    network: int
    channel: int


@dataclass(frozen=True, slots=True)
class AdjacentCell:
    """Another cell in reach."""

    cell_id: int
    signal_quality: int


BAUD = Enumerated(BaudRate)
IEC_LOCAL_PORT_SETUP = InterfaceClass(
    19,
    1,
    "IEC local port setup",
    (
        AttributeType(2, "default_mode", Enumerated(PortMode), is_writable=True),
        AttributeType(3, "default_baud", BAUD, is_writable=True),
        AttributeType(4, "prop_baud", BAUD, is_writable=True),
        AttributeType(5, "response_time", Enumerated(ResponseTime), is_writable=True),
        AttributeType(6, "device_addr", OCTETS, is_writable=True),
        AttributeType(7, "pass_p1", SECRET, is_writable=True),
        AttributeType(8, "pass_p2", SECRET, is_writable=True),
        AttributeType(9, "pass_w5", SECRET, is_writable=True),
    ),
)


def _hdlc_setup(version: int, length: Whole) -> InterfaceClass:
    window = Whole(UNSIGNED.tag, 1, 7)
    return InterfaceClass(
        23,
        version,
        "IEC HDLC setup",
        (
            AttributeType(2, "comm_speed", BAUD, is_writable=True),
            AttributeType(3, "window_size_transmit", window, is_writable=True),
            AttributeType(4, "window_size_receive", window, is_writable=True),
            AttributeType(5, "max_info_field_length_transmit", length, is_writable=True, unit="octet"),
            AttributeType(6, "max_info_field_length_receive", length, is_writable=True, unit="octet"),
            AttributeType(7, "inter_octet_time_out", LONG_UNSIGNED, is_writable=True, unit="ms"),
            AttributeType(8, "inactivity_time_out", LONG_UNSIGNED, is_writable=True, unit="s"),
            AttributeType(9, "device_address", LONG_UNSIGNED, is_writable=True),
        ),
    )


MBUS_SLAVE_PORT_SETUP = InterfaceClass(
    25,
    0,
    "M-Bus slave port setup",
    (
        AttributeType(2, "default_baud", BAUD, is_writable=True),
        AttributeType(3, "avail_baud", BAUD, is_writable=True),
        AttributeType(4, "addr_state", Enumerated(AddressState), is_writable=True),
        AttributeType(5, "bus_address", UNSIGNED, is_writable=True),
    ),
)
UTILITY_TABLES = InterfaceClass(
    26,
    0,
    "utility tables",
    (
        AttributeType(2, "table_id", LONG_UNSIGNED),
        AttributeType(3, "length", DOUBLE_LONG_UNSIGNED, unit="octet"),
        AttributeType(4, "buffer", OCTETS, is_writable=True),
    ),
)
TCP_UDP_SETUP = InterfaceClass(
    41,
    0,
    "TCP-UDP setup",
    (
        AttributeType(2, "tcp_udp_port", LONG_UNSIGNED, is_writable=True),
        AttributeType(3, "ip_reference", NAME, is_writable=True),
        AttributeType(4, "mss", LONG_UNSIGNED, is_writable=True, unit="octet"),
        AttributeType(5, "nb_of_sim_conn", UNSIGNED, is_writable=True),
        AttributeType(6, "inactivity_time_out", LONG_UNSIGNED, is_writable=True, unit="s"),
    ),
)
IPV4_SETUP = InterfaceClass(
    42,
    0,
    "IPv4 setup",
    (
        AttributeType(2, "dl_reference", NAME, is_writable=True),
        AttributeType(3, "ip_address", DOUBLE_LONG_UNSIGNED, is_writable=True),
        AttributeType(4, "multicast_ip_address", Repeated(DOUBLE_LONG_UNSIGNED, 255), is_writable=True),
        AttributeType(
            5,
            "ip_options",
            Repeated(Grouped(IpOption, kind=UNSIGNED, length=UNSIGNED, octets=Octets(0, 255)), 255),
            is_writable=True,
        ),
        AttributeType(6, "subnet_mask", DOUBLE_LONG_UNSIGNED, is_writable=True),
        AttributeType(7, "gateway_ip_address", DOUBLE_LONG_UNSIGNED, is_writable=True),
        AttributeType(8, "use_dhcp_flag", BOOLEAN, is_writable=True),
        AttributeType(9, "primary_dns_address", DOUBLE_LONG_UNSIGNED, is_writable=True),
        AttributeType(10, "secondary_dns_address", DOUBLE_LONG_UNSIGNED, is_writable=True),
    ),
    (
        MethodType(1, "add_mc_ip_address", DOUBLE_LONG_UNSIGNED),
        MethodType(2, "delete_mc_ip_address", DOUBLE_LONG_UNSIGNED),
        MethodType(3, "get_nbof_mc_ip_addresses"),
    ),
)
_ADDRESS = Octets(16, 16)
_ANY_ADDRESS = Octets(0, 16)
_IPV6_ADDRESS = Grouped(Ipv6Address, kind=Enumerated(Ipv6List), address=_ADDRESS)
IPV6_SETUP = InterfaceClass(
    48,
    0,
    "IPv6 setup",
    (
        AttributeType(2, "dl_reference", NAME, is_writable=True),
        AttributeType(3, "address_config_mode", Enumerated(AddressConfiguration), is_writable=True),
        AttributeType(4, "unicast_ipv6_addresses", Repeated(_ADDRESS, 255), is_writable=True),
        AttributeType(5, "multicast_ipv6_addresses", Repeated(_ADDRESS, 255), is_writable=True),
        AttributeType(6, "gateway_ipv6_addresses", Repeated(_ADDRESS, 255), is_writable=True),
        AttributeType(7, "primary_dns_address", _ANY_ADDRESS, is_writable=True),
        AttributeType(8, "secondary_dns_address", _ANY_ADDRESS, is_writable=True),
        AttributeType(9, "traffic_class", Whole(UNSIGNED.tag, 0, 63), is_writable=True),
        AttributeType(
            10,
            "neighbor_discovery_setup",
            Repeated(
                Grouped(
                    NeighborDiscovery,
                    max_retry=UNSIGNED,
                    retry_wait=LONG_UNSIGNED,
                    send_period=DOUBLE_LONG_UNSIGNED,
                ),
                255,
            ),
            is_writable=True,
        ),
    ),
    (MethodType(1, "add_ipv6_address", _IPV6_ADDRESS), MethodType(2, "remove_ipv6_address", _IPV6_ADDRESS)),
)
_QUALITY = Grouped(
    QualityOfService,
    precedence=UNSIGNED,
    delay=UNSIGNED,
    reliability=UNSIGNED,
    peak_throughput=UNSIGNED,
    mean_throughput=UNSIGNED,
)
GPRS_MODEM_SETUP = InterfaceClass(
    45,
    0,
    "GPRS modem setup",
    (
        AttributeType(2, "apn", OCTETS, is_writable=True),
        AttributeType(3, "pin_code", LONG_UNSIGNED, is_writable=True),
        AttributeType(
            4,
            "quality_of_service",
            Grouped(QualitiesOfService, default=_QUALITY, requested=_QUALITY),
            is_writable=True,
        ),
    ),
)


def _gsm_diagnostic(version: int) -> InterfaceClass:
    if version == 0:
        cell_id = LONG_UNSIGNED
        cell = Grouped(Cell, cell_id=cell_id, location_id=LONG_UNSIGNED, signal_quality=UNSIGNED, ber=UNSIGNED)
    else:
        cell_id = DOUBLE_LONG_UNSIGNED
        cell = Grouped(
            WideCell,
            cell_id=cell_id,
            location_id=LONG_UNSIGNED,
            signal_quality=UNSIGNED,
            ber=UNSIGNED,
            country=LONG_UNSIGNED,
            network=LONG_UNSIGNED,
            channel=DOUBLE_LONG_UNSIGNED,
        )
    return InterfaceClass(
        47,
        version,
        "GSM diagnostic",
        (
            AttributeType(2, "operator", TEXT),
            AttributeType(3, "status", Enumerated(GsmStatus)),
            AttributeType(4, "cs_attachment", Enumerated(CircuitStatus)),
            AttributeType(5, "ps_status", Enumerated(PacketStatus)),
            AttributeType(6, "cell_info", cell),
            AttributeType(
                7, "adjacent_cells", Repeated(Grouped(AdjacentCell, cell_id=cell_id, signal_quality=UNSIGNED), 255)
            ),
            AttributeType(8, "capture_time", TAGGED_DATE_TIME),
        ),
    )


CLASSES = (
    IEC_LOCAL_PORT_SETUP,
    _hdlc_setup(0, UNSIGNED),
    _hdlc_setup(1, LONG_UNSIGNED),
    MBUS_SLAVE_PORT_SETUP,
    UTILITY_TABLES,
    TCP_UDP_SETUP,
    IPV4_SETUP,
    IPV6_SETUP,
    GPRS_MODEM_SETUP,
    _gsm_diagnostic(0),
    _gsm_diagnostic(1),
)
