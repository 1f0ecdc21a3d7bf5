"""Speech services on loopback, written from their protocols, and wrong to order."""
