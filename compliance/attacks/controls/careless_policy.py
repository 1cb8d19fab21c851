"""A BROKEN policy: a bank that takes part in any session that validates, whatever its key exchange."""

from __future__ import annotations

from secagg import ClientPolicy, SessionConfig


class CarelessPolicy(ClientPolicy):
    """Asks for nothing."""

    def check(self, session: SessionConfig) -> None:
        """Accept ``session``."""
