"""The WebSocket endpoints of the control API: the event feed and listen-in."""
