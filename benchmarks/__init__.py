"""tlearn measured against plain Keras, the bare engine, and growing data sets."""
