"""The table of engines: each by its name. A new engine is a file here, a row below, a section in the settings
and a test; docs/adding-an-engine.md walks through one."""

from arbhub.engine import Engine
from engines.fee import Fee
from engines.liquidity import Liquidity
from engines.risk import Risk
from engines.spread import Spread

ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (Spread, Fee, Liquidity, Risk)}
