"""What a node works with while a call runs: context, template scope, transitions, session state."""
