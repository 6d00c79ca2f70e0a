"""Results as tables for people."""

from rich.console import Console
from rich.table import Table

from simcore import Results

LATENCIES = {
    "queue": "waiting",
    "ttft": "first token (TTFT)",
    "itl": "between tokens (ITL)",
    "tpot": "per output token (TPOT)",
    "e2e": "whole request (E2E)",
}


def print_summary(results: Results) -> None:
    """What a run amounts to."""
    summary, console = results.summary, Console()
    latencies = Table("seconds", "mean", "p50", "p90", "p99")
    for key, label in LATENCIES.items():
        latencies.add_row(label, *(_number(value, ".4f") for value in summary[key].values()))
    console.print(latencies)

    requests, memory, hits = summary["requests"], summary["memory"], summary["hits"]
    slots = (memory["blocks"] - 1) * results.scenario.memory.block_size
    rows = {
        "requests": f"{requests['finished']:,} of {requests['total']:,} finished"
        + "".join(
            f", {requests[key]:,} {key}" for key in ("rejected", "unfinished", "dropped", "skipped") if requests[key]
        ),
        "simulated": f"{summary['end_time']:,.3f} s in {summary['steps']:,} steps",
        "throughput": f"{_number(summary['throughput']['requests_per_s'], '.2f')} requests/s, "
        f"{_number(summary['throughput']['output_tokens_per_s'], ',.0f')} output tokens/s",
        "prefix cache": f"{hits['hit_tokens']:,} of {hits['query_tokens']:,} tokens hit"
        f" ({_share(hits['hit_tokens'], hits['query_tokens'])}), {summary['evictions']:,} blocks evicted",
        "preemptions": f"{summary['preemptions']:,}",
        "blocks used": f"{_number(memory['used_mean'], ',.1f')} mean, {memory['used_peak']:,} peak,"
        f" of {memory['blocks'] - 1:,}",
        "pool holds": f"{_share(memory['stored_share'], 1)} tokens, {_share(memory['internal_share'], 1)} lost in blocks,"
        f" of {slots:,} slots",
    }
    if "goodput" in summary:
        rows["goodput"] = (
            f"{_number(summary['goodput']['requests_per_s'], '.2f')} requests/s"
            f" ({_share(summary['goodput']['share'], 1)} keep the objective)"
        )
    facts = Table.grid(padding=(0, 2))
    for label, text in rows.items():
        facts.add_row(f"[bold]{label}[/]", text)
    console.print(facts)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _share(part: float | None, whole: float) -> str:
    return "-" if part is None or not whole else f"{part / whole:.1%}"
