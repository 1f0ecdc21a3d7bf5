"""What is Twilio's own: webhook signatures, TwiML, the REST API and the registration of numbers by it."""
