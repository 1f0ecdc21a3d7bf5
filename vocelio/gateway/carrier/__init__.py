"""What is Twilio's own: webhook signatures and TwiML."""
