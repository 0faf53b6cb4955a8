"""Where the real recordings lie. They are other people's data: read from there, never committed."""

import os
from pathlib import Path

MARKETDATA = Path(os.environ.get("MARKETDATA", Path(__file__).parents[2] / "shared" / "marketdata"))
