"""The executor: the last gate, the paper venue and the ledger.

`server -> desk, ledger -> pure`: money, orders, paper, account, gate, trades, activity, journal and desk
import no grpc, asyncio, time or logging. The desk is the whole machine without I/O; the server and
`arbhub replay` both drive it.
"""
