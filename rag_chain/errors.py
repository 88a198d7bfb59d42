"""Every error that rag_chain raises on purpose, as one tree.

::

    RagChainError
    ├── UsageError                   the caller's input is wrong (exit code 2)
    │   ├── ConfigurationError       a setting, a missing key or a missing package
    │   ├── InvalidIdError           a session or user id that can't be used
    │   └── InvalidQuestionError     an empty or oversized question
    ├── DocumentIndexError           the index on disk
    │   ├── IndexNotFoundError
    │   ├── IndexMismatchError       built with another embedding model, dimension or chunking
    │   ├── IndexDamagedError        a file is missing, truncated or modified
    │   ├── IndexFormatError         written by another version
    │   └── IndexLockedError         another writer holds it
    ├── DocumentLoadError            one file could not be read; carries the reason
    │   ├── DocumentEmptyError       the file has no text
    │   └── DocumentUnsupportedError files of its kind can't be read
    ├── HistoryError                 a session's store
    │   ├── HistoryUnavailableError  the store is away
    │   ├── HistoryWriteError        a turn could not be stored anywhere
    │   ├── HistoryDataError         a key of the wrong type, or data that is not a message
    │   │   └── DecryptionError      encrypted data whose key is missing, or that was changed or moved
    │   ├── HistoryAuthError         the store refused the credentials
    │   ├── SessionNotFoundError
    │   ├── SessionExpiredError
    │   ├── TurnNotFoundError
    │   ├── CheckpointNotFoundError
    │   └── SessionBusyError
    ├── ClusterUnavailableError      the Ray cluster of an ingestion can't be reached, or has no worker left
    ├── BudgetExceededError          a limit on tokens or cost is reached; the model was not called
    └── ModelError                   the chat or embedding model
        ├── ModelUnavailableError
        ├── ModelRefusedError        credentials, quota or content
        ├── ModelTimeoutError
        └── ContextTooLongError

Each message says in one sentence what is wrong, where, and what to do. The foreign error that caused one of these is
chained to it. It is not quoted if it could hold a secret.
"""

from typing import Any


class RagChainError(Exception):
    """Base of all errors of this package. ``exit_code`` is the exit code of the scripts."""

    exit_code = 1


class UsageError(RagChainError, ValueError):
    """The caller's input is wrong."""

    exit_code = 2


class ConfigurationError(UsageError):
    """A setting is wrong, or a key or package that it needs is missing."""


class InvalidIdError(UsageError):
    """A session or user id is empty, too long or holds characters that are not allowed."""


class InvalidQuestionError(UsageError):
    """A question is empty or larger than the limit."""


class DocumentIndexError(RagChainError):
    """The index on disk can't be used."""


class IndexNotFoundError(DocumentIndexError):
    """There is no index in the folder."""


class IndexMismatchError(DocumentIndexError):
    """The index was built with another embedding model, dimension or chunking."""


class IndexDamagedError(DocumentIndexError):
    """A file of the index is missing, truncated or modified."""


class IndexFormatError(DocumentIndexError):
    """The index was written by another version of this package."""


class IndexLockedError(DocumentIndexError):
    """Another writer holds the index."""


class DocumentLoadError(RagChainError):
    """A file can't be turned into documents.

    Args:
        reason: one short sentence without the path, such as ``"the PDF is encrypted"``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DocumentEmptyError(DocumentLoadError):
    """A file was read and has no text."""


class DocumentUnsupportedError(DocumentLoadError):
    """Files of this kind can't be read at all."""


class HistoryError(RagChainError):
    """A session's store refused or failed.

    ``output``: the chain's output, if a turn was answered but could not be stored, so that the answer is not lost.
    """

    output: dict[str, Any] | None = None


class HistoryUnavailableError(HistoryError):
    """The store is away: connection lost, timed out, loading, read-only or its cluster is down."""


class HistoryWriteError(HistoryError):
    """A turn could not be stored anywhere."""


class HistoryDataError(HistoryError):
    """The data under a session's key is not a session."""


class DecryptionError(HistoryDataError):
    """Stored data is encrypted with a key that is missing here, was changed, or was moved from another place."""


class HistoryAuthError(HistoryError):
    """The store refused the credentials."""


class SessionNotFoundError(HistoryError):
    """No store has such a session."""


class SessionExpiredError(HistoryError):
    """The session has expired."""


class TurnNotFoundError(HistoryError):
    """The session has no such turn: it was never stored, or was trimmed."""


class CheckpointNotFoundError(HistoryError):
    """The thread has no such checkpoint: it never existed, or was trimmed."""


class SessionBusyError(HistoryError):
    """Another turn of the session is running."""


class ClusterUnavailableError(RagChainError):
    """The Ray cluster of an ingestion can't be reached, or has no worker left."""


class BudgetExceededError(RagChainError):
    """A limit on the tokens of a session or the cost of a user's day is reached; the model was not called."""


class ModelError(RagChainError):
    """The chat or embedding model failed."""


class ModelUnavailableError(ModelError):
    """The model's server can't be reached, or answers with a server error."""


class ModelRefusedError(ModelError):
    """The provider refused the credentials, the request or its content, or the quota is used up."""


class ModelTimeoutError(ModelError):
    """The model did not answer in time."""


class ContextTooLongError(ModelError):
    """The prompt does not fit the model's context."""
