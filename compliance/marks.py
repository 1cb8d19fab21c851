"""A figure in the page that says which fact it is: ``<data value="2.9871" data-fact="epsilon">2.987</data>``.

The path leads through ``facts`` of ``report.json``, with list members by number (``balances.0.spent_epsilon``). The
attribute ``value`` is that fact's JSON, the text its rounding by :func:`compliance.prompt.figure`. So whoever holds
both files can check that the page shows the figures of the other, without reading sentences.
"""

from __future__ import annotations

import json

from markupsafe import Markup

from compliance.facts import Facts
from compliance.prompt import figure


def marked(facts: Facts, path: str) -> Markup:
    """The fact at ``path``, a number, as an element of the page.

    Raises:
        ValueError: there is no number.
    """
    value: object = facts
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, tuple) else getattr(value, part)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{path} is no number")  # noqa: TRY004 - what the path leads to, not what the caller passed
    return Markup('<data value="{}" data-fact="{}">{}</data>').format(json.dumps(value), path, figure(value))
