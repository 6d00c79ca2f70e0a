"""Who arrives when, with which tokens: synthetic workloads, traces, and the columns that both become."""

from simcore.workload.build import cut_prompts, make_workload
from simcore.workload.columns import Workload
from simcore.workload.native import write_native

__all__ = ["Workload", "cut_prompts", "make_workload", "write_native"]
