"""HTTP requests that a flow makes: bounded, retried, and never to an address that is not public."""
