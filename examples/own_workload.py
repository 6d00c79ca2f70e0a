"""A workload of one's own: as columns, and as a file that every command reads.

    python examples/own_workload.py

Twelve questions about one document, half a second apart. The document's tokens have a name, so they are shared; what is
asked about it is each request's own. Then the same workload is written in the native format, read, and played again.
"""

import tempfile
from pathlib import Path

import numpy as np

from simcore import Scenario, Workload, simulate
from simcore.workload.columns import Runs
from simcore.workload.native import write_native

QUESTIONS, DOCUMENT, QUESTION, ANSWER = 12, 2000, 48, 64
"""requests, and lengths in tokens"""
THE_DOCUMENT = 1
"""Sources of tokens are numbered from 1; equal sources are equal tokens."""

workload = Workload(
    format="synthetic",
    arrival=np.arange(QUESTIONS) * 0.5,
    prompt_len=np.full(QUESTIONS, DOCUMENT + QUESTION),
    output_len=np.full(QUESTIONS, ANSWER),
    runs=Runs(
        offsets=np.arange(QUESTIONS + 1),  # each prompt begins with one run of named tokens
        source=np.full(QUESTIONS, THE_DOCUMENT),
        length=np.full(QUESTIONS, DOCUMENT),
    ),
)
server = ["memory.blocks=2000", "scheduler.max_model_len=4096"]
ours = simulate(Scenario.preset("default", server), workload=workload)
print(ours.requests.select("id", "arrival", "hit_tokens", "computed_tokens", "ttft"))

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "questions.jsonl")
    write_native(workload, file)
    print(file.read_text(encoding="utf-8").splitlines()[0])
    again = simulate(Scenario.preset("default", [*server, f"workload.trace='{file}'"]))
print("The file gives the same results:", again.summary == ours.summary)
