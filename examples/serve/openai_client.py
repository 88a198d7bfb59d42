"""Hold a short conversation with rag-chain serve through OpenAI's own client.

    rag-chain ingest docs && rag-chain serve
    python examples/serve/openai_client.py "How long is a session kept?" "And who renews it?"

OPENAI_BASE_URL (http://127.0.0.1:8000/v1) and OPENAI_API_KEY (one of `rag-chain keys add`, where there are keys) apply.
"""

import os
import sys
from uuid import uuid4

from openai import OpenAI


def main(questions: list[str]) -> None:
    """Ask each question in one session, and print the streamed answers and their sources."""
    address = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    with OpenAI(base_url=address, api_key=os.environ.get("OPENAI_API_KEY", "none")) as client:
        session = {"X-Session-Id": uuid4().hex}
        for question in questions:
            print(f"> {question}")
            facts = {}
            for chunk in client.chat.completions.create(
                model="rag_chain",
                messages=[{"role": "user", "content": question}],
                stream=True,
                extra_headers=session,
            ):
                print(chunk.choices[0].delta.content or "", end="", flush=True)
                facts |= (chunk.model_extra or {}).get("rag_chain", {})
            print()
            for cited in facts["citations"]:
                print(f"  [{cited['number']}] {cited['source']}  {cited['position']}")
            print(f"  {facts['persistence']}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["What are these documents about?"])
