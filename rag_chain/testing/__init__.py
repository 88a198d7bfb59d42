"""A fault-injection kit for chat histories: real servers, faults, a workload, and a checker of the stored turns."""
