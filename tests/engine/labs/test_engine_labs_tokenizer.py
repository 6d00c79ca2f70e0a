"""The small models' tokenizer: any text comes back, and every word of the tasks is one token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from engine.labs import tasks
from engine.labs.tokenizer import EOS, VOCABULARY, encode, special_ids, train_tokenizer

DOCUMENTS = [document for task in tasks.TASKS for document in tasks.documents(task, [24, 65, 100, 300, 1024] * 4, 8)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer()


def test_size_and_special_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == VOCABULARY == 512
    assert special_ids(tokenizer) == {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def test_training_again_gives_the_same(tokenizer: Tokenizer) -> None:
    assert train_tokenizer().to_str() == tokenizer.to_str()


def test_every_word_is_one_token(tokenizer: Tokenizer) -> None:
    lists = (tasks.SYLLABLES, tasks.NAMES, tasks.COLORS, tasks.THINGS, tasks.FOODS, tasks.ANIMALS, tasks.VERBS)
    known = {word for words in lists for word in words} | {
        word for document in DOCUMENTS for word in tasks.words(document.text) if word.isalpha()
    }
    assert len(known) > 140
    for word in known:
        assert len(tokenizer.encode(f" {word}", add_special_tokens=False).ids) == 1, word


@given(text=st.text())
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert ids[0] == special_ids(tokenizer)["bos_token_id"]
    if "<" not in text:  # the names of special tokens are these tokens
        assert tokenizer.decode(ids) == text


def test_encoded_documents(tokenizer: Tokenizer) -> None:
    for document, encoded in zip(DOCUMENTS, encode(tokenizer, DOCUMENTS), strict=True):
        ids = encoded.ids.tolist()
        assert ids[-1] == special_ids(tokenizer)["eos_token_id"]
        assert tokenizer.decode(ids, skip_special_tokens=False) == f"<bos>{document.text}{EOS}"
        said = [tokenizer.decode(ids[answer]) for answer in encoded.answers]
        assert said == [question.answer for question in document.questions]


def test_size_of_a_document_is_in_tokens(tokenizer: Tokenizer) -> None:
    for document, encoded in zip(DOCUMENTS, encode(tokenizer, DOCUMENTS), strict=True):
        marks = len(tasks.words(document.text))
        assert marks + 2 <= len(encoded.ids) <= marks + tasks.FIRST_WORD
