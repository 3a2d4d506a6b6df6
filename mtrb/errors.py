"""Errors meant for the user: one or two lines that say what was given, what was expected, what to do."""


class QTAError(Exception):
    """Report a failure the user can act on; front ends show its text and no traceback."""


class InputError(QTAError):
    """Refuse a file or record that cannot be read as what it should be."""


class DataError(QTAError):
    """Refuse benchmark data that is altered or inconsistent, or a dataset or split that there is not."""


class AbsentDataError(DataError):
    """Say that benchmark data is not there, and how to get it; an evaluation leaves such datasets out."""


class ArtefactError(QTAError):
    """Refuse an index or model folder that is damaged, half-written or made for something else."""


class BusyError(ArtefactError):
    """Say that another process holds what was to be changed; to try again helps."""


class StorageError(ArtefactError):
    """Say that the disk did not take a change: it is full, or cannot be written."""


class UnavailableError(ArtefactError):
    """Say that a server which holds the tools does not answer as it should; to try again may help."""


class MissingDependencyError(QTAError):
    """Name the optional package that a requested feature needs, and how to install it."""
