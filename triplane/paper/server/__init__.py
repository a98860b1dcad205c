"""The gateway process: sockets, subscriptions, answers, reports, faults."""
