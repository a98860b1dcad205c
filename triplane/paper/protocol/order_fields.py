"""placeOrder, openOrder and completedOrder: the three long messages, as tables of field names in wire order (server version 176).

What a client sends is kept by name and sent back by name, so that an order reads the same in openOrder as it was placed. The
layouts are those that client.py sends and decoder.py reads in ib_insync 0.9.86 and ib_async 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from triplane.paper.protocol.wire import Fields, frame

CONTRACT_FIELDS: Final = (
    "conId", "symbol", "secType", "lastTradeDateOrContractMonth", "strike", "right", "multiplier", "exchange", "primaryExchange",
    "currency", "localSymbol", "tradingClass",
)  # fmt: skip
# What the server sends of a contract: no primaryExchange.
C11: Final = tuple(name for name in CONTRACT_FIELDS if name != "primaryExchange")

_HEAD: Final = (
    "secIdType", "secId", "action", "totalQuantity", "orderType", "lmtPrice", "auxPrice", "tif", "ocaGroup", "account", "openClose",
    "origin", "orderRef", "transmit", "parentId", "blockOrder", "sweepToFill", "displaySize", "triggerMethod", "outsideRth", "hidden",
)  # fmt: skip
_MIDDLE: Final = (
    "sharesAllocation", "discretionaryAmt", "goodAfterTime", "goodTillDate", "faGroup", "faMethod", "faPercentage", "faProfile",
    "modelCode", "shortSaleSlot", "designatedLocation", "exemptCode", "ocaType", "rule80A", "settlingFirm", "allOrNone", "minQty",
    "percentOffset", "eTradeOnly", "firmQuoteOnly", "nbboPriceCap", "auctionStrategy", "startingPrice", "stockRefPrice", "delta",
    "stockRangeLower", "stockRangeUpper", "overridePercentageConstraints", "volatility", "volatilityType", "deltaNeutralOrderType",
    "deltaNeutralAuxPrice",
)  # fmt: skip
_TRAIL: Final = (
    "continuousUpdate", "referencePriceType", "trailStopPrice", "trailingPercent", "scaleInitLevelSize", "scaleSubsLevelSize",
    "scalePriceIncrement",
)  # fmt: skip
_SCALE: Final = ("scaleTable", "activeStartTime", "activeStopTime", "hedgeType")
_CLEARING: Final = ("optOutSmartRouting", "clearingAccount", "clearingIntent", "notHeld")
_ALGO_TAIL: Final = ("algoId", "whatIf", "orderMiscOptions", "solicited", "randomizeSize", "randomizePrice")
_TAIL: Final = (
    "adjustedOrderType", "triggerPrice", "lmtPriceOffset", "adjustedStopPrice", "adjustedStopLimitPrice", "adjustedTrailingAmount",
    "adjustableTrailingUnit", "extOperator", "softDollarName", "softDollarValue", "cashQty", "mifid2DecisionMaker",
    "mifid2DecisionAlgo", "mifid2ExecutionTrader", "mifid2ExecutionAlgo", "dontUseAutoPriceForHedge", "isOmsContainer",
    "discretionaryUpToLimitPrice", "usePriceMgmtAlgo", "duration", "postToAts", "autoCancelParent", "advancedErrorOverride",
    "manualOrderTime",
)  # fmt: skip
_CONDITION_SIZES: Final = {1: 6, 3: 3, 4: 3, 5: 4, 6: 5, 7: 5}

# openOrder after the contract. `=` takes a constant, a bare name the order's own field or "".
_OPEN: Final = (
    "action", "totalQuantity", "orderType", "lmtPrice", "auxPrice", "tif", "ocaGroup", "account", "openClose", "origin", "orderRef",
    "clientId", "permId", "outsideRth", "hidden", "discretionaryAmt", "goodAfterTime", "sharesAllocation", "faGroup", "faMethod",
    "faPercentage", "faProfile", "modelCode", "goodTillDate", "rule80A", "percentOffset", "settlingFirm", "shortSaleSlot",
    "designatedLocation", "exemptCode", "auctionStrategy", "startingPrice", "stockRefPrice", "delta", "stockRangeLower",
    "stockRangeUpper", "displaySize", "blockOrder", "sweepToFill", "allOrNone", "minQty", "ocaType", "eTradeOnly", "firmQuoteOnly",
    "nbboPriceCap", "parentId", "triggerMethod", "volatility", "volatilityType", "=", "=", "continuousUpdate", "referencePriceType",
    "trailStopPrice", "trailingPercent", "=", "=", "=", "=0", "=0", "=0", "scaleInitLevelSize", "scaleSubsLevelSize", "=", "=",
    "optOutSmartRouting", "clearingAccount", "clearingIntent", "notHeld", "=0", "algo", "solicited", "whatIf", "status",
    "initMarginBefore", "maintMarginBefore", "equityWithLoanBefore", "initMarginChange", "maintMarginChange", "equityWithLoanChange",
    "initMarginAfter", "maintMarginAfter", "equityWithLoanAfter", "commission", "minCommission", "maxCommission",
    "commissionCurrency", "warningText", "randomizeSize", "randomizePrice", "=0", "adjustedOrderType", "triggerPrice",
    "trailStopPrice", "lmtPriceOffset", "adjustedStopPrice", "adjustedStopLimitPrice", "adjustedTrailingAmount",
    "adjustableTrailingUnit", "softDollarName", "softDollarValue", "=", "cashQty", "dontUseAutoPriceForHedge", "isOmsContainer",
    "discretionaryUpToLimitPrice", "usePriceMgmtAlgo", "duration", "postToAts", "autoCancelParent", "=", "=", "=", "=", "=",
)  # fmt: skip
_COMPLETED: Final = (
    "action", "totalQuantity", "orderType", "lmtPrice", "auxPrice", "tif", "ocaGroup", "account", "openClose", "origin", "orderRef",
    "permId", "outsideRth", "hidden", "discretionaryAmt", "goodAfterTime", "faGroup", "faMethod", "faPercentage", "faProfile",
    "modelCode", "goodTillDate", "rule80A", "percentOffset", "settlingFirm", "shortSaleSlot", "designatedLocation", "exemptCode",
    "startingPrice", "stockRefPrice", "delta", "stockRangeLower", "stockRangeUpper", "displaySize", "sweepToFill", "allOrNone",
    "minQty", "ocaType", "triggerMethod", "volatility", "volatilityType", "=", "=", "continuousUpdate", "referencePriceType",
    "trailStopPrice", "trailingPercent", "=", "=0", "=0", "=0", "scaleInitLevelSize", "scaleSubsLevelSize", "=", "=",
    "clearingAccount", "clearingIntent", "notHeld", "=0", "algo", "solicited", "status", "randomizeSize", "randomizePrice", "=0",
    "trailStopPrice", "lmtPriceOffset", "cashQty", "dontUseAutoPriceForHedge", "isOmsContainer", "=", "filledQuantity", "=",
    "autoCancelParent", "=", "=0", "=0", "=0", "completedTime", "completedStatus", "=", "=", "=", "=", "=",
)  # fmt: skip
Values = Mapping[str, str]


def read_place_order(fields: Fields) -> tuple[int, dict[str, str], list[str]]:
    """Order id, fields by name, and features that the order uses and the simulation has not, from a placeOrder after its id.

    Algorithm parameters are kept as `algo:<tag>`.
    """
    order_id = fields.whole("orderId")
    values = fields.take(CONTRACT_FIELDS)
    values.update(fields.take(_HEAD))
    unsupported: list[str] = []
    if values["secType"] == "BAG":
        unsupported.append("combo legs")
        fields.skip(8 * fields.whole("legs"), "leg")
        fields.skip(fields.whole("order legs"), "order leg")
        fields.skip(2 * fields.whole("routing parameters"), "routing parameter")
    values.update(fields.take(_MIDDLE))
    if values["deltaNeutralOrderType"]:
        unsupported.append("delta neutral orders")
        fields.skip(8, "delta neutral field")
    values.update(fields.take(_TRAIL))
    if values["scalePriceIncrement"] not in ("", "0", "0.0", "1.7976931348623157e+308"):
        unsupported.append("scale orders")
        fields.skip(7, "scale field")
    values.update(fields.take(_SCALE))
    if values["hedgeType"]:
        unsupported.append("hedge orders")
        fields.skip(1, "hedgeParam")
    values.update(fields.take(_CLEARING))
    if fields.flag("deltaNeutralContract"):
        unsupported.append("delta neutral contracts")
        fields.skip(3, "delta neutral contract")
    values["algoStrategy"] = fields.word("algoStrategy")
    if values["algoStrategy"]:
        for _ in range(fields.whole("algoParams")):
            tag = fields.word("algo tag")
            values[f"algo:{tag}"] = fields.word("algo value")
    values.update(fields.take(_ALGO_TAIL))
    if values["orderType"] == "PEG BENCH":
        fields.skip(5, "benchmark field")
    conditions = fields.whole("conditions")
    if conditions:
        unsupported.append("conditions")
        for _ in range(conditions):
            kind = fields.whole("condition type")
            fields.skip(_CONDITION_SIZES.get(kind, 0), "condition")
        fields.skip(2, "condition flags")
    values.update(fields.take(_TAIL))
    return order_id, values, unsupported


def open_order(order_id: int, contract: Values, values: Values) -> bytes:
    """The openOrder message (128 fields for a plain order)."""
    return frame("5", str(order_id), *(contract[name] for name in C11), *_filled(_OPEN, values))


def completed_order(contract: Values, values: Values) -> bytes:
    """The completedOrder message; it has neither order id nor client id."""
    return frame("101", *(contract[name] for name in C11), *_filled(_COMPLETED, values))


def _filled(layout: tuple[str, ...], values: Values) -> list[str]:
    out: list[str] = []
    for name in layout:
        if name.startswith("="):
            out.append(name[1:])
        elif name == "algo":
            out.append(values.get("algoStrategy", ""))
            if out[-1]:
                tags = [key.removeprefix("algo:") for key in values if key.startswith("algo:")]
                out.append(str(len(tags)))
                for tag in tags:
                    out += [tag, values[f"algo:{tag}"]]
        else:
            out.append(values.get(name, ""))
    return out
