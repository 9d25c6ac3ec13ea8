"""One job: prepared, run in its own process, and recorded whatever happens."""
