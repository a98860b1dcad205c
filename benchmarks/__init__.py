"""Each benchmark prints one table, beside a peer or a raw limit measured in the same run."""
