"""What becomes of live calls when the processes that carry them die, leave or lose their database."""
