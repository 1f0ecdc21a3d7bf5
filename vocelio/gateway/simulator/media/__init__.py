"""The simulator's side of a media stream."""
