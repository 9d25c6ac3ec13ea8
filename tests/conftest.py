"""Hypothesis draws the same examples in every run and never fails for being slow."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=25,
    # fixtures here are built once per test and not changed by an example
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("repeatable")
