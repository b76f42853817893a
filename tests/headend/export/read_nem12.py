"""Read a NEM12 file with nemreader, which none of us wrote, and print what it found as JSON. Runs in a process of its own."""

import json
import sys

from nemreader import read_nem_file

data = read_nem_file(sys.argv[1])
json.dump(
    {
        "version": data.header.version_header,
        "created": str(data.header.creation_date),
        "from": data.header.from_participant,
        "readings": {
            nmi: {
                suffix: [
                    (
                        str(one.t_start), str(one.t_end), one.read_value, one.uom,
                        one.quality_method, one.event_code, one.event_desc, one.meter_serial_number,
                    )
                    for one in readings
                ]
                for suffix, readings in channels.items()
            }
            for nmi, channels in data.readings.items()
        },
    },
    sys.stdout,
)  # fmt: skip
