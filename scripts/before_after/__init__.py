"""The parts of ``scripts/demo_before_after.py``: processes, a server to kill, scenes, the screen and the recording."""
