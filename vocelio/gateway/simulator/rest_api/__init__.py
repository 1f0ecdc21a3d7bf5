"""An emulator of the parts of Twilio's REST API that the gateway uses."""
