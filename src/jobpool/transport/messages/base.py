"""What all messages have in common, and those that travel on several of the ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from jobpool.model.bounded import Count

__all__ = [
    "Answer",
    "Checkpointed",
    "ErrorData",
    "Function",
    "Functions",
    "Holder",
    "Message",
    "Question",
    "Refused",
    "Remark",
]

A = TypeVar("A")

ErrorData = tuple[str, str, dict[str, Any]]
"""What ``JobPoolError.as_data()`` returns."""


class Holder(Protocol):
    """What has a content that may be large: it travels beside the message then."""

    payload: bytes


class Message(msgspec.Struct, array_like=True, tag=True):
    """A message. Its first item on the wire is the name of its class."""

    def holders(self) -> Sequence[Holder]:
        """Return what in it may hold a large content, always in the same order."""
        return ()


class Question(Message, Generic[A], kw_only=True):
    """A message that is answered with one of type ``A``, or with :class:`Refused`."""

    reference: Count = 0
    """The link's number of the question."""


class Answer(Message, kw_only=True):
    """What the receiver of a question sends back. Lost: who asks hears that the connection has ended."""

    reference: Count = 0
    """That of the question."""


class Refused(Answer, kw_only=True):
    """The server cannot do what it was asked for; ``Link.ask`` raises the error."""

    error: ErrorData


class Function(msgspec.Struct, array_like=True):
    """A pickled function, which only workers open, and its key."""

    key: str
    payload: bytes


class Functions(Message):
    """Client to server, before the first calls of these functions; server to agent and agent to worker, likewise.

    Twice: the same content by the same key. A call whose function is not known ends the connection.
    """

    functions: list[Function]

    def holders(self) -> Sequence[Holder]:
        """Return the functions."""
        return self.functions


class Checkpointed(Message):
    """Worker to agent and agent to server: this call stopped, and goes on with this payload. Lost: it begins anew."""

    call: Count
    payload: bytes

    def holders(self) -> Sequence[Holder]:
        """Return this message."""
        return (self,)


class Remark(Message):
    """Worker to agent and agent to server: a sentence for the user, once for each topic, on whichever node it happens
    first."""

    topic: str
    text: str
