"""An index in a Milvus server, a Milvus cluster, or a file of Milvus Lite."""
