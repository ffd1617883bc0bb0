"""The Hugging Face hub, as models and data sets share it: does it answer, what does a refusal mean.

Addresses, cache, token and offline mode are those of `huggingface_hub`: HF_ENDPOINT, HF_HOME,
HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE. It is imported in the functions: most runs need no hub.
"""

import contextlib
import errno
import os
import re
import threading
from collections.abc import Iterator
from typing import Literal

Kind = Literal["model", "dataset"]
"""What a repository of the hub holds, as its library calls it."""

WORDS: dict[Kind, str] = {"model": "model", "dataset": "data set"}
"""Kind -> what a person calls it."""

EXAMPLES: dict[Kind, str] = {
    "model": "google-bert/bert-base-uncased",
    "dataset": "stanfordnlp/imdb",
}
"""Kind -> an id as it should look."""

PATIENCE = 3.0
"""Seconds that the hub has for a first answer, so that a command ends within 5 without network."""

TIMEOUT = 10.0
"""Seconds that it has for every later one."""


def silence() -> str:
    """Why the hub cannot be asked now, as a clause; "" where it can.

    Any answer counts, a refusal too. HF_HUB_ETAG_TIMEOUT, where it is set, replaces `PATIENCE`.
    """
    from huggingface_hub import constants, get_session, is_offline_mode

    if is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    given = os.environ.get("HF_HUB_ETAG_TIMEOUT")
    patience = float(constants.HF_HUB_ETAG_TIMEOUT) if given else PATIENCE
    reason = [f"nothing came within {patience:g} s; HF_HUB_ETAG_TIMEOUT=<seconds> waits longer"]

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=patience, follow_redirects=False)
        except Exception as error:  # of the network, the proxy, the certificates or the address
            if "timeout" not in type(error).__name__.lower():
                reason[0] = first_line(error)
        else:
            reason[0] = ""

    # In a thread, as no timeout cuts short what looks up the address of a host.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    told = reason[0]
    return f"{constants.ENDPOINT} does not answer ({told})" if told else ""


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """No request is sent in the block: only what is in the cache is found, without waiting."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def refused(kind: Kind, name: str, revision: str) -> str:
    """Asks the hub why it does not give a repository: what to do, as a clause; "" where it does."""
    from huggingface_hub import HfApi

    try:
        HfApi().repo_info(name, repo_type=kind, revision=revision or None, timeout=TIMEOUT)
        HfApi().auth_check(name, repo_type=kind)
    except Exception as error:
        return meaning(error, kind, name, revision)
    return ""


def meaning(error: BaseException, kind: Kind, name: str, revision: str) -> str:
    """What went wrong when a repository was asked for, and what to do, as a clause.

    Args:
      error: raised by `huggingface_hub`.
      kind: of the repository.
      name: its id.
      revision: what was asked for; "" for the newest.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RevisionNotFoundError

    chain = list(_causes(error))
    answer = next((one for one in chain if isinstance(one, HfHubHTTPError)), None)
    if answer is None:
        return _local(chain) or f"{constants.ENDPOINT} cannot be used ({first_line(chain[-1])})"
    code = answer.response.status_code
    if isinstance(answer, RevisionNotFoundError):
        return f"it has no branch, tag or commit {revision!r}{_revisions(kind, name)}"
    if isinstance(answer, GatedRepoError):
        return _gated(f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}")
    if code in (401, 404):
        return _unknown(kind)
    if code == 403:
        said = f" ({answer.server_message})" if answer.server_message else ""
        return (
            f"the hub does not allow it{said}; a token of HF_TOKEN or `hf auth login` has to have "
            "the right to read this repository"
        )
    if code == 429:
        return "too many requests for now; wait some minutes, or set HF_TOKEN, which allows more"
    return f"{constants.ENDPOINT} answers {code} ({answer.response.reason_phrase}); try again later"


def is_refusal(error: BaseException) -> bool:
    """Whether the hub answered, and that it does not give this: no copy stands in for it."""
    from huggingface_hub.errors import HfHubHTTPError

    answers = [one for one in _causes(error) if isinstance(one, HfHubHTTPError)]
    return bool(answers) and answers[0].response.status_code in (401, 403, 404)


def first_line(error: BaseException) -> str:
    """The beginning of what an error says, without the number of the system's errors."""
    text = str(error).strip().partition("\n")[0]
    return re.sub(r"^\[Errno -?\d+\] ", "", text) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _local(chain: list[BaseException]) -> str:
    """What is wrong with the disk; "" where nothing is."""
    from huggingface_hub import constants

    another = f"HF_HOME=<folder> names another one than {constants.HF_HOME}"
    for error in chain:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk of the cache is full; make room, or {another}"
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"the cache cannot be written to ({first_line(error)}); {another}"
    return ""


def _revisions(kind: Kind, name: str) -> str:
    """ "; there are: main, v1.0"; "" where the hub does not tell."""
    from huggingface_hub import HfApi

    with contextlib.suppress(Exception):
        refs = HfApi().list_repo_refs(name, repo_type=kind)
        names = [ref.name for ref in (*refs.branches, *refs.tags)]
        if names:
            return f"; there are: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    return ""


def _gated(page: str) -> str:
    from huggingface_hub import get_token

    if get_token():
        return (
            f"it is gated and the account of your token was not let in; accept the conditions on "
            f"{page}, wait where its authors have to agree, and run this again"
        )
    return (
        f"it is gated; accept the conditions on {page}, then set HF_TOKEN to a token of that "
        "account, or log in with `hf auth login`"
    )


def _unknown(kind: Kind) -> str:
    """A repository that is not there and one that may not be seen are answered alike."""
    from huggingface_hub import constants, get_token

    if get_token():
        private = "your token may have expired or not be allowed to read a private one"
    else:
        private = "a private one needs HF_TOKEN or `hf auth login`"
    return (
        f"{constants.ENDPOINT} shows no {WORDS[kind]} of this name; an id is <owner>/<name>, as "
        f"{EXAMPLES[kind]}; {private}"
    )
