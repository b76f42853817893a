"""Which estimate is better: gaps cut into ten real households, filled by each method, beside the published errors.
``make bench-estimates``.

Needs the shared data; 300 gaps a household and length take half a minute. What is measured is the error, not the speed.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.headend.vee.estimates import METHODS, WITHOUT_HISTORY, errors, table
from tests.headend.vee.households import load_households


def main() -> None:
    """Print a table, then one JSON object."""
    households = load_households()
    if households is None:
        sys.exit("the shared data is absent: set HEADEND_SHARED, or put it beside the checkout")
    found = errors(households, 300, 1, methods=(*METHODS, *WITHOUT_HISTORY))
    print(table(found))
    names = {f"{length} {method}": [round(figure, 3) for figure in pair] for (length, method), pair in found.items()}
    print(json.dumps(names))


if __name__ == "__main__":
    main()
