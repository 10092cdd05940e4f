"""What only `make thorough` tries: more cases of what `make test` tries one or a few of."""

from __future__ import annotations

import os

import pytest

THOROUGH = bool(os.environ.get("THOROUGH"))
thorough = pytest.mark.skipif(not THOROUGH, reason="one more case of the same, for `make thorough`")
