"""Contract details from a real gateway process."""

from __future__ import annotations

import pytest

from tests.broker.gateways import GatewayProcess
from tests.broker.sessions import connected
from triplane.broker import contracts
from triplane.broker.contracts import ContractUnknown

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
