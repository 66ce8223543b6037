"""`python -m accelmodel`."""

from __future__ import annotations

from accelmodel.cli.main import main

main()
