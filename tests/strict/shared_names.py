"""The names that NumPy and CuPy share, as write_shared_names.py has found them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("shared_names.json")
SHARED: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
