"""The HTTP service: OpenAI's protocol, sessions and health over the async chain (extra ``serve``)."""
