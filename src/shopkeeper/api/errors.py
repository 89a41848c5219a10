"""What goes wrong, in one line: Hydra's words and missing packages as the verbs say them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shopkeeper.errors import UserError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Within, what Hydra, YAML or an import finds wrong becomes a `UserError` with the way out, as on a command line.

    Anything else, an interruption too, goes on as it is.
    """
    from shopkeeper.pipeline.shell.entry import explain_hydra, explain_yaml, missing_package

    try:
        yield
    except UserError:
        raise
    except ModuleNotFoundError as e:
        if (said := missing_package(e)) is None:
            raise
        raise UserError(said) from None
    except Exception as e:
        if (said := explain_hydra(e) or explain_yaml(e)) is None:
            raise
        raise UserError(said) from None
