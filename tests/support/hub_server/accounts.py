# SPDX-License-Identifier: Apache-2.0
"""Who may call the Hub, and the token of each."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

ORGANIZATION = "org"


@dataclass(frozen=True)
class Account:
    """A user, as one of their tokens lets them in.

    Attributes:
        role: What the token allows; a user may have tokens of either role.
    """

    name: str
    role: Literal["read", "write"]
    organizations: tuple[str, ...] = ()

    def belongs_to(self, namespace: str) -> bool:
        """Whether the namespace is the user's own or that of an organization of theirs."""
        return namespace == self.name or namespace in self.organizations


class Tokens(NamedTuple):
    """The tokens that a test may use.

    Attributes:
        write: Of a member of `org`.
        read: Of the same user, and may not change anything.
        stranger: May write, but its user is not in `org`.
        wrong: Of nobody.
    """

    write: str = "hf_writes"
    read: str = "hf_reads"
    stranger: str = "hf_stranger"
    wrong: str = "hf_wrong"


# Whoever comes with a token that is nobody's.
UNKNOWN = Account("unknown", "read")
ACCOUNTS = {
    Tokens().write: Account("ada", "write", (ORGANIZATION,)),
    Tokens().read: Account("ada", "read", (ORGANIZATION,)),
    Tokens().stranger: Account("sam", "write"),
}


def caller_of(authorization: str | None) -> Account | None:
    """Whose token an `Authorization` header holds; None without a header."""
    return None if authorization is None else ACCOUNTS.get(authorization.removeprefix("Bearer "), UNKNOWN)
