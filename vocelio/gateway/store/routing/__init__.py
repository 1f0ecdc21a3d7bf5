"""From a called number to everything its calls need."""
