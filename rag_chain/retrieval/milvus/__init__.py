"""The passages in a Milvus server, a cluster of them, or a file of Milvus Lite."""
