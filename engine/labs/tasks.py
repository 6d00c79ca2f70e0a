"""Documents that the project writes itself, with questions whose answers are known: recall, copying, stories.

Each is a context, then questions at its end with their answers, in plain English of about a hundred words, so that
what a cache has lost by then shows as a wrong answer. Every word, and every mark, is one token of the small models'
tokenizer (`engine.labs.tokenizer`), so that a document's size in tokens is known while it is written.

- Recall: "In box ba is ko." among other sentences, then "What is in box ba?". It is the associative recall of
  "Zoology: Measuring and Improving Recall in Efficient Language Models", https://arxiv.org/abs/2312.04927.
- Copying: "Say ba ko du." and, any number of sentences later, "Again:".
- Stories: "The kite of Mia is red. Tom likes tea.", then "What color is the kite of Mia?" and "What does Tom like?".
  Things and people recur, so only both together tell a color.

In facts as in questions, what is asked about comes before what is asked for.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

SYLLABLES = tuple(first + last for first in "bdfgklmnprsv" for last in "aeiou")
NAMES = ("Ana", "Ben", "Eva", "Ida", "Jon", "Kim", "Leo", "Max", "Mia", "Ned", "Sam", "Tom", "Zoe")
COLORS = ("black", "blue", "gold", "gray", "green", "pink", "red", "white")
THINGS = ("bag", "ball", "bike", "boat", "car", "coat", "cup", "drum", "hat", "kite", "pen", "ring")
FOODS = ("bread", "cake", "corn", "eggs", "fish", "jam", "milk", "nuts", "rice", "tea")
ANIMALS = ("bird", "cat", "cow", "dog", "duck", "fox", "frog", "hen", "mouse", "owl")
VERBS = ("ate", "hid", "ran", "sang", "sat", "slept")
WHEREABOUTS = ("all day", "at night", "by the road", "by the sea", "in the rain", "in the sun", "near the road")

LONGEST_COPY = 64
"""Syllables of the longest string to copy."""

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what a right model says next, up to and including the full stop. Both begin with a space."""

    ask: str
    answer: str


@dataclass(frozen=True, slots=True)
class Document:
    """A context, and what is asked about it afterwards, one question behind another."""

    task: str
    context: str
    questions: tuple[Question, ...]

    @property
    def text(self) -> str:
        """All of it, with the right answers."""
        return self.context + "".join(question.ask + question.answer for question in self.questions)


def words(text: str) -> list[str]:
    """Words and marks of a text that is made here: as many as it has tokens, but for those of its first word."""
    return _WORD.findall(text)


def recall(rng: Random, size: int) -> Document:
    """Key-value recall in about `size` tokens (at most; at least 24)."""
    keys = rng.sample(SYLLABLES, min(len(SYLLABLES), _number(rng, size, 14)))
    held = {key: rng.choice(SYLLABLES) for key in keys}
    asked = rng.sample(keys, min(len(keys), 4 + size // 32))
    records = [f" In box {key} is {value}." for key, value in held.items()]
    return _document(
        rng, "recall", size, records, [Question(f" What is in box {key}?", f" {held[key]}.") for key in asked]
    )


def copying(rng: Random, size: int) -> Document:
    """A string of syllables and, after a stretch of other sentences, the same again, in at most `size` tokens (24)."""
    string = "".join(f" {rng.choice(SYLLABLES)}" for _ in range(rng.randint(2, min(LONGEST_COPY, size // 3 - 1))))
    return _document(rng, "copying", size, [f" Say{string}."], [Question(" Again:", f"{string}.")])


def stories(rng: Random, size: int) -> Document:
    """Who has what in which color and who likes what, in about `size` tokens (at most; at least 24)."""
    number = _number(rng, size, 18)
    owned = [(name, thing) for name in NAMES for thing in THINGS]
    colors = {fact: rng.choice(COLORS) for fact in rng.sample(owned, min(len(owned), number - number // 3))}
    liked = {name: rng.choice(FOODS) for name in rng.sample(NAMES, min(len(NAMES), number // 3))}
    records = [f" The {thing} of {name} is {color}." for (name, thing), color in colors.items()]
    records += [f" {name} likes {food}." for name, food in liked.items()]
    questions = [
        Question(f" What color is the {thing} of {name}?", f" {color}.") for (name, thing), color in colors.items()
    ]
    questions += [Question(f" What does {name} like?", f" {food}.") for name, food in liked.items()]
    return _document(rng, "stories", size, records, rng.sample(questions, min(len(questions), 4 + size // 48)))


TASKS: dict[str, Callable[[Random, int], Document]] = {"recall": recall, "copying": copying, "stories": stories}


def documents(task: str, sizes: Iterable[int], seed: int) -> list[Document]:
    """One document of each size (the most tokens it may have), the same ones for the same seed."""
    return [TASKS[task](Random(f"{seed} {task} {index} {size}"), size) for index, size in enumerate(sizes)]


def _number(rng: Random, size: int, tokens: int) -> int:
    """How many records, of so many tokens with their questions: at least half of what there is room for, or 1."""
    most = max(1, (size - FIRST_WORD) // tokens)
    return rng.randint((most + 1) // 2, most)


def _document(rng: Random, task: str, size: int, records: list[str], questions: list[Question]) -> Document:
    """The records in any order, with other sentences strewn between them up to the size."""
    sentences = list(records)
    room = size - sum(len(words(text)) for text in records)
    room -= sum(len(words(question.ask + question.answer)) for question in questions)
    while True:
        sentence = _filler(rng)
        room -= len(words(sentence))
        if room < FIRST_WORD:
            break
        sentences.append(sentence)
    rng.shuffle(sentences)
    return Document(task, "".join(sentences).removeprefix(" "), tuple(questions))


def _filler(rng: Random) -> str:
    """A sentence that nobody asks about."""
    who = f"The {rng.choice(ANIMALS)}" if rng.random() < 0.7 else rng.choice(NAMES)
    return f" {who} {rng.choice(VERBS)} {rng.choice(WHEREABOUTS)}."


FIRST_WORD = 4
"""Room for the tokens of a first word, which has no space before it and is not one token, and for the one that begins a
text."""
