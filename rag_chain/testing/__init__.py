"""A fault-injection kit for chat histories: real servers, faults, a workload, and a checker of what was kept."""
