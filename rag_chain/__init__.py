"""Conversational question answering over your own documents, native to LangChain."""
