"""The command ``rag-chain``: one module a command. Nothing in the package imports this one."""
