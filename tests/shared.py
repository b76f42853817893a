"""Where the larger data lies that is not carried in the repository: HEADEND_SHARED, else ``shared`` beside the checkout."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_data() -> Path | None:
    """Give the folder of shared data files, None where it is absent; tests that need it then skip and say so."""
    root = Path(os.environ.get("HEADEND_SHARED") or REPOSITORY.parent / "shared")
    data = root / "data"
    return data if data.is_dir() else None
