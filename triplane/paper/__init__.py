"""A market, a matching engine, and a gateway that speaks the TWS wire protocol to a real IB client. Everything here is simulated
but the daily closes and the index; nothing reaches a broker.

From the bottom up: `prices` (real closes) and `liquidity` (the true costs, TRUE_COSTS) -> `path` (one seeded path for each session, whose
bars agree at every interval) -> `history` (bars by request) and `matching` (orders against the book) -> `market` (the moment's quotes) ->
`account`, `order_checks`, `desk` (ids, states, executions, error codes) -> `reports` and `feed` (who is told what) -> `core` (all of it,
stepped by `clock`, kept by `journal`, disturbed by `faults`) -> `answers`, `client`, `control_http`, `gateway` (sockets). The wire itself is
`wire`, `requests`, `messages`, `order_fields`, `contracts`. Beside the market, `watched` has daily bars of what it does not quote: a fund
and futures on the real `index`, a currency and a coin. `providers` serves filings and macro series in the providers' own shapes.

What it does not do: combos, options and their chains, stop and pegged orders, attached and one-cancels-all orders, market depth, scanners, news,
bars other than 1 day, 1 min and 5 secs, anything but daily bars of funds, futures, currencies and crypto, bars that keep updating, interest,
borrow fees, the limit of messages a second, more than one account.
"""
