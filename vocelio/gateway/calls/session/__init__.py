"""One live call on one media stream."""
