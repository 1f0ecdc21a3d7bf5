"""The simulator's webhook requests to the gateway."""
