"""What every method and every host is built on: events, engine, schedule, files."""
