"""Where ticks come from: captures played back, live venues through ccxt.pro, and the recorder."""
