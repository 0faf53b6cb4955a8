"""A local exchange that speaks Binance's spot market-data API, for the demo and the tests."""
