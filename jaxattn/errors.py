"""The one exception that means "the user can mend this"."""


class InputError(ValueError):
    """Bad input, told in one sentence: what was found, where, and what is allowed.

    The command line prints the sentence and exits with code 2; no traceback is shown.
    """
