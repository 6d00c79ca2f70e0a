"""The engine under pressure says what every request would have been told alone."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.attention import DenseAttention
from engine.checkpoint import Checkpoint
from engine.executor import EngineExecutor
from engine.sampling import Sampler, Sampling
from engine.tokens import TokenIds
from engine.validate.answers import compare_answers
from engine.validate.witness import Witness
from simcore import Scenario, Simulation, Workload
from simcore.policies.pruning import PRUNING
from simcore.workload.columns import PRIVATE
from tests.engine.validate.small_runs import checkpoint
from tests.theory.random_runs import scenarios, workloads

TIE = 1e-4
MET = ("copies", "swaps_in", "preemptions", "hit_tokens")


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint(tmp_path_factory.mktemp("exact"))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint(tmp_path_factory.mktemp("single"), torch.float32)


def run(
    loaded: Checkpoint,
    scenario: Scenario,
    workload: Workload,
    reached: Counter[str] | None = None,
    **options: object,
) -> tuple[EngineExecutor, Witness]:
    """Play a workload; `reached` counts what the run met with."""
    memory = scenario.memory.model_copy(update={"keep_unwritten": False})
    scenario = scenario.model_copy(update={"memory": memory})
    with Witness(loaded.model) as witness:
        executor = EngineExecutor(
            loaded.model,
            workload,
            TokenIds(workload, loaded.shape.vocab_size),
            blocks=memory.blocks or 0,
            block_size=memory.block_size,
            host_blocks=memory.swap_blocks or memory.blocks or 0,
            witnesses=[witness],
            **options,  # type: ignore[arg-type]
        )
        results = Simulation(scenario, workload=workload, executor=executor).run()
    steps = results.record.steps
    if reached is not None:
        reached.update({name: int(steps[name].sum()) for name in MET})
    return executor, witness


@torch.inference_mode()
def alone(loaded: Checkpoint, ids: np.ndarray) -> torch.Tensor:
    """Logits [tokens, vocab_size] without a cache."""
    return loaded.model(torch.from_numpy(ids), torch.arange(len(ids)), DenseAttention([len(ids)]))


def differences(
    loaded: Checkpoint, executor: EngineExecutor, witness: Witness, workload: Workload
) -> tuple[float, int, int]:
    """Largest difference of logits; greedy tokens that are others though no second came near; near ties."""
    worst, others, ties = 0.0, 0, 0
    for (row, branch), text in executor.texts.items():
        prompt = int(workload.prompt_len[row])
        if not text.drawn:
            continue
        expected = alone(loaded, text.ids[: text.length - 1])[prompt - 1 :]
        found = torch.stack(witness.logits[row, branch])
        worst = max(worst, float((expected - found).abs().max()))
        best = expected.topk(2).values
        near = best[:, 0] - best[:, 1] < TIE
        ties += int(near.sum())
        others += int(((expected.argmax(-1) != torch.tensor(text.drawn)) & ~near).sum())
    return worst, others, ties


def test_in_float64_every_answer_is_the_one_alone(exact: Checkpoint) -> None:
    reached: Counter[str] = Counter()

    def compare(scenario: Scenario, workload: Workload) -> None:
        executor, witness = run(exact, scenario, workload, reached)
        worst, others, _ = differences(exact, executor, witness, workload)
        assert worst < 1e-9
        assert others == 0
        columns = witness.columns()
        for name in ("strange_slots", "slots_overwritten", "nan_logits"):
            assert not columns[name].any(), name

    settings(max_examples=80)(given(scenarios(ends=False, swaps=True), workloads(forks=True))(compare))()
    for preemption in ("swap", "recompute"):
        compare(server(24, preemption=preemption), burst(12, samples=2))
    assert min(reached[name] for name in MET) >= 10, reached


def test_in_float64_pruned_answers_are_those_of_heads_that_forget(exact: Checkpoint) -> None:
    """Under pressure, with hits and preemptions, for policies that look and such that do not."""
    reached: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(scenarios(ends=False, prunes=True), workloads(), st.sampled_from(sorted(PRUNING)))
    def compare(scenario: Scenario, workload: Workload, policy: str) -> None:
        outputs = scenario.pruning.during == "outputs"
        executor, witness = run(exact, scenario, workload, reached, pruning=PRUNING[policy](), prune_outputs=outputs)
        columns = witness.columns()
        for name in ("strange_slots", "slots_overwritten", "nan_logits"):
            assert not columns[name].any(), name
        if witness.logits:
            rows = compare_answers(exact.model, executor, witness, dict(enumerate(workload.prompt_len.tolist())))
            assert [row for row in rows if not row.ok] == []
        pruned = {branch for branch, lives in witness.lives.items() if any(life.kept for life in lives)}
        reached.update(pruned=len(pruned), again=len(pruned & witness.recomputed))
        reached.update(hit=sum(branch[0] in witness.hits for branch in pruned), prunings=len(witness.prunings))

    compare()
    assert min(reached[name] for name in ("pruned", "again", "hit", "preemptions", "hit_tokens")) >= 10, reached


@settings(max_examples=40)
@given(scenarios(ends=False, swaps=True), workloads(forks=True))
def test_in_float32_up_to_ties(single: Checkpoint, scenario: Scenario, workload: Workload) -> None:
    executor, witness = run(single, scenario, workload)
    worst, others, _ = differences(single, executor, witness, workload)
    assert worst < TIE
    assert others == 0


@settings(max_examples=40)
@given(scenarios(ends=False, swaps=True), workloads())
def test_fed_with_its_own_tokens_it_goes_on_as_alone(exact: Checkpoint, scenario: Scenario, workload: Workload) -> None:
    """Greedy, token for token; outputs have no names then, for nobody knows them beforehand."""
    private = np.full(len(workload), PRIVATE)
    workload = Workload(
        "own", workload.arrival, workload.prompt_len, workload.output_len, priority=workload.priority,
        after=workload.after, runs=workload.runs, output_source=private,
    )  # fmt: skip
    executor, _ = run(exact, scenario, workload, generate=True)
    for (row, _), text in executor.texts.items():
        prompt = int(workload.prompt_len[row])
        expected = alone(exact, text.ids[: max(text.length - 1, prompt)])[prompt - 1 :].argmax(-1)
        assert text.ids[prompt : text.length].tolist() == text.drawn == expected[: len(text.drawn)].tolist()


def burst(requests: int, samples: int = 1) -> Workload:
    rng = np.random.default_rng(7)
    count = np.full(requests, samples)
    return Workload(
        "burst", np.zeros(requests), rng.integers(1, 40, requests), np.full(requests, 20), samples=count
    )  # fmt: skip


def server(blocks: int, **scheduler: object) -> Scenario:
    return Scenario.model_validate(
        {
            "memory": {"blocks": blocks, "block_size": 4},
            "scheduler": {"max_num_seqs": 12, "max_num_batched_tokens": 32, "max_model_len": 128} | scheduler,
            "timing": {"model": "constant"},
        }
    )


def test_a_sequence_ends_with_the_token_that_ends_it(exact: Checkpoint) -> None:
    workload = burst(10)
    whole, _ = run(exact, server(80), workload, generate=True)
    said = Counter(token for text in whole.texts.values() for token in text.drawn)
    eos = frozenset(token for token, _ in said.most_common(3))
    for blocks in (80, 20):
        executor, witness = run(exact, server(blocks), workload, generate=True, eos=eos)
        for branch, text in executor.texts.items():
            drawn = whole.texts[branch].drawn
            ends = [place for place, token in enumerate(drawn) if token in eos]
            assert text.drawn == (drawn[: ends[0] + 1] if ends else drawn)
        assert any(len(text.drawn) < 20 for text in executor.texts.values())
        assert witness.columns()["blocks_used"][-1] < blocks


def test_samples_differ_and_do_not_depend_on_the_pressure(exact: Checkpoint) -> None:
    workload = burst(6, samples=3)
    sampler = Sampler(Sampling(temperature=1.5, seed=5))
    easy, _ = run(exact, server(300), workload, generate=True, sampler=sampler)
    for options in ({"preemption": "swap"}, {"preemption": "recompute"}):
        tight, witness = run(exact, server(24, **options), workload, generate=True, sampler=sampler)
        assert {key: text.drawn for key, text in tight.texts.items()} == {
            key: text.drawn for key, text in easy.texts.items()
        }
        assert witness.swapped if options["preemption"] == "swap" else witness.recomputed
    for row in range(6):
        assert len({tuple(easy.texts[row, branch].drawn) for branch in range(3)}) == 3


def test_names_are_ids_of_the_vocabulary() -> None:
    """Equal names, equal ids; others differ almost always; literal ids stay."""
    from simcore.workload.columns import VOCABULARY, Runs

    runs = Runs(np.array([0, 1, 2, 3]), np.array([5, 5, VOCABULARY]), np.array([8, 6, 2]), np.array([0, 0, 30]))
    workload = Workload(
        "named", np.zeros(3), np.array([10, 10, 2]), np.array([4, 4, 4]), runs=runs,
        output_source=np.array([5, PRIVATE, PRIVATE]), samples=np.array([1, 2, 1]),
    )  # fmt: skip
    ids = TokenIds(workload, 50_000)
    first, second = ids.prompt(0), ids.prompt(1)
    assert first[:6].tolist() == second[:6].tolist()
    assert first[6:].tolist() != second[6:].tolist()
    assert ids.output(0).tolist() == first[:4].tolist()
    assert ids.output(1, 0).tolist() != ids.output(1, 1).tolist()
    assert ids.prompt(2).tolist() == [30, 31]
    assert ids.prompt(0).tolist() != TokenIds(workload, 50_000, seed=1).prompt(0).tolist()
    assert len(set(np.concatenate([ids.prompt(0), ids.output(1), ids.output(2)]).tolist())) == 18
