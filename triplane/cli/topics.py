"""`triplane topics create|list|diff|restore`: the topics of the catalogue on the cluster."""

from __future__ import annotations

import typer

from triplane.cli import context

app = typer.Typer(no_args_is_help=True, help="Create, list, compare or restore the topics of the catalogue.")


@app.command("create")
def create() -> None:
    """Create the topics that are missing; existing ones are left as they are."""
    from triplane.stack.topics import create_topics

    settings = context.connected_settings()
    created = create_topics(settings.bootstrap, prefix=settings.topic_prefix, options=settings.kafka_options)
    print(f"{len(created or [])} topics created")


@app.command("list")
def list_(json_: bool = context.JSON) -> None:
    """The catalogue: owner, role, partitions and records of each topic."""
    from schemas import catalogue

    rows = [
        (t.name, t.record, t.owner, t.role, t.partitions, t.key, "yes" if t.latest else "")
        for t in catalogue.load().values()
    ]
    columns = ("topic", "record", "owner", "role", "partitions", "key", "latest")
    if json_:
        context.print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        context.print_table("Topics", columns, rows)


@app.command("restore")
def restore() -> None:
    """Set retention, cleanup and the like back to what the catalogue says, where somebody altered them."""
    from triplane.stack.topics import restore as set_back

    settings = context.connected_settings()
    done = set_back(settings.bootstrap, prefix=settings.topic_prefix, options=settings.kafka_options)
    for difference in done:
        print(f"{difference.topic}: {difference.what} {difference.found} -> {difference.wanted}")
    print(f"{len(done)} settings restored")


@app.command("diff")
def diff(json_: bool = context.JSON) -> None:
    """What on the cluster is not as the catalogue says; exits 1 when something is."""
    from triplane.stack.topics import diff as compare

    settings = context.connected_settings()
    differences = compare(settings.bootstrap, prefix=settings.topic_prefix, options=settings.kafka_options)
    if json_:
        context.print_json(
            [{"topic": d.topic, "what": d.what, "wanted": d.wanted, "found": d.found} for d in differences]
        )
    else:
        for difference in differences:
            print(f"{difference}: {difference.remedy}")
        if not differences:
            print("the cluster is as the catalogue says")
    if differences:
        raise typer.Exit(1)
