"""kai-orchestrator: which container images run where, since when, and how fresh that answer is."""

__version__ = "0.1.0"
