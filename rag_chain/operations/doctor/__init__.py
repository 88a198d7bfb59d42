"""The doctor: examines the Redis server and this machine, and explains what the findings mean for sessions."""

from rag_chain.operations.doctor.examination import aexamine, examine
from rag_chain.operations.doctor.findings import Finding, Level, Report
from rag_chain.operations.doctor.rights import least_rights

__all__ = ["Finding", "Level", "Report", "aexamine", "examine", "least_rights"]
