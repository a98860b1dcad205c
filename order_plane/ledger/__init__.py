"""What has happened, folded from order.events: orders, executions, positions, parents, and the records of them. Pure."""
