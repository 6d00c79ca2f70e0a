"""The documents of the tasks: their answers, read again by a reader that knows nothing of how they were written."""

import re

import pytest

from engine.labs.tasks import LONGEST_COPY, SYLLABLES, TASKS, Document, documents, words

SIZES = [24, 25, 40, 64, 100, 333, 1024] * 5


def read(text: str) -> list[tuple[str, str]]:
    """The questions in a text, and what stands in it as their answers, which are checked against the facts before."""
    facts: dict[str, str] = {}
    found = []
    for sentence in re.findall(r"[^.?:]+(?:[.]|\?[^.]+[.]|:[^.]+[.])", text):
        match re.split(r"(?<=[?:])", sentence):
            case [fact]:
                if said := re.fullmatch(r" ?In (box \w+) is (\w+)\.", fact):
                    key, value = said.groups()
                elif said := re.fullmatch(r" ?The (\w+) of (\w+) is (\w+)\.", fact):
                    key, value = f"{said[2]}'s {said[1]}", said[3]
                elif said := re.fullmatch(r" ?(\w+) likes (\w+)\.", fact):
                    key, value = said.groups()
                elif said := re.fullmatch(r" ?Say ([a-z ]+)\.", fact):
                    key, value = "Say", said[1]
                else:
                    continue
                assert key not in facts, "a fact is told once"
                facts[key] = value
            case [ask, answer]:
                said = re.fullmatch(
                    r" (?:What (?:is in (box \w+)|color is the (\w+) of (\w+)|does (\w+) like)\?|(Again):)", ask
                )
                assert said is not None, ask
                box, thing, owner, who, again = said.groups()
                key = box or who or ("Say" if again else f"{owner}'s {thing}")
                assert answer == f" {facts[key]}."
                found.append((ask, answer))
    return found


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_in_the_text(task: str) -> None:
    for document in documents(task, SIZES, seed=1):
        assert document.task == task
        assert document.text.startswith(document.context)
        assert read(document.text) == [(question.ask, question.answer) for question in document.questions]
        assert document.questions
        assert not read(document.context), "all questions come last"


@pytest.mark.parametrize("task", TASKS)
def test_sizes_are_kept_and_nearly_filled(task: str) -> None:
    for size, document in zip(SIZES, documents(task, SIZES, seed=2), strict=True):
        assert size - 16 <= len(words(document.text)) <= size - 4


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_same_documents(task: str) -> None:
    assert documents(task, SIZES, seed=3) == documents(task, SIZES, seed=3)
    assert documents(task, SIZES, seed=3) != documents(task, SIZES, seed=4)
    assert len({document.text for document in documents(task, SIZES, seed=3)}) == len(SIZES)


def test_what_is_asked_for_lies_at_all_distances() -> None:
    """Otherwise a model could do without its oldest keys and values."""
    places = []
    for document in documents("recall", [1024] * 40, seed=5):
        for question in document.questions:
            key = question.ask.split()[-1].removesuffix("?")
            places.append(document.context.index(f"In box {key} is") / len(document.context))
    assert len(places) > 500
    counts = [sum(low <= place < low + 0.25 for place in places) for low in (0.0, 0.25, 0.5, 0.75)]
    assert min(counts) > 0.7 * len(places) / 4


def test_long_documents_are_hard() -> None:
    """Many keys, long strings, and stories in which neither the thing nor its owner alone tells the color."""

    def most(task: str, pattern: str) -> int:
        return max(len(re.findall(pattern, document.context)) for document in documents(task, [1024] * 20, seed=6))

    assert most("recall", r"In box") > 0.8 * len(SYLLABLES)
    assert most("copying", r"(?<=Say)(?: \w+){50,}") == 1
    assert most("stories", r"The kite of") > 2
    assert most("stories", r"of Mia is") > 2
    longest = max(len(q.answer.split()) for d in documents("copying", [1024] * 200, seed=7) for q in d.questions)
    assert longest == LONGEST_COPY


def test_a_document_by_hand() -> None:
    (document,) = documents("stories", [24], seed=1)
    assert isinstance(document, Document)
    assert re.fullmatch(r"The (\w+ of \w+) is (\w+)\. What color is the \1\? \2\.", document.text)
