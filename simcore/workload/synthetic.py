"""Workloads that are drawn, not read."""

from dataclasses import replace

import numpy as np

from simcore.scenario.workload import WorkloadSection
from simcore.workload.arrivals import arrive
from simcore.workload.columns import Workload
from simcore.workload.conversations import converse
from simcore.workload.lengths import draw_lengths, zipf
from simcore.workload.streams import Streams


def draw_workload(section: WorkloadSection, streams: Streams) -> Workload:
    """The requests of a section without a trace; their prompts are private unless they are turns of conversations."""
    assert section.requests
    assert section.arrivals
    assert section.prompt
    assert section.output
    count = section.requests
    prompt_len, output_len = draw_lengths(section.prompt, section.output, count, streams.prompt, streams.output)
    if section.conversations:
        workload = converse(section.conversations, section.arrivals, prompt_len, output_len, streams)
    else:
        arrival, after = arrive(section.arrivals, count, streams.arrivals)
        workload = Workload("synthetic", arrival, prompt_len, output_len, after=after)
    if section.samples != 1:
        samples = np.full(count, section.samples, np.int64)
        workload = replace(workload, samples=samples, beam_switch=section.beam_switch or 0.0)
    if section.clients != 1:
        assert section.clients
        assert section.client_zipf is not None
        client = zipf(section.client_zipf, 1, section.clients, count, streams.clients)
        workload = replace(workload, category=client[workload.opening()])
    return workload
