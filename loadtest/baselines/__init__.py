"""The two designs that the hub replaces, over the same engines: for comparison only, nobody should run them.

`serial` asks one engine after another, `gather` asks all of them at once; both make a unary call a tick and an engine.
Everything else is the hub's own: its books, its fold and its answers, so that only the way of asking differs, and the
open-loop driver measures either over `arbhub.v1.Hub/Stream` as it measures the hub.

Both are treated as kindly as they can be, and alike: up to 64 ticks of a batch are asked about at a time, each with the
books as of itself; a tick's deadline begins when it is taken up, not when its batch came; a tick is encoded once for
all engines. One batch is decided after another, one stream is served at a time, and there is no executor.

    __main__ ▸ server ▸ desk (books and fold, a tick at a time) ▸ asking (the two designs)      engine (a process each)
"""
