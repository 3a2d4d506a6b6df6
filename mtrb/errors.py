"""Errors meant for the user: one or two lines that say what was given, what was expected, what to do."""


class QTAError(Exception):
    """Report a failure the user can act on; front ends show its text and no traceback."""


class InputError(QTAError):
    """Refuse a file or record that cannot be read as what it should be."""


class DataError(QTAError):
    """Refuse benchmark data that is absent, altered or inconsistent."""


class ArtefactError(QTAError):
    """Refuse an index or model folder that is damaged, half-written or made for something else."""


class MissingDependencyError(QTAError):
    """Name the optional package that a requested feature needs, and how to install it."""
