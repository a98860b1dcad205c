"""The TWS wire protocol as the paper gateway speaks it: frames, messages, requests, contracts."""
