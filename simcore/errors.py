"""What is said to a person whose input cannot be used."""


class InputError(ValueError):
    """Wrong input, told in one sentence that names the file, line or key, the value, and what is allowed.

    The command line prints the sentence and exits with 2; nobody sees a traceback for it.
    """


class UnsupportedError(InputError):
    """Right input that this version cannot simulate yet, told in one sentence."""
