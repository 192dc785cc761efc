"""Pure: events in, actions out; time is a field of the event."""
