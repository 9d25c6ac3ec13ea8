"""One job: settled before it starts, run in a process of its own, recorded whatever happens."""
