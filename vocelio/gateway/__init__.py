"""Everything that touches the world: Twilio, speech providers, live calls, HTTP, the command line."""
