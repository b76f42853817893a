"""Say which limit an input breaks, nothing for none: python -m tests.fuzz.cost NAME FILE."""

import sys
from pathlib import Path

from tests.fuzz import limits
from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    print(limits.excess(TARGETS[sys.argv[1]].feed, Path(sys.argv[2]).read_bytes()))
