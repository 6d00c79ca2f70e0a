"""What training left as folders in Hugging Face's layout: python -m engine.labs.publish FOLDER assets/trained

The weights are stored in float16, which halves the files. config.json says float32, so that they are computed with in
that, and it is checked that the rounding costs no answers.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer

from engine import checkpoint
from engine.labs.accuracy import accuracy, exam
from engine.labs.small import CONTEXT, VARIANTS, small_shape
from engine.labs.tokenizer import BOS, EOS, PAD, special_ids
from engine.models import build

LOST = 0.005
"""Of the answers, what rounding may cost at most."""


def publish(trained: Path, out: Path, *, longest: int = CONTEXT) -> None:
    """Write out/VARIANT for each variant whose weights are in `trained`, and print its accuracy on both sides.

    Raises RuntimeError where rounding costs more than LOST.
    """
    file = trained / checkpoint.TOKENIZER
    tokenizer = Tokenizer.from_file(str(file))
    ids = special_ids(tokenizer)
    questions = exam(16, longest)
    for variant in VARIANTS:
        if not (trained / f"{variant}.safetensors").exists():
            continue
        model = build(small_shape(variant, tokenizer.get_vocab_size()))
        model.load_state_dict(load_file(trained / f"{variant}.safetensors"))
        before = accuracy(model, tokenizer, questions)
        folder = out / variant
        checkpoint.save(model.half(), folder, {**ids, "dtype": "float32"})
        shutil.copyfile(file, folder / checkpoint.TOKENIZER)
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
        text = json.dumps(about | {"model_max_length": CONTEXT}, indent=2)
        (folder / "tokenizer_config.json").write_text(f"{text}\n", encoding="utf-8", newline="\n")
        after = accuracy(checkpoint.load(folder).model, tokenizer, questions)
        for task, score in after.items():
            print(f"{variant}  {task:8}{before[task].share:7.1%} trained{score.share:7.1%} stored")
            if before[task].share - score.share > LOST:
                raise RuntimeError(f"{variant}: float16 costs answers in {task}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m engine.labs.publish", description="Store the small models.")
    parser.add_argument("trained", type=Path, help="what engine.labs.train wrote")
    parser.add_argument("out", type=Path, help="where a folder for each variant goes")
    given = parser.parse_args(arguments)
    publish(given.trained, given.out)


if __name__ == "__main__":
    main()
