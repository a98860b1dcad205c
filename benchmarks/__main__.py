"""`python -m benchmarks` (make bench): the tables of docs/benchmarks.md from one run on one broker."""

from __future__ import annotations

from triplane.runtime import numerics

numerics.pin()

import argparse  # noqa: E402
import asyncio  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks import filings, gates, publish, relay, ticks  # noqa: E402
from triplane.cli.demonstration import Demonstration  # noqa: E402
from triplane.replay import recording, strategy  # noqa: E402
from triplane.replay.summary import latencies  # noqa: E402
from triplane.runtime.settings import Settings  # noqa: E402
from triplane.stack.installation import PaperMarket  # noqa: E402
from triplane.stack.topics import create_topics, delete_topics  # noqa: E402

PERCENTILES = (50, 95, 99)


def _row(name: str, seconds: np.ndarray) -> str:
    values = "  ".join(f"{value * 1000:8.1f}" for value in np.percentile(seconds, PERCENTILES))
    return f"  {name:44} {values}   n={seconds.size}"


async def run(sessions: int, directory: Path) -> dict[str, object]:
    """One demonstration for the system's own latency, then the raw limits on the same broker with the planes idle."""
    print(f"running {sessions} sessions of the demonstration's market for the system's own latency", flush=True)
    market = PaperMarket("2018-01-22", sessions)
    demonstration = Demonstration(
        directory, market, Path("targets.yaml"), Path("assets.csv"), lambda line: print(f"  {line}", flush=True)
    )
    try:
        await demonstration.up(registry=False)
        # The relay runs while the planes are up and the market is held: same broker, same processes around it.
        settings = demonstration.settings
        hops = await asyncio.to_thread(relay.measure, settings.bootstrap)
        await demonstration.trade(lambda: None)
        found = await asyncio.to_thread(recording.read, settings)
        ours = latencies(found)
        prefixed = Settings(bootstrap=settings.bootstrap, topic_prefix="bench.", state_dir=directory)
        await asyncio.to_thread(create_topics, settings.bootstrap, prefix="bench.")
        rates = [await asyncio.to_thread(publish.measure, prefixed, names, 1_000_000 // names) for names in (500, 3000)]
        daily = await asyncio.to_thread(publish.slice_latency, prefixed)
        await asyncio.to_thread(delete_topics, settings.bootstrap, "bench.")
    finally:
        await demonstration.down()
    cost = gates.measure()
    flows = [ticks.measure(500, 200), ticks.measure(3000, 40)]
    parsing = filings.measure()
    started = time.perf_counter()
    strategy.rerun(found, strategy.account_of(found))
    elapsed = time.perf_counter() - started
    bars = sum(len(r.value["symbols"]) for r in found.records["data.bars"] if r.value is not None)
    barriers = len(found.records["strategy.barriers"])
    print("\ndata -> order, ms                                     p50       p95       p99")
    print(_row("last bar of the barrier to order on the socket", ours))
    print(_row("raw three-hop relay of confluent-kafka", hops))
    print(
        f"  ratio p50 {np.median(ours) / np.median(hops):.1f}, p95 {np.percentile(ours, 95) / np.percentile(hops, 95):.1f}"
    )
    for rate in rates:
        print(f"\nbars gated and published, slices of {rate.names} names")
        print(f"  gated, encoded, acknowledged         {rate.gated:12,.0f} bars/s")
        print(
            f"  raw produce loop, a message a bar    {rate.raw_bars:12,.0f} bars/s   ratio {rate.gated / rate.raw_bars:.2f}"
        )
        print(
            f"  raw produce loop of the same slices  {rate.raw_slices:12,.0f} bars/s   ratio {rate.gated / rate.raw_slices:.2f}"
        )
    print("\na daily slice of 3,000 names, ms                      p50       p95       p99")
    print(_row("receipt to acknowledgement", daily))
    print(
        f"\ngates alone: {cost.nanoseconds:,.0f} ns a bar over {cost.bars:,} bars; memory {cost.early_mb:.0f} MB after a tenth, {cost.late_mb:.0f} MB at the end"
    )
    for flow in flows:
        print(f"quotes and trades: {flow}")
    if parsing:
        print(
            f"companyfacts, {parsing.megabytes:.0f} MB: {parsing.ours:,.0f} MB/s to filings, json.loads alone {parsing.standard:,.0f} MB/s"
        )
    print("\nreplay, strategy plane, single process")
    print(
        f"  {bars / elapsed:,.0f} bars/s, {barriers / elapsed:,.0f} barriers/s ({barriers} barriers, {bars:,} bars, {elapsed:.1f} s)"
    )
    return {
        "latency_ms": dict(zip(map(str, PERCENTILES), (np.percentile(ours, PERCENTILES) * 1000).tolist(), strict=True)),
        "relay_ms": dict(zip(map(str, PERCENTILES), (np.percentile(hops, PERCENTILES) * 1000).tolist(), strict=True)),
        "published": [asdict(rate) for rate in rates],
        "daily_slice_ms": dict(
            zip(map(str, PERCENTILES), (np.percentile(daily, PERCENTILES) * 1000).tolist(), strict=True)
        ),
        "gates": asdict(cost),
        "ticks": [asdict(flow) for flow in flows],
        "companyfacts": asdict(parsing) if parsing else None,
        "replay_bars_per_s": bars / elapsed,
        "replay_barriers_per_s": barriers / elapsed,
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--sessions", type=int, default=12, help="sessions of the demonstration's market")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON at the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(run(options.sessions, Path(directory) / "bench"))
    if options.json:
        print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
