"""What each request of a client is answered with."""

from __future__ import annotations

import time
from functools import partial

from triplane.domain.timestamps import NEW_YORK, SECOND, to_datetime
from triplane.paper.desk.account import CURRENCY
from triplane.paper.desk.order import Refused
from triplane.paper.market.history import RequestError, Row
from triplane.paper.market.watched import Watched
from triplane.paper.protocol import messages as m
from triplane.paper.protocol import requests as r
from triplane.paper.protocol.contracts import Contract, contract_details, ib_time
from triplane.paper.protocol.order_fields import completed_order
from triplane.paper.server.client import Client
from triplane.paper.server.core import Core
from triplane.paper.server.limits import TOO_MANY_LINES, TOO_MANY_TICKS, PacingRules, lines_in_use, tick_lines_in_use

NO_CONTRACT = (200, "No security definition has been found for the request")
NO_DATA = (354, "Requested market data is not subscribed. The simulation has no market for this contract.")
# IB has no trades of crypto, only aggregated ones.
WRONG_SHOW = (10299, "Expected what to show is AGGTRADES, please use that instead of TRADES.")
ADJUSTED_LAST = "ADJUSTED_LAST"
_TRADES = frozenset({"TRADES", ADJUSTED_LAST})
IB_DIVIDENDS = "456"
"""The generic tick that adds what is known of dividends to a subscription of quotes."""


class Answers:
    """Answers requests from the core's state; frames go to the asking client."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.pacing = PacingRules(core.options.pacing)
        self.watched = Watched(core.options.seed)

    def answer(self, client: Client, request: r.Request) -> None:
        """One request, answered at once; what streams later is subscribed."""
        match request:
            case r.PlaceOrder():
                self._place(client, request)
            case r.CancelOrder(order_id):
                self._cancel(client, order_id)
            case r.GlobalCancel():
                self.core.journal.append("global_cancel", self.core.now, client_id=client.client_id)
                self.core.reports.publish(self.core.desk.global_cancel(self.core.now), self.core.now)
            case r.OpenOrders() | r.CompletedOrders() | r.Executions() | r.NextId():
                self._orders(client, request)
            case r.AccountUpdates() | r.AccountUpdatesMulti() | r.AccountSummary() | r.Positions() | r.ProfitAndLoss():
                self._account(client, request)
            case r.MarketData() | r.RealTimeBars() | r.TickByTick():
                self._subscribe(client, request)
            case r.HistoricalData():
                self._historical(client, request)
            case r.ContractDetails() | r.MatchingSymbols() | r.HeadTimestamp() | r.MarketRule() | r.OptionParameters():
                self._reference(client, request)
            case r.CancelMarketData(req_id):
                client.subscriptions.quotes.pop(req_id, None)
            case r.CancelRealTimeBars(req_id):
                client.subscriptions.bars.pop(req_id, None)
            case r.CancelTickByTick(req_id):
                client.subscriptions.ticks.pop(req_id, None)
            case r.CancelAccountRequest(req_id):
                client.account_multi.pop(req_id, None)
                client.pnl.pop(req_id, None)
            case r.CurrentTime():
                client.send(m.current_time(self.core.clock.reading() + self.core.faults.clock_error(client.client_id)))
            case r.ManagedAccounts():
                client.send(m.managed_accounts(self.core.account.name))
            case r.Unknown(msg_id):
                client.send(m.error(-1, 321, f"Error validating request: message {msg_id} is not simulated"))
            case r.Ignored() | r.MarketDataType() | r.CancelHistorical() | r.StartApi():
                pass  # history is answered at once; the data type is the fault's to say

    # --- orders ---------------------------------------------------------------------------------------------------------------

    def _place(self, client: Client, request: r.PlaceOrder) -> None:
        core, now = self.core, self.core.now
        known = core.desk.find(client.client_id, request.order_id)
        ref, modify = request.values["orderRef"], known is not None
        core.journal.append(
            "order", now, orderRef=ref, client_id=client.client_id, order_id=request.order_id, modify=modify, symbol=request.values["symbol"],
            action=request.values["action"], quantity=request.values["totalQuantity"], type=request.values["orderType"],
            limit=request.values["lmtPrice"], tif=request.values["tif"], algo=request.values["algoStrategy"],
        )  # fmt: skip
        injected = core.faults.next_error("modify_error" if modify else "order_error")
        if injected is not None and not injected.live:
            core.reports.publish([Refused(client.client_id, request.order_id, injected.code, injected.text)], now, ref)
            return
        if core.reports.publish(core.desk.place(client.client_id, request, now), now, ref):
            core.tell_account()
        if injected is not None:
            client.send_order(m.error(request.order_id, injected.code, injected.text), 0.0)

    def _cancel(self, client: Client, order_id: int) -> None:
        core, now = self.core, self.core.now
        known = core.desk.find(client.client_id, order_id)
        core.journal.append(
            "cancel_request",
            now,
            orderRef=known.order_ref if known else "",
            client_id=client.client_id,
            order_id=order_id,
        )
        injected = core.faults.next_error("cancel_error")
        if injected is not None:
            core.reports.publish([Refused(client.client_id, order_id, injected.code, injected.text)], now)
        else:
            core.reports.publish(core.desk.cancel(client.client_id, order_id, now), now)

    def _orders(self, client: Client, request: r.OpenOrders | r.CompletedOrders | r.Executions | r.NextId) -> None:
        core = self.core
        match request:
            case r.OpenOrders(everyone):
                for order in core.desk.active():
                    if everyone or order.client_id == client.client_id:
                        client.send(core.reports.open_order(order))
                client.send(m.simple(53, "1"))
            case r.CompletedOrders():
                for order in core.desk.completed_today(core.now):
                    client.send(completed_order(order.contract.values, order.completed_fields()))
                client.send(m.simple(102))
            case r.Executions(req_id):
                try:
                    executions = core.desk.executions_since_midnight(request, core.now)
                except RequestError as error:
                    client.send(m.error(req_id, error.code, str(error)))
                    return
                for execution in executions:
                    contract = core.contracts.by_symbol[execution.symbol]
                    client.send(m.exec_details(req_id, contract, execution, core.account.name))
                    # Commissions of other clients' orders are for the master client id only.
                    if client.client_id in (execution.client_id, core.options.master_client_id):
                        client.send(m.commission_report(execution, CURRENCY))
                client.send(m.simple(55, "1", req_id))
                client.told_from = 0
            case r.NextId():
                client.send(m.next_valid_id(core.desk.next_order_id))

    # --- the account ----------------------------------------------------------------------------------------------------------

    def _account(
        self,
        client: Client,
        request: r.AccountUpdates | r.AccountUpdatesMulti | r.AccountSummary | r.Positions | r.ProfitAndLoss,
    ) -> None:
        core, name = self.core, self.core.account.name
        match request:
            case r.AccountUpdates(subscribe, account):
                if account not in ("", name):
                    client.send(m.error(-1, 321, f"Error validating request: Invalid account code {account}"))
                    return
                client.account_updates = subscribe
                if subscribe:
                    client.send(core.account_frames(core.account_texts()) + m.simple(54, "1", name))
            case r.AccountUpdatesMulti(req_id, account, model):
                if account not in ("", name):
                    client.send(m.error(req_id, 321, f"Error validating request: Invalid account code {account}"))
                    return
                client.account_multi[req_id] = model
                texts = core.account_texts()
                client.send(
                    b"".join(m.account_multi(req_id, name, model, *text) for text in texts) + m.simple(74, "1", req_id)
                )
            case r.AccountSummary(req_id, tags):
                wanted = {tag.strip() for tag in tags.split(",")}
                texts = [text for text in core.account_texts() if text[0] in wanted or "All" in wanted or not tags]
                client.send(
                    b"".join(m.account_summary(req_id, name, *text) for text in texts) + m.simple(64, "1", req_id)
                )
            case r.Positions(subscribe):
                client.positions = subscribe
                if subscribe:
                    client.send(core.reports.positions() + m.simple(62, "1"))
            case r.ProfitAndLoss(req_id, account, con_id):
                if account not in ("", name):
                    client.send(m.error(req_id, 321, f"Error validating request: Invalid account code {account}"))
                    return
                client.pnl[req_id] = con_id
                client.send(core.pnl_frame(req_id, con_id))

    # --- market data ----------------------------------------------------------------------------------------------------------

    def _priced(self, client: Client, req_id: int, query: r.ContractQuery) -> Contract | None:
        """The contract when the market quotes it; else the client is told why not."""
        contract = self.core.contracts.find(query)
        if contract is None or not contract.priced:
            client.send(m.error(req_id, *(NO_CONTRACT if contract is None else NO_DATA)))
            return None
        return contract

    def _subscribe(self, client: Client, request: r.MarketData | r.RealTimeBars | r.TickByTick) -> None:
        core, req_id = self.core, request.req_id
        contract = self._priced(client, req_id, request.contract)
        if contract is None:
            return
        if not isinstance(request, r.TickByTick) and lines_in_use(core.clients.values()) >= core.options.lines:
            client.send(m.error(req_id, *TOO_MANY_LINES))
            return
        match request:
            case r.MarketData(_, _, generic_ticks, snapshot):
                generic = generic_ticks.split(",")
                line = client.quote_line(req_id, contract.symbol, "236" in generic)
                if IB_DIVIDENDS in generic and core.actions.concern(contract.symbol):
                    line.dividends = ""
                ticks = core.feed.quote(line)
                if snapshot:
                    del client.subscriptions.quotes[req_id]
                    ticks.append(m.simple(57, "1", req_id))
                parameters = m.simple(81, req_id, contract.asset.min_tick, "SIM", 3)
                client.send(parameters + b"".join(ticks))
            case r.RealTimeBars(_, _, bar_size, what):
                if bar_size != 5 or what not in _TRADES:
                    client.send(
                        m.error(req_id, 321, "Error validating request: only bars of 5 seconds of TRADES are simulated")
                    )
                    return
                violation = self.pacing.violation(request, contract.symbol, time.monotonic())
                if violation is not None:
                    client.send(m.error(req_id, *violation))
                    return
                client.subscriptions.bars[req_id] = contract.symbol
            case r.TickByTick(_, _, kind):
                if kind not in ("Last", "AllLast", "BidAsk", "MidPoint"):
                    client.send(m.error(req_id, 321, f"Error validating request: tick type {kind} is unknown"))
                    return
                injected = core.faults.next_error("tick_error")
                if injected is not None:
                    client.send(m.error(req_id, injected.code, injected.text))
                    return
                if tick_lines_in_use(core.clients.values()) >= core.options.tick_by_tick_lines:
                    client.send(m.error(req_id, *TOO_MANY_TICKS))
                    return
                client.subscriptions.ticks[req_id] = (contract.symbol, kind)

    def _historical(self, client: Client, request: r.HistoricalData) -> None:
        core, req_id = self.core, request.req_id
        injected = core.faults.next_error("history_error")
        if injected is not None:
            client.send(m.error(req_id, injected.code, injected.text))
            return
        today = to_datetime(core.now, NEW_YORK).date()
        named = core.contracts.named(request.contract, today, include_expired=request.include_expired)
        if len(named) != 1:
            client.send(m.error(req_id, *NO_CONTRACT))
            return
        (contract,) = named
        core.data_client.note(client.client_id, contract.symbol, request, core.now)
        if contract.asset.sec_type == "CRYPTO" and request.what in _TRADES:
            client.send(m.error(req_id, *WRONG_SHOW))
            return
        violation = self.pacing.violation(request, contract.symbol, time.monotonic())
        if violation is not None:
            client.send(m.error(req_id, *violation))
            return
        try:
            if (contract.priced and request.what not in _TRADES) or request.keep_up_to_date:
                raise RequestError(321, "Error validating request: only complete bars of TRADES are simulated")
            if request.what == ADJUSTED_LAST and request.end:  # it is adjusted back from now
                raise RequestError(321, "Error validating request: End Date/Time: ADJUSTED_LAST takes none")
            rows = self._bars(contract, request)
        except RequestError as error:
            client.send(m.error(req_id, error.code, str(error)))
            return
        client.send(m.historical_data(req_id, rows, request.bar_size == "1 day", request.format_date))

    def _bars(self, contract: Contract, request: r.HistoricalData) -> list[Row]:
        core, symbol = self.core, contract.symbol
        size, duration, end = request.bar_size, request.duration, request.end
        if not contract.priced:
            return self.watched.bars(contract.asset, request.what, size, duration, end, core.now)
        rows = core.history.bars(symbol, size, duration, end, core.now)
        if core.actions.concern(symbol):
            adjusted = request.what == ADJUSTED_LAST
            close_before = partial(core.history.close_before, symbol)
            rows = core.actions.rows(symbol, rows, core.now, close_before, adjusted=adjusted)
        return rows

    # --- contracts ------------------------------------------------------------------------------------------------------------

    def _reference(
        self,
        client: Client,
        request: r.ContractDetails | r.MatchingSymbols | r.HeadTimestamp | r.MarketRule | r.OptionParameters,
    ) -> None:
        core = self.core
        match request:
            case r.ContractDetails(req_id, query, sec_id_type, sec_id, expired):
                today = to_datetime(core.clock.reading(), NEW_YORK).date()
                by_isin = core.contracts.by_isin(sec_id) if sec_id_type == "ISIN" else None
                found = [by_isin] if by_isin else core.contracts.matching(query, today, include_expired=expired)
                if not found:
                    client.send(m.error(req_id, *NO_CONTRACT))
                    return
                details = b"".join(contract_details(req_id, contract, today) for contract in found)
                client.send(details + m.simple(52, "1", req_id))
            case r.MatchingSymbols(req_id, pattern):
                client.send(m.symbol_samples(req_id, core.contracts.like(pattern)))
            case r.HeadTimestamp(req_id, query, format_date):
                if self._priced(client, req_id, query) is not None:
                    first = core.history.earliest()
                    client.send(m.simple(88, req_id, str(first // SECOND) if format_date == 2 else ib_time(first)))
            case r.MarketRule(rule_id):
                bands = core.contracts.rule(rule_id)
                client.send(
                    m.market_rule(rule_id, bands)
                    if bands
                    else m.error(-1, 321, f"Error validating request: market rule {rule_id} is unknown")
                )
            case r.OptionParameters(req_id):
                client.send(m.simple(76, req_id))
