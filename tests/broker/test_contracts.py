"""Contract details from a real gateway process."""

from __future__ import annotations

import pytest

from tests.broker.gateways import REPOSITORY, GatewayProcess
from tests.broker.sessions import connected
from triplane.broker import contracts
from triplane.broker.contracts import ContractUnknown
from triplane.domain.assets import Universe

pytestmark = pytest.mark.integration


async def test_a_share_is_resolved_to_one_contract_with_hours_and_ticks(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    info = await contracts.resolve(session, contracts.make_contract("KO"))
    assert info.con_id > 0
    assert (info.symbol, info.sec_type, info.currency, info.multiplier) == ("KO", "STK", "USD", 1.0)
    assert info.min_tick > 0
    assert info.time_zone
    assert info.liquid_hours
    again = await contracts.resolve(session, contracts.make_contract("", con_id=info.con_id))
    assert again == info
    with pytest.raises(ContractUnknown, match=rf"contract id {info.con_id} is KO .* not PEP; correct con_id"):
        await contracts.resolve(session, contracts.make_contract("PEP", con_id=info.con_id))
    assert not recorder.of("error")
    await session.close()


async def test_an_unknown_symbol_is_one_sentence_and_no_orders_error(gateway: GatewayProcess) -> None:
    session, recorder = await connected(gateway)
    with pytest.raises(ContractUnknown, match="knows no STK NOSUCH in USD"):
        await contracts.resolve(session, contracts.make_contract("NOSUCH"))
    assert await contracts.details(session, contracts.make_contract("NOSUCH")) == []
    assert not recorder.of("error")
    await session.close()


async def test_a_futures_chain_has_the_expired_contracts_and_a_row_without_id_finds_its_own(
    gateway: GatewayProcess,
) -> None:
    session, recorder = await connected(gateway)
    (mes,) = [asset for asset in Universe.load(REPOSITORY / "assets.csv").assets if asset.symbol == "MES"]
    chain = await contracts.chain(session, mes)
    months = [info.contract_month for info in chain]
    assert months == sorted(months)
    assert {"201703", "201712", "201803", "201912"} <= set(months)  # the market is in January 2018
    assert {(info.symbol, info.sec_type, info.trading_class, info.multiplier) for info in chain} == {
        ("MES", "FUT", "MES", 5.0)
    }
    assert len({info.con_id for info in chain}) == len(chain)
    own = await contracts.resolve(session, contracts.make_contract(**contracts.terms_of(mes)))
    assert (own.expiry, own.local_symbol) == (mes.expiry, mes.local_symbol)
    assert not recorder.of("error")
    await session.close()
