"""Frozen records with abstract methods.

Records are msgspec Structs: a class costs a twentieth of what a dataclass costs to define, and the
translator has more of them than a short command has time for (docs/decisions/0030).
"""

from abc import ABCMeta

from msgspec import Struct, StructMeta


class _AbstractMeta(StructMeta, ABCMeta):
    """Makes a Struct that may have abstract methods."""


class AbstractStruct(Struct, metaclass=_AbstractMeta, frozen=True, kw_only=True):
    """Base of the records with abstract methods."""
