"""`[metrics]`: what is counted, and what counts as good."""

from simcore.schema import Section, key


class SLO(Section):
    """The service-level objective: a request is good if it keeps every limit that is given."""

    ttft: float | None = key(None, help="Longest time to the first token.", unit="s", gt=0)
    tpot: float | None = key(None, help="Longest mean time per output token after the first.", unit="s", gt=0)
    itl: float | None = key(None, help="Longest time between two output tokens.", unit="s", gt=0)
    e2e: float | None = key(None, help="Longest time from arrival to the last token.", unit="s", gt=0)


class MetricsSection(Section):
    """Which part of the run the summary covers, and the objective that goodput is measured by."""

    warmup: float = key(
        0.0, help="Leave out of the summary what arrives or happens before this time.", unit="s", ge=0, le=1e7
    )
    slo: SLO = key(SLO(), help="The limits that a request must keep to count as good; none given: no goodput.")
