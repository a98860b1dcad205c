"""What of a configuration's universe one symbol group has."""

from __future__ import annotations

from collections.abc import Iterable

from data_plane.engine import DataEngine
from data_plane.slices.watched import Kind
from triplane.broker.what_to_show import shown
from triplane.domain.assets import Asset
from triplane.domain.calendars import MARKET_CALENDAR
from triplane.runtime.configuration import Config
from triplane.runtime.exit_codes import CONFIG, DaemonExit


def group_assets(config: Config, group: str) -> list[Asset]:
    """Tradable assets of a symbol group, in file order."""
    return [asset for asset in config.universe.tradable if asset.group == group]


def group_calendar(assets: list[Asset], group: str) -> str:
    """The calendar that a group's assets share. Raises DaemonExit where they do not."""
    calendars = sorted({asset.calendar for asset in assets})
    if len(calendars) > 1:
        raise DaemonExit(
            f"symbol group {group} mixes the calendars {', '.join(calendars)}; give each calendar a group of its own in assets.csv",
            CONFIG,
        )
    return calendars[0] if calendars else MARKET_CALENDAR


def watched_kinds(assets: Iterable[Asset]) -> dict[str, Kind]:
    """What the engine is to know of assets that are not traded, by symbol in their order."""
    return {asset.symbol: Kind(asset.calendar, shown(asset.sec_type).volume) for asset in assets}


def watched_assets(config: Config, group: str) -> list[Asset]:
    """The group's assets that this release does not trade, in file order."""
    return [asset for asset in config.universe.watched if asset.group == group]


def group_engine(config: Config, group: str, *, fundamentals: bool = True) -> DataEngine:
    """The engine of a group, which knows nothing yet. Raises DaemonExit where its assets share no calendar."""
    assets = group_assets(config, group)
    names = [asset.symbol for asset in assets]
    calendar = group_calendar(assets, group)
    engine = DataEngine(group, names, config.targets.data, config.hash, calendar, fundamentals=fundamentals)
    engine.watch(watched_kinds(watched_assets(config, group)))
    return engine
