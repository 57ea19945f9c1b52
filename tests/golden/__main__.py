"""Write the vectors anew: `python -m tests.golden`."""

from __future__ import annotations

import json

from tests.golden.test_vectors import path_of
from tests.golden.vectors import VECTORS

for name, make in VECTORS.items():
    path_of(name).write_text(json.dumps(make(), separators=(",", ":")) + "\n", encoding="utf-8")
    print(path_of(name).name)
